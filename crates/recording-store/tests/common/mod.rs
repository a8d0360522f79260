//! A process that records until it is killed, and what must hold afterwards.

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use sightline_recording::statement::{BootId, Causes, Sequence, Subject};
use sightline_recording_store::{Level, Limits, Setup, Store, StoreError};

use crate::film::{self, Film};

const DIR: &str = "SIGHTLINE_TEST_STORE";
const ROUND: &str = "SIGHTLINE_TEST_ROUND";
/// The test that is the process.
const CHILD: &str = "a_process_that_records";
const CAMERAS: u16 = 2;
/// Room for about forty segments, so that they expire too.
const MAX_BYTES: u64 = 450_000;
/// So many of a chain's newest can never have expired.
const NEVER_EXPIRED: usize = 5;

fn setup(dir: &Path) -> Setup {
    let limits = Limits {
        max_bytes: Some(MAX_BYTES),
        reserve_bytes: 0,
        probe_every: Duration::from_millis(100),
        ..Limits::default()
    };
    Setup { dir: dir.into(), limits, key: film::key() }
}

/// The child's life: it records two cameras and prints what was acknowledged.
pub fn record() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round: i64 = std::env::var(ROUND).expect("given").parse().expect("a number");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!();
    runtime.block_on(async {
        let (store, _) = Store::open(setup(Path::new(&dir))).await.expect("opened");
        let start_us = film::START_US + round * 3_600_000_000;
        let mut cameras = Vec::new();
        for n in 0..CAMERAS {
            let writer = store.writer(&film::subject(n)).await.expect("lent");
            cameras.push((n, writer, Film::new(BootId(round.unsigned_abs()), start_us)));
        }
        // Bounded, should nobody kill it.
        for _ in 0..10_000 {
            let mut waiting = Vec::new();
            for (n, writer, film) in &mut cameras {
                let shot = film.shoot();
                let handed = writer.open_segment(shot.opening);
                let mut handed = handed.and_then(|()| writer.append(shot.parts[0].clone()));
                for bytes in &shot.parts[1..] {
                    handed = handed.and_then(|()| writer.append(bytes.clone()));
                }
                let closed =
                    handed.and_then(|()| writer.close_segment(shot.draft, Causes::default()));
                match closed {
                    Ok(pending) => waiting.push((*n, pending)),
                    // The file system went; so ends this life.
                    Err(StoreError::Unavailable(_) | StoreError::Failed(_)) => return,
                    Err(error) => panic!("{error}"),
                }
            }
            for (n, pending) in waiting {
                match pending.wait().await {
                    Ok(done) => println!("ack {n} {}", done.sequence.0),
                    Err(_) => return,
                }
            }
        }
    });
}

/// A running child.
pub struct Recorder {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Camera and number of what was acknowledged.
    pub acknowledged: Vec<(u16, Sequence)>,
}

impl Recorder {
    pub fn start(dir: &Path, round: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test's own file"))
            .args(["--exact", CHILD, "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, acknowledged: Vec::new() }
    }

    /// Reads on; false: it has ended.
    fn read(&mut self) -> bool {
        let Some(Ok(line)) = self.lines.next() else { return false };
        let mut words = line.split(' ');
        if words.next() == Some("ack") {
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            if let (Some(camera), Some(sequence)) = (number(), number()) {
                let camera = u16::try_from(camera).expect("one of the cameras");
                self.acknowledged.push((camera, Sequence(sequence)));
            }
        }
        true
    }

    /// Waits until so many segments were acknowledged, and then for a moment that nothing chose.
    pub fn run_until(&mut self, acknowledged: usize, then: Duration) {
        while self.acknowledged.len() < acknowledged {
            assert!(self.read(), "it ended by itself after {:?}", self.acknowledged);
        }
        std::thread::sleep(then);
    }

    /// `kill -9`; what it had acknowledged by then.
    pub fn kill(mut self) -> Vec<(u16, Sequence)> {
        self.child.kill().expect("killed");
        while self.read() {}
        self.child.wait().expect("ended");
        self.acknowledged
    }
}

/// What was found after a kill.
#[derive(Debug, Default)]
pub struct Found {
    pub segments: u64,
    pub recovered: usize,
    pub expired: u64,
    pub parts_removed: u64,
}

/// Opens the store again: nothing acknowledged is lost, there is no orphan, the chain verifies.
pub fn check(dir: &Path, acknowledged: &[(u16, Sequence)], round: u64) -> Found {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut found = Found::default();
    runtime.block_on(async {
        let (store, report) = Store::open(setup(dir)).await.expect("opened again");
        for (_, chain) in &report.chains {
            assert_eq!((chain.damaged, chain.left_alone), (0, 0), "round {round}: {chain:?}");
            found.recovered += chain.ends.len();
            found.expired += chain.expired;
            found.parts_removed += chain.removed;
        }
        assert_eq!(report.unknown, 0, "round {round}");
        for camera in 0..CAMERAS {
            let subject = film::subject(camera);
            let of_camera = acknowledged.iter().filter(|(of, _)| *of == camera);
            let of_camera: Vec<_> = of_camera.map(|(_, sequence)| *sequence).collect();
            found.segments += check_chain(&store, &subject, &of_camera, round).await;
        }
        let files = film::files_below(&dir.join("segments"));
        assert_eq!(files.len() as u64, found.segments, "round {round}: orphans in {files:?}");
        store.close().await;
    });
    found
}

async fn check_chain(
    store: &Store,
    subject: &Subject,
    acknowledged: &[Sequence],
    round: u64,
) -> u64 {
    let Some(verified) = store.verify(subject, Level::Hash, None).await.expect("read") else {
        assert!(acknowledged.is_empty(), "round {round}: a whole chain is lost");
        return 0;
    };
    let report = verified.report;
    // What is absent and no checkpoint names would be a finding.
    assert!(report.is_sound(), "round {round}: {:?}", report.findings);
    for (n, sequence) in acknowledged.iter().rev().enumerate() {
        let row = store.segment(subject, *sequence).await.expect("read");
        let has_expired =
            report.absences.iter().any(|a| a.first <= *sequence && *sequence <= a.last);
        assert!(
            row.is_some() || (has_expired && n >= NEVER_EXPIRED),
            "round {round}: {sequence:?} was acknowledged and is lost"
        );
    }
    report.segments
}
