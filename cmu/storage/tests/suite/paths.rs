//! How media travels, and what that costs.

use cmu_storage::{Database, OTHER, SESSIONS, Side, StatRow};
use sightline_model::{
    MediaSessionId, MtuId, NatDependence, NatReport, PuId, PublicKey, Rung, StorageState,
    StorageStatus, UserId,
};
use sightline_protocol::{
    cm::{MtuShare, UsageRow},
    cs::StageTimes,
    pc::{MediaTransport, PathReport},
    ps::RecorderReport,
    sd::UsageEntry,
};

use super::{T0, at, register, registration, store_token, user};

fn row(network: &str, metric: &str, bucket: i64, count: i64) -> StatRow {
    StatRow { network: network.into(), metric: metric.into(), bucket, count }
}

pub async fn network_stats(db: &Database, other: &Database) {
    let stats = db.network_stats();
    let (a, b) = ("192.0.2.0/24", "198.51.100.0/24");
    let add = |day, side, network, metric, by| stats.add(day, side, network, metric, by);
    for day in [10, 11] {
        add(day, Side::Viewer, a, (SESSIONS, 0), 1).await.expect("stored");
        add(day, Side::Viewer, a, ("stage.total", 40 + day), 1).await.expect("stored");
    }
    for _ in 0..3 {
        add(11, Side::Viewer, b, (SESSIONS, 0), 1).await.expect("stored");
    }
    add(11, Side::Viewer, b, ("rung.host", 0), 2).await.expect("stored");
    add(11, Side::Viewer, b, ("rung.host", 0), -1).await.expect("stored");
    add(11, Side::Pu, "203.0.113.0/24", (SESSIONS, 0), 1).await.expect("stored");

    let of_a = [row(a, SESSIONS, 0, 2), row(a, "stage.total", 50, 1), row(a, "stage.total", 51, 1)];
    let of_b = [row(b, "rung.host", 0, 1), row(b, SESSIONS, 0, 3)];
    let all = stats.list(10, Side::Viewer, 10).await.expect("read");
    assert_eq!(all, [&of_a[..], &of_b[..]].concat());
    // Only the one with the most sessions.
    assert_eq!(stats.list(10, Side::Viewer, 1).await.expect("read"), of_b);
    assert_eq!(stats.list(12, Side::Viewer, 10).await.expect("read"), []);
    assert_eq!(stats.list(0, Side::Pu, 10).await.expect("read").len(), 1);
    assert_eq!(other.network_stats().list(0, Side::Viewer, 10).await.expect("read"), []);

    // A day that knows enough networks takes no new ones.
    let name = |network, max| stats.name(11, Side::Viewer, network, max);
    assert_eq!(name("new", 3).await.expect("read"), "new");
    assert_eq!(name("new", 2).await.expect("read"), OTHER);
    assert_eq!(name(a, 2).await.expect("read"), a);
    assert_eq!(stats.name(11, Side::Pu, "new", 2).await.expect("read"), "new");

    assert_eq!(stats.purge(11).await.expect("purged"), 2);
    assert_eq!(stats.list(0, Side::Viewer, 10).await.expect("read").len(), 4);
}

fn entry(allocation: u64, bytes: u64, to: i64, ended: bool) -> UsageEntry {
    UsageEntry {
        allocation,
        user: String::new(),
        bytes_to_peers: bytes,
        bytes_from_peers: 2 * bytes,
        packets: bytes / 100,
        from: at(2_000),
        to: at(to),
        allocated_s: 60,
        ended,
    }
}

pub async fn relay_usages(db: &Database, other: &Database) {
    let (pu, session, _) = store_token(db).await;
    let usages = db.relay_usages();
    let mtu = |name: &str| -> MtuId { name.parse().expect("valid") };
    let store = |name: &'static str, run: &'static str, entry: UsageEntry| {
        let (session, mtu) = (session.clone(), mtu(name));
        async move { usages_of(db).store(&mtu, run, &session, &entry).await.expect("stored") }
    };
    store("m1", "r1", entry(1, 1_000, 3_000, false)).await;
    // Cumulative: the later one counts, whatever comes late or twice.
    store("m1", "r1", entry(1, 5_000, 5_000, false)).await;
    store("m1", "r1", entry(1, 4_000, 4_000, false)).await;
    store("m1", "r1", entry(1, 6_000, 6_000, true)).await;
    store("m1", "r1", entry(1, 7_000, 7_000, false)).await;
    // Another start of the MTU, and another MTU.
    store("m1", "r2", entry(1, 100, 7_000, true)).await;
    store("m2", "r1", entry(1, 200, 8_000, true)).await;
    let unknown: MediaSessionId = "unknown".parse().expect("valid");
    usages.store(&mtu("m1"), "r1", &unknown, &entry(2, 10, 9_000, true)).await.expect("stored");

    let all = usages.sessions(at(0), None, 10).await.expect("read");
    let anna = user("anna");
    let expected = UsageRow {
        user: Some(anna.clone()),
        session: session.clone(),
        mtus: 2,
        bytes: 3 * 6_300,
        packets: 63,
        allocated_s: 180,
        from: at(2_000),
        to: at(8_000),
    };
    assert_eq!(all.len(), 2);
    assert!(all.contains(&expected), "{all:?}");
    assert_eq!(usages.sessions(at(0), Some(&anna), 10).await.expect("read"), [expected]);
    let nobody: UserId = user("nobody");
    assert_eq!(usages.sessions(at(0), Some(&nobody), 10).await.expect("read"), []);
    assert_eq!(usages.sessions(at(2_001), None, 10).await.expect("read"), []);
    assert_eq!(other.relay_usages().sessions(at(0), None, 10).await.expect("read"), []);

    let share = |mtu: &str, bytes| MtuShare { mtu: mtu.parse().expect("valid"), bytes };
    let by_mtu = usages.by_mtu(at(0), None, 10).await.expect("read");
    assert_eq!(by_mtu, [share("m1", 18_330), share("m2", 600)]);
    let of_anna = usages.by_mtu(at(0), Some(&anna), 1).await.expect("read");
    assert_eq!(of_anna, [share("m1", 18_300)]);
    assert_eq!(other.relay_usages().by_mtu(at(0), None, 10).await.expect("read"), []);

    let mut by = usages.by_network(at(0), Side::Viewer).await.expect("read");
    by.sort();
    assert_eq!(by, [("192.0.2.0/24".to_owned(), 18_900), ("unknown".to_owned(), 30)]);
    let by = usages.by_network(at(0), Side::Pu).await.expect("read");
    assert!(by.contains(&("198.51.100.0/24".to_owned(), 18_900)), "{by:?}");

    // Accounting outlives the token.
    db.play_tokens().purge(at(99_999)).await.expect("purged");
    assert!(db.play_tokens().place(&pu, &session).await.expect("read").is_none());
    assert_eq!(usages.sessions(at(0), Some(&anna), 10).await.expect("read").len(), 1);
    assert_eq!(usages.purge(at(8_500)).await.expect("purged"), 3);
}

fn usages_of(db: &Database) -> cmu_storage::RelayUsages<'_> {
    db.relay_usages()
}

pub async fn viewer_paths(db: &Database, other: &Database) {
    let (pu, session, hash) = store_token(db).await;
    let tokens = db.play_tokens();
    let place = tokens.place(&pu, &session).await.expect("read").expect("is there");
    assert_eq!(place.viewer_network.as_deref(), Some("192.0.2.0/24"));
    assert_eq!(place.pu_network.as_deref(), Some("198.51.100.0/24"));
    assert_eq!((place.rung.as_str(), place.viewer_reported, place.created_at), ("", false, T0));
    let foreign = PuId::from_public_key(&PublicKey::from_bytes([9; 32]));
    assert!(tokens.place(&foreign, &session).await.expect("read").is_none());
    assert!(other.play_tokens().place(&pu, &session).await.expect("read").is_none());

    let path = PathReport::on(MediaTransport::Webrtc, Rung::Punched, "through both routers");
    let nat =
        NatReport { mapping: Some(NatDependence::EndpointIndependent), ..NatReport::default() };
    tokens.viewer_report(&pu, &session, &path, Some(&nat)).await.expect("stored");
    tokens.viewer_report(&pu, &session, &path, None).await.expect("stored");
    let set = |before, now| tokens.set_standing(&pu, &session, before, now);
    let relayed = ("relay_udp", "unknown");
    assert!(set(("", ""), relayed).await.expect("stored"));
    assert!(!set(("", ""), ("host", "")).await.expect("read"));
    assert!(!set(("relay_udp", ""), ("host", "")).await.expect("read"));
    let place = tokens.place(&pu, &session).await.expect("read").expect("is there");
    assert_eq!((place.rung.as_str(), place.relay_cause.as_str()), relayed);
    assert_eq!(place.viewer_nat.as_ref(), Some(&nat));
    assert!(set(relayed, ("punched", "")).await.expect("stored"));
    let place = tokens.place(&pu, &session).await.expect("read").expect("is there");
    assert_eq!((place.rung.as_str(), place.relay_cause.as_str()), ("punched", ""));
    assert!(place.viewer_reported);
    let stages = StageTimes::from_ends([1, 2, 3, 4, 5, 6, 7]);
    assert!(tokens.set_stages(&pu, &session, &stages).await.expect("stored"));
    assert!(!tokens.set_stages(&pu, &session, &stages).await.expect("read"));

    db.flush().await.expect("flushed");
    assert_eq!(tokens.revoke_for_device(&pu, &user("anna")).await.expect("revoked"), 1);
    assert!(tokens.place(&pu, &session).await.expect("read").is_none(), "its right was taken back");
    assert!(tokens.get(&hash, &pu).await.expect("read").is_some());

    let r = registration(7);
    let epoch = register(db, &r, "scu-1", 5_000).await.expect("registered");
    assert_eq!(db.devices().nat(&r.pu).await.expect("read"), None);
    assert!(!db.devices().set_nat(&r.pu, epoch + 1, &nat).await.expect("read"));
    assert!(db.devices().set_nat(&r.pu, epoch, &nat).await.expect("stored"));
    assert_eq!(db.devices().nat(&r.pu).await.expect("read"), Some(nat));
    assert_eq!(other.devices().nat(&r.pu).await.expect("read"), None);

    let storage = StorageStatus {
        state: StorageState::Full,
        capacity_bytes: Some(64_000_000_000),
        recorded_bytes: 60_000_000_000,
        locked_bytes: 60_000_000_000,
        oldest: Some(at(5)),
    };
    let report = RecorderReport { recorder: r.pu.clone(), storage, heads: Vec::new() };
    assert_eq!(db.devices().recorder(&r.pu).await.expect("read"), None);
    let stale = db.devices().set_recorder(&r.pu, epoch + 1, &report).await.expect("read");
    assert_eq!(stale, None);
    let kept = db.devices().set_recorder(&r.pu, epoch, &report).await.expect("stored");
    assert!(kept.is_some());
    assert_eq!(db.devices().recorder(&r.pu).await.expect("read"), Some(report));
    assert_eq!(other.devices().recorder(&r.pu).await.expect("read"), None);
}
