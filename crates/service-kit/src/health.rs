//! `/healthz`, `/readyz` and `/metrics`.

mod named;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

use self::named::Named;
use crate::{
    http::{self, ListenError},
    lifecycle::Lifecycle,
};

/// Whether the service can do its work.
#[derive(Clone, Debug)]
pub struct Health {
    ready: Arc<watch::Sender<Result<(), String>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { ready: Arc::new(watch::Sender::new(Err("starting".to_owned()))) }
    }
}

impl Health {
    /// The service can do its work.
    pub fn ready(&self) {
        let _ = self.ready.send_replace(Ok(()));
    }

    /// It cannot, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let _ = self.ready.send_replace(Err(reason.into()));
    }

    /// Changes of the state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Result<(), String>> {
        self.ready.subscribe()
    }
}

/// The recorder of this process, installed at the first call.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Metric names have the prefix `sightline_` and base units.
fn recorder() -> Option<&'static PrometheusHandle> {
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok()).as_ref()
}

/// From now on figures whose names begin with `from` are shown with `to` in its place: those of parts that
/// several kinds of devices share. To be called by a program before anything else; `false`: too late.
pub fn name_figures(from: &'static str, to: &'static str) -> bool {
    let mut is_installed = false;
    RECORDER.get_or_init(|| {
        let inner = PrometheusBuilder::new().build_recorder();
        let handle = inner.handle();
        is_installed = metrics::set_global_recorder(Named { inner, from, to }).is_ok();
        is_installed.then_some(handle)
    });
    is_installed
}

/// Serves [`router`] at `listen`, if anywhere; gives the state to be told.
///
/// # Errors
/// [`ListenError`].
pub fn serve(listen: Option<SocketAddr>, lifecycle: &Lifecycle) -> Result<Health, ListenError> {
    let health = Health::default();
    if let Some(listen) = listen {
        let (listener, _) = http::bind(listen)?;
        http::serve(listener, None, router(health.clone()), lifecycle)?;
    }
    Ok(health)
}

/// Routes for whoever watches the service; keep them off public addresses.
pub fn router(health: Health) -> Router {
    recorder();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    match &*health.ready.borrow() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn metrics() -> (StatusCode, String) {
    match recorder() {
        Some(handle) => {
            handle.run_upkeep();
            (StatusCode::OK, handle.render())
        }
        None => (StatusCode::NOT_FOUND, "another recorder is installed\n".to_owned()),
    }
}
