//! A segment's file while it grows, and the durable steps at its end. All of this blocks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::PathBuf,
};

use sha2::{Digest as _, Sha256};
use sightline_recording::statement::{ChainId, Digest};

use crate::layout::{FILES_PER_FOLDER, FoundFile, Layout, make_dirs, remove, sync_dir};

/// Read at once while hashing.
const CHUNK: usize = 256 << 10;
/// What is given up when somebody else has taken the last block: the index needs a little room itself to let
/// recordings go.
pub(crate) const BALLAST_BYTES: u64 = 1 << 20;

/// What the tests break: each step asks before it is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    #[cfg(test)]
    pub(crate) plan: std::sync::Arc<crate::tests::Plan>,
}

impl Steps {
    #[cfg(not(test))]
    pub(crate) const fn take(&self, _step: &'static str) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn take(&self, step: &'static str) -> io::Result<()> {
        self.plan.take(step)
    }
}

/// A file that is being written, or that was found and is to be finished.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    chain: ChainId,
    number: u64,
    /// It bears its last name already.
    is_named: bool,
    hasher: Sha256,
    len: u64,
    steps: Steps,
}

/// A finished file: its name is durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) content: Digest,
}

impl Part {
    /// Begins a file that does not exist yet.
    pub(crate) fn create(
        layout: &Layout,
        chain: ChainId,
        number: u64,
        steps: Steps,
    ) -> io::Result<Self> {
        let path = layout.part(chain, number);
        let folder = parent(&path)?;
        steps.take("make folder")?;
        make_dirs(layout.root(), &folder)?;
        steps.take("create")?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self { file, chain, number, is_named: false, hasher: Sha256::new(), len: 0, steps })
    }

    /// Takes up a file that a crash left behind, cut to `len` bytes; it is hashed anew.
    pub(crate) fn take_up(
        mut file: File,
        chain: ChainId,
        FoundFile { number, is_part }: FoundFile,
        len: u64,
        steps: Steps,
    ) -> io::Result<Self> {
        steps.take("cut")?;
        file.set_len(len)?;
        file.rewind()?;
        let mut hasher = Sha256::new();
        hash_into(&mut hasher, &mut file)?;
        Ok(Self { file, chain, number, is_named: !is_part, hasher, len, steps })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.steps.take("append")?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Length and SHA-256 of what it holds so far.
    pub(crate) fn content(&self) -> (u64, Digest) {
        (self.len, Digest(self.hasher.clone().finalize().into()))
    }

    /// Makes content and name durable, in this order.
    pub(crate) fn finish(self, layout: &Layout) -> io::Result<Stored> {
        let (part, path) =
            (layout.part(self.chain, self.number), layout.file(self.chain, self.number));
        self.steps.take("sync")?;
        self.file.sync_all()?;
        self.steps.take("rename")?;
        if !self.is_named {
            fs::rename(&part, &path)?;
        }
        self.steps.take("sync folder")?;
        sync_dir(&parent(&path)?)?;
        let content = Digest(self.hasher.finalize().into());
        Ok(Stored { number: self.number, len: self.len, content })
    }
}

fn parent(path: &std::path::Path) -> io::Result<PathBuf> {
    path.parent().map(PathBuf::from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// SHA-256 and length of what is left of a file.
pub(crate) fn digest(file: &mut File) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let len = hash_into(&mut hasher, file)?;
    Ok((Digest(hasher.finalize().into()), len))
}

fn hash_into(hasher: &mut Sha256, file: &mut File) -> io::Result<u64> {
    let (mut chunk, mut len) = (vec![0; CHUNK], 0);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(len),
            n => {
                hasher.update(&chunk[..n]);
                len += n as u64;
            }
        }
    }
}

/// Removes files of a chain and makes that durable; then the folders that are empty, but for the one
/// of the file `newest`, which is written to.
pub(crate) fn unlink(
    layout: &Layout,
    chain: ChainId,
    numbers: &[u64],
    newest: u64,
    steps: &Steps,
) -> io::Result<()> {
    let mut folders = Vec::new();
    for number in numbers {
        let path = layout.file(chain, *number);
        steps.take("unlink")?;
        remove(&path)?;
        folders.push((number / FILES_PER_FOLDER, parent(&path)?));
    }
    folders.dedup();
    for (number, folder) in &folders {
        steps.take("sync after unlink")?;
        match sync_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if *number < newest / FILES_PER_FOLDER {
            // It stays while anything is in it.
            let _ = fs::remove_dir(folder);
        }
    }
    Ok(())
}

/// Writes, syncs, reads and removes a small file.
pub(crate) fn probe(layout: &Layout) -> io::Result<()> {
    const CONTENT: &[u8] = b"sightline probe";
    let path = layout.probe();
    let mut file = File::create(&path)?;
    file.write_all(CONTENT)?;
    file.sync_all()?;
    let read = fs::read(&path)?;
    remove(&path)?;
    if read == CONTENT { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Lays the ballast, unless it lies there.
pub(crate) fn lay_ballast(layout: &Layout) -> io::Result<()> {
    let path = layout.ballast();
    if fs::metadata(&path).is_ok_and(|stat| stat.len() == BALLAST_BYTES) {
        return Ok(());
    }
    let mut file = File::create(&path)?;
    let mut ballast = io::repeat(0).take(BALLAST_BYTES);
    let laid = io::copy(&mut ballast, &mut file).and_then(|_| file.sync_all());
    if laid.is_err() {
        remove(&path)?;
    }
    laid
}

/// Gives the ballast up.
pub(crate) fn give_up_ballast(layout: &Layout) -> io::Result<()> {
    remove(&layout.ballast())
}
