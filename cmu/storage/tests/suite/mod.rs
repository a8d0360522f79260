//! What every engine must do. `db` and `other` are two domains of one database: nothing of one
//! shows in the other.

mod cloud;
mod paths;
mod recorders;
mod relations;

use std::net::IpAddr;

use cmu_storage::{
    Account, Database, NewBinding, NewEntry, NewPlayToken, NewRegistration, NewSignIn,
    SigningKeyRow,
};
use sightline_model::{
    CameraId, Capabilities, ChannelId, ClaimCode, ClaimSecret, MediaSessionId, PuId, PublicKey,
    Rights, ScuId, SessionToken, Signature, UnixMicros, UserId,
};
use sightline_protocol::{
    cm::Subscription,
    pc::{MediaTransport, PathReport},
    ps::{Addresses, ChannelStatus, Registration},
};

pub use cloud::{cloud_erased, cloud_lists, cloud_notes, cloud_space, cloud_terms};
pub use paths::{network_stats, relay_usages, viewer_paths};
pub use recorders::{recorder_reports, unreadable_report};
pub use relations::relations;

const T0: UnixMicros = UnixMicros(1_000);

fn at(us: i64) -> UnixMicros {
    UnixMicros(us)
}

fn user(name: &str) -> UserId {
    name.parse().expect("valid")
}

fn account(name: &str, phone: &str) -> Account {
    Account {
        id: user(name),
        phone: phone.parse().expect("valid"),
        subscription: Subscription::Pending,
        is_operator: false,
        created_at: T0,
    }
}

fn scu(name: &str) -> ScuId {
    name.parse().expect("valid")
}

fn registration(seed: u8) -> Registration {
    let public_key = PublicKey::from_bytes([seed; 32]);
    let pu = PuId::from_public_key(&public_key);
    Registration {
        claim: ClaimCode::new(pu.clone(), ClaimSecret::from_bytes([1; 10])).hash(),
        pu,
        public_key,
        signature: Signature::from_bytes([0; 64]),
        claim_unlocked: true,
        addresses: Addresses::default(),
        channels: vec![ChannelStatus {
            channel: ChannelId(0),
            name: "车库".into(),
            online: true,
            fault: None,
            streams: Vec::new(),
            audio: None,
        }],
        agent: "test".into(),
        kind: sightline_model::DeviceKind::Pu,
    }
}

async fn register(db: &Database, r: &Registration, by: &str, expires_at: i64) -> Option<u64> {
    let new = NewRegistration {
        registration: r,
        observed: IpAddr::from([192, 0, 2, 1]),
        scu: &scu(by),
        scu_url: "wss://scu",
        now: T0,
        lease_expires_at: at(expires_at),
    };
    db.devices().register(&new).await.expect("stored")
}

async fn bind(db: &Database, pu: &PuId, to: &str, from: Option<&str>) -> bool {
    let id = format!("b-{to}").parse().expect("valid");
    let (to, from) = (user(to), from.map(user));
    let new = NewBinding { id: &id, pu, user: &to, from: from.as_ref(), now: T0 };
    db.bindings().insert(&new).await.expect("stored")
}

pub async fn accounts(db: &Database, other: &Database) {
    let anna = account("anna", "+8613800138000");
    let accounts = db.accounts();
    assert_eq!(accounts.find_or_insert(&anna).await.expect("stored"), anna);
    // The same number again: the account that is there, unchanged.
    let again = account("somebody-else", "+8613800138000");
    assert_eq!(accounts.find_or_insert(&again).await.expect("stored"), anna);
    assert_eq!(other.accounts().get(&anna.id).await.expect("read"), None);

    let changed = accounts.set_subscription(&anna.id, Subscription::Active).await.expect("stored");
    assert_eq!(changed.map(|a| a.subscription), Some(Subscription::Active));
    let nobody = accounts.set_subscription(&user("nobody"), Subscription::Active).await;
    assert_eq!(nobody.expect("read"), None);
    assert!(accounts.set_operator(&anna.id, true).await.expect("stored"));
    assert!(!other.accounts().set_operator(&anna.id, true).await.expect("stored"));
    let read = accounts.get(&anna.id).await.expect("read").expect("is there");
    assert!(read.is_operator && read.subscription == Subscription::Active);
    assert_eq!(accounts.list(10).await.expect("read").len(), 1);
}

pub async fn sms_codes(db: &Database, other: &Database) {
    let phone = "+8613800138000".parse().expect("valid");
    let codes = db.sms_codes();
    codes.replace(&phone, "h1", at(100)).await.expect("stored");
    codes.replace(&phone, "h2", at(100)).await.expect("stored");
    assert_eq!(other.sms_codes().try_once(&phone, 5, at(1)).await.expect("read"), None);
    for _ in 0..2 {
        assert_eq!(codes.try_once(&phone, 2, at(1)).await.expect("read").as_deref(), Some("h2"));
    }
    assert_eq!(codes.try_once(&phone, 2, at(1)).await.expect("read"), None);
    codes.replace(&phone, "h3", at(100)).await.expect("stored");
    assert_eq!(codes.try_once(&phone, 2, at(100)).await.expect("read"), None);
    assert!(!codes.consume(&phone, "h2").await.expect("read"));
    assert!(codes.consume(&phone, "h3").await.expect("read"));
    assert!(!codes.consume(&phone, "h3").await.expect("read"));
    codes.replace(&phone, "h4", at(100)).await.expect("stored");
    assert_eq!(codes.purge(at(99)).await.expect("purged"), 0);
    assert_eq!(codes.purge(at(100)).await.expect("purged"), 1);
}

pub async fn rate_limits(db: &Database, other: &Database) {
    let limits = db.rate_limits();
    // Two at once, one every 10.
    for _ in 0..2 {
        assert_eq!(limits.take("k", 10, 10, at(100)).await.expect("taken"), None);
    }
    assert_eq!(limits.take("k", 10, 10, at(100)).await.expect("read"), Some(at(120)));
    assert_eq!(limits.take("k", 10, 10, at(110)).await.expect("taken"), None);
    assert_eq!(limits.peek("k").await.expect("read"), Some(at(130)));
    assert_eq!(limits.take("k", 10, 10, at(1_000)).await.expect("taken"), None);
    assert_eq!(limits.peek("k").await.expect("read"), Some(at(1_010)));
    assert_eq!(other.rate_limits().peek("k").await.expect("read"), None);
    assert_eq!(limits.purge(at(1_010)).await.expect("purged"), 1);
    // Many at once: exactly the budget passes.
    let one = || limits.take("race", 10, 20, at(0));
    let (a, b, c, d, e) = tokio::join!(one(), one(), one(), one(), one());
    let passed = [a, b, c, d, e].into_iter().filter(|r| r.as_ref().is_ok_and(Option::is_none));
    assert_eq!(passed.count(), 3);
}

pub async fn sign_ins(db: &Database, other: &Database) {
    let anna = db.accounts().find_or_insert(&account("anna", "+8613800138000")).await.expect("ok");
    let id = "s1".parse().expect("valid");
    let (first, second) =
        (SessionToken::new("a".into()).hash(), SessionToken::new("b".into()).hash());
    let new = NewSignIn {
        id: &id,
        user: &anna.id,
        client: &"c1".parse().expect("valid"),
        client_key: &PublicKey::from_bytes([3; 32]),
        client_name: "Firefox",
        current: &first,
        created_at: T0,
        expires_at: at(5_000),
    };
    db.sign_ins().insert(&new).await.expect("stored");
    assert!(other.sign_ins().get(&id).await.expect("read").is_none());
    let read = db.sign_ins().get(&id).await.expect("read").expect("is there");
    assert_eq!((read.account, read.current.as_str()), (anna, first.as_str()));
    let rotate = |from: String| {
        let (db, id, second) = (db, &id, &second);
        async move { db.sign_ins().rotate(id, &from, second, at(2_000), at(9_000)).await }
    };
    assert!(rotate(first.as_str().to_owned()).await.expect("rotated"));
    assert!(!rotate(first.as_str().to_owned()).await.expect("read"));
    let read = db.sign_ins().get(&id).await.expect("read").expect("is there");
    assert_eq!(read.previous.as_deref(), Some(first.as_str()));
    assert_eq!((read.rotated_at, read.expires_at), (at(2_000), at(9_000)));
    assert!(db.sign_ins().revoke(&id).await.expect("revoked"));
    assert!(!db.sign_ins().revoke(&id).await.expect("read"));
    assert!(!rotate(second.as_str().to_owned()).await.expect("read"));
    assert_eq!(db.sign_ins().purge(at(9_000)).await.expect("purged"), 1);
}

pub async fn devices(db: &Database, other: &Database) {
    let r = registration(1);
    assert_eq!(register(db, &r, "scu-1", 5_000).await, Some(1));
    assert_eq!(register(db, &r, "scu-2", 6_000).await, Some(2));
    assert_eq!(register(other, &r, "scu-1", 6_000).await, Some(1));
    let mut stolen = r.clone();
    stolen.public_key = PublicKey::from_bytes([9; 32]);
    assert_eq!(register(db, &stolen, "scu-3", 9_000).await, None);
    let read = db.devices().get(&r.pu).await.expect("read").expect("is there");
    assert_eq!((read.epoch, read.lease_expires_at, &read.owner), (2, at(6_000), &None));
    assert_eq!((&read.channels, read.public_key), (&r.channels, r.public_key));
    assert!(read.claim_unlocked);
    db.devices().lock_claim(&r.pu).await.expect("stored");
    let addresses = Addresses {
        rtsp: vec!["[2001:db8::1]:554".parse().expect("valid")],
        ..Addresses::default()
    };
    assert!(!db.devices().set_addresses(&r.pu, 1, &addresses).await.expect("read"));
    assert!(db.devices().set_addresses(&r.pu, 2, &addresses).await.expect("stored"));
    assert!(!db.devices().set_channels(&r.pu, u64::MAX, &[]).await.expect("read"));
    assert!(db.devices().set_channels(&r.pu, 2, &[]).await.expect("stored"));
    let read = db.devices().get(&r.pu).await.expect("read").expect("is there");
    assert_eq!((read.addresses, read.channels.len(), read.claim_unlocked), (addresses, 0, false));
    assert!(db.devices().is_current(&r.pu, 2).await.expect("read"));
    assert!(!db.devices().is_current(&r.pu, 1).await.expect("read"));
}

pub async fn leases(db: &Database, other: &Database) {
    let mut all = Vec::new();
    for seed in 0..=250 {
        let r = registration(seed);
        register(db, &r, "scu-1", 5_000).await;
        all.push((r.pu, 1));
    }
    // More than one statement takes.
    for seed in 0..=250u8 {
        let mut bytes = [seed; 32];
        bytes[0] = seed.wrapping_add(1);
        let mut r = registration(0);
        r.public_key = PublicKey::from_bytes(bytes);
        r.pu = PuId::from_public_key(&r.public_key);
        register(db, &r, "scu-1", 5_000).await;
        all.push((r.pu, 1));
    }
    assert!(db.devices().sweep(at(4_999)).await.expect("swept").is_empty());
    assert!(other.devices().sweep(at(9_999)).await.expect("swept").is_empty());
    assert_eq!(db.devices().sweep(at(5_000)).await.expect("swept").len(), all.len());
    assert!(db.devices().sweep(at(5_000)).await.expect("swept").is_empty());
    let (renewed, back) = db.devices().renew(&scu("scu-1"), &all, at(8_000)).await.expect("ok");
    assert_eq!((renewed.len(), back.len()), (all.len(), all.len()));
    let (_, back) = db.devices().renew(&scu("scu-1"), &all, at(9_000)).await.expect("ok");
    assert!(back.is_empty());
    let foreign = db.devices().renew(&scu("scu-2"), &all, at(9_999)).await.expect("ok");
    assert_eq!(foreign, (Vec::new(), Vec::new()));
    let stale = [(all[0].0.clone(), 7), (all[1].0.clone(), u64::MAX)];
    let (renewed, _) = db.devices().renew(&scu("scu-1"), &stale, at(9_999)).await.expect("ok");
    assert!(renewed.is_empty());
    let (pu, epoch) = &all[0];
    assert!(!db.devices().release(pu, epoch + 1).await.expect("read"));
    assert!(db.devices().release(pu, *epoch).await.expect("released"));
    let read = db.devices().get(pu).await.expect("read").expect("is there");
    assert_eq!(read.lease_expires_at, at(0));
    assert_eq!(db.devices().renew(&scu("scu-1"), &[], at(1)).await.expect("ok").0.len(), 0);
}

pub async fn bindings(db: &Database, other: &Database) {
    let r = registration(1);
    register(db, &r, "scu-1", 5_000).await;
    register(other, &r, "scu-1", 5_000).await;
    let (anna, bert) = (user("anna"), user("bert"));
    assert!(bind(db, &r.pu, "anna", None).await);
    assert!(!bind(db, &r.pu, "bert", None).await);
    assert!(!bind(db, &r.pu, "bert", Some("carl")).await);
    assert!(db.bindings().find(&r.pu, &anna).await.expect("read").is_some());
    assert!(db.bindings().find(&r.pu, &bert).await.expect("read").is_none());
    assert!(other.bindings().find(&r.pu, &anna).await.expect("read").is_none());
    let camera = CameraId { pu: r.pu.clone(), channel: ChannelId(0) };
    for name in ["Yard", "Garden"] {
        assert!(db.bindings().set_name(&camera, &anna, name).await.expect("stored"));
    }
    assert!(!db.bindings().set_name(&camera, &bert, "Mine").await.expect("read"));
    let names = db.bindings().names(&anna).await.expect("read");
    assert_eq!(names.get(&camera).map(String::as_str), Some("Garden"));
    // Taken over: the names of the one before are gone from sight.
    assert!(bind(db, &r.pu, "bert", Some("anna")).await);
    assert!(db.bindings().names(&bert).await.expect("read").is_empty());
    let device = db.devices().get(&r.pu).await.expect("read").expect("is there");
    assert_eq!(device.owner.as_ref(), Some(&bert));
    assert_eq!(db.bindings().list(&bert).await.expect("read"), vec![device]);
    assert!(!db.bindings().delete(&r.pu, &anna).await.expect("read"));
    assert!(db.bindings().delete(&r.pu, &bert).await.expect("deleted"));
    assert!(db.bindings().list(&bert).await.expect("read").is_empty());
}

pub async fn play_tokens(db: &Database, other: &Database) {
    sign_in_for_tokens(db).await;
    let r = registration(1);
    register(db, &r, "scu-1", 5_000).await;
    assert!(bind(db, &r.pu, "anna", None).await);
    let (hash, anna) = (SessionToken::new("t".into()).hash(), user("anna"));
    let (session, sign_in) = ("m1".parse().expect("valid"), "s1".parse().expect("valid"));
    let camera = CameraId { pu: r.pu.clone(), channel: ChannelId(0) };
    let new = NewPlayToken {
        hash: &hash,
        jti: &"j1".parse().expect("valid"),
        session: &session,
        user: &anna,
        sign_in: Some(&sign_in),
        nvr: None,
        camera: &camera,
        rights: &Rights::owner(),
        capabilities: &Capabilities::default(),
        viewer_network: "192.0.2.0/24",
        pu_network: "198.51.100.0/24",
        bearer: None,
        now: T0,
        expires_at: at(9_000),
    };
    let tokens = db.play_tokens();
    tokens.insert(&new).await.expect("stored");
    let get = |pu: PuId| async move { db.play_tokens().get(new.hash.as_str(), &pu).await };
    let row = get(r.pu.clone()).await.expect("read").expect("is there");
    assert!(row.owned && !row.revoked && !row.signed_out && row.bearer.is_none());
    assert_eq!((row.rights, row.expires_at), (Rights::owner(), at(9_000)));
    assert!(get(registration(2).pu).await.expect("read").is_none());
    assert!(other.play_tokens().get(hash.as_str(), &r.pu).await.expect("read").is_none());
    for (bearer, taken) in [("ip:1", true), ("ip:1", true), ("ip:2", false)] {
        assert_eq!(tokens.claim(hash.as_str(), bearer).await.expect("read"), taken);
    }
    let path = PathReport::new(MediaTransport::Quic, false, "direct");
    let report = |path: Option<PathReport>| {
        let (session, pu) = (&session, &r.pu);
        async move { db.play_tokens().report(pu, session, path.as_ref(), at(2_000)).await }
    };
    assert!(!report(None).await.expect("read"));
    assert!(report(Some(path.clone())).await.expect("stored"));
    assert!(!report(Some(path.clone())).await.expect("stored"));
    assert!(tokens.watched(&anna).await.expect("read").contains(&camera));
    assert_eq!(tokens.purge(at(9_999)).await.expect("purged"), 0);
    assert!(report(None).await.expect("stored"));
    assert!(report(Some(path)).await.expect("stored"));
    assert_eq!(tokens.end_all(&r.pu, at(3_000)).await.expect("stored"), 1);
    assert!(tokens.watched(&anna).await.expect("read").is_empty());

    assert!(db.bindings().delete(&r.pu, &anna).await.expect("deleted"));
    assert!(!get(r.pu.clone()).await.expect("read").expect("is there").owned);
    assert!(db.sign_ins().revoke(&sign_in).await.expect("revoked"));
    assert!(get(r.pu.clone()).await.expect("read").expect("is there").signed_out);
    assert_eq!(tokens.revoke_for_device(&r.pu, &anna).await.expect("revoked"), 1);
    assert!(!tokens.claim(hash.as_str(), "ip:1").await.expect("read"));
    assert!(tokens.revoke_for_sign_in(&sign_in).await.expect("revoked").is_empty());
    assert_eq!(tokens.purge(at(9_001)).await.expect("purged"), 1);
}

/// A user with a device and a play token: device, session, hash.
async fn store_token(db: &Database) -> (PuId, MediaSessionId, String) {
    sign_in_for_tokens(db).await;
    let r = registration(1);
    register(db, &r, "scu-1", 5_000).await;
    assert!(bind(db, &r.pu, "anna", None).await);
    let hash = SessionToken::new("t".into()).hash();
    let session: MediaSessionId = "m1".parse().expect("valid");
    let new = NewPlayToken {
        hash: &hash,
        jti: &"j1".parse().expect("valid"),
        session: &session,
        user: &user("anna"),
        sign_in: Some(&"s1".parse().expect("valid")),
        nvr: None,
        camera: &CameraId { pu: r.pu.clone(), channel: ChannelId(0) },
        rights: &Rights::owner(),
        capabilities: &Capabilities::default(),
        viewer_network: "192.0.2.0/24",
        pu_network: "198.51.100.0/24",
        bearer: None,
        now: T0,
        expires_at: at(9_000),
    };
    db.play_tokens().insert(&new).await.expect("stored");
    (r.pu, session, hash.as_str().to_owned())
}

async fn sign_in_for_tokens(db: &Database) {
    let anna = account("anna", "+8613800138000");
    db.accounts().find_or_insert(&anna).await.expect("stored");
    let new = NewSignIn {
        id: &"s1".parse().expect("valid"),
        user: &anna.id,
        client: &"c1".parse().expect("valid"),
        client_key: &PublicKey::from_bytes([3; 32]),
        client_name: "",
        current: &SessionToken::new("a".into()).hash(),
        created_at: T0,
        expires_at: at(5_000),
    };
    db.sign_ins().insert(&new).await.expect("stored");
}

pub async fn audit_and_keys(db: &Database, other: &Database) {
    let anna = user("anna");
    for (id, time, who) in [("1", 5, Some(&anna)), ("2", 7, None), ("3", 6, None)] {
        let entry =
            NewEntry { id, at: at(time), user: who, action: "a", target: "'; --", outcome: "ok" };
        db.audit().insert(&entry).await.expect("stored");
    }
    let times: Vec<i64> = db.audit().list(2).await.expect("read").iter().map(|e| e.at.0).collect();
    assert_eq!(times, [7, 6]);
    assert!(other.audit().list(9).await.expect("read").is_empty());
    assert_eq!(db.audit().purge(at(6)).await.expect("purged"), 1);

    let key = SigningKeyRow {
        kid: "k1".parse().expect("valid"),
        public_key: PublicKey::from_bytes([4; 32]),
    };
    for _ in 0..2 {
        db.signing_keys().insert(&key, T0).await.expect("stored");
    }
    assert_eq!(db.signing_keys().list().await.expect("read"), vec![key]);
    assert!(other.signing_keys().list().await.expect("read").is_empty());
    db.ping().await.expect("answers");
}
