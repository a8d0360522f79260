//! What goes, in which order, and what stays.

use std::io::Read;

use sightline_model::UnixMicros;
use sightline_recording::{
    retention::Which,
    statement::{Authority, Sequence},
};

use super::*;
use crate::{
    ChainKeep, Opened, State,
    committer::{Job, Letting},
};

const SECOND: i64 = 1_000_000;

const fn all() -> std::ops::Range<UnixMicros> {
    UnixMicros(0)..UnixMicros(i64::MAX)
}

async fn sequences(store: &Store) -> Vec<u64> {
    let page = store.segments(&film::subject(0), all(), None, 1_000).await.expect("read");
    page.rows.iter().map(|row| row.sequence.0).collect()
}

#[tokio::test]
async fn the_oldest_go_and_locked_ones_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _) = filmed(dir.path(), 10).await;
    let subject = film::subject(0);
    let at = |s: i64| UnixMicros(film::START_US + s * SECOND);
    // The third segment, and nothing of its neighbours.
    let third = UnixMicros(at(2).0 + 1)..UnixMicros(at(3).0 - 1);
    assert_eq!(store.lock(&subject, third.clone(), true).await.expect("locked"), 1);
    assert_eq!(store.lock(&subject, third.clone(), true).await.expect("locked"), 0);
    let one = store.used_bytes() / 10;
    let opened = store.open_file(&subject, Sequence(1)).await.expect("read");
    let mut open = opened.file().expect("there");
    store.set_keep(&subject, ChainKeep { max_bytes: Some(4 * one), ..ChainKeep::default() });
    store.expire_for_space().await.expect("expired");
    let left = sequences(&store).await;
    assert_eq!(left.first(), Some(&3));
    assert!((3..=4).contains(&left.len()), "{left:?}");
    assert_eq!(left[1..].last(), Some(&10));
    // What is being read stays readable; what is gone cannot be opened any more.
    let mut bytes = Vec::new();
    open.file.read_to_end(&mut bytes).expect("read");
    assert_eq!(bytes.len() as u64, open.len);
    let expired = store.open_file(&subject, Sequence(1)).await.expect("read");
    assert!(matches!(expired, Opened::Expired), "{expired:?}");
    check_sound(&store, dir.path()).await;

    assert_eq!(store.lock(&subject, third, false).await.expect("unlocked"), 1);
    store.set_keep(&subject, ChainKeep { max_bytes: Some(one), ..ChainKeep::default() });
    store.expire_for_space().await.expect("expired");
    assert!(!sequences(&store).await.contains(&3));
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn by_age_what_ended_long_ago_goes_but_not_by_a_clock_that_nobody_vouches_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _) = filmed(dir.path(), 10).await;
    let subject = film::subject(0);
    let max_age = Some(Duration::from_secs(3_600));
    store.set_keep(&subject, ChainKeep { max_age, ..ChainKeep::default() });
    let now = UnixMicros(film::START_US + 3_605 * SECOND);
    assert_eq!(store.expire_aged(now, Authority::Unconfirmed).await.expect("looked"), 0);
    assert_eq!(store.expire_aged(now, Authority::System).await.expect("expired"), 5);
    assert_eq!(sequences(&store).await, [6, 7, 8, 9, 10]);
    assert_eq!(store.expire_aged(now, Authority::System).await.expect("looked"), 0);
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn a_full_storage_takes_nothing_until_something_may_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits { max_bytes: Some(60_000), ..limits() };
    let (store, _) = open(dir.path(), limits, Steps::default()).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    for _ in 0..20 {
        write(&mut writer, &film.shoot()).await.expect("acknowledged");
        assert!(store.used_bytes() <= 60_000, "{} bytes", store.used_bytes());
    }
    store.lock(&subject, all(), true).await.expect("locked");
    let mut refused = None;
    for _ in 0..5 {
        film.pause(1);
        refused = write(&mut writer, &film.shoot()).await.err().or(refused);
        store.lock(&subject, all(), true).await.expect("locked");
    }
    assert!(refused.is_some(), "a full storage took five more");
    let mut health = store.health();
    health.wait_for(|health| health.state == State::Full).await.expect("told");
    store.lock(&subject, all(), false).await.expect("unlocked");
    health.wait_for(|health| health.state == State::Ok).await.expect("told");
    film.pause(1);
    write(&mut writer, &film.shoot()).await.expect("acknowledged");
    let gaps = store.gaps(&subject, all(), None, 10).await.expect("read").rows;
    assert!(
        gaps.iter().any(|g| g.gap.reason == sightline_recording::statement::GapReason::StorageFull),
        "{gaps:?}"
    );
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn what_goes_is_chosen_page_by_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = reopen(dir.path()).await;
    size::state(&store, 2_500).await;
    let chain = store.inner.chain(&film::subject(0)).expect("begun");
    let lock = Job::Lock { chain: chain.row, sequences: vec![Sequence(1_200)], locked: true };
    assert_eq!(store.inner.commits.change(lock).await.expect("locked"), 1);
    let up_to = vec![(Which::All, Sequence(2_400))];
    let leaving = store.inner.commits.mark(Letting { chain, up_to }).await.expect("marked");
    let files: Vec<_> = leaving.iter().map(|one| one.file).collect();
    // The first segment lies in file 0, under number 1.
    let expected: Vec<u64> = (0..2_400).filter(|file| *file != 1_199).collect();
    assert_eq!(files, expected);
    let left: Vec<u64> = std::iter::once(1_200).chain(2_401..=2_500).collect();
    assert_eq!(sequences(&store).await, left);
    store.close().await;
}
