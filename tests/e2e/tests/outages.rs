//! What a recorder depends on goes wrong, and is well again: the store, the disk, the camera, the clock. What is
//! lost is only what could not be taken, it is shown as a gap with its reason, and recording goes on by itself
//! within 30 s.
//!
//! Each is away for some seconds in every run; `TEST_SECONDS=60` by hand.

mod shelf;
mod uploads;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use e2e::{
    Centre, Cu, GstCamera, S3, acknowledged, interruptions, metric, now, stretch, time_text,
    trace::{self, Sent},
    wait_for,
};
use shelf::Shelf;
use sightline_model::{Absence, Timeline, TimelineGap, UnixMicros};
use sightline_testkit::{
    clock::JumpingClock,
    disk::{Disk, FileSystem},
    seconds,
};
use uploads::{LIMIT, PHONE, Recording, Setting};

/// The requirement.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// Not a wait for a state, but the length of an outage.
fn stay_away() {
    thread::sleep(seconds(8));
}

/// A centre, and a unit of somebody's.
fn bound(settings: &[Setting]) -> Option<(Centre, Cu)> {
    let settings: Vec<_> = settings.iter().map(|(u, k, value)| (*u, *k, &**value)).collect();
    let centre = Centre::start_with(&settings)?;
    centre.wait_registered(&centre.mark_start());
    let cu = Cu::login(&centre.portal, PHONE, &centre.sms_log(), Some(&centre.ca()));
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");
    Some((centre, cu))
}

/// Waits for so many more segments to be acknowledged.
fn more(admin: u16, by: u64) {
    let least = acknowledged(admin).unwrap_or(0) + by;
    wait_for("more segments", LIMIT, || acknowledged(admin).filter(|count| *count >= least));
}

/// Something was away.
#[derive(Debug, Clone, Copy)]
struct Outage {
    reason: Absence,
    broken: UnixMicros,
    mended: UnixMicros,
}

impl Outage {
    /// That this gap is what it cost, and no more than what was being recorded as it began.
    fn check(&self, gap: &TimelineGap, open_s: i64) {
        assert_eq!(gap.reason, self.reason, "{self:?}");
        let kept = gap.from.0 >= self.broken.0 - open_s * SECOND_US;
        assert!(kept, "more is lost than what could not be taken: {gap:?} of {self:?}");
        let took = gap.to.since(self.mended);
        assert!(took < BACK_WITHIN, "it goes on only after {took:?}: {gap:?} of {self:?}");
        println!("{:?}: recording goes on {took:?} after it is well again", self.reason);
    }
}

/// How a store is away.
#[derive(Debug, Clone, Copy)]
enum Gone {
    /// Nobody listens.
    Ended,
    /// Somebody listens and says nothing.
    Silent,
}

#[test]
fn a_store_that_was_away_gets_all_that_was_recorded_meanwhile() {
    let Some(mut s3) = S3::start() else { return };
    let began = now();
    let Some(recording) = Recording::start(&s3.settings()) else { return };
    recording.wait_for_seconds(4);
    for how in [Gone::Ended, Gone::Silent] {
        match how {
            Gone::Ended => s3.stop(),
            Gone::Silent => s3.process.signal("STOP"),
        }
        stay_away();
        // The list is the centre's own.
        let (_, before) = recording.stretch().expect("what was stored is still listed");
        match how {
            Gone::Ended => s3.start_again(),
            Gone::Silent => s3.process.signal("CONT"),
        }
        let (back, mended) = (Instant::now(), now());
        wait_for("an upload", LIMIT, || recording.stretch().filter(|(_, to)| *to > before));
        let took = back.elapsed();
        println!("{how:?}: uploads go on {took:?} after the store is back");
        assert!(took < BACK_WITHIN, "{how:?}: uploads go on only after {took:?}");
        wait_for("the rest", LIMIT, || recording.stretch().filter(|(_, to)| *to > mended.0));
    }
    let timeline = wait_for("the timeline", LIMIT, || recording.cu.timeline("Yard", began));
    assert_eq!(interruptions(&timeline), []);
}

fn storage_is(admin: u16, state: &str) {
    let name = format!("sightline_pu_recording_storage{{state=\"{state}\"}}");
    let is = || metric(admin, &name).filter(|is| *is == 1);
    wait_for(&format!("the storage to be {state}"), LIMIT, is);
}

/// Breaks something of the disk, waits until the unit says so, and mends it.
fn outage(
    admin: u16,
    (reason, state): (Absence, &str),
    breaks: impl FnOnce(),
    mends: impl FnOnce(),
) -> Outage {
    let broken = now();
    breaks();
    storage_is(admin, state);
    stay_away();
    mends();
    let mended = now();
    more(admin, 2);
    Outage { reason, broken, mended }
}

#[test]
fn a_disk_that_was_full_read_only_or_gone_is_recorded_on_by_itself() {
    let Some(disk) = Disk::new(FileSystem::Ext4, 256) else { return };
    let (began, card) = (now(), disk.folder("card"));
    let dir = card.display().to_string();
    let Some((mut centre, cu)) = bound(&[("pu-agent", "SIGHTLINE_RECORDING__DIR", dir)]) else {
        return;
    };
    let admin = centre.ports.pu_admin;
    more(admin, 2);

    // Right after a segment: until the next one nothing is there that may go.
    let (from, to) = (time_text(began), time_text(UnixMicros(now().0 + 3_600 * SECOND_US)));
    cu.ok(&["record", "lock", "Yard", "--from", &from, "--to", &to]);
    let foreign = disk.at().join("foreign");
    let full = outage(
        admin,
        (Absence::StorageFull, "full"),
        || assert_eq!(disk.fill(), foreign),
        || fs::remove_file(&foreign).expect("it fills the disk"),
    );
    let remount = || {
        disk.pull_out();
        storage_is(admin, "away");
        disk.put_in();
    };
    let read_only = (Absence::StorageReadOnly, "read_only");
    let read_only = outage(admin, read_only, || disk.break_to_read_only(), remount);
    let gone = (Absence::StorageAway, "away");
    let gone = outage(admin, gone, || disk.pull_out(), || disk.put_in());

    let timeline = wait_for("the timeline", LIMIT, || cu.timeline("Yard", began));
    let gaps = interruptions(&timeline);
    assert_eq!(gaps.len(), 3, "{timeline:?}");
    for (outage, gap) in [full, read_only, gone].iter().zip(&gaps) {
        outage.check(gap, 10);
    }
    centre.pu.stop();
    let camera = format!("{}.0", centre.pu_id());
    Shelf::new(&card, &centre.data.path().join("pu"), &camera).look(6, "at the end");
}

/// A camera of the NVR's own loses its plug, and the unit whose camera it records its power.
#[test]
fn cameras_that_were_away_are_recorded_on_by_themselves() {
    let Some(mut camera) = GstCamera::start(&["--size", "320x180"]) else { return };
    let began = now();
    let Some((mut centre, cu)) = bound(&[]) else { return };
    let source = camera.url("");
    let nvr = centre.nvr_with(&format!("[[camera]]\nname = \"Gate\"\nsource = \"{source}\"\n"));
    nvr_is_registered(&centre);
    cu.ok(&["bind", &nvr.claim_code]);
    cu.ok(&["nvr", "relate", "Yard"]);
    let plan = ["record", "plan", "Yard", "--on", "nvr", "--set", "main"];
    wait_for("the plan", LIMIT, || uploads::answered(&cu.run(&plan)).then_some(()));
    let until = |name: &str, at: UnixMicros| -> Timeline {
        wait_for(&format!("{name} to be recorded"), LIMIT, || {
            let timeline = cu.timeline(name, began)?;
            stretch(&timeline).is_some_and(|(_, to)| to > at).then_some(timeline)
        })
    };
    for name in ["Gate", "Yard"] {
        until(name, now());
    }

    let broken = now();
    camera.take_away();
    centre.kill("pu-agent");
    stay_away();
    camera.give_back();
    centre.restart("pu-agent");
    let mended = now();
    let outage = Outage { reason: Absence::CameraAway, broken, mended };
    for name in ["Gate", "Yard"] {
        let timeline = until(name, UnixMicros(mended.0 + SECOND_US));
        let gaps = interruptions(&timeline);
        assert_eq!(gaps.len(), 1, "{name}: {timeline:?}");
        outage.check(&gaps[0], 2);
    }
}

fn settings_of(unit: &'static str, clock: &JumpingClock) -> Vec<Setting> {
    clock.environment().into_iter().map(|(name, value)| (unit, name, value)).collect()
}

/// A day forth, a day back, and right again, each for two segments. `said`: what the unit itself has logged since
/// a moment.
fn jumps(
    clock: &JumpingClock,
    cu: &Cu,
    admin: u16,
    began: UnixMicros,
    said: impl Fn() -> Vec<Sent>,
) {
    for ahead_s in [DAY_S, -DAY_S, 0] {
        clock.set(ahead_s);
        let so_far = said().len();
        wait_for("the unit to see another day", LIMIT, || {
            // Makes it say something.
            cu.timeline("Yard", began)?;
            let day = time_text(UnixMicros(now().0 + ahead_s * SECOND_US));
            said()[so_far..].iter().any(|sent| sent.at[..10] == day[..10]).then_some(())
        });
        more(admin, 2);
    }
}

/// Everything is there, under the time at which it was.
fn assert_true_to_time(timeline: &Timeline, began: UnixMicros) {
    let (from, to) = stretch(timeline).expect("it was recorded");
    let late = now().since(to);
    assert!(began <= from && late < BACK_WITHIN, "from {from:?} until {late:?} ago");
    assert!(timeline.spans.iter().all(|span| span.time_known && !span.twice), "{timeline:?}");
}

/// What a unit has sent, in the order in which it did: its clock does not tell.
fn said(centre: &Centre, unit: &str, hop: &str) -> Vec<Sent> {
    let mut all = trace::read(&centre.log(unit));
    all.retain(|sent| sent.hop == hop);
    all
}

fn nvr_is_registered(centre: &Centre) {
    wait_for("the NVR's registration", LIMIT, || {
        let registered = said(centre, "scu", "Ps SCU>NVR registered");
        (!registered.is_empty()).then_some(())
    });
}

#[test]
fn a_units_clock_that_is_set_a_day_forth_and_back_costs_nothing_and_misdates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(clock) = JumpingClock::new(folder.path()) else { return };
    let (began, card) = (now(), folder.path().join("card"));
    fs::create_dir(&card).expect("own folder");
    let dir = ("pu-agent", "SIGHTLINE_RECORDING__DIR", card.display().to_string());
    let settings: Vec<_> = settings_of("pu-agent", &clock).into_iter().chain([dir]).collect();
    let Some((mut centre, cu)) = bound(&settings) else { return };
    let admin = centre.ports.pu_admin;
    more(admin, 1);
    jumps(&clock, &cu, admin, began, || said(&centre, "pu-agent", "Ps PU>SCU recorded"));
    let timeline = wait_for("the timeline", LIMIT, || cu.timeline("Yard", began));
    assert_eq!(interruptions(&timeline), []);
    assert_true_to_time(&timeline, began);

    // Started anew while it is wrong: nobody says what time it is until the centre does.
    let broken = now();
    centre.pu.stop();
    clock.set(-DAY_S);
    let mark = centre.mark();
    centre.restart("pu-agent");
    let mended = now();
    centre.wait_registered(&mark);
    more(admin, 2);
    let timeline = wait_for("the timeline", LIMIT, || cu.timeline("Yard", began));
    let gaps = interruptions(&timeline);
    assert_eq!(gaps.len(), 1, "{timeline:?}");
    Outage { reason: Absence::RecorderOff, broken, mended }.check(&gaps[0], 1);
    assert_true_to_time(&timeline, began);
    let yesterday = UnixMicros(began.0 - 2 * DAY_S * SECOND_US);
    let from_yesterday =
        wait_for("the timeline of two days", LIMIT, || cu.timeline("Yard", yesterday));
    let (first, _) = stretch(&from_yesterday).expect("it was recorded");
    let grain_us = i64::try_from(from_yesterday.resolution_us).expect("minutes");
    assert!(first.0 >= began.0 - grain_us, "something is dated yesterday: {from_yesterday:?}");
}

#[test]
fn an_nvrs_clock_that_is_set_a_day_forth_and_back_costs_nothing_and_misdates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(clock) = JumpingClock::new(folder.path()) else { return };
    let began = now();
    let Some((centre, cu)) = bound(&settings_of("nvr", &clock)) else { return };
    let nvr = centre.nvr();
    nvr_is_registered(&centre);
    cu.ok(&["bind", &nvr.claim_code]);
    cu.ok(&["nvr", "relate", "Yard"]);
    let plan = ["record", "plan", "Yard", "--on", "nvr", "--set", "main"];
    wait_for("the plan", LIMIT, || uploads::answered(&cu.run(&plan)).then_some(()));
    more(nvr.admin, 1);
    jumps(&clock, &cu, nvr.admin, began, || said(&centre, "nvr", "Ps NVR>SCU recorded"));
    let timeline = wait_for("the timeline", LIMIT, || cu.timeline("Yard", began));
    assert_eq!(interruptions(&timeline), []);
    assert_true_to_time(&timeline, began);
}
