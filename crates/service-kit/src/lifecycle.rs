//! Owners of tasks, and how a service ends.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long tasks get to finish after they were asked to.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The owner of a service's tasks: each is spawned here, sees one token, and is waited for.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Cancelled when the service must end.
    pub token: CancellationToken,
    /// Every task of the service.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// A new owner.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An owner whose tasks end with this one's, and that can end before it.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tasks: self.tasks.clone() }
    }

    /// Runs `task` until it ends or the service does.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs `task`, which watches the token by itself because it has something to finish.
    pub fn spawn_graceful<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.token.clone()));
    }

    /// Asks every task to end and waits for them, at most [`SHUTDOWN_TIMEOUT`]. Returns whether
    /// all of them ended.
    pub async fn shutdown(&self) -> bool {
        self.token.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::warn!(tasks = self.tasks.len(), "some tasks did not end in time");
        }
        ended
    }

    /// Waits for SIGINT or SIGTERM (or for the token), then shuts down. A second signal ends the
    /// process at once.
    pub async fn run_until_signal(&self) {
        run_until_signal(&[self]).await;
    }
}

/// Runs several owners until SIGINT or SIGTERM (or until the first one's token is cancelled), then
/// shuts them down one after the other: who reports to another comes before it. A second signal
/// ends the process at once.
pub async fn run_until_signal(owners: &[&Lifecycle]) {
    let first = owners.first().map(|owner| owner.token.clone()).unwrap_or_default();
    tokio::select! {
        () = signal() => tracing::info!("asked to stop"),
        () = first.cancelled() => {}
    }
    let all = async {
        for owner in owners {
            owner.shutdown().await;
        }
    };
    tokio::select! {
        () = all => {}
        () = signal() => std::process::exit(130),
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_ends_and_waits_for_every_task() {
        let lifecycle = Lifecycle::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        lifecycle.spawn(std::future::pending());
        lifecycle.spawn_graceful(|token| async move {
            token.cancelled().await;
            let _ = done.send(());
        });
        assert!(lifecycle.shutdown().await);
        assert_eq!(finished.await, Ok(()));
    }
}
