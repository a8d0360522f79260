//! For whoever operates an MTU: reload, drain, and connections that others have accepted.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sightline_service_kit::{
    config::ConfigError,
    http::{OtherProtocol, SharedStream},
    lifecycle::Lifecycle,
    tls::Identity,
};

use crate::server::Relay;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a draining MTU looks whether it is empty.
const DRAINED_EVERY: Duration = Duration::from_millis(200);

/// A handle to a running MTU; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    relay: Arc<Relay>,
    lifecycle: Lifecycle,
}

impl Control {
    pub(crate) fn new(relay: Arc<Relay>, lifecycle: &Lifecycle) -> Self {
        let control = Self { relay, lifecycle: lifecycle.clone() };
        let files = control.relay.config.watched_files();
        if !files.is_empty() {
            let seen = stamps(&files);
            lifecycle.spawn(control.clone().watch(files, seen));
        }
        control
    }

    /// Takes over certificates and secrets from their files; what runs goes on. Also done by
    /// itself when one of the files changes.
    ///
    /// # Errors
    /// [`ConfigError`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), ConfigError> {
        self.relay.reload()?;
        tracing::info!("certificates and secrets have been read again");
        Ok(())
    }

    /// Shows another certificate, for a program that gave one when it started the MTU.
    ///
    /// # Errors
    /// [`ConfigError`]; then everything stays as it was.
    pub fn show(&self, identity: &Identity) -> Result<(), ConfigError> {
        self.relay.show(identity)
    }

    /// Takes no new allocations; what runs goes on.
    pub fn drain(&self) {
        self.relay.set_draining(true);
    }

    /// Takes allocations again, unless it is about to stop.
    pub fn undrain(&self) {
        self.relay.set_draining(false);
    }

    /// Allocations now.
    #[must_use]
    pub fn allocations(&self) -> u32 {
        self.relay.allocations()
    }

    /// Drains, whatever SCUs order from then on, and waits until nothing is left, or so long at
    /// most.
    pub async fn drained(&self, limit: Duration) {
        self.relay.drain_for_good();
        let empty = async {
            while self.allocations() > 0 {
                tokio::time::sleep(DRAINED_EVERY).await;
            }
        };
        if tokio::time::timeout(limit, empty).await.is_err() {
            tracing::warn!(allocations = self.allocations(), "the time to drain is over");
        }
    }

    async fn watch(self, files: Vec<PathBuf>, mut seen: Vec<Stamp>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let now = stamps(&files);
            if now == seen {
                continue;
            }
            // Half written, or one of two: the next look sees the rest.
            match self.reload() {
                Ok(()) => seen = now,
                Err(error) => {
                    tracing::warn!(%error, "what was read before stays in use");
                    seen = now;
                }
            }
        }
    }
}

/// TURN over TLS on a web server's port. Units are told of it by
/// [`Config::shared_tls_ports`](crate::Config).
impl OtherProtocol for Control {
    fn alpn(&self) -> &'static [u8] {
        // RFC 7443
        b"stun.turn"
    }

    /// A client's first message is a request (RFC 8489 section 5); nothing of HTTP begins so.
    fn is_for(&self, first: u8) -> bool {
        first < 4
    }

    fn serve(&self, stream: SharedStream, remote: SocketAddr, local: SocketAddr) {
        let streams = self.relay.streams.clone();
        self.lifecycle.spawn(async move { streams.serve(stream, remote, local).await });
    }
}

/// When a file changed last, and its length.
type Stamp = Option<(SystemTime, u64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    files.iter().map(stamp).collect()
}
