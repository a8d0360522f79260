//! The storage goes and comes back.

use sightline_model::{PuId, PublicKey, UnixMicros};
use sightline_recording::statement::{Gap, GapReason, Sequence};

use super::*;
use crate::State;

async fn becomes(store: &Store, state: State) {
    let mut health = store.health();
    let seen = health.wait_for(|health| health.state == state);
    let seen = tokio::time::timeout(Duration::from_secs(30), seen).await;
    assert!(seen.is_ok(), "still {:?}", store.health().borrow());
}

const fn all() -> std::ops::Range<UnixMicros> {
    UnixMicros(0)..UnixMicros(i64::MAX)
}

/// Hands segments in until one is taken, as a recorder does.
async fn write_again(writer: &mut ChainWriter, film: &mut Film) -> Acknowledged {
    for _ in 0..1_000 {
        film.pause(1);
        if let Ok(done) = write(writer, &film.shoot()).await {
            return done;
        }
        tokio::task::yield_now().await;
    }
    panic!("no segment is taken any more");
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let (here, gone) = (dir.path().join("card"), dir.path().join("pulled out"));
    std::fs::create_dir(&here).expect("made");
    let (store, mut writer, mut film) = filmed(&here, 2).await;
    std::fs::rename(&here, &gone).expect("moved");
    becomes(&store, State::Away).await;
    let shot = film.shoot();
    let refused = writer.open_segment(shot.opening);
    assert!(matches!(refused, Err(StoreError::Unavailable(State::Away))), "{refused:?}");
    assert!(store.segments(&film::subject(0), all(), None, 1).await.is_err());
    assert!(!here.exists(), "a folder was made where a card belongs");

    std::fs::rename(&gone, &here).expect("moved back");
    becomes(&store, State::Ok).await;
    write_again(&mut writer, &mut film).await;
    let subject = film::subject(0);
    let rows = store.segments(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(rows.len(), 3);
    let gaps = store.gaps(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].gap.reason, GapReason::StorageAway);
    assert_eq!(gaps[0].from(), rows[1].end());
    writer.end().await;
    check_sound(&store, &here).await;
    store.close().await;
}

#[tokio::test]
async fn a_storage_that_is_away_has_lost_no_segment() {
    let dir = tempfile::tempdir().expect("a folder");
    let (here, gone) = (dir.path().join("card"), dir.path().join("pulled out"));
    std::fs::create_dir(&here).expect("made");
    let (store, writer, _) = filmed(&here, 2).await;
    let subject = film::subject(0);
    std::fs::rename(&here, &gone).expect("moved");
    assert!(store.open_file(&subject, Sequence(1)).await.is_err());
    becomes(&store, State::Away).await;
    assert!(store.open_file(&subject, Sequence(1)).await.is_err());

    std::fs::rename(&gone, &here).expect("moved back");
    becomes(&store, State::Ok).await;
    let rows = store.segments(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(rows.iter().filter(|row| row.damaged).count(), 0);
    assert!(store.open_file(&subject, Sequence(1)).await.expect("read").file().is_some());
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn another_card_begins_chains_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let here = dir.path().join("card");
    std::fs::create_dir(&here).expect("made");
    let (store, mut writer, mut film) = filmed(&here, 2).await;
    std::fs::rename(&here, dir.path().join("old card")).expect("moved");
    becomes(&store, State::Away).await;
    std::fs::create_dir(&here).expect("made");
    becomes(&store, State::Ok).await;
    let done = write_again(&mut writer, &mut film).await;
    assert!(done.sequence.0 <= 2, "the new chain goes on with the old one's numbers");
    writer.end().await;
    check_sound(&store, &here).await;
    store.close().await;
}

#[tokio::test]
async fn an_error_of_the_disk_ends_the_segment_and_recovery_is_by_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let steps = Steps::default();
    let (store, _) = open(dir.path(), limits(), steps.clone()).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    let first = film.shoot();
    write(&mut writer, &first).await.expect("acknowledged");
    // The next one gets its first parts only.
    let second = film.shoot();
    writer.open_segment(second.opening).expect("taken");
    writer.append(second.parts.concat().into()).expect("taken");
    writer.flush().await.expect("written");
    steps.plan.break_after(0);
    writer.append(bytes::Bytes::from_static(b"more")).expect("queued");
    becomes(&store, State::Failing).await;
    assert!(writer.append(bytes::Bytes::from_static(b"more")).is_err());
    let refused = writer.open_segment(second.opening);
    assert!(matches!(refused, Err(StoreError::Unavailable(State::Failing))), "{refused:?}");

    steps.plan.break_after(u64::MAX);
    becomes(&store, State::Ok).await;
    write_again(&mut writer, &mut film).await;
    let rows = store.segments(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(rows.len(), 3);
    assert!(rows[1].segment.recovered);
    let gaps = store.gaps(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].gap.reason, GapReason::StorageFailed);
    assert_eq!((gaps[0].from(), gaps[0].to), (rows[1].end(), Some(rows[2].start())));
    assert_ne!(rows[2].segment.run, rows[1].segment.run);
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn a_storage_slower_than_the_stream_ends_the_segment() {
    let dir = tempfile::tempdir().expect("a folder");
    let steps = Steps::default();
    let limits = Limits { queue_bytes: 40_000, ..limits() };
    let (store, _) = open(dir.path(), limits, steps.clone()).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    steps.plan.hold(true);
    let mut taken = 0;
    let refused = loop {
        let shot = film.shoot();
        let mut handed = writer.open_segment(shot.opening);
        for bytes in shot.parts {
            handed = handed.and_then(|()| writer.append(bytes));
        }
        let closed = handed.and_then(|()| writer.close_segment(shot.draft, Causes::default()));
        match closed {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 100, "a queue without end");
    };
    assert!(matches!(refused, StoreError::Behind), "{refused}");
    assert!(taken > 0);
    assert_eq!(store.health().borrow().state, State::Slow);
    steps.plan.hold(false);
    writer.flush().await.expect("written");
    becomes(&store, State::Ok).await;
    write_again(&mut writer, &mut film).await;
    let gaps = store.gaps(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].gap.reason, GapReason::StorageFailed);
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn calls_that_do_not_fit_together_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, mut writer, mut film) = filmed(dir.path(), 1).await;
    let shot = film.shoot();
    let misuse = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Misuse(_))), "{result:?}");
    };
    misuse(writer.append(bytes::Bytes::new()));
    misuse(writer.close_segment(shot.draft, Causes::default()).map(|_| ()));
    writer.open_segment(shot.opening).expect("taken");
    misuse(writer.open_segment(shot.opening));
    let gap = Gap {
        from: shot.opening.start,
        boot: shot.opening.boot,
        authority: shot.opening.authority,
        reason: GapReason::NotPlanned,
    };
    misuse(writer.gap(gap).map(|_| ()));
    // A draft of another file is not stated.
    writer.append(shot.parts[0].clone()).expect("taken");
    let closed = writer.close_segment(shot.draft, Causes::default()).expect("queued");
    misuse(closed.wait().await.map(|_| ()));
    writer.gap(gap).expect("taken").wait().await.expect("acknowledged");
    // A key of another recorder begins no chain.
    let mut foreign = film::subject(0);
    foreign.recorder = PuId::from_public_key(&PublicKey::from_bytes([3; 32]));
    misuse(store.writer(&foreign).await.map(|_| ()));
    assert_eq!(store.health().borrow().state, State::Ok);
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn without_its_folder_a_store_does_not_open() {
    let dir = tempfile::tempdir().expect("a folder");
    let setup = Setup { dir: dir.path().join("not mounted"), limits: limits(), key: film::key() };
    assert!(matches!(Store::open(setup).await, Err(StoreError::Io { .. })));
    assert!(!dir.path().join("not mounted").exists());
}
