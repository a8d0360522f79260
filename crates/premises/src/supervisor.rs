//! Keeps sources running: one that panics or ends is started again, alone and after a wait.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use sightline_media_io::hub::{Hub, Publisher};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio_util::sync::CancellationToken;

const MIN_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);
/// A source that ran for so long starts again with the shortest wait.
const STEADY: Duration = Duration::from_secs(60);

/// Runs `source` into `hub` until the service ends. A source returns why it has ended.
pub fn supervise<F>(
    lifecycle: &Lifecycle,
    camera: String,
    hub: Hub,
    source: impl Fn(Publisher, CancellationToken) -> F + Send + 'static,
) where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    lifecycle.spawn_graceful(|token| async move {
        let mut wait = MIN_WAIT;
        while !token.is_cancelled() {
            let started = tokio::time::Instant::now();
            let run = AssertUnwindSafe(source(hub.publisher(), token.clone())).catch_unwind();
            let why = match run.await {
                Ok(_) if token.is_cancelled() => return,
                Ok(Ok(())) => "the source has ended".to_owned(),
                Ok(Err(why)) => why,
                Err(_) => {
                    metrics::counter!("sightline_pu_source_panics_total").increment(1);
                    "the source has broken down; it is being started again".to_owned()
                }
            };
            tracing::error!(camera, why, "a source ended");
            hub.publisher().offline(why);
            if started.elapsed() >= STEADY {
                wait = MIN_WAIT;
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(MAX_WAIT);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use sightline_media::{StreamDescription, ring::Limits};
    use sightline_media_io::hub::SourceState;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_panics_comes_back_into_the_same_hub() {
        let (publisher, hub) = Hub::new(Limits::default());
        drop(publisher);
        let lifecycle = Lifecycle::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        supervise(&lifecycle, "Yard".into(), hub.clone(), move |publisher, token| {
            let run = count.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => panic!("meant to"),
                    1 => Err("no way in".to_owned()),
                    _ => {
                        publisher.online(StreamDescription::default());
                        token.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        let mut state = hub.watch_state();
        let online = |s: &SourceState| matches!(s, SourceState::Online(_));
        state.wait_for(online).await.expect("the hub lives");
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(lifecycle.shutdown().await);
        assert!(!online(&hub.state()));
    }
}
