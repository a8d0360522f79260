//! Tests that need to break steps, or to see the index.

mod begun;
mod crash;
mod expiry;
pub(crate) mod film;
mod proof;
mod size;
mod states;
mod timeline;

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use sightline_recording::statement::{BootId, Causes};

use crate::{
    Acknowledged, ChainWriter, Key, Level, Limits, RepairReport, Setup, Store, StoreError,
    files::Steps,
};
use film::{Film, Shot};

/// Breaks a step and all that come after it, as a crash does; or makes steps wait.
#[derive(Debug)]
pub(crate) struct Plan {
    left: AtomicU64,
    broke: AtomicBool,
    waits: Mutex<bool>,
    goes_on: Condvar,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            left: AtomicU64::new(u64::MAX),
            broke: AtomicBool::new(false),
            waits: Mutex::new(false),
            goes_on: Condvar::new(),
        }
    }
}

impl Plan {
    pub(crate) fn take(&self, step: &'static str) -> io::Result<()> {
        let mut waits = self.waits.lock();
        while *waits {
            self.goes_on.wait(&mut waits);
        }
        let count = |left: u64| (left != u64::MAX).then(|| left.saturating_sub(1));
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(0) => {
                self.broke.store(true, Ordering::Relaxed);
                Err(io::Error::other(step))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// So many steps are taken from now on.
    fn break_after(&self, steps: u64) {
        self.left.store(steps, Ordering::Relaxed);
    }

    /// Whether a step was refused.
    fn broke(&self) -> bool {
        self.broke.load(Ordering::Relaxed)
    }

    fn hold(&self, hold: bool) {
        *self.waits.lock() = hold;
        self.goes_on.notify_all();
    }
}

fn limits() -> Limits {
    Limits { reserve_bytes: 0, probe_every: Duration::from_millis(50), ..Limits::default() }
}

async fn open(dir: &Path, limits: Limits, steps: Steps) -> (Store, RepairReport) {
    let setup = Setup { dir: dir.into(), limits, key: film::key() };
    Store::open_with(setup, steps).await.expect("opened")
}

async fn reopen(dir: &Path) -> (Store, RepairReport) {
    open(dir, limits(), Steps::default()).await
}

/// Hands a whole segment in.
async fn write(writer: &mut ChainWriter, shot: &Shot) -> Result<Acknowledged, StoreError> {
    writer.open_segment(shot.opening)?;
    for bytes in &shot.parts {
        writer.append(bytes.clone())?;
    }
    writer.close_segment(shot.draft, Causes::default())?.wait().await
}

/// A store with one chain of `n` segments, a second each.
async fn filmed(dir: &Path, n: usize) -> (Store, ChainWriter, Film) {
    let (store, _) = reopen(dir).await;
    let mut writer = store.writer(&film::subject(0)).await.expect("lent");
    let mut film = Film::new(BootId(1), film::START_US);
    for _ in 0..n {
        write(&mut writer, &film.shoot()).await.expect("acknowledged");
    }
    (store, writer, film)
}

/// Every file has a row, and files, index and chain agree.
async fn check_sound(store: &Store, dir: &Path) {
    let (mut files, mut rows) = (0, 0);
    for subject in store.subjects() {
        let verified = store.verify(&subject, Level::Hash, None).await.expect("verified");
        let report = verified.expect("a chain").report;
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!(report.segments, report.files_hashed);
        rows += report.segments;
    }
    for path in film::files_below(&dir.join("segments")) {
        assert_eq!(path.extension().and_then(|e| e.to_str()), Some("mp4"), "{path:?}");
        files += 1;
    }
    assert_eq!(files, rows, "files without rows");
}
