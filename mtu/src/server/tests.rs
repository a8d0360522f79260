//! What ends a relay.

use super::*;

fn config() -> Config {
    Config {
        udp_listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        secret: Some(sightline_model::Secret::new("0123456789abcdef".to_owned())),
        workers: Some(2),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_worker_that_dies_ends_the_process() {
    let lifecycle = Lifecycle::new();
    let (relay, _ended) = Relay::start(config(), &lifecycle).await.expect("started");
    let worker = relay.workers.read().handles()[1].clone();
    assert!(!lifecycle.token.is_cancelled());
    worker.die().await.expect("alive");
    let ended = lifecycle.token.cancelled();
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.expect("the end");
}

#[tokio::test]
async fn a_relay_that_is_stopped_has_not_died() {
    let lifecycle = Lifecycle::new();
    let (relay, _ended) = Relay::start(config(), &lifecycle).await.expect("started");
    let died = relay.workers.read().died();
    relay.stop().await;
    assert!(!died.is_cancelled() && !lifecycle.token.is_cancelled());
}
