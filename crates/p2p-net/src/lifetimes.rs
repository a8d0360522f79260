//! How long mappings live in the networks where this machine has been, kept on disk.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sightline_p2p::NetworkId;

/// Networks that are remembered; the oldest knowledge goes first.
const MAX_NETWORKS: usize = 64;

/// The memory; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    path: Option<PathBuf>,
    known: Mutex<Kept>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// Newest knowledge last.
    networks: Vec<Known>,
}

impl Kept {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    fn put(&mut self, new: Known) {
        self.networks.retain(|k| k.network != new.network);
        self.networks.push(new);
        let over = self.networks.len().saturating_sub(MAX_NETWORKS);
        self.networks.drain(..over);
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    network: u64,
    lifetime_ms: u64,
}

impl Lifetimes {
    /// What the file says; nothing, where there is none or it is damaged: it will be learned anew.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let known = Mutex::new(Kept::read(path).unwrap_or_default());
        Self { shared: Arc::new(Shared { path: Some(path.to_owned()), known }) }
    }

    /// All that is known.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NetworkId, Duration> {
        let known = self.shared.known.lock();
        let pair = |k: &Known| (NetworkId(k.network), Duration::from_millis(k.lifetime_ms));
        known.networks.iter().map(pair).collect()
    }

    /// Takes what was learned, and writes the file. Blocks for the write.
    ///
    /// # Errors
    /// When the file cannot be written; it is known until the end of the process all the same.
    pub fn learned(&self, network: NetworkId, lifetime: Duration) -> std::io::Result<()> {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let new = Known { network: network.0, lifetime_ms };
        self.shared.known.lock().put(new);
        let Some(path) = &self.shared.path else { return Ok(()) };
        // Whoever writes holds the lock, in whatever process: the file that is locked is never
        // replaced, and what others have learned meanwhile stays.
        let lock = File::options().create(true).append(true).open(path.with_extension("lock"))?;
        lock.lock()?;
        let mut kept = Kept::read(path).unwrap_or_default();
        kept.put(new);
        let bytes = serde_json::to_vec(&kept)?;
        // A reader sees the old file or the new.
        let temporary = path.with_extension(format!("new{}", std::process::id()));
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_known_to_the_next_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("networks.json");
        let lifetimes = Lifetimes::open(&path);
        assert!(lifetimes.all().is_empty());
        for i in 0..100 {
            lifetimes.learned(NetworkId(i), Duration::from_secs(50 + i)).expect("written");
        }
        lifetimes.learned(NetworkId(60), Duration::from_secs(1)).expect("written");
        let again = Lifetimes::open(&path).all();
        assert_eq!(again.len(), MAX_NETWORKS);
        assert_eq!(again.get(&NetworkId(60)), Some(&Duration::from_secs(1)));
        std::fs::write(&path, b"{").expect("written");
        assert!(Lifetimes::open(&path).all().is_empty());
    }

    #[test]
    fn what_many_learn_at_once_is_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("networks.json");
        // Each with a memory of its own, as processes have.
        std::thread::scope(|scope| {
            for process in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let lifetimes = Lifetimes::open(path);
                    for i in 0..8 {
                        let network = NetworkId(process * 8 + i);
                        lifetimes.learned(network, Duration::from_secs(50)).expect("written");
                    }
                });
            }
        });
        assert_eq!(Lifetimes::open(&path).all().len(), 64);
    }
}
