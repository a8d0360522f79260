//! The tree of objects on the disk. Blocking.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use sightline_cloud::object::{MAX_META_LEN, Meta, ObjectKey};

use crate::{Found, Page};

/// What is being received, beside the tree.
const INCOMING: &str = ".incoming";
/// Objects of one page.
const PAGE: usize = 1_000;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: Arc<Path>,
}

/// An object that is being received.
#[derive(Debug)]
pub(super) struct Incoming {
    path: PathBuf,
    file: File,
    len: u64,
    hash: Sha256,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What became an object is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

impl Incoming {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        self.hash.update(bytes);
        Ok(())
    }

    pub const fn len(&self) -> u64 {
        self.len
    }

    pub fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

impl Files {
    pub fn open(root: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let incoming = root.join(INCOMING);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&incoming)?;
        for left in fs::read_dir(&incoming)? {
            fs::remove_file(left?.path())?;
        }
        Ok(Self { root: root.into() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A name has no part that leads elsewhere: that is a matter of its type.
    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    fn meta_path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(format!("{key}.meta"))
    }

    pub fn receive(&self) -> io::Result<Incoming> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = self.root.join(INCOMING).join(HEXLOWER.encode(&random));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Incoming { path, file, len: 0, hash: Sha256::new() })
    }

    /// Makes what was received an object. Its metadata are there before it is.
    pub fn keep(
        &self,
        key: &ObjectKey,
        incoming: &Incoming,
        meta: Option<&Meta>,
    ) -> io::Result<()> {
        incoming.file.sync_all()?;
        let path = self.path(key);
        let Some(folder) = path.parent() else { return Err(ErrorKind::InvalidInput.into()) };
        self.make_folders(folder)?;
        if let Some(meta) = meta {
            let [(_, entry), (_, time)] = meta.headers();
            let mut beside = self.receive()?;
            beside.write(format!("{entry}\n{time}\n").as_bytes())?;
            beside.file.sync_all()?;
            fs::rename(&beside.path, self.meta_path(key))?;
        }
        fs::rename(&incoming.path, &path)?;
        File::open(folder)?.sync_all()
    }

    /// Each new folder's name is durable before anything lies in it.
    fn make_folders(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent().filter(|parent| parent.starts_with(&self.root)) {
            self.make_folders(parent)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => File::open(parent)?.sync_all()?,
            }
        }
        Ok(())
    }

    pub fn put(&self, key: &ObjectKey, bytes: &[u8]) -> io::Result<()> {
        let mut incoming = self.receive()?;
        incoming.write(bytes)?;
        self.keep(key, &incoming, None)
    }

    /// The object's file, open, and its length.
    pub fn open_object(&self, key: &ObjectKey) -> io::Result<Option<(File, u64)>> {
        let Some(file) = present(File::open(self.path(key)))? else { return Ok(None) };
        let len = file.metadata()?.len();
        Ok(Some((file, len)))
    }

    pub fn look(&self, key: &ObjectKey) -> io::Result<Option<Found>> {
        let Some((_, len)) = self.open_object(key)? else { return Ok(None) };
        let mut text = String::new();
        if let Some(file) = present(File::open(self.meta_path(key)))? {
            file.take(2 * MAX_META_LEN as u64).read_to_string(&mut text)?;
        }
        let mut lines = text.lines();
        let meta = lines.next().zip(lines.next());
        let meta = meta.and_then(|(entry, time)| Meta::read(entry, time));
        Ok(Some(Found { len, meta }))
    }

    pub fn hash(&self, key: &ObjectKey) -> io::Result<Option<[u8; 32]>> {
        let Some((mut file, _)) = self.open_object(key)? else { return Ok(None) };
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Some(hash.finalize().into())),
                read => hash.update(&buffer[..read]),
            }
        }
    }

    pub fn read(&self, key: &ObjectKey, most: u64) -> io::Result<Option<Bytes>> {
        let Some((file, _)) = self.open_object(key)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes.into()))
    }

    pub fn delete(&self, key: &ObjectKey) -> io::Result<()> {
        let path = self.path(key);
        let gone = present(fs::remove_file(&path))?;
        let meta_gone = present(fs::remove_file(self.meta_path(key)))?;
        if let Some(folder) = path.parent().filter(|_| gone.or(meta_gone).is_some()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    pub fn list(&self, prefix: &str, after: Option<&str>) -> io::Result<Page> {
        // Only whole folders are asked for, and none outside of the tree.
        let named = |part: &&str| !part.is_empty();
        let parts: Vec<_> = prefix.split('/').filter(named).collect();
        if parts.iter().any(|part| part.starts_with('.')) {
            return Ok(Page::default());
        }
        let after: Option<Vec<_>> = after.map(|after| after.split('/').collect());
        let mut walk = Walk { page: Page::default(), after };
        let folder = parts.iter().fold(self.root.to_path_buf(), |folder, part| folder.join(part));
        let mut name: Vec<_> = parts.into_iter().map(str::to_owned).collect();
        walk.folder(&folder, &mut name)?;
        if walk.page.objects.len() > PAGE {
            walk.page.objects.truncate(PAGE);
            walk.page.next = walk.page.objects.last().map(|(name, _)| name.clone());
        }
        Ok(walk.page)
    }
}

/// A walk through the tree in the order of names, part by part.
struct Walk<'a> {
    page: Page,
    after: Option<Vec<&'a str>>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, name: &mut Vec<String>) -> io::Result<()> {
        let Some(entries) = present(fs::read_dir(folder))? else { return Ok(()) };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is not UTF-8 is none of ours.
            if let Ok(text) = entry.file_name().into_string() {
                names.push((text, entry.file_type()?.is_dir()));
            }
        }
        names.sort();
        for (text, is_folder) in names {
            if self.page.objects.len() > PAGE {
                break;
            }
            name.push(text);
            self.one(folder, name, is_folder)?;
            name.pop();
        }
        Ok(())
    }

    fn one(&mut self, folder: &Path, name: &mut Vec<String>, is_folder: bool) -> io::Result<()> {
        let Some(text) = name.last().cloned() else { return Ok(()) };
        if text.starts_with('.') {
            return Ok(());
        }
        if is_folder {
            // A folder that lies wholly before is not looked into.
            let is_past = self.after.as_ref().is_some_and(|after| {
                let depth = name.len().min(after.len());
                name[..depth].iter().map(String::as_str).lt(after[..depth].iter().copied())
            });
            return if is_past { Ok(()) } else { self.folder(&folder.join(text), name) };
        }
        let is_past = self
            .after
            .as_ref()
            .is_some_and(|after| name.iter().map(String::as_str).le(after.iter().copied()));
        if is_past || text.ends_with(".meta") {
            return Ok(());
        }
        // It may have been deleted meanwhile.
        if let Some(meta) = present(fs::metadata(folder.join(text)))? {
            self.page.objects.push((name.join("/"), meta.len()));
        }
        Ok(())
    }
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
