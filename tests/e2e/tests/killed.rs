//! `kill -9` at moments that nothing chose, and losses of power, for whoever holds recordings on their way: the
//! NVR, the unit that uploads, the CMU that takes the uploads. Nothing acknowledged is lost, nothing else is left
//! over, the chains verify.
//!
//! A few times in every run; by hand `TEST_TIMES=100` for kills, `TEST_TIMES=20` for losses of power. The
//! agent's own recordings: `pu-agent/tests/recorder_killed.rs`.

mod shelf;
mod uploads;

use std::{
    collections::BTreeSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use e2e::{Centre, Cu, Nvr, S3, acknowledged, now, stretch, time_text, wait_for};
use serde_json::Value;
use shelf::{Shelf, files_below};
use sightline_model::UnixMicros;
use sightline_testkit::{
    disk::{Disk, FileSystem},
    random, times,
};
use uploads::{LIMIT, PHONE, Recording, Setting};

/// No life is longer, in milliseconds: two segments.
const LONGEST_MS: u64 = 9_000;
const KILLS: u64 = 3;
const POWER_LOSSES: u64 = 2;

fn moment(seed: u64) -> Duration {
    Duration::from_millis(random(seed, LONGEST_MS))
}

/// A unit and an NVR of one person, and the NVR records the unit's camera.
struct Related {
    centre: Centre,
    nvr: Nvr,
    cu: Cu,
    camera: String,
}

impl Related {
    fn start(settings: &[Setting]) -> Option<Self> {
        let settings: Vec<_> = settings.iter().map(|(u, k, value)| (*u, *k, &**value)).collect();
        let centre = Centre::start_with(&settings)?;
        centre.wait_registered(&centre.mark_start());
        let nvr = centre.nvr();
        wait_for("the NVR's registration", LIMIT, || {
            let log = centre.trace_since(&centre.mark_start());
            log.iter().any(|sent| sent.hop == "Ps SCU>NVR registered").then_some(())
        });
        let cu = Cu::login(&centre.portal, PHONE, &centre.sms_log(), Some(&centre.ca()));
        cu.ok(&["bind", &centre.claim_code]);
        cu.ok(&["bind", &nvr.claim_code]);
        cu.wait_for_camera("Yard");
        cu.ok(&["nvr", "relate", "Yard"]);
        let plan = ["record", "plan", "Yard", "--on", "nvr", "--set", "main"];
        wait_for("the plan", LIMIT, || uploads::answered(&cu.run(&plan)).then_some(()));
        let camera = format!("{}.0", centre.pu_id());
        let related = Self { centre, nvr, cu, camera };
        related.records(1);
        Some(related)
    }

    /// Waits for the NVR to have acknowledged so many segments in this life.
    fn records(&self, segments: u64) {
        wait_for("segments on the NVR", LIMIT, || {
            acknowledged(self.nvr.admin).filter(|count| *count >= segments)
        });
    }

    /// Until a moment that nothing chose; what it had acknowledged by then.
    fn live(&self, life: Duration) -> u64 {
        let (begin, mut told) = (Instant::now(), 0);
        while begin.elapsed() < life {
            told = acknowledged(self.nvr.admin).unwrap_or(told);
            thread::park_timeout(Duration::from_millis(20));
        }
        told
    }

    /// After everything it records, and its owner takes the newest of it with them.
    fn goes_on(&self, began: UnixMicros) {
        self.records(2);
        let (_, to) =
            wait_for("the timeline", LIMIT, || stretch(&self.cu.timeline("Yard", began)?));
        let file = self.centre.data.path().join("newest.mp4");
        let from = UnixMicros(to.0 - 6_000_000);
        let (from, to, out) = (time_text(from), time_text(to), file.to_str().expect("UTF-8"));
        let span = ["--from", &from, "--to", &to, "--on", "nvr", "--out", out];
        self.cu.ok(&[&["record", "export", "Yard"][..], &span].concat());
        self.cu.ok(&["verify", out, "--recorder", &self.nvr.id]);
    }
}

#[test]
fn an_nvr_that_is_killed_loses_nothing_that_it_acknowledged() {
    let began = now();
    let Some(mut related) = Related::start(&[]) else { return };
    let data = related.centre.data.path().join("nvr");
    let mut shelf = Shelf::new(&related.nvr.disk, &data, &related.camera);
    for round in 0..times(KILLS) {
        let told = related.live(moment(round + 600));
        related.nvr.process.kill();
        shelf.look(told, &format!("round {round}"));
        related.nvr = related.centre.nvr();
    }
    related.goes_on(began);
}

#[test]
fn an_nvr_whose_disk_loses_its_power_loses_nothing_that_it_acknowledged() {
    let Some(disk) = Disk::new(FileSystem::Xfs, 512) else { return };
    let (began, dir) = (now(), disk.folder("recordings"));
    let setting = ("nvr", "SIGHTLINE_RECORDING__DIR", dir.display().to_string());
    let Some(mut related) = Related::start(&[setting]) else { return };
    let data = related.centre.data.path().join("nvr");
    let mut shelf = Shelf::new(&dir, &data, &related.camera);
    for round in 0..times(POWER_LOSSES) {
        let told = related.live(moment(round + 700));
        disk.lose_power();
        related.nvr.process.kill();
        disk.power_back();
        shelf.look(told, &format!("round {round}"));
        related.nvr = related.centre.nvr();
    }
    related.goes_on(began);
}

/// An object of the store, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    chain: String,
    number: u64,
    is_segment: bool,
    bytes: u64,
}

impl Object {
    fn read((name, bytes): &(String, u64)) -> Self {
        let mut parts = name.rsplit('/');
        let (file, chain) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (number, kind) = file.split_once('.').unwrap_or_else(|| strange(name));
        let number = number.parse().unwrap_or_else(|_| strange(name));
        let is_segment = match kind {
            "mp4" => true,
            "entry" => false,
            _ => strange(name),
        };
        Self { chain: chain.to_owned(), number, is_segment, bytes: *bytes }
    }
}

fn strange(name: &str) -> ! {
    panic!("nobody of us has put {name} there")
}

/// What lies in a folder of the centre, as a store tells it. Nothing is there that belongs to no object.
fn objects_below(dir: &Path) -> Vec<(String, u64)> {
    let (mut objects, mut beside) = (Vec::new(), BTreeSet::new());
    for path in files_below(dir) {
        let name = path.strip_prefix(dir).expect("below it").to_str().expect("UTF-8").to_owned();
        match name.strip_suffix(".meta") {
            Some(of) => {
                beside.insert(of.to_owned());
            }
            None => objects.push((name, path.metadata().expect("it is there").len())),
        }
    }
    beside.retain(|of| objects.iter().all(|(name, _)| name != of));
    assert!(beside.is_empty(), "metadata of no object: {beside:?}");
    objects
}

/// Every number of the spool's chain lies in the store; the list has what the store has, and the space is
/// what both say; all of it comes back and proves itself.
fn everything_is_there(recording: &mut Recording, store: impl Fn() -> Vec<(String, u64)>) {
    recording.wait_for_seconds(8);
    recording.leaves_the_spool();
    let objects: BTreeSet<_> = store().iter().map(Object::read).collect();
    let chains: BTreeSet<_> = objects.iter().map(|one| &one.chain).collect();
    assert_eq!(chains.len(), 1, "another chain was begun: {chains:?}");
    let text = |segment: &Value, key: &str| segment[key].as_str().unwrap_or_default().to_owned();
    let number = |segment: &Value, key: &str| segment[key].as_u64().expect("a number");
    let of_list = |segment: &Value| Object {
        chain: text(segment, "chain"),
        number: number(segment, "sequence"),
        is_segment: true,
        bytes: number(segment, "bytes"),
    };
    let listed: BTreeSet<_> = recording.listed().iter().map(of_list).collect();
    let stored: BTreeSet<_> = objects.iter().filter(|one| one.is_segment).cloned().collect();
    assert_eq!(stored, listed, "store and list differ");
    let bytes: u64 = listed.iter().map(|one| one.bytes).sum();
    assert_eq!(recording.used_bytes(), bytes, "the space is not what lies there");

    let whole = recording.stretch().expect("it is in the cloud");
    let file = recording.centre.data.path().join("all.mp4");
    let exported = recording.export(whole, &file);
    assert!(exported.status.success(), "{exported:?}");
    recording.cu.ok(&["verify", file.to_str().expect("UTF-8")]);

    recording.centre.pu.stop();
    let mut shelf = spool_of(recording);
    shelf.look_at_what_is_left("at the end");
    let (left, newest) = shelf.entries();
    let known: BTreeSet<u64> = objects.iter().map(|one| one.number).collect();
    // The newest entries, which are no segments, may not have been told yet.
    let is_there = |number: &u64| known.contains(number) || left.get(number) == Some(&false);
    let missing: Vec<u64> = (0..=newest).filter(|number| !is_there(number)).collect();
    assert!(missing.is_empty(), "of {newest} entries these are nowhere: {missing:?}");
    println!("{} segments of {bytes} bytes, {newest} entries", listed.len());
}

fn spool_of(recording: &Recording) -> Shelf {
    let camera = format!("{}.0", recording.centre.pu_id());
    Shelf::new(&recording.spool, &recording.centre.data.path().join("pu"), &camera)
}

/// Kills the unit, and every third time the CMU, in the middle of whatever they do.
fn killed_uploads(recording: &mut Recording) {
    let mut shelf = spool_of(recording);
    for round in 0..times(KILLS) {
        // Not a wait for a state, but a moment that nothing chose.
        thread::sleep(moment(round + 900));
        if round % 3 == 1 {
            recording.centre.kill("cmu");
            recording.centre.restart("cmu");
            recording.centre.wait_portal();
        } else {
            recording.centre.kill("pu-agent");
            shelf.look_at_what_is_left(&format!("round {round}"));
            recording.centre.restart("pu-agent");
        }
    }
}

#[test]
fn uploads_to_the_centre_that_are_killed_lose_nothing_and_leave_nothing_over() {
    let Some(mut recording) = Recording::start(&[]) else { return };
    killed_uploads(&mut recording);
    let dir = recording.centre.data.path().join("cmu/cloud");
    everything_is_there(&mut recording, || objects_below(&dir));
}

#[test]
fn uploads_to_s3_that_are_killed_lose_nothing_and_leave_nothing_over() {
    let Some(s3) = S3::start() else { return };
    let Some(mut recording) = Recording::start(&s3.settings()) else { return };
    killed_uploads(&mut recording);
    everything_is_there(&mut recording, || s3.objects());
}

/// The card with the spool and the disk with the centre's folder and database, one after the other.
#[test]
fn uploads_that_lose_their_power_lose_nothing_and_leave_nothing_over() {
    let Some(card) = Disk::new(FileSystem::Xfs, 512) else { return };
    let Some(disk) = Disk::new(FileSystem::Xfs, 512) else { return };
    let (spool, cloud) = (card.folder("spool"), disk.folder("cloud"));
    let database = format!("sqlite:{}", disk.at().join("cmu.sqlite").display());
    let settings: [Setting; 2] = [
        ("cmu", "SIGHTLINE_CLOUD__DIR", cloud.display().to_string()),
        ("cmu", "SIGHTLINE_DATABASE__URL", database),
    ];
    let Some(mut recording) = Recording::start_in(spool, &settings) else { return };
    let mut shelf = spool_of(&recording);
    for round in 0..times(POWER_LOSSES) {
        // Not a wait for a state, but a moment that nothing chose.
        thread::sleep(moment(round + 800));
        if round % 2 == 0 {
            disk.lose_power();
            recording.centre.kill("cmu");
            disk.power_back();
            recording.centre.restart("cmu");
            recording.centre.wait_portal();
        } else {
            card.lose_power();
            recording.centre.kill("pu-agent");
            card.power_back();
            shelf.look_at_what_is_left(&format!("round {round}"));
            recording.centre.restart("pu-agent");
        }
    }
    everything_is_there(&mut recording, || objects_below(&cloud));
}
