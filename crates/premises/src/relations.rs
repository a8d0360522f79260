//! Which NVR records which camera (A8.7.2), as the centre has told this device, through restarts.
//!
//! A PU admits an NVR's ticket only while its relation stands here; an NVR records what stands here. The
//! list is replaced whole. What cannot be read counts as empty: then nobody is let in by it, and nothing
//! is taken, until the centre has spoken.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use sightline_model::{ChannelId, PuId};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{FIRST_RELATED, MAX_RELATIONS, Relations},
};
use sightline_service_kit::config::write_private;
use tokio::sync::watch;

/// The file in the device's data folder.
const FILE: &str = "relations.json";
/// Longest file that is read: the most relations take a tenth of it.
const MAX_LEN: u64 = 1 << 20;

/// How the centre told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// With the registration: they hold, whatever was before.
    ByRegistration,
    /// By a request, which may have been overtaken by a later one.
    ByRequest,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RelationBook {
    file: Option<PathBuf>,
    held: Arc<watch::Sender<Relations>>,
}

impl RelationBook {
    /// What an earlier run kept in the device's data folder.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let held = read(&file).unwrap_or_else(|why| {
            tracing::error!(why, "the kept relations are not used; the centre will tell them");
            Relations::default()
        });
        Self { file: Some(file), held: Arc::new(watch::Sender::new(held)) }
    }

    /// An empty one that is kept nowhere.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { file: None, held: Arc::default() }
    }

    /// The centre tells all relations. Returns the revision that holds now.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidRequest`] when they cannot be; [`ProblemKind::Internal`] when they hold, but
    /// could not be kept for the next start.
    pub fn told(&self, relations: Relations, how: Told) -> Result<u64, Problem> {
        check(&relations)?;
        let mut revision = relations.revision;
        let changed = self.held.send_if_modified(|held| {
            if how == Told::ByRequest && relations.revision < held.revision {
                revision = held.revision;
                return false;
            }
            let changed = *held != relations;
            if changed {
                held.clone_from(&relations);
            }
            changed
        });
        if !changed {
            return Ok(revision);
        }
        let (records, recorded_by) = (relations.records.len(), relations.recorded_by.len());
        tracing::info!(revision, records, recorded_by, "the relations have changed");
        self.keep(&relations)?;
        Ok(revision)
    }

    /// Whether `nvr` may take the stream of this device's camera.
    #[must_use]
    pub fn allows(&self, nvr: &PuId, channel: ChannelId) -> bool {
        self.held.borrow().allow(nvr, channel)
    }

    /// The relations, and their changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Relations> {
        self.held.subscribe()
    }

    fn keep(&self, relations: &Relations) -> Result<(), Problem> {
        let Some(file) = &self.file else { return Ok(()) };
        let kept = serde_json::to_vec(relations)
            .map_err(std::io::Error::from)
            .and_then(|text| write_private(file, &text));
        kept.map_err(|error| {
            tracing::error!(%error, "the relations cannot be kept for the next start");
            let why = "the relations hold now, but could not be kept for the next start";
            Problem::new(ProblemKind::Internal, why)
        })
    }
}

/// Refuses what the centre cannot mean.
fn check(relations: &Relations) -> Result<(), Problem> {
    let wrong = |why: &str| Err(Problem::new(ProblemKind::InvalidRequest, why));
    let Relations { records, recorded_by, .. } = relations;
    if records.len() > MAX_RELATIONS || recorded_by.len() > MAX_RELATIONS {
        return wrong("there are too many relations");
    }
    for (n, related) in records.iter().enumerate() {
        if !related.camera.pu.matches(&related.device_key) {
            return wrong("a related camera's key is not that of its device");
        }
        if related.channel < FIRST_RELATED {
            return wrong("a related camera's number is one of this device's own");
        }
        let mut before = records[..n].iter();
        if before.any(|of| of.channel == related.channel || of.camera == related.camera) {
            return wrong("a camera or a number stands twice among the relations");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Relations, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Relations::default()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_LEN {
        return Err("the file is too long".into());
    }
    let relations = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    check(&relations).map_err(|problem| problem.detail)?;
    Ok(relations)
}

#[cfg(test)]
mod tests {
    use sightline_model::{CameraId, PublicKey};
    use sightline_protocol::ps::{RelatedCamera, RelatedNvr};

    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn related(n: u8, channel: u16) -> RelatedCamera {
        let camera = CameraId { pu: PuId::from_public_key(&key(n)), channel: ChannelId(0) };
        let channel = ChannelId(channel);
        RelatedCamera { camera, channel, name: "Yard".into(), device_key: key(n) }
    }

    fn to_pu(revision: u64, nvrs: &[u8]) -> Relations {
        let nvr =
            |n: &u8| RelatedNvr { nvr: PuId::from_public_key(&key(*n)), channel: ChannelId(0) };
        let recorded_by = nvrs.iter().map(nvr).collect();
        Relations { revision, recorded_by, ..Relations::default() }
    }

    #[test]
    fn what_was_told_outlives_a_restart_and_an_older_request_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let book = RelationBook::open(dir.path());
        let nvr = PuId::from_public_key(&key(9));
        assert!(!book.allows(&nvr, ChannelId(0)));
        assert_eq!(book.told(to_pu(4, &[9]), Told::ByRequest), Ok(4));
        assert!(book.allows(&nvr, ChannelId(0)) && !book.allows(&nvr, ChannelId(1)));
        assert_eq!(book.told(to_pu(3, &[]), Told::ByRequest), Ok(4), "an older one");
        let book = RelationBook::open(dir.path());
        assert!(book.allows(&nvr, ChannelId(0)), "forgotten");
        // A centre that was set up anew counts from the beginning.
        assert_eq!(book.told(to_pu(1, &[]), Told::ByRegistration), Ok(1));
        assert!(!book.allows(&nvr, ChannelId(0)), "withdrawn");
        assert!(!RelationBook::open(dir.path()).allows(&nvr, ChannelId(0)));
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let book = RelationBook::in_memory();
        let records = |records| Relations { revision: 7, records, ..Relations::default() };
        let stranger = RelatedCamera { device_key: key(3), ..related(1, 1_000) };
        for bad in [
            records(vec![related(1, 999)]),
            records(vec![stranger]),
            records(vec![related(1, 1_000), related(2, 1_000)]),
            records(vec![related(1, 1_000), related(1, 1_001)]),
            to_pu(7, &[9; MAX_RELATIONS + 1]),
        ] {
            let problem = book.told(bad, Told::ByRegistration).expect_err("it cannot be");
            assert_eq!(problem.kind, ProblemKind::InvalidRequest);
        }
        assert_eq!(*book.watch().borrow(), Relations::default());
        let good = records(vec![related(1, 1_000), related(2, 1_001)]);
        assert_eq!(book.told(good, Told::ByRequest), Ok(7));
    }

    #[test]
    fn what_is_damaged_lets_nobody_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let book = RelationBook::open(dir.path());
        book.told(to_pu(4, &[9]), Told::ByRequest).expect("kept");
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).expect("there");
        for bad in [&b""[..], b"[", &good[..good.len() / 2]] {
            std::fs::write(&path, bad).expect("own file");
            let nvr = PuId::from_public_key(&key(9));
            assert!(!RelationBook::open(dir.path()).allows(&nvr, ChannelId(0)));
        }
    }
}
