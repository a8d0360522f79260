//! Where the wanted encoding was not recorded, the other one is played.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/film.rs"]
mod film;

use std::sync::Arc;

use film::{BEHIND_GAP, Film, recorder, taken};
use sightline_archive::StoreArchive;
use sightline_media_io::archive::{Archive, Look, Recording};
use sightline_model::{CameraId, ChannelId, StreamTier, UnixMicros};
use sightline_recording::replay::Way;
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
