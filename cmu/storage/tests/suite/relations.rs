//! Which NVR records which camera (decision 0099).

use cmu_storage::{Database, Made, NewBinding, NewPlayToken, RelationRow, TokenRow};
use sightline_model::{
    CameraId, Capabilities, ChannelId, PuId, Right, Rights, SessionToken, TokenHash,
};
use sightline_protocol::ps::FIRST_RELATED;

use super::{T0, account, at, register, registration, user};

/// Binds a device by a binding of that name.
async fn bind(db: &Database, pu: &PuId, to: &str, binding: &str) {
    let (id, to) = (binding.parse().expect("valid"), user(to));
    let new = NewBinding { id: &id, pu, user: &to, from: None, now: T0 };
    assert!(db.bindings().insert(&new).await.expect("stored"), "{binding}");
}

async fn release(db: &Database, pu: &PuId, of: &str) {
    assert!(db.bindings().delete(pu, &user(of)).await.expect("deleted"));
}

async fn relate(db: &Database, nvr: &PuId, camera: &CameraId, of: &str) -> Made {
    db.relations().insert(nvr, camera, &user(of), T0).await.expect("stored")
}

fn held(made: Made) -> RelationRow {
    match made {
        Made::Holds(row) => row,
        other => panic!("{other:?}"),
    }
}

/// A ticket of the NVR for the camera.
async fn ticket(db: &Database, row: &RelationRow, name: &str) -> TokenHash {
    let hash = SessionToken::new(name.into()).hash();
    let new = NewPlayToken {
        hash: &hash,
        jti: &"j1".parse().expect("valid"),
        session: &name.parse().expect("valid"),
        user: &row.owner,
        sign_in: None,
        nvr: Some(&row.nvr),
        camera: &row.camera,
        rights: &Rights([Right::View].into()),
        capabilities: &Capabilities::default(),
        viewer_network: "192.0.2.0/24",
        pu_network: "192.0.2.0/24",
        bearer: Some("key:x"),
        now: T0,
        expires_at: at(9_000),
    };
    db.play_tokens().insert(&new).await.expect("stored");
    hash
}

async fn token(db: &Database, hash: &TokenHash, pu: &PuId) -> TokenRow {
    db.play_tokens().get(hash.as_str(), pu).await.expect("read").expect("is there")
}

pub async fn relations(db: &Database, other: &Database) {
    let [nvr, second, unit] = [1, 2, 3].map(registration);
    for r in [&nvr, &second, &unit] {
        register(db, r, "scu-1", 5_000).await;
    }
    let (nvr, second, unit) = (nvr.pu, second.pu, unit.pu);
    let camera = CameraId { pu: unit.clone(), channel: ChannelId(0) };
    db.accounts().find_or_insert(&account("anna", "+8613800138000")).await.expect("stored");
    bind(db, &nvr, "anna", "b1").await;
    assert_eq!(relate(db, &nvr, &camera, "anna").await, Made::NotTheirs, "the camera is not hers");
    bind(db, &unit, "anna", "b2").await;
    bind(db, &second, "bert", "b3").await;
    assert_eq!(relate(db, &second, &camera, "anna").await, Made::NotTheirs, "nor is his NVR");
    assert_eq!(relate(db, &second, &camera, "bert").await, Made::NotTheirs, "nor the camera his");

    let row = held(relate(db, &nvr, &camera, "anna").await);
    assert_eq!((&row.nvr, &row.camera, row.number), (&nvr, &camera, FIRST_RELATED));
    assert_eq!(held(relate(db, &nvr, &camera, "anna").await), row, "once more");
    assert_eq!(relate(other, &nvr, &camera, "anna").await, Made::NotTheirs, "another domain");
    let table = db.relations();
    assert_eq!(table.of_nvr(&nvr).await.expect("read"), [row.clone()]);
    assert_eq!(table.of_pu(&unit).await.expect("read"), [row.clone()]);
    assert_eq!(table.of_user(&user("anna")).await.expect("read"), [row.clone()]);
    assert!(table.of_user(&user("bert")).await.expect("read").is_empty());
    let before = table.revision(&unit).await.expect("read");
    assert!(before > 0 && table.revision(&second).await.expect("read") == 0);

    let hash = ticket(db, &row, "m1").await;
    let read = token(db, &hash, &unit).await;
    assert!(read.owned && !read.signed_out, "a ticket needs no sign-in");
    assert!(db.play_tokens().watched(&user("anna")).await.expect("read").is_empty());

    // Ended: the ticket opens nothing, and its session is named.
    let ended = table.end(&nvr, &camera, T0).await.expect("stored").expect("it held");
    assert!(!token(db, &hash, &unit).await.owned);
    let running = table.revoke(&ended).await.expect("stored");
    assert_eq!((running.len(), &running[0].pu), (1, &unit));
    assert!(token(db, &hash, &unit).await.revoked);
    assert_eq!(table.end(&nvr, &camera, T0).await.expect("read"), None, "twice");
    assert!(table.revision(&unit).await.expect("read") > before);

    // A new one has a new number. It ends with either binding, and does not come back.
    let again = held(relate(db, &nvr, &camera, "anna").await);
    assert_eq!(again.number, ChannelId(FIRST_RELATED.0 + 1));
    let hash = ticket(db, &again, "m2").await;
    release(db, &unit, "anna").await;
    assert_eq!(table.of_camera(&camera).await.expect("read"), None);
    assert!(!token(db, &hash, &unit).await.owned);
    bind(db, &unit, "anna", "b4").await;
    assert_eq!(table.of_camera(&camera).await.expect("read"), None, "it came back");
    assert!(!token(db, &hash, &unit).await.owned, "the ticket came back");
    assert_eq!(table.end_stale(&unit, T0).await.expect("stored"), [nvr.clone()]);
    assert!(table.end_stale(&unit, T0).await.expect("stored").is_empty());

    // One NVR a camera.
    held(relate(db, &nvr, &camera, "anna").await);
    release(db, &second, "bert").await;
    bind(db, &second, "anna", "b5").await;
    assert_eq!(relate(db, &second, &camera, "anna").await, Made::Elsewhere(nvr.clone()));
    // What does not hold any more is in nobody's way.
    release(db, &nvr, "anna").await;
    held(relate(db, &second, &camera, "anna").await);
}
