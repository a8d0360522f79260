//! Where files lie, and the few steps on them that must be durable.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sightline_recording::statement::ChainId;

/// Files in one folder.
pub(crate) const FILES_PER_FOLDER: u64 = 1000;
const SUFFIX: &str = ".mp4";
const PART_SUFFIX: &str = ".mp4.part";

/// The store's folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// A file that bears one of the store's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FoundFile {
    pub(crate) number: u64,
    pub(crate) is_part: bool,
}

impl Layout {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.sqlite3")
    }

    pub(crate) fn probe(&self) -> PathBuf {
        self.root.join(".probe")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join(".ballast")
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(crate) fn chain(&self, chain: ChainId) -> PathBuf {
        self.segments().join(chain.to_string())
    }

    pub(crate) fn file(&self, chain: ChainId, number: u64) -> PathBuf {
        self.named(chain, number, SUFFIX)
    }

    pub(crate) fn part(&self, chain: ChainId, number: u64) -> PathBuf {
        self.named(chain, number, PART_SUFFIX)
    }

    fn named(&self, chain: ChainId, number: u64, suffix: &str) -> PathBuf {
        let folder = format!("{:04}", number / FILES_PER_FOLDER);
        self.chain(chain).join(folder).join(format!("{number:07}{suffix}"))
    }

    /// The store's files of a chain in rising order, and how many others were seen beside them;
    /// only in the folder of the file `from` and those behind it.
    pub(crate) fn list(&self, chain: ChainId, from: u64) -> io::Result<(Vec<FoundFile>, u64)> {
        let (mut found, mut others) = (Vec::new(), 0);
        for folder in entries(&self.chain(chain))? {
            let number = folder.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            let Some(number) = number.filter(|_| folder.path().is_dir()) else {
                others += 1;
                continue;
            };
            if number < from / FILES_PER_FOLDER {
                continue;
            }
            for file in entries(&folder.path())? {
                match file.file_name().to_str().and_then(parse) {
                    // A name in the wrong folder is not of the store's making.
                    Some(one)
                        if file.path() == self.file(chain, one.number)
                            || file.path() == self.part(chain, one.number) =>
                    {
                        found.push(one);
                    }
                    _ => others += 1,
                }
            }
        }
        found.sort_unstable();
        Ok((found, others))
    }
}

/// Number and kind in a name such as `0000017.mp4.part`.
fn parse(name: &str) -> Option<FoundFile> {
    let (digits, is_part) = match name.strip_suffix(PART_SUFFIX) {
        Some(digits) => (digits, true),
        None => (name.strip_suffix(SUFFIX)?, false),
    };
    let plain = digits.len() >= 7 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().map(|number| FoundFile { number, is_part })
}

/// What a folder holds; nothing when it is missing.
pub(crate) fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a folder and those above it up to `root`, durably.
pub(crate) fn make_dirs(root: &Path, dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent().filter(|_| dir != root) else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    make_dirs(root, parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(parent),
    }
}

/// Removes a file; one that is gone already is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Space that is left for us on the file system of `dir`, in bytes.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Size of a folder's file system, in bytes.
pub(crate) fn capacity_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Which file a path names now: whoever opened it before can tell whether it is still that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let stat = fs::metadata(path)?;
        Ok(Self { device: stat.dev(), inode: stat.ino() })
    }
}

/// Whether another file system is mounted at `dir`.
pub(crate) fn is_mount_point(dir: &Path) -> bool {
    let parent = dir.canonicalize().ok().and_then(|d| d.parent().map(Path::to_path_buf));
    match (fs::metadata(dir), parent.map(fs::metadata)) {
        (Ok(own), Some(Ok(above))) => own.dev() != above.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_its_own_making_are_known() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(dir.path().into());
        let chain = ChainId([7; 16]);
        let known =
            [layout.file(chain, 2), layout.part(chain, 1003), layout.file(chain, 12_345_678)];
        let strange = [
            layout.chain(chain).join("0000/notes.txt"),
            layout.chain(chain).join("0000/0001002.mp4"),
            layout.chain(chain).join("0000/3.mp4"),
            layout.chain(chain).join("0000/+000003.mp4"),
            layout.chain(chain).join("0000/0000003.mp4.part.bak"),
            layout.chain(chain).join("0000003.mp4"),
        ];
        for path in known.iter().chain(&strange) {
            make_dirs(dir.path(), path.parent().expect("below the root")).expect("made");
            fs::write(path, b"x").expect("written");
        }
        let (found, others) = layout.list(chain, 0).expect("listed");
        let numbers: Vec<_> = found.iter().map(|f| (f.number, f.is_part)).collect();
        assert_eq!(numbers, [(2, false), (1003, true), (12_345_678, false)]);
        assert_eq!(others, strange.len() as u64);
        let (newest, _) = layout.list(chain, 1_999).expect("listed");
        assert_eq!(newest.len(), 2);
        assert_eq!(layout.list(ChainId([8; 16]), 0).expect("listed"), (vec![], 0));
    }

    #[test]
    fn folders_are_never_made_above_the_root() {
        let dir = tempfile::tempdir().expect("a folder");
        let gone = dir.path().join("gone");
        assert!(make_dirs(&gone, &gone.join("segments")).is_err());
        assert!(!gone.exists());
    }
}
