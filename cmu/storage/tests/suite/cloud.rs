//! The list of the cloud storage, and the space of each user.

use cmu_storage::{
    ChainRow, Database, Erased, KeptTerms, NoteRow, Reservation, SegmentRow, SegmentState, Space,
    Step, Used,
};
use sightline_model::{
    CameraId, ChannelId, Keep, PuId, PublicKey, Signature, StreamTier, UnixMicros, UserId,
};

use super::{at, user};

const FREE: u64 = 1_000;
const MAIN: StreamTier = StreamTier::Main;

fn camera() -> CameraId {
    let pu = PuId::from_public_key(&PublicKey::from_bytes([9; 32]));
    CameraId { pu, channel: ChannelId(0) }
}

fn chain(n: u8) -> String {
    format!("{n:02x}").repeat(16)
}

/// A segment of a second, of 300 bytes.
fn segment(of: &str, sequence: u64) -> SegmentRow {
    let start = i64::try_from(sequence).expect("small") * 1_000_000;
    SegmentRow {
        chain: chain(1),
        sequence,
        user: user(of),
        camera: camera(),
        tier: MAIN,
        state: SegmentState::Reserved,
        run: 1,
        boot: u64::MAX,
        start: at(start),
        end: at(start + 1_000_000),
        correction_us: 0,
        time_known: true,
        event: false,
        locked: false,
        bytes: 300,
        encoded: format!("entry{sequence}"),
        signature: Signature::from_bytes([3; 64]),
    }
}

async fn reserve(db: &Database, row: &SegmentRow, now: i64) -> Reservation {
    db.cloud().reserve(row, FREE, at(now)).await.expect("asked")
}

async fn store(db: &Database, row: &SegmentRow) -> SegmentRow {
    assert_eq!(reserve(db, row, 1).await, Reservation::Reserved);
    assert!(db.cloud().stored(&row.chain, row.sequence, at(2)).await.expect("stored"));
    SegmentRow { state: SegmentState::Stored, ..row.clone() }
}

async fn used(db: &Database, of: &str) -> u64 {
    db.cloud().space(&user(of), FREE).await.expect("read").used_bytes
}

async fn numbers(db: &Database, of: &UserId, from: i64, to: i64) -> Vec<u64> {
    let camera = camera();
    let listed = db.cloud().segments((of, &camera, MAIN), at(from)..at(to), None, 100).await;
    listed.expect("listed").iter().map(|row| row.sequence).collect()
}

pub async fn cloud_space(db: &Database, other: &Database) {
    let cloud = db.cloud();
    let (a, b, c, d) =
        (segment("anna", 1), segment("anna", 2), segment("anna", 3), segment("anna", 4));
    let a = store(db, &a).await;
    assert_eq!(cloud.segment(&a.chain, 1).await.expect("read"), Some(a.clone()));
    assert_eq!(reserve(db, &a, 3).await, Reservation::Stored);
    let b = store(db, &b).await;
    // Reserved counts, once.
    assert_eq!(reserve(db, &c, 10).await, Reservation::Reserved);
    assert_eq!(reserve(db, &c, 20).await, Reservation::Reserved);
    assert_eq!(used(db, "anna").await, 900);
    assert_eq!(reserve(db, &d, 21).await, Reservation::Full { missing_bytes: 200 });
    assert_eq!(used(db, "anna").await, 900);
    // Another entry of the same number, and another owner's.
    let forged = SegmentRow { encoded: "x".into(), ..a.clone() };
    assert_eq!(reserve(db, &forged, 3).await, Reservation::Other);
    assert_eq!(reserve(db, &segment("bert", 1), 3).await, Reservation::Other);

    // Of many at once no more fit than there is space.
    let many: Vec<_> = (10..20).map(|n| segment("cleo", n)).collect();
    let mut fitted = 0;
    let together = tokio::join!(
        reserve(db, &many[0], 1),
        reserve(db, &many[1], 1),
        reserve(db, &many[2], 1),
        reserve(db, &many[3], 1),
        reserve(db, &many[4], 1),
    );
    let together = [together.0, together.1, together.2, together.3, together.4];
    fitted += together.iter().filter(|one| **one == Reservation::Reserved).count();
    assert_eq!((fitted, used(db, "cleo").await), (3, 900));
    // Of one asked for twice at once, one counts.
    let twice = segment("dora", 30);
    let (one, two) = tokio::join!(reserve(db, &twice, 1), reserve(db, &twice, 1));
    assert!([one, two].contains(&Reservation::Reserved), "{one:?} {two:?}");
    assert_eq!(used(db, "dora").await, 300);

    // More, and less.
    let space = |used_bytes, quota_bytes, is_set| Space { used_bytes, quota_bytes, is_set };
    cloud.set_quota(&user("anna"), Some(1_200)).await.expect("set");
    let now = cloud.space(&user("anna"), FREE).await.expect("read");
    assert_eq!(now, space(900, 1_200, true));
    assert_eq!(reserve(db, &d, 21).await, Reservation::Reserved);
    cloud.set_quota(&user("anna"), None).await.expect("set");
    let now = cloud.space(&user("anna"), FREE).await.expect("read");
    assert_eq!(now, space(1_200, 1_000, false));
    assert_eq!(other.cloud().space(&user("anna"), 5).await.expect("read"), space(0, 5, false));

    // The oldest that may go, and what nobody used.
    let camera = camera();
    let locked = cloud.lock((&user("anna"), &camera, MAIN), at(0)..at(1_500_000), true).await;
    assert_eq!(locked.expect("locked"), (1, 300));
    let oldest = cloud.oldest(&user("anna"), 9).await.expect("listed");
    assert_eq!(oldest.iter().map(|row| row.sequence).collect::<Vec<_>>(), [2]);
    assert!(!cloud.leave(&a, at(30)).await.expect("asked"), "it is locked");
    assert!(cloud.leave(&b, at(30)).await.expect("asked"));
    assert!(!cloud.leave(&b, at(31)).await.expect("asked"), "once");
    assert_eq!(reserve(db, &b, 32).await, Reservation::Leaving);
    assert!(!cloud.stored(&b.chain, 2, at(33)).await.expect("asked"));
    let overdue = cloud.overdue(at(20), 9).await.expect("listed");
    let overdue: Vec<_> = overdue.iter().map(|row| (row.sequence, row.user.clone())).collect();
    assert!(overdue.contains(&(2, user("anna"))) && overdue.contains(&(3, user("anna"))));
    assert!(!overdue.contains(&(4, user("anna"))), "it may still be used");
    cloud.forget(&b).await.expect("forgotten");
    cloud.forget(&b).await.expect("forgotten already");
    assert_eq!(used(db, "anna").await, 900);
    assert_eq!(cloud.segment(&b.chain, 2).await.expect("read"), None);
    assert_eq!(reserve(db, &b, 40).await, Reservation::Full { missing_bytes: 200 });

    // All of it, locked or not.
    let pu = &camera.pu;
    assert_eq!(cloud.leave_device(&user("anna"), pu, at(50)).await.expect("done"), 3);
    assert_eq!(numbers(db, &user("anna"), 0, 99_000_000).await, Vec::<u64>::new());
}

pub async fn cloud_lists(db: &Database, other: &Database) {
    let (anna, camera, cloud) = (user("anna"), camera(), db.cloud());
    cloud.set_quota(&anna, Some(1 << 40)).await.expect("set");
    for n in [1, 2, 3, 7, 8] {
        let event = n == 8;
        store(db, &SegmentRow { event, ..segment("anna", n) }).await;
    }
    assert_eq!(reserve(db, &segment("anna", 9), 1).await, Reservation::Reserved);
    assert_eq!(numbers(db, &anna, 0, 99_000_000).await, [1, 2, 3, 7, 8], "what is stored");
    assert_eq!(numbers(db, &anna, 2_500_000, 7_000_000).await, [2, 3]);
    assert_eq!(numbers(db, &user("bert"), 0, 99_000_000).await, Vec::<u64>::new());
    let of = (&anna, &camera, MAIN);
    let listed = other.cloud().segments(of, at(0)..at(99_000_000), None, 9).await;
    assert_eq!(listed.expect("listed"), []);
    let first = chain(1);
    let after = Some((at(2_000_000), first.as_str(), 2));
    let page = cloud.segments(of, at(0)..at(99_000_000), after, 2).await.expect("listed");
    assert_eq!(page.iter().map(|row| row.sequence).collect::<Vec<_>>(), [3, 7]);

    let outline = cloud.outline(of, at(0)..at(10_000_000), 2_000_000).await.expect("outlined");
    let seen: Vec<_> = outline.iter().map(|s| (s.from.0 / 1_000_000, s.event, s.other)).collect();
    assert_eq!(seen, [(0, false, true), (2, false, true), (6, false, true), (8, true, false)]);
    assert_eq!(cloud.next_start(of, at(3_000_001)).await.expect("read"), Some(at(7_000_000)));
    assert_eq!(cloud.next_start(of, at(8_000_001)).await.expect("read"), None);

    // By age: clips of events may stay longer, and what nobody vouches for stays.
    let doubtful = SegmentRow { time_known: false, ..segment("anna", 0) };
    store(db, &doubtful).await;
    let keep = Keep { max_bytes: None, max_age_s: Some(3_600), event_max_age_s: Some(7_200) };
    cloud.set_keep(&camera, &anna, &keep).await.expect("set");
    let aged = cloud.aged().await.expect("listed");
    assert_eq!(
        (aged.len(), aged[0].max_age_s, aged[0].event_max_age_s),
        (1, Some(3_600), Some(7_200))
    );
    let old = cloud.older(&aged[0], (at(8_000_000), at(8_000_000)), 9).await.expect("listed");
    assert_eq!(old.iter().map(|row| row.sequence).collect::<Vec<_>>(), [1, 2, 3, 7]);
    let old = cloud.older(&aged[0], (at(0), at(99_000_000)), 9).await.expect("listed");
    assert_eq!(old.iter().map(|row| row.sequence).collect::<Vec<_>>(), [8]);
    cloud.set_keep(&camera, &anna, &Keep::default()).await.expect("set");
    assert_eq!(cloud.aged().await.expect("listed"), []);
}

pub async fn cloud_notes(db: &Database, other: &Database) {
    let (anna, camera, cloud) = (user("anna"), camera(), db.cloud());
    let begun = ChainRow {
        chain: chain(1),
        camera: camera.clone(),
        tier: MAIN,
        encoded: "begin".into(),
        signature: Signature::from_bytes([4; 64]),
    };
    assert!(cloud.open(&begun).await.expect("opened"));
    assert!(cloud.open(&begun).await.expect("known"));
    let sub = ChainRow { tier: StreamTier::Sub, ..begun.clone() };
    assert!(!cloud.open(&sub).await.expect("asked"), "the id is taken");
    assert_eq!(cloud.chain(&chain(1)).await.expect("read"), Some(begun));
    assert_eq!(other.cloud().chain(&chain(1)).await.expect("read"), None);

    let note = |sequence: u64, from: i64, reason: Option<&str>| NoteRow {
        chain: chain(1),
        sequence,
        user: anna.clone(),
        camera: camera.clone(),
        tier: MAIN,
        from: at(from),
        reason: reason.map(str::to_owned),
        encoded: format!("note{sequence}"),
        signature: Signature::from_bytes([5; 64]),
    };
    for (sequence, from) in [(4, 400), (6, 600), (9, 900)] {
        let is_new = cloud.note(&note(sequence, from, Some("\"camera_away\"")), None).await;
        assert!(is_new.expect("noted"));
    }
    let of = (&anna, &camera, MAIN);
    let froms =
        |gaps: Vec<(UnixMicros, String)>| gaps.iter().map(|gap| gap.0.0).collect::<Vec<_>>();
    let gaps = cloud.gaps(of, at(650)..at(1_000), 9).await.expect("listed");
    assert_eq!(froms(gaps), [600, 900], "the one that holds at the beginning, too");
    let gaps = cloud.gaps(of, at(0)..at(500), 9).await.expect("listed");
    assert_eq!(froms(gaps), [400]);

    // A step corrects what was dated before it by a clock that nobody vouched for, once.
    let doubtful = SegmentRow { time_known: false, ..segment("anna", 2) };
    let known = segment("anna", 3);
    let (doubtful, known) = (store(db, &doubtful).await, store(db, &known).await);
    let step = Step { boot: u64::MAX, by_us: 5_000, is_known: true };
    let noted = note(8, 0, None);
    assert!(cloud.note(&noted, Some(step)).await.expect("noted"));
    assert!(!cloud.note(&noted, Some(step)).await.expect("known"));
    let corrected = cloud.segment(&chain(1), 2).await.expect("read").expect("there");
    let expected = SegmentRow {
        start: at(doubtful.start.0 + 5_000),
        end: at(doubtful.end.0 + 5_000),
        correction_us: 5_000,
        time_known: true,
        ..doubtful
    };
    assert_eq!(corrected, expected);
    assert_eq!(cloud.segment(&chain(1), 3).await.expect("read"), Some(known));
    let notes = cloud.notes(&chain(1), 6).await.expect("listed");
    assert_eq!(notes.iter().map(|note| note.sequence).collect::<Vec<_>>(), [6, 8, 9]);
    assert!(notes[1].reason.is_none() && notes[0].reason.is_some());
}

pub async fn cloud_terms(db: &Database, other: &Database) {
    let (anna, bert, camera, cloud) = (user("anna"), user("bert"), camera(), db.cloud());
    cloud.set_quota(&anna, Some(1 << 40)).await.expect("set");
    for n in [1, 2, 3, 7] {
        store(db, &segment("anna", n)).await;
    }
    let due = async || cloud.due_terms(9).await.expect("listed");
    let said = async |of: &UserId| cloud.terms((&chain(1), &camera), of).await.expect("read");
    assert_eq!(due().await, []);
    assert_eq!(said(&anna).await, KeptTerms::default());
    let of = (&anna, &camera, MAIN);
    // What reaches into the span is locked, even partly.
    let locked = cloud.lock(of, at(1_500_000)..at(2_500_000), true).await;
    assert_eq!(locked.expect("locked"), (2, 600));
    let ages = |max_age_s| Keep { max_bytes: None, max_age_s, event_max_age_s: Some(9_000) };
    cloud.set_keep(&camera, &anna, &ages(Some(3_600))).await.expect("set");
    let kept =
        KeptTerms { locked: vec![1, 2], max_age_s: Some(3_600), event_max_age_s: Some(9_000) };
    assert_eq!(said(&anna).await, kept);
    let owed = due().await;
    assert_eq!(owed.len(), 1, "one object of one chain");
    assert_eq!((&owed[0].chain, &owed[0].user), (&chain(1), &anna));
    // What is said while the store is told of it is told again.
    cloud.lock(of, at(0)..at(9_000_000), false).await.expect("unlocked");
    assert!(!cloud.terms_told(&owed[0]).await.expect("asked"));
    let owed = due().await;
    assert!(cloud.terms_told(&owed[0]).await.expect("told"));
    assert!(!cloud.terms_told(&owed[0]).await.expect("asked"), "once");
    assert_eq!(due().await, []);
    assert_eq!(other.cloud().due_terms(9).await.expect("listed"), []);
    // A span without segments owes nothing.
    cloud.lock(of, at(50_000_000)..at(60_000_000), true).await.expect("nothing");
    assert_eq!(due().await, []);
    cloud.owe_terms(&chain(1), &anna).await.expect("owed");
    assert_eq!(due().await.len(), 1);

    // As they are read back from the store.
    assert_eq!(cloud.lock_numbers((&chain(1), &anna), (2, 7)).await.expect("locked"), 3);
    assert_eq!(cloud.lock_numbers((&chain(1), &bert), (1, u64::MAX)).await.expect("asked"), 0);
    assert_eq!(said(&anna).await.locked, [2, 3, 7]);

    // The next owner's plan is theirs alone.
    cloud.set_keep(&camera, &bert, &ages(None)).await.expect("set");
    let aged: Vec<_> =
        cloud.aged().await.expect("listed").into_iter().map(|of| (of.user, of.max_age_s)).collect();
    assert_eq!(aged, [(anna.clone(), Some(3_600)), (bert.clone(), None)]);
    assert_eq!(said(&anna).await.max_age_s, Some(3_600));
}

pub async fn cloud_erased(db: &Database, other: &Database) {
    let (anna, camera, cloud) = (user("anna"), camera(), db.cloud());
    cloud.set_quota(&anna, Some(1 << 40)).await.expect("set");
    assert_eq!(cloud.used(&anna).await.expect("read"), []);
    for n in [3, 5] {
        store(db, &segment("anna", n)).await;
    }
    assert_eq!(reserve(db, &segment("anna", 9), 1).await, Reservation::Reserved);
    let used = cloud.used(&anna).await.expect("read");
    let (from, to) = (at(3_000_000), at(6_000_000));
    assert_eq!(used, [Used { pu: camera.pu.clone(), segments: 2, bytes: 600, from, to }]);
    assert_eq!(other.cloud().used(&anna).await.expect("read"), []);

    let note = |sequence: u64| NoteRow {
        chain: chain(1),
        sequence,
        user: anna.clone(),
        camera: camera.clone(),
        tier: MAIN,
        from: at(1),
        reason: None,
        encoded: format!("note{sequence}"),
        signature: Signature::from_bytes([5; 64]),
    };
    for n in [1, 2, 4] {
        assert!(cloud.note(&note(n), None).await.expect("noted"));
    }
    let alone = NoteRow { chain: chain(2), ..note(1) };
    assert!(cloud.note(&alone, None).await.expect("noted"));
    assert!(cloud.has_note(&chain(1), 4).await.expect("asked"));
    assert!(!cloud.has_note(&chain(1), 3).await.expect("asked"), "that is a segment");
    // Of a chain without segments nobody knows what is still to come.
    let outdated = cloud.outdated_notes(9).await.expect("listed");
    assert_eq!(outdated.iter().map(|note| note.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((&outdated[0].chain, &outdated[0].user), (&chain(1), &anna));
    cloud.forget_note(&chain(1), 1).await.expect("forgotten");
    let outdated = cloud.outdated_notes(9).await.expect("listed");
    assert_eq!(outdated.iter().map(|note| note.sequence).collect::<Vec<_>>(), [2]);

    assert_eq!(cloud.erased(9).await.expect("listed"), []);
    assert_eq!(cloud.leave_device(&anna, &camera.pu, at(9)).await.expect("left"), 3);
    assert_eq!(cloud.notes(&chain(1), 0).await.expect("listed"), []);
    assert_eq!(cloud.used(&anna).await.expect("read"), []);
    let erased = cloud.erased(9).await.expect("listed");
    assert_eq!(erased, [Erased { user: anna.clone(), pu: camera.pu.clone() }]);
    assert_eq!(other.cloud().erased(9).await.expect("listed"), []);
    cloud.swept(&erased[0]).await.expect("swept");
    assert_eq!(cloud.erased(9).await.expect("listed"), []);
}
