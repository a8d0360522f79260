//! A wall clock that jumps, for one process: libfaketime. Its monotonic clocks go on as they are, as on a
//! machine whose clock somebody sets.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::skip;

/// Part of Debian's package `libfaketime`: the one for programs of several threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of one process.
#[derive(Debug)]
pub struct JumpingClock {
    library: PathBuf,
    setting: PathBuf,
}

impl JumpingClock {
    /// A clock that is right until it is set; its setting lies in `folder`. `None`, said aloud, where there is
    /// no libfaketime; `TEST_FAKETIME` names one elsewhere, and `TEST_REQUIRE_CLOCKS=1` makes that a
    /// failure.
    ///
    /// # Panics
    /// When it is required, or the folder cannot be used.
    #[must_use]
    pub fn new(folder: &Path) -> Option<Self> {
        let Some(library) = library() else {
            let why = "libfaketime is not installed; `cargo xtask setup` installs it";
            skip(why, "TEST_REQUIRE_CLOCKS");
            return None;
        };
        let clock = Self { library, setting: folder.join("clock") };
        clock.set(0);
        Some(clock)
    }

    /// What the process is to be started with.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let yes = || "1".to_owned();
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.setting.display().to_string()),
            ("FAKETIME_NO_CACHE", yes()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", yes()),
            ("NO_FAKE_STAT", yes()),
        ]
    }

    /// Sets it: from now on it is so many seconds ahead of the machine's.
    ///
    /// # Panics
    /// When the setting cannot be written.
    pub fn set(&self, ahead_s: i64) {
        // Never half of it: the process reads it all the time.
        let new = self.setting.with_extension("new");
        fs::write(&new, format!("{ahead_s:+}\n")).expect("own folder");
        fs::rename(&new, &self.setting).expect("own folder");
    }
}

fn library() -> Option<PathBuf> {
    if let Some(named) = env::var_os("TEST_FAKETIME").map(PathBuf::from) {
        assert!(named.is_file(), "there is no libfaketime at {}", named.display());
        return Some(named);
    }
    // Debian has a folder for each kind of machine.
    let kinds = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|kind| kind.path());
    let others = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    kinds.chain(others).map(|folder| folder.join(LIBRARY)).find(|path| path.is_file())
}
