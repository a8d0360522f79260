//! File systems of their own, each in a file: they lose power, fill up, refuse writes, and are pulled out.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{program, skip};

/// Whoever used the disk was killed a moment ago, or has a segment open.
const BUSY: Duration = Duration::from_secs(20);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// XFS, of 300 MiB at least.
    Xfs,
    /// ext4, which goes read-only after an error.
    Ext4,
}

impl FileSystem {
    const fn maker(self) -> &'static str {
        match self {
            Self::Xfs => "mkfs.xfs",
            Self::Ext4 => "mkfs.ext4",
        }
    }
}

/// A mounted file system. Gone with its value, whatever lies on it.
#[derive(Debug)]
pub struct Disk {
    file_system: FileSystem,
    image: PathBuf,
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    /// Makes and mounts one of so many MiB. `None`, said aloud, where that is not possible: it takes root,
    /// loop devices, and the programs of the file system. `TEST_REQUIRE_DISKS=1` makes that a failure.
    ///
    /// # Panics
    /// When it is required, or this machine's temporary folder cannot be used.
    #[must_use]
    pub fn new(file_system: FileSystem, mebibytes: u64) -> Option<Self> {
        match Self::make(file_system, mebibytes) {
            Ok(disk) => Some(disk),
            Err(why) => {
                skip(&why, "TEST_REQUIRE_DISKS");
                None
            }
        }
    }

    fn make(file_system: FileSystem, mebibytes: u64) -> Result<Self, String> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !is_root {
            return Err("file systems are mounted by root alone".to_owned());
        }
        for name in [file_system.maker(), "xfs_io", "mount", "umount", "findmnt", "losetup"] {
            if program(name).is_none() {
                return Err(format!("{name} is not installed; `cargo xtask setup` installs it"));
            }
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        let file = File::create(&image).expect("own file");
        file.set_len(mebibytes << 20).expect("a file with holes");
        fs::create_dir(&at).expect("own folder");
        let quiet: &[&str] = match file_system {
            FileSystem::Xfs => &["-q"],
            // Nothing is kept back for root, who fills it.
            FileSystem::Ext4 => &["-q", "-F", "-m", "0"],
        };
        run(file_system.maker(), &[quiet, &[text(&image)]].concat())?;
        let disk = Self { file_system, image, at, _dir: dir };
        disk.try_mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// A folder on it, whose name outlives a loss of power from the beginning.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.at.join(name);
        fs::create_dir(&folder).expect("a folder on the disk");
        File::open(&self.at).and_then(|at| at.sync_all()).expect("synced");
        folder
    }

    /// Nothing reaches the disk any more, and what had not been synced is lost.
    ///
    /// # Panics
    /// When the file system cannot be shut down.
    pub fn lose_power(&self) {
        let foreign: &[&str] = match self.file_system {
            FileSystem::Xfs => &[],
            FileSystem::Ext4 => &["-F"],
        };
        must("xfs_io", &[foreign, &["-x", "-c", "shutdown", text(&self.at)]].concat());
    }

    /// The power is back: the file system is mounted as it was left. Nobody may have anything on it open.
    ///
    /// # Panics
    /// When it is in use, or cannot be mounted again.
    pub fn power_back(&self) {
        let begin = Instant::now();
        while let Err(why) = run("umount", &[text(&self.at)]) {
            assert!(begin.elapsed() < BUSY, "{why}");
            thread::park_timeout(Duration::from_millis(50));
        }
        self.put_in();
    }

    /// It is gone for whoever looks, though files on it may still be open.
    ///
    /// # Panics
    /// When it cannot be unmounted.
    pub fn pull_out(&self) {
        must("umount", &["-l", text(&self.at)]);
    }

    /// Mounts it again, once nobody has anything on it open any more: else there would be two of it.
    ///
    /// # Panics
    /// When somebody keeps something open, or it cannot be mounted.
    pub fn put_in(&self) {
        let begin = Instant::now();
        while !must("losetup", &["-j", text(&self.image)]).trim().is_empty() {
            assert!(begin.elapsed() < BUSY, "something on {} is still open", self.at.display());
            thread::park_timeout(Duration::from_millis(50));
        }
        self.try_mount().unwrap_or_else(|why| panic!("{why}"));
    }

    /// What the kernel makes of an error that it cannot write around: no writes any more. ext4 alone.
    ///
    /// # Panics
    /// When the kernel takes no such wish.
    pub fn break_to_read_only(&self) {
        let source = must("findmnt", &["-n", "-o", "SOURCE", text(&self.at)]);
        let name = source.trim().trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").expect("an error");
    }

    /// Somebody else's file takes what is left, to the last block.
    ///
    /// # Panics
    /// When there is no room for its name.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("foreign");
        let mut file = File::create(&path).expect("a name");
        let block = vec![0; 64 << 10];
        while file.write_all(&block).is_ok() {}
        // That it does not fit any more is what is wanted.
        let _ = file.sync_all();
        path
    }

    fn try_mount(&self) -> Result<(), String> {
        let options = match self.file_system {
            FileSystem::Xfs => "loop",
            FileSystem::Ext4 => "loop,errors=remount-ro",
        };
        run("mount", &["-o", options, text(&self.image), text(&self.at)]).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever a failed test has left open. One that is not mounted is as it should be.
        let _ = run("umount", &["-l", text(&self.at)]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

fn must(name: &str, arguments: &[&str]) -> String {
    run(name, arguments).unwrap_or_else(|why| panic!("{why}"))
}

/// What a program says, or why it failed.
fn run(name: &str, arguments: &[&str]) -> Result<String, String> {
    let path = program(name).ok_or_else(|| format!("{name} is not installed"))?;
    let output = Command::new(path).args(arguments).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{name} {}: {errors}", arguments.join(" ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
