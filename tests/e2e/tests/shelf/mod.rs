//! A recorder's folder, looked at while nobody records into it: every file has its row, every row its file, and
//! the chain verifies (decisions 0091 and 0092).

#![allow(dead_code, reason = "every test file uses a part")]

use std::{
    collections::BTreeMap,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use sightline_model::{CameraId, PublicKey, Signature, StreamTier, UnixMicros};
use sightline_recording::{
    chain::{Sign, decode},
    statement::{Head, Sequence, Subject, What},
};
use sightline_recording_store::{Key, Level, Limits, Setup, Store};
use sightline_uplink::identity::Identity;
use tokio::runtime::Runtime;

struct RecorderKey(Arc<Identity>);

impl Sign for RecorderKey {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

/// One chain of a recorder, and what was known of it when it was looked at last.
pub struct Shelf {
    dir: PathBuf,
    identity: Arc<Identity>,
    subject: Subject,
    runtime: Runtime,
    segments: u64,
    head: Option<Head>,
}

impl Shelf {
    /// The recordings of a camera in a folder; `data_dir` holds the recorder's key.
    pub fn new(dir: &Path, data_dir: &Path, camera: &str) -> Self {
        let identity = Arc::new(Identity::load_or_create(data_dir).expect("the recorder's key"));
        let camera: CameraId = camera.parse().expect("a camera");
        let subject =
            Subject { recorder: identity.pu_id().clone(), camera, tier: StreamTier::Main };
        let runtime = Runtime::new().expect("a runtime");
        Self { dir: dir.to_owned(), identity, subject, runtime, segments: 0, head: None }
    }

    async fn open(&self) -> Store {
        let key = Key::new(RecorderKey(Arc::clone(&self.identity)));
        let setup = Setup { dir: self.dir.clone(), limits: Limits::default(), key };
        Store::open(setup).await.expect("opened").0
    }

    /// After a life in which so many segments were acknowledged.
    ///
    /// # Panics
    /// When one of them, or one of before, is lost; when anything is left over; when the chain does not
    /// verify.
    pub fn look(&mut self, told: u64, when: &str) {
        let before = self.segments;
        self.look_at_what_is_left(when);
        let now = self.segments;
        assert!(now >= before + told, "{when}: {before} and {told} more, but {now} are there");
    }

    /// The same where segments go as well.
    pub fn look_at_what_is_left(&mut self, when: &str) {
        let (segments, head) = self.runtime.block_on(async {
            let store = self.open().await;
            let found = store.verify(&self.subject, Level::Hash, self.head.clone()).await;
            let found = found.expect("read").map(|found| found.report);
            if let Some(report) = &found {
                assert!(report.is_sound(), "{when}: {:?}", report.findings);
                assert_eq!(report.files_hashed, report.segments, "{when}: not all files are there");
            }
            let head = store.head(&self.subject, UnixMicros(0)).await.expect("read");
            store.close().await;
            (found.map_or(0, |report| report.segments), head)
        });
        let files = files_below(&self.dir.join("segments"));
        assert_eq!(files.len() as u64, segments, "{when}: left over: {files:?}");
        (self.segments, self.head) = (segments, head);
    }

    /// Its segments in their order: from when to when each is, and where it lies.
    pub fn segments(&self) -> Vec<(UnixMicros, UnixMicros, PathBuf)> {
        self.runtime.block_on(async {
            let (store, subject) = (self.open().await, &self.subject);
            let always = UnixMicros(0)..UnixMicros(i64::MAX / 2);
            let rows = store.segments(subject, always, None, 1_000).await.expect("listed").rows;
            let mut segments = Vec::new();
            for row in rows {
                let opened = store.open_file(subject, row.sequence).await.expect("read");
                let file = opened.file().expect("it is there").file;
                let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
                segments.push((row.start(), row.end(), path.expect("an open file")));
            }
            store.close().await;
            segments
        })
    }

    /// The entries that are there, and whether each is a segment; and the number of the newest.
    pub fn entries(&self) -> (BTreeMap<u64, bool>, u64) {
        self.runtime.block_on(async {
            let store = self.open().await;
            let (mut entries, mut after): (_, Option<Sequence>) = (BTreeMap::new(), None);
            loop {
                let page = store.entries(&self.subject, after, 1_000).await.expect("read");
                for (sequence, entry) in &page.rows {
                    let what = decode(entry).expect("own entry").what;
                    entries.insert(sequence.0, matches!(what, What::Segment(_)));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let head = store.head(&self.subject, UnixMicros(0)).await.expect("read");
            store.close().await;
            (entries, head.expect("it was begun").sequence.0)
        })
    }
}

/// Everything below a folder that is no folder.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files
}
