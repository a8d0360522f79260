//! The folder beside an export in which its segments lie until all of them are there.
//!
//! | file | what |
//! |---|---|
//! | `sightline-export` | says that the folder is ours; locked while a `cu` works in it |
//! | `HASH.mp4` | a segment, by the hash that the recorder has signed |
//! | `HASH.mp4.begun` | as much of one as has come |
//! | `export.mp4`, `export.proof.json` | the export, while it is made |
//!
//! The hash in the names keeps apart what the unit calls by one name: segment 17 of two cameras, of
//! two tiers, or of two chains.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use sightline_recording::statement::Digest;

use super::cannot;
use crate::error::CuError;

const MARKER: &str = "sightline-export";
const MARKER_WORDS: &[u8] =
    b"cu record export keeps here what it has fetched. The same command goes on with it.\n";
const FILM: &str = "export.mp4";
const PROOF: &str = "export.proof.json";
const SEGMENT_SUFFIX: &str = ".mp4";
const BEGUN_SUFFIX: &str = ".begun";

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Open and locked as long as this runs; none: the folder has not been made yet.
    marker: Option<File>,
    /// Segments that lie here with the very bytes that were signed.
    whole: HashSet<Digest>,
    fetched: u64,
}

impl Folder {
    /// Looks at what an earlier run has left, and hashes it: there is no time for that between two
    /// requests, of which the unit awaits the second for seconds only.
    ///
    /// # Errors
    /// When what is there is not ours, or another `cu` works in it.
    pub fn find(path: PathBuf) -> Result<Self, CuError> {
        let mut folder = Self { path, marker: None, whole: HashSet::new(), fetched: 0 };
        match fs::symlink_metadata(&folder.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(folder),
            Err(e) => return Err(cannot("read", &folder.path, &e)),
            Ok(stat) if !stat.is_dir() => return Err(folder.foreign()),
            Ok(_) => {}
        }
        if fs::symlink_metadata(folder.path.join(MARKER)).is_ok_and(|stat| stat.is_file()) {
            folder.lock()?;
            folder.look()?;
        } else {
            folder.check_empty()?;
        }
        Ok(folder)
    }

    /// Makes it, when it is not there yet.
    ///
    /// # Errors
    /// When it cannot be made, or something of somebody else's has come there.
    pub fn make(&mut self) -> Result<(), CuError> {
        if self.marker.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.path).map_err(|e| cannot("make", &self.path, &e))?;
        self.check_empty()?;
        self.lock()
    }

    /// Bytes that came in this run.
    pub const fn fetched(&self) -> u64 {
        self.fetched
    }

    /// Counts bytes that came.
    pub const fn count(&mut self, bytes: u64) {
        self.fetched += bytes;
    }

    /// Whether a segment is here.
    pub fn has(&self, content: Digest) -> bool {
        self.whole.contains(&content)
    }

    /// Where a segment lies, or will.
    pub fn segment(&self, content: Digest) -> PathBuf {
        self.path.join(format!("{content}{SEGMENT_SUFFIX}"))
    }

    /// Where that of a segment lies which has come so far.
    pub fn begun(&self, content: Digest) -> PathBuf {
        self.path.join(format!("{content}{SEGMENT_SUFFIX}{BEGUN_SUFFIX}"))
    }

    /// Takes what was begun for the segment, whose bytes the caller has checked.
    ///
    /// # Errors
    /// When the file system refuses.
    pub async fn keep(&mut self, content: Digest) -> Result<(), CuError> {
        let whole = self.segment(content);
        let kept = tokio::fs::rename(self.begun(content), &whole).await;
        kept.map_err(|e| cannot("write", &whole, &e))?;
        self.whole.insert(content);
        Ok(())
    }

    /// Where the film is made.
    pub fn film(&self) -> PathBuf {
        self.path.join(FILM)
    }

    /// Where the proof is made.
    pub fn proof(&self) -> PathBuf {
        self.path.join(PROOF)
    }

    /// Removes what is ours, and the folder with it.
    ///
    /// # Errors
    /// When the file system refuses: also when there is something else in it, which stays.
    pub fn remove(self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_ours) {
                fs::remove_file(entry.path())?;
            }
        }
        // Last: without it what is left would be nobody's.
        fs::remove_file(self.path.join(MARKER))?;
        fs::remove_dir(&self.path)
    }

    /// Ends the work before the export is made: what can be gone on with stays.
    pub fn leave(self) {
        if self.marker.is_none() {
            return;
        }
        let names = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let bare = names.map(|entry| entry.file_name()).all(|name| name == MARKER);
        if bare && let Err(error) = self.remove() {
            tracing::debug!(%error, "an empty folder is left");
        }
    }

    fn check_empty(&self) -> Result<(), CuError> {
        let mut inside = fs::read_dir(&self.path).map_err(|e| cannot("read", &self.path, &e))?;
        if inside.next().is_some() { Err(self.foreign()) } else { Ok(()) }
    }

    fn foreign(&self) -> CuError {
        CuError::usage(format!(
            "{} is needed to keep what is fetched, and it is something else; say --out FILE",
            self.path.display()
        ))
    }

    fn lock(&mut self) -> Result<(), CuError> {
        let path = self.path.join(MARKER);
        let failed = |e: io::Error| cannot("write", &path, &e);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let mut marker = opened.map_err(failed)?;
        match marker.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(CuError::other(format!(
                    "another cu is fetching into {}; wait for it, or say --out FILE",
                    self.path.display()
                )));
            }
            // There are file systems that know no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if marker.metadata().map_err(failed)?.len() == 0 {
            marker.write_all(MARKER_WORDS).map_err(failed)?;
        }
        self.marker = Some(marker);
        Ok(())
    }

    fn look(&mut self) -> Result<(), CuError> {
        let entries = fs::read_dir(&self.path).map_err(|e| cannot("read", &self.path, &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| cannot("read", &self.path, &e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_segment(name)) else { continue };
            let path = entry.path();
            let content = hash_of(&path).map_err(|e| cannot("read", &path, &e))?;
            if name == format!("{content}{SEGMENT_SUFFIX}") {
                self.whole.insert(content);
            } else {
                // The disk has lost what it held.
                fs::remove_file(&path).map_err(|e| cannot("remove", &path, &e))?;
            }
        }
        Ok(())
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn hash_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Whether a name is that of a file which was put here, other than the marker.
fn is_ours(name: &str) -> bool {
    name == FILM || name == PROOF || is_segment(name.strip_suffix(BEGUN_SUFFIX).unwrap_or(name))
}

fn is_segment(name: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    name.strip_suffix(SEGMENT_SUFFIX).is_some_and(|hash| hash.len() == 64 && hash.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    #[tokio::test]
    async fn what_was_fetched_before_is_known_again_and_what_was_spoilt_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("garden.mp4.part");
        let mut folder = Folder::find(path.clone()).expect("nothing is there");
        assert!(!path.exists(), "it is made when there is something to keep");
        folder.make().expect("made");
        for bytes in [&b"one"[..], b"two", b"three"] {
            fs::write(folder.begun(digest(bytes)), bytes).expect("written");
            folder.keep(digest(bytes)).await.expect("kept");
            assert!(folder.has(digest(bytes)));
        }
        fs::write(folder.segment(digest(b"two")), b"twO").expect("written");
        fs::write(folder.begun(digest(b"four")), b"fo").expect("written");
        folder.leave();

        let folder = Folder::find(path.clone()).expect("ours");
        assert!(folder.has(digest(b"one")) && folder.has(digest(b"three")));
        assert!(!folder.has(digest(b"two")) && !folder.segment(digest(b"two")).exists());
        assert_eq!(fs::read(folder.begun(digest(b"four"))).expect("left"), b"fo");
        folder.remove().expect("all of it is ours");
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_ours_is_neither_taken_nor_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("garden.mp4.part");
        fs::create_dir(&path).expect("made");
        let note = path.join("note.txt");
        fs::write(&note, b"mine").expect("written");
        let refused = Folder::find(path.clone()).expect_err("somebody else's");
        assert_eq!(refused.exit, Exit::Usage);
        fs::remove_file(&note).expect("there");

        let mut folder = Folder::find(path.clone()).expect("empty");
        fs::write(&note, b"mine").expect("written");
        assert_eq!(folder.make().expect_err("meanwhile").exit, Exit::Usage);
        fs::remove_file(&note).expect("there");
        folder.make().expect("empty again");
        fs::write(&note, b"mine").expect("written");
        folder.remove().expect_err("not empty");
        assert_eq!(fs::read(&note).expect("left"), b"mine");

        let file = dir.path().join("file.part");
        fs::write(&file, b"mine").expect("written");
        assert_eq!(Folder::find(file).expect_err("a file").exit, Exit::Usage);
    }

    #[test]
    fn one_at_a_time_works_in_a_folder_and_a_bare_one_does_not_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("garden.mp4.part");
        let mut folder = Folder::find(path.clone()).expect("nothing is there");
        folder.make().expect("made");
        let refused = Folder::find(path.clone()).expect_err("two would mix their bytes");
        assert_eq!(refused.exit, Exit::Other);
        folder.leave();
        assert!(!path.exists(), "nothing had come");
    }
}
