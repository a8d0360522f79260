//! Where the wanted encoding was not recorded, the other one is played.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/film.rs"]
mod film;

use std::sync::Arc;

use film::{BEHIND_GAP, Film, files, recorder, subject, taken};
use sightline_archive::StoreArchive;
use sightline_media_io::archive::{Archive, Look, Recording};
use sightline_model::{CameraId, ChannelId, StreamTier, UnixMicros};
use sightline_recording::{replay::Way, statement::Sequence};
use sightline_recording_store::Opened;
use tokio::sync::watch;

const SECOND: i64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_wanted_encoding_is_played_unless_only_the_other_has_anything_near() {
    let folder = tempfile::tempdir().expect("a folder");
    let film = Film::shoot(folder.path()).await;
    // The main one's gap lasts for half a minute; the sub one has two seconds in the middle of it.
    let gap = UnixMicros(taken(BEHIND_GAP).0 - 30 * SECOND);
    let in_gap = |s: i64| UnixMicros(gap.0 + s * SECOND);
    film.shoot_sub(in_gap(14)).await;
    let (_, store) = watch::channel(Some(film.store.clone()));
    let filmed = CameraId { pu: recorder(), channel: ChannelId(0) };
    let archive = StoreArchive::new(store, recorder(), move |_| Some(filmed.clone()));
    let found = async |tier, at: UnixMicros, way| {
        let of = Recording { channel: ChannelId(0), tier };
        match Arc::clone(&archive).find(of, at, way).await.expect("read") {
            Look::Found(found) => (found.key.chain, found.start),
            other => panic!("{other:?}"),
        }
    };
    let (main, sub) = (StreamTier::Main, StreamTier::Sub);
    assert_eq!(found(main, taken(30), Way::Forwards).await.0, 0);
    assert_eq!(found(main, in_gap(15), Way::Forwards).await, (1, in_gap(14)));
    assert_eq!(found(main, in_gap(15), Way::Backwards).await, (1, in_gap(14)));
    assert_eq!(found(main, in_gap(2), Way::Forwards).await, (1, in_gap(14)), "the nearer one");
    assert_eq!(found(main, in_gap(29), Way::Forwards).await, (0, taken(BEHIND_GAP)));
    assert_eq!(found(sub, taken(30), Way::Forwards).await.0, 0, "there is no other");
    film.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_hides_neither_what_lies_behind_it_nor_the_other_encoding() {
    let folder = tempfile::tempdir().expect("a folder");
    let film = Film::shoot(folder.path()).await;
    let lost = files(folder.path());
    for (n, file) in (0..).zip(&lost) {
        std::fs::remove_file(file).expect("removed");
        // Behind the sixth lies the entry of the gap.
        let number = Sequence(n + if n < 6 { 1 } else { 2 });
        let opened = film.store.open_file(&subject(), number).await.expect("read");
        assert!(matches!(opened, Opened::Damaged(_)), "{number:?}: {opened:?}");
    }
    let at = |s: i64| UnixMicros(taken(0).0 + s * SECOND);
    film.shoot_again(StreamTier::Main, at(120)).await;
    film.shoot_sub(at(20)).await;
    film.shoot_sub(at(600)).await;
    let (_, store) = watch::channel(Some(film.store.clone()));
    let filmed = CameraId { pu: recorder(), channel: ChannelId(0) };
    let archive = StoreArchive::new(store, recorder(), move |_| Some(filmed.clone()));
    let of = Recording { channel: ChannelId(0), tier: StreamTier::Main };
    let look = async |at, way| Arc::clone(&archive).find(of, at, way).await.expect("read");
    let unreadable = async |at, way| match look(at, way).await {
        Look::Unreadable(window) => window,
        other => panic!("{other:?}"),
    };
    let shown = async |at, way| match look(at, way).await {
        Look::Found(found) => (found.key.chain, found.start),
        other => panic!("{other:?}"),
    };
    let (on, back) = (Way::Forwards, Way::Backwards);
    assert_eq!(unreadable(at(0), on).await, at(0)..at(20));
    assert_eq!(shown(at(20), on).await, (1, at(20)));
    let end = unreadable(at(23), on).await.end;
    assert!(at(49) < end && end < at(51), "{end:?}");
    assert_eq!(shown(end, on).await, (0, at(120)), "the other one's lies far behind it");
    let before = unreadable(end, back).await;
    assert!(at(21) < before.start && before.start < at(23), "{before:?}");
    assert_eq!(shown(before.start, back).await, (1, at(20)));
    film.store.close().await;
}

/// The recorder was killed, or its plan was changed while it was off: nothing says that it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_that_has_ended_without_a_word_does_not_hide_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let film = Film::shoot(folder.path()).await;
    // Two seconds, with nothing behind them.
    film.shoot_sub(UnixMicros(taken(0).0 + SECOND)).await;
    let (_, store) = watch::channel(Some(film.store.clone()));
    let filmed = CameraId { pu: recorder(), channel: ChannelId(0) };
    let archive = StoreArchive::new(store, recorder(), move |_| Some(filmed.clone()));
    let of = Recording { channel: ChannelId(0), tier: StreamTier::Sub };
    // Where it ends, and long after it.
    for (at, start) in [(30, 20), (BEHIND_GAP, BEHIND_GAP)] {
        match Arc::clone(&archive).find(of, taken(at), Way::Forwards).await.expect("read") {
            Look::Found(found) => assert_eq!((found.key.chain, found.start), (0, taken(start))),
            other => panic!("{other:?}"),
        }
    }
    film.store.close().await;
}
