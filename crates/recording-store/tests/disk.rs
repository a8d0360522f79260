//! Storages that fill up, refuse writes, or go under the store's feet. Each is a file system of its own.

#[path = "../src/tests/film.rs"]
#[expect(dead_code, reason = "the unit tests use all of it, these a part")]
mod film;

use std::{fs, ops::Range, path::Path, time::Duration};

use film::Film;
use sightline_model::UnixMicros;
use sightline_recording::statement::{BootId, Causes, GapReason};
use sightline_recording_store::{
    Acknowledged, ChainWriter, Key, Level, Limits, Setup, State, Store, StoreError,
};
use sightline_testkit::disk::{Disk, FileSystem};

const ALL: Range<UnixMicros> = UnixMicros(0)..UnixMicros(i64::MAX);

async fn open(dir: &Path) -> Store {
    let limits = Limits {
        reserve_bytes: 200_000,
        probe_every: Duration::from_millis(100),
        ..Limits::default()
    };
    Store::open(Setup { dir: dir.into(), limits, key: film::key() }).await.expect("opened").0
}

async fn write(writer: &mut ChainWriter, film: &mut Film) -> Result<Acknowledged, StoreError> {
    let shot = film.shoot();
    writer.open_segment(shot.opening)?;
    for bytes in &shot.parts {
        writer.append(bytes.clone())?;
    }
    writer.close_segment(shot.draft, Causes::default())?.wait().await
}

async fn becomes(store: &Store, state: State) {
    let mut health = store.health();
    let seen = health.wait_for(|health| health.state == state);
    let seen = tokio::time::timeout(Duration::from_secs(30), seen).await;
    assert!(seen.is_ok(), "still {:?}", store.health().borrow());
}

/// Records on until the storage refuses.
async fn until_refused(writer: &mut ChainWriter, film: &mut Film) {
    for _ in 0..1_000 {
        if write(writer, film).await.is_err() {
            return;
        }
    }
    panic!("a thousand segments were taken");
}

/// Records on until a segment is taken; its number.
async fn until_taken(store: &Store, writer: &mut ChainWriter, film: &mut Film) {
    becomes(store, State::Ok).await;
    for _ in 0..100 {
        film.pause(1);
        if write(writer, film).await.is_ok() {
            return;
        }
        becomes(store, State::Ok).await;
    }
    panic!("no segment is taken any more");
}

async fn check(store: &Store, reason: GapReason) {
    let subject = film::subject(0);
    let report = store.verify(&subject, Level::Hash, None).await.expect("read").expect("a chain");
    assert!(report.report.is_sound(), "{:?}", report.report.findings);
    let gaps = store.gaps(&subject, ALL, None, 100).await.expect("read").rows;
    assert!(gaps.iter().any(|gap| gap.gap.reason == reason), "{gaps:?}");
}

#[tokio::test]
async fn a_disk_that_others_have_filled_takes_segments_again_when_there_is_space() {
    let Some(disk) = Disk::new(FileSystem::Ext4, 16) else { return };
    let dir = disk.folder("recordings");
    let store = open(&dir).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    for _ in 0..10 {
        write(&mut writer, &mut film).await.expect("acknowledged");
    }
    store.lock(&subject, ALL, true).await.expect("locked");
    // Somebody else's file takes what is left, to the last block.
    let foreign = disk.fill();
    until_refused(&mut writer, &mut film).await;
    becomes(&store, State::Full).await;
    fs::remove_file(foreign).expect("removed");
    until_taken(&store, &mut writer, &mut film).await;
    check(&store, GapReason::StorageFull).await;
    let rows = store.segments(&subject, ALL, None, 100).await.expect("read").rows;
    assert!(rows.len() >= 11, "acknowledged segments are gone: {}", rows.len());
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_any_more_is_told_and_taken_up_when_it_is_mounted_anew() {
    let Some(disk) = Disk::new(FileSystem::Ext4, 16) else { return };
    let dir = disk.folder("recordings");
    let store = open(&dir).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    for _ in 0..5 {
        write(&mut writer, &mut film).await.expect("acknowledged");
    }
    disk.break_to_read_only();
    until_refused(&mut writer, &mut film).await;
    becomes(&store, State::ReadOnly).await;
    // What is there can be read.
    let rows = store.segments(&subject, ALL, None, 100).await.expect("read").rows;
    assert_eq!(rows.len(), 5);
    disk.pull_out();
    becomes(&store, State::Away).await;
    disk.put_in();
    until_taken(&store, &mut writer, &mut film).await;
    check(&store, GapReason::StorageReadOnly).await;
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn on_a_disk_that_others_have_filled_the_oldest_go_for_the_newest() {
    let Some(disk) = Disk::new(FileSystem::Ext4, 16) else { return };
    let dir = disk.folder("recordings");
    let store = open(&dir).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    for _ in 0..60 {
        write(&mut writer, &mut film).await.expect("acknowledged");
    }
    let laid = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !dir.join(".ballast").exists() {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), laid).await.is_ok(), "no ballast");
    let foreign = disk.fill();
    let mut taken = 0;
    for _ in 0..40 {
        match write(&mut writer, &mut film).await {
            Ok(_) => taken += 1,
            // Until something has gone.
            Err(_) => {
                film.pause(1);
                becomes(&store, State::Ok).await;
            }
        }
    }
    assert!(taken >= 20, "only {taken} were taken");
    assert!(foreign.exists(), "what others have is theirs");
    let report = store.verify(&subject, Level::Hash, None).await.expect("read").expect("a chain");
    assert!(report.report.is_sound(), "{:?}", report.report.findings);
    assert!(!report.report.absences.is_empty(), "nothing has gone");
    writer.end().await;
    store.close().await;
}
