//! Real kills and real losses of power: what was acknowledged stays, and nothing else is left over.
//!
//! The power is lost three times on each file system in every run; `TEST_TIMES=20` by hand.

mod common;
#[path = "../src/tests/film.rs"]
#[expect(dead_code, reason = "the unit tests use all of it, these a part")]
mod film;

use std::time::Duration;

use common::{Found, Recorder, check};
use sightline_recording_store::Key;
use sightline_testkit::{
    disk::{Disk, FileSystem},
    random, times,
};

const KILLS: u64 = 100;
const POWER_LOSSES: u64 = 3;

#[test]
#[ignore = "the process that the other tests kill"]
fn a_process_that_records() {
    common::record();
}

fn add(all: &mut Found, one: &Found) {
    all.segments = one.segments;
    all.recovered += one.recovered;
    all.expired += one.expired;
    all.parts_removed += one.parts_removed;
}

#[test]
fn kill_9_at_a_hundred_random_moments_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut acknowledged, mut all) = (0, Found::default());
    for round in 0..KILLS {
        let mut recorder = Recorder::start(dir.path(), round);
        let moment = Duration::from_micros(random(round, 30_000));
        recorder.run_until(usize::try_from(random(round + 1_000, 8)).expect("small"), moment);
        let told = recorder.kill();
        acknowledged += told.len();
        add(&mut all, &check(dir.path(), &told, round));
    }
    println!("{acknowledged} segments were acknowledged in {KILLS} lives; {all:?}");
    assert!(acknowledged > 100, "only {acknowledged} segments were acknowledged");
    assert!(all.recovered + all.expired as usize + all.parts_removed as usize > 0, "{all:?}");
}

/// Each life ends with its disk.
fn power_loss(file_system: FileSystem) {
    let Some(disk) = Disk::new(file_system, 512) else { return };
    let dir = disk.folder("recordings");
    let (losses, mut acknowledged, mut all) = (times(POWER_LOSSES), 0, Found::default());
    for round in 0..losses {
        let mut recorder = Recorder::start(&dir, round);
        let moment = Duration::from_micros(random(round + 77, 60_000));
        recorder.run_until(usize::try_from(random(round + 5_000, 12)).expect("small"), moment);
        disk.lose_power();
        let told = recorder.kill();
        disk.power_back();
        acknowledged += told.len();
        add(&mut all, &check(&dir, &told, round));
    }
    println!("{acknowledged} segments were acknowledged in {losses} lives; {all:?}");
    assert!(acknowledged as u64 > losses, "only {acknowledged} segments were acknowledged");
}

#[test]
fn losses_of_power_on_xfs_lose_nothing_acknowledged() {
    power_loss(FileSystem::Xfs);
}

#[test]
fn losses_of_power_on_ext4_lose_nothing_acknowledged() {
    power_loss(FileSystem::Ext4);
}
