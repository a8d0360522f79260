//! Putting a CMU together.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use cmu_storage::{Account, Database, StorageError};
use sightline_bus::{Bus, BusError};
use sightline_cloud_store::StoreError;
use sightline_model::{PhoneNumber, UserId};
use sightline_protocol::{cm::Subscription, subject};
use sightline_service_kit::{
    config::ConfigError,
    health::{self, Health},
    http,
    lifecycle::Lifecycle,
    telemetry::continue_trace,
    tls::TlsError,
};
use tokio::sync::broadcast;
use tower_http::trace::TraceLayer;

use crate::{
    clock::{Clock, SystemClock},
    cloud::{self, CloudError, CloudStore, rebuild::Rebuilt},
    config::Config,
    jobs,
    keys::{KeyError, Keys},
    mtus::{self, Mtus},
    portal::{self, PortalError},
    random, routes, sc, sms,
    sms::SmsGateway,
    state::{App, AppState, NOTICE_QUEUE_LEN},
};

/// The CMU cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The signing key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The portal cannot be served.
    #[error(transparent)]
    Portal(#[from] PortalError),
    /// The bus cannot be used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] http::ListenError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cloud storage cannot be used.
    #[error("cloud: {0}")]
    CloudStore(#[from] StoreError),
    /// The list of the cloud storage cannot be rebuilt.
    #[error("cloud: {0}")]
    Cloud(Box<dyn std::error::Error + Send + Sync>),
    /// The data folder cannot be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A CMU that serves.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Where the portal and the API are.
    pub addr: SocketAddr,
    /// Where health and metrics are, if anywhere.
    pub admin_addr: Option<SocketAddr>,
}

/// A CMU that answers SCUs and does its jobs; [`Cmu::router`] makes it answer customer units.
#[derive(Debug, Clone)]
pub struct Cmu {
    app: AppState,
    health: Health,
}

impl Cmu {
    /// Opens the database, subscribes to the bus and starts the jobs.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(config: Config, bus: Bus, lifecycle: &Lifecycle) -> Result<Self, StartError> {
        let sms = sms::from_config(&config, lifecycle)?;
        Self::open_with(config, bus, lifecycle, Arc::new(SystemClock), sms).await
    }

    /// The same with another clock and another way to telephones.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open_with(
        config: Config,
        bus: Bus,
        lifecycle: &Lifecycle,
        clock: Arc<dyn Clock>,
        sms: Arc<dyn SmsGateway>,
    ) -> Result<Self, StartError> {
        config.check()?;
        let what = format!("the data folder {}", config.data_dir.display());
        make_private_dir(&config.data_dir).map_err(|source| StartError::Io { what, source })?;
        let db = Database::connect(config.database_url()?.expose(), config.domain.clone()).await?;
        let keys = Keys::open(&config.data_dir, &db, clock.now()).await?;
        let cloud = CloudStore::open(&config.cloud, &config.data_dir, &clock)?;
        // Before anything is answered, so that no request and no change is missed.
        let requests = bus.subscribe(&subject::cmu(db.domain()), Some(sc::QUEUE_GROUP)).await?;
        let changes = bus.subscribe(&subject::notices(db.domain()), None).await?;
        let announcements = bus.subscribe(&subject::mtu_status(db.domain()), None).await?;
        let usage = bus.subscribe(&subject::mtu_usage(db.domain()), Some(sc::QUEUE_GROUP)).await?;
        let app = Arc::new(App {
            policy: config.devices.policy(),
            cloud,
            mtus: Mtus::default(),
            notices: broadcast::Sender::new(NOTICE_QUEUE_LEN),
            lifecycle: lifecycle.child(),
            config,
            db,
            bus,
            clock,
            keys,
            sms,
        });
        let health = Health::default();
        lifecycle.spawn(sc::serve(app.clone(), requests));
        lifecycle.spawn(jobs::notices::run(app.clone(), changes));
        lifecycle.spawn(mtus::listen(app.clone(), announcements));
        lifecycle.spawn(mtus::account(app.clone(), usage));
        lifecycle.spawn(jobs::flush::run(app.clone()));
        lifecycle.spawn(jobs::sweep::run(app.clone()));
        lifecycle.spawn(jobs::purge::run(app.clone()));
        lifecycle.spawn(jobs::cloud::run(app.clone()));
        lifecycle.spawn(watch_database(app.clone(), health.clone()));
        let closing = app.clone();
        lifecycle.spawn_graceful(|token| async move {
            token.cancelled().await;
            closing.db.close().await;
        });
        Ok(Self { app, health })
    }

    /// The API under `/api` and the portal everywhere else. Serve it with
    /// `into_make_service_with_connect_info::<SocketAddr>()`, or limits by address are shared by
    /// all.
    ///
    /// # Errors
    /// [`StartError::Portal`].
    pub fn router(&self) -> Result<Router, StartError> {
        let cloud = self.app.cloud.as_ref();
        let origin = cloud.and_then(|cloud| cloud.origin.as_deref());
        let portal = portal::router(self.app.config.portal_dir.as_deref(), origin)?;
        // Paths only: query strings may hold tokens.
        let trace =
            TraceLayer::new_for_http().make_span_with(|request: &axum::extract::Request| {
                let path = untold(request.uri().path());
                let name = format!("{} {path}", request.method());
                let span =
                    tracing::info_span!("http", method = %request.method(), path, otel.name = name);
                let parent =
                    request.headers().get("traceparent").and_then(|value| value.to_str().ok());
                continue_trace(&span, parent);
                span
            });
        let mut router = routes::router(self.app.clone());
        if let Some(cloud) = cloud {
            router = router.merge(cloud::playlist::router(self.app.clone()));
            router = cloud.router().into_iter().fold(router, Router::merge);
        }
        Ok(router.fallback_service(portal).layer(trace))
    }

    /// Whether this CMU can do its work.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Does at once what is done every minute: finishes what broke off in the cloud storage and lets go of
    /// what is too old there; and what is done every day: compares it with the list. How many segments
    /// were in no list.
    ///
    /// # Errors
    /// [`StartError::Cloud`].
    pub async fn look_after_cloud(&self) -> Result<u64, StartError> {
        let Some(cloud) = &self.app.cloud else { return Ok(0) };
        let failed = |error: CloudError| StartError::Cloud(error.into());
        jobs::cloud::once(&self.app, &*cloud.store).await.map_err(failed)?;
        jobs::cloud::daily(&self.app, &*cloud.store).await.map_err(failed)
    }

    /// Makes the owner of a number one of the operator's staff; the account is made if need be.
    ///
    /// # Errors
    /// [`StartError::Storage`].
    pub async fn add_operator(&self, phone: &PhoneNumber) -> Result<UserId, StartError> {
        add_operator(&self.app.db, phone, self.app.now()).await
    }
}

/// The path of a request as logs may have it: those of playlists hold a token.
fn untold(path: &str) -> &str {
    let prefix = cloud::playlist::PLAYLIST_PATH;
    if path.starts_with(prefix) { prefix } else { path }
}

/// Makes the list of the cloud storage again from the store, without a running CMU.
///
/// # Errors
/// [`StartError`].
pub async fn rebuild_cloud(config: &Config) -> Result<Rebuilt, StartError> {
    config.check()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let db = Database::connect(config.database_url()?.expose(), config.domain.clone()).await?;
    let store = CloudStore::open(&config.cloud, &config.data_dir, &clock)?;
    let rebuilt = match store {
        Some(cloud) => cloud::rebuild::rebuild(&db, &*cloud.store, clock.now()).await,
        None => Ok(Rebuilt::default()),
    };
    db.close().await;
    rebuilt.map_err(|error: CloudError| StartError::Cloud(error.into()))
}

/// Makes the owner of a number one of the operator's staff, without a running CMU.
///
/// # Errors
/// [`StartError`].
pub async fn operator_add(config: &Config, phone: &PhoneNumber) -> Result<UserId, StartError> {
    let what = format!("the data folder {}", config.data_dir.display());
    make_private_dir(&config.data_dir).map_err(|source| StartError::Io { what, source })?;
    let db = Database::connect(config.database_url()?.expose(), config.domain.clone()).await?;
    let user = add_operator(&db, phone, SystemClock.now()).await;
    db.close().await;
    user
}

async fn add_operator(
    db: &Database,
    phone: &PhoneNumber,
    now: sightline_model::UnixMicros,
) -> Result<UserId, StartError> {
    let random = random::id_bits().map_err(|_| KeyError::Unusable("needs random numbers"))?;
    let new = Account {
        id: UserId::from_random(random),
        phone: phone.clone(),
        subscription: Subscription::Active,
        is_operator: true,
        created_at: now,
    };
    let account = db.accounts().find_or_insert(&new).await?;
    db.accounts().set_operator(&account.id, true).await?;
    Ok(account.id)
}

/// Starts a CMU of its own: opens it and serves on `config.listen`.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: Config, bus: Bus, lifecycle: &Lifecycle) -> Result<Running, StartError> {
    config.check()?;
    let identity = config.tls.identity()?;
    let (listener, addr) = http::bind(config.listen)?;
    let admin = config.admin_address()?.map(http::bind).transpose()?;
    let cmu = Cmu::open(config, bus, lifecycle).await?;
    http::serve(listener, identity.as_ref(), cmu.router()?, lifecycle)?;
    let admin_addr = admin.as_ref().map(|(_, addr)| *addr);
    if let Some((listener, _)) = admin {
        http::serve(listener, None, health::router(cmu.health()), lifecycle)?;
    }
    tracing::info!(%addr, tls = identity.is_some(), "the CMU serves");
    Ok(Running { addr, admin_addr })
}

fn make_private_dir(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        // Keys and database are private files, but their names and whatever is put beside them
        // are not.
        tracing::warn!(
            "other users of this machine may look into the data folder {} (mode {mode:o}); \
             close it with: chmod 700 {}",
            dir.display(),
            dir.display(),
        );
    }
    Ok(())
}

async fn watch_database(app: AppState, health: Health) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match app.db.ping().await {
            Ok(()) => health.ready(),
            Err(error) => health.not_ready(error.to_string()),
        }
    }
}
