//! A file system of its own in a file. For root only.

#![expect(dead_code, reason = "each of the tests that mount uses a part of this, none all")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    Xfs,
    Ext4,
}

/// Unmounted and removed when it goes.
pub struct Loop {
    file_system: FileSystem,
    image: PathBuf,
    at: PathBuf,
    _dir: tempfile::TempDir,
}

pub fn run(program: &str, args: &[&str]) -> bool {
    let out = Command::new(program).args(args).output().expect("installed");
    if !out.status.success() {
        eprintln!("{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    out.status.success()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("utf-8")
}

impl Loop {
    pub fn new(file_system: FileSystem, mebibytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        let file = std::fs::File::create(&image).expect("made");
        file.set_len(mebibytes << 20).expect("sparse");
        std::fs::create_dir(&at).expect("made");
        let made = match file_system {
            FileSystem::Xfs => run("mkfs.xfs", &["-q", text(&image)]),
            FileSystem::Ext4 => run("mkfs.ext4", &["-q", "-F", text(&image)]),
        };
        assert!(made, "no file system was made");
        Self { file_system, image, at, _dir: dir }
    }

    pub fn at(&self) -> &Path {
        &self.at
    }

    pub fn mount(&self) -> &Path {
        let options = match self.file_system {
            FileSystem::Xfs => "loop",
            FileSystem::Ext4 => "loop,errors=remount-ro",
        };
        assert!(run("mount", &["-o", options, text(&self.image), text(&self.at)]), "not mounted");
        &self.at
    }

    pub fn unmount(&self) {
        assert!(run("umount", &[text(&self.at)]), "not unmounted");
    }

    /// As pulling a disk out does: it is gone for whoever looks, though files may still be open.
    pub fn unmount_lazily(&self) {
        assert!(run("umount", &["-l", text(&self.at)]), "not unmounted");
    }

    /// What the kernel does after an error that it cannot write around.
    pub fn break_to_read_only(&self) {
        let found = Command::new("findmnt").args(["-n", "-o", "SOURCE", text(&self.at)]).output();
        let source = String::from_utf8(found.expect("installed").stdout).expect("utf-8");
        let name = source.trim().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").expect("an error");
    }

    /// Nothing reaches the disk any more, and what had not been synced is lost.
    pub fn lose_power(&self) {
        let foreign: &[&str] = match self.file_system {
            FileSystem::Xfs => &[],
            FileSystem::Ext4 => &["-F"],
        };
        let args = [foreign, &["-x", "-c", "shutdown", text(&self.at)]].concat();
        assert!(run("xfs_io", &args), "no shutdown");
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Whatever a failed test left mounted.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}
