//! A unit with one synthetic camera behind a real server, and a gate that knows two tokens.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sightline_media::ring::Limits;
use sightline_media_io::{
    camera::Camera,
    gate::{Admission, BoxFuture, Gate},
    hub::{Hub, Publisher},
    rtsp_server::{Options, RtspServer},
    source::synthetic::{self, SyntheticConfig},
};
use sightline_model::{Capabilities, ChannelId, Rights, SessionToken, UnixMicros};
use sightline_protocol::{Problem, ProblemKind, pc::PathReport, ps::TokenBearer, sc::TokenGrant};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Good for channel 0.
pub const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.eyJjaCI6MH0.c2lnbmF0dXJl_-";

/// Lets [`TOKEN`] in, once per bearer; everything else is refused as the CMU would.
#[derive(Default)]
pub struct FakeGate {
    bearer: Mutex<Option<TokenBearer>>,
    pub ended: Mutex<Vec<watch::Sender<Option<Problem>>>>,
    pub paths: Mutex<Vec<watch::Receiver<Option<PathReport>>>>,
    pub rights: Mutex<HashMap<String, Rights>>,
}

impl Gate for FakeGate {
    fn admit<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let rights = match token.expose().as_str() {
                TOKEN => Rights::owner(),
                "revoked" => {
                    return Err(Problem::new(ProblemKind::TokenRevoked, "taken away"));
                }
                other => self.rights.lock().get(other).cloned().ok_or_else(|| {
                    Problem::new(ProblemKind::InvalidToken, "this token is none of ours")
                })?,
            };
            let first = self.bearer.lock().get_or_insert_with(|| bearer.clone()).clone();
            if first != bearer {
                return Err(Problem::new(ProblemKind::TokenInUse, "another client has it"));
            }
            let (ended_to, ended) = watch::channel(None);
            let (path, path_of) = watch::channel(None);
            self.ended.lock().push(ended_to);
            self.paths.lock().push(path_of);
            let grant = TokenGrant {
                domain: "example.org".parse().expect("valid"),
                user: "ada".parse().expect("valid"),
                session: "s1".parse().expect("valid"),
                channel: ChannelId(0),
                rights,
                capabilities: Capabilities::default(),
                expires_at: UnixMicros(i64::MAX),
            };
            Ok(Admission { grant, ended, path })
        })
    }
}

pub struct Unit {
    pub address: SocketAddr,
    pub gate: Arc<FakeGate>,
    pub hub: Hub,
    pub server: RtspServer,
    pub token: CancellationToken,
    pub tasks: TaskTracker,
    /// Held so that the offline camera of channel 1 stays offline by itself.
    _offline: Publisher,
}

impl Unit {
    /// Channel 0 gives a synthetic picture, channel 1 none, others do not exist.
    pub async fn start(options: Options) -> Self {
        let (publisher, hub) = Hub::new(Limits::default());
        let unit = Self::with_hub(hub, options).await;
        let config = SyntheticConfig { gop_s: 1.0, ..SyntheticConfig::default().sub() };
        let token = unit.token.clone();
        unit.tasks.spawn(async move {
            synthetic::run(config, publisher, token).await.expect("valid configuration");
        });
        unit
    }

    pub async fn with_hub(hub: Hub, options: Options) -> Self {
        let (offline, dark) = Hub::new(Limits::default());
        let camera = |channel, hub| Camera { channel, name: "Yard".into(), main: hub, sub: None };
        let cameras = BTreeMap::from([
            (ChannelId(0), camera(ChannelId(0), hub.clone())),
            (ChannelId(1), camera(ChannelId(1), dark)),
        ]);
        let gate = Arc::new(FakeGate::default());
        let server = RtspServer::new(cameras.into(), gate.clone(), options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (serving, stop, spawned) = (server.clone(), token.clone(), tasks.clone());
        tasks.spawn(async move { serving.serve_tcp(listener, stop, spawned).await });
        Self { address, gate, hub, server, token, tasks, _offline: offline }
    }

    pub fn url(&self, path: &str) -> String {
        format!("rtsp://{}/{path}?token={TOKEN}", self.address)
    }

    pub async fn online(&self) {
        let mut state = self.hub.watch_state();
        let online = state.wait_for(|s| s.description().is_some());
        tokio::time::timeout(Duration::from_secs(10), online)
            .await
            .expect("in time")
            .expect("the camera lives");
    }

    /// Everything ends by itself when asked to.
    pub async fn stop(self) {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(10), self.tasks.wait())
            .await
            .expect("all tasks end");
    }
}
