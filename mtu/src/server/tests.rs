//! What ends a relay, and what changes while it runs.

use std::time::Duration;

use sightline_service_kit::tls::Authority;

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
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the end");
}

#[tokio::test]
async fn a_relay_that_is_stopped_has_not_died() {
    let lifecycle = Lifecycle::new();
    let (relay, _ended) = Relay::start(config(), &lifecycle).await.expect("started");
    let died = relay.workers.read().died();
    relay.stop().await;
    assert!(!died.is_cancelled() && !lifecycle.token.is_cancelled());
}

/// What has no port or no file is refused by the core, before any socket is asked for.
#[test]
fn what_there_is_room_for_bounds_allocations() {
    let allowed = |config: &Config| settings(config, &[]).expect("good").limits.allocations;
    let few = Config { relay_ports: Some((50_000, 50_009)), ..config() };
    assert_eq!((few.max_allocations, allowed(&few)), (1_000, 10));
    assert_eq!(allowed(&Config { max_allocations: 7, ..few }), 7);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_comes_later_is_no_peer_either() {
    let later = IpAddr::from([203, 0, 113, 77]);
    let now = Arc::new(parking_lot::Mutex::new(Some(vec![])));
    let settings = Arc::new(ArcSwap::from_pointee(settings(&config(), &[]).expect("good")));
    let configured = vec![IpAddr::from([203, 0, 113, 1])];
    let list = now.clone();
    let watching = own::watch(settings.clone(), configured.clone(), move || list.lock().clone());
    let live = mtu_turn::LiveRelays::new([]);
    let allowed = |ip| settings.load().peers.allows_ip(&live, ip);
    let watched = async {
        assert!(allowed(later));
        *now.lock() = Some(vec![later]);
        tokio::time::sleep(2 * own::LOOK_EVERY).await;
        assert!(!allowed(later) && !allowed(configured[0]));
        // Where the system does not tell, the last answer holds.
        *now.lock() = None;
        tokio::time::sleep(2 * own::LOOK_EVERY).await;
        assert!(!allowed(later));
        *now.lock() = Some(vec![]);
        tokio::time::sleep(2 * own::LOOK_EVERY).await;
        assert!(allowed(later) && !allowed(configured[0]));
    };
    tokio::select! {
        () = watching => {}
        () = watched => {}
    }
}

/// PEM files with a certificate of such a key.
fn files(folder: &std::path::Path, key: &rcgen::KeyPair) -> Config {
    let (chain, private) = (folder.join("chain.pem"), folder.join("key.pem"));
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(key).expect("signed");
    std::fs::write(&chain, certificate.pem()).expect("written");
    std::fs::write(&private, key.serialize_pem()).expect("written");
    Config { certificate_file: Some(chain), key_file: Some(private), ..config() }
}

#[test]
fn a_key_that_dtls_cannot_use_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let ecdsa = rcgen::KeyPair::generate().expect("made");
    let config = files(folder.path(), &ecdsa);
    config.check().expect("good");
    let shown = Shown::default();
    shown.show(&config, config.identity().expect("read").as_ref()).expect("shown");
    let before = (shown.tls.load_full(), shown.dtls.load_full());

    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("made");
    let config = files(folder.path(), &rsa);
    let error = config.check().expect_err("refused").to_string();
    assert!(error.contains("ECDSA") && error.contains("dtls = false"), "{error}");
    let identity = config.identity().expect("read");
    assert!(shown.show(&config, identity.as_ref()).is_err(), "one of two was changed");
    let same = |a: Option<Arc<rustls::ServerConfig>>, b: Option<Arc<rustls::ServerConfig>>| {
        a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(&a, &b))
    };
    assert!(same(before.0, shown.tls.load_full()));
    assert!(before.1.zip(shown.dtls.load_full()).is_some_and(|(a, b)| Arc::ptr_eq(&a, &b)));

    let without = Config { dtls: false, ..config };
    without.check().expect("good without DTLS");
    shown.show(&without, identity.as_ref()).expect("shown");
    assert!(shown.dtls.load().is_none());
}

#[tokio::test]
async fn whoever_gave_a_certificate_can_give_another_one() {
    let identity = || Authority::create("Test").and_then(|a| a.issue(&["localhost"], &[]));
    let given = Config { identity: Some(identity().expect("made")), ..config() };
    let (relay, _ended) = Relay::start(given, &Lifecycle::new()).await.expect("started");
    let before = relay.shown.dtls.load_full().expect("shown");
    let next = identity().expect("made");
    relay.show(&next).expect("shown");
    let after = relay.shown.dtls.load_full().expect("shown");
    assert_ne!(after.certificate, before.certificate);
    assert_eq!(after.certificate, next.chain[0].as_ref());
    relay.stop().await;
}
