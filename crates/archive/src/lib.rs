//! The recordings of a segment store, for whoever plays them: [`StoreArchive`].
//!
//! It stands between two crates so that neither carries the other's weight: a client that only
//! receives media links no database, and the store knows nothing of players. PU and NVR share it.
//!
//! Invariant: what it gives of a segment's window is what the timeline shows (decision 0090): of
//! segments that claim one second the one with a confirmed clock, then the later entry.

mod files;
mod search;

use std::{
    collections::HashMap,
    fmt,
    io::Read,
    ops::Range,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use sightline_media::mp4::read::read;
use sightline_media_io::{
    archive::{Archive, ArchiveError, Found, Loaded, Look, Recording},
    gate::BoxFuture,
};
use sightline_model::{CameraId, ChannelId, PuId, StreamTier, UnixMicros};
use sightline_recording::{
    replay::{Candidate, SegmentKey, Way},
    statement::{Sequence, Subject},
};
use sightline_recording_store::{OpenFile, Opened, SegmentRow, Store, StoreError};
use tokio::sync::{Semaphore, watch};

pub use files::MAX_PROVEN;

/// Most segments that are read at once, for all players together.
const READERS: usize = 4;
/// Most answers to downloads that are made and held in memory at once, for all together: each may
/// take tens of megabytes.
const ANSWERS: usize = 2;
/// What the wanted encoding has within this is played rather than the other one's; in microseconds.
const NEAR_US: u64 = 10_000_000;
/// A file longer than this is not one of ours; in bytes.
const LONGEST_FILE: u64 = 512 << 20;

/// Spans of time that may be shown, in order; no two overlap.
pub type Visible = Arc<[Range<UnixMicros>]>;

/// A segment, and when it begins as far as is known now: later steps of the clock correct that.
type HeldKey = (Subject, Sequence, UnixMicros);

type CameraOf = Box<dyn Fn(ChannelId) -> Option<CameraId> + Send + Sync>;

/// The recordings of one recorder. See the crate.
pub struct StoreArchive {
    /// None while the storage has never been there.
    store: watch::Receiver<Option<Store>>,
    recorder: PuId,
    camera_of: CameraOf,
    /// None: everything may be shown.
    visible: Option<watch::Receiver<Visible>>,
    reading: Arc<Semaphore>,
    answering: Arc<Semaphore>,
    /// What some player holds: viewers of the same minute share it.
    held: Mutex<HashMap<HeldKey, Weak<Loaded>>>,
}

impl fmt::Debug for StoreArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreArchive").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

impl StoreArchive {
    /// What a unit has recorded of its own cameras, as far as it may be shown.
    #[must_use]
    pub fn of_unit(
        store: watch::Receiver<Option<Store>>,
        unit: PuId,
        visible: watch::Receiver<Visible>,
    ) -> Arc<Self> {
        let own = unit.clone();
        let camera_of = move |channel| Some(CameraId { pu: own.clone(), channel });
        let archive = Self::made(store, unit, camera_of);
        Arc::new(Self { visible: Some(visible), ..archive })
    }

    /// What `recorder` has recorded; `camera_of` says which camera each of its channels is. The
    /// store may come later.
    #[must_use]
    pub fn new(
        store: watch::Receiver<Option<Store>>,
        recorder: PuId,
        camera_of: impl Fn(ChannelId) -> Option<CameraId> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::made(store, recorder, camera_of))
    }

    fn made(
        store: watch::Receiver<Option<Store>>,
        recorder: PuId,
        camera_of: impl Fn(ChannelId) -> Option<CameraId> + Send + Sync + 'static,
    ) -> Self {
        let camera_of = Box::new(camera_of);
        let [reading, answering] = [READERS, ANSWERS].map(|most| Arc::new(Semaphore::new(most)));
        let held = Mutex::default();
        Self { store, recorder, camera_of, visible: None, reading, answering, held }
    }

    /// As [`Self::look`], within what may be shown.
    async fn look_within(
        &self,
        store: &Store,
        of: Recording,
        at: UnixMicros,
        way: Way,
    ) -> Result<Look, StoreError> {
        let Some(visible) = &self.visible else { return self.look(store, of, at, way).await };
        let spans = visible.borrow().clone();
        let mut ahead: Vec<_> = match way {
            Way::Forwards => spans.iter().filter(|span| span.end > at).cloned().collect(),
            Way::Backwards => spans.iter().filter(|span| span.start < at).cloned().collect(),
        };
        if way == Way::Backwards {
            ahead.reverse();
        }
        for span in ahead {
            let mut from = match way {
                Way::Forwards => at.max(span.start),
                Way::Backwards => at.min(span.end),
            };
            loop {
                match (self.look(store, of, from, way).await?, way) {
                    // What is shown of a segment is sent with the pictures before it that it is
                    // decoded from: one that begins before the span is left out.
                    (Look::Found(found), Way::Forwards) if found.start < span.start => {
                        from = found.window.end;
                    }
                    (Look::Found(found), Way::Backwards) if found.start < span.start => break,
                    (Look::Found(found), _) => match cut(&found.window, &span) {
                        Some(window) => return Ok(Look::Found(Found { window, ..found })),
                        None => break,
                    },
                    (Look::Unreadable(window), _) => match cut(&window, &span) {
                        Some(window) => return Ok(Look::Unreadable(window)),
                        None => break,
                    },
                    // The newest span has no end: what is still recorded belongs to it.
                    (Look::Later, _) if span.end == UnixMicros(i64::MAX) => {
                        return Ok(Look::Later);
                    }
                    (Look::Later | Look::End, _) => break,
                }
            }
        }
        Ok(Look::End)
    }

    /// The recordings that can serve, each by a number for its chain: the wanted encoding first.
    fn subjects(&self, store: &Store, of: Recording) -> Vec<(u32, Subject)> {
        let Some(camera) = (self.camera_of)(of.channel) else { return Vec::new() };
        let recorded = store.subjects();
        let other = match of.tier {
            StreamTier::Main => StreamTier::Sub,
            StreamTier::Sub => StreamTier::Main,
        };
        let subject = |tier| {
            let (recorder, camera) = (self.recorder.clone(), camera.clone());
            (u32::from(tier == StreamTier::Sub), Subject { recorder, camera, tier })
        };
        let both = [of.tier, other].into_iter().map(subject);
        both.filter(|(_, subject)| recorded.contains(subject)).collect()
    }

    /// Of the encodings the wanted one, unless it has nothing near and the other has.
    async fn look(
        &self,
        store: &Store,
        of: Recording,
        at: UnixMicros,
        way: Way,
    ) -> Result<Look, StoreError> {
        let mut found = Vec::with_capacity(2);
        for (chain, subject) in self.subjects(store, of) {
            let stretch = search::stretch(store, &subject, at, way).await?;
            // Nobody wants another encoding for a moment, but for what is damaged.
            let serves = stretch.serves() && stretch.far_us(at, way) <= NEAR_US;
            found.push((chain, subject, stretch));
            if serves {
                break;
            }
        }
        let least = (0..found.len()).min_by_key(|n| found[*n].2.rank(at, way));
        let Some((chain, subject, stretch)) = least.map(|n| found.swap_remove(n)) else {
            return Ok(Look::End);
        };
        match stretch {
            search::Stretch::Shown { row, window } => {
                self.load(store, (chain, &subject), *row, window).await
            }
            // What the other encoding has of it is not passed over.
            search::Stretch::Damaged(window) => {
                let window = found.iter().fold(window, |w, (.., other)| other.leaves(w, way));
                Ok(Look::Unreadable(window))
            }
            search::Stretch::Nothing { grows } if grows && way == Way::Forwards => Ok(Look::Later),
            search::Stretch::Nothing { .. } => Ok(Look::End),
        }
    }

    async fn load(
        &self,
        store: &Store,
        (chain, subject): (u32, &Subject),
        row: SegmentRow,
        window: Range<UnixMicros>,
    ) -> Result<Look, StoreError> {
        let unreadable = |why: &dyn fmt::Display| {
            tracing::warn!(sequence = row.sequence.0, %why, "a segment cannot be played");
            Ok(Look::Unreadable(window.clone()))
        };
        if row.segment.key.is_some() {
            return unreadable(&"it is encrypted");
        }
        let opened = match store.open_file(subject, row.sequence).await {
            Ok(Opened::File(opened)) => opened,
            Ok(Opened::Damaged(_)) => return unreadable(&"its file is lost"),
            // Since it was found.
            Ok(Opened::Expired) => return Ok(Look::Unreadable(window)),
            Err(error @ StoreError::Io { .. }) => return unreadable(&error),
            Err(error) => return Err(error),
        };
        let (start, run) = (row.start(), row.segment.run);
        let key = SegmentKey { chain, sequence: row.sequence };
        let held_key = (subject.clone(), row.sequence, start);
        if let Some(loaded) = self.held.lock().get(&held_key).and_then(Weak::upgrade) {
            return Ok(Look::Found(Found { key, run, start, window, loaded }));
        }
        // Nobody closes the semaphore.
        let permit = Arc::clone(&self.reading).acquire_owned().await.ok();
        let loading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            loaded(opened, start)
        });
        match loading.await {
            Ok(Ok(loaded)) => {
                let loaded = Arc::new(loaded);
                let mut held = self.held.lock();
                // What nobody holds any more is no memory worth speaking of, but for its number.
                held.retain(|_, loaded| loaded.strong_count() > 0);
                held.insert(held_key, Arc::downgrade(&loaded));
                drop(held);
                Ok(Look::Found(Found { key, run, start, window, loaded }))
            }
            Ok(Err(why)) => unreadable(&why),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

impl Archive for StoreArchive {
    fn find(
        self: Arc<Self>,
        of: Recording,
        at: UnixMicros,
        way: Way,
    ) -> BoxFuture<'static, Result<Look, ArchiveError>> {
        Box::pin(async move {
            let store = self.store.borrow().clone();
            let store = store.ok_or_else(|| ArchiveError("their storage is away".into()))?;
            let found = self.look_within(&store, of, at, way).await;
            found.map_err(|error| ArchiveError(error.to_string()))
        })
    }
}

/// The part of a window that lies in a span.
fn cut(window: &Range<UnixMicros>, span: &Range<UnixMicros>) -> Option<Range<UnixMicros>> {
    let part = window.start.max(span.start)..window.end.min(span.end);
    (part.start < part.end).then_some(part)
}

/// Reads and takes apart a segment's file; why not, in words.
fn loaded(opened: OpenFile, start: UnixMicros) -> Result<Loaded, String> {
    if opened.len > LONGEST_FILE {
        return Err(format!("its file has {} bytes", opened.len));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(opened.len).unwrap_or(0));
    opened.file.take(opened.len).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let contents = read(&Bytes::from(bytes), start).map_err(|e| e.to_string())?;
    Loaded::new(contents).map_err(|e| e.to_string())
}

/// A row as `choose` sees it.
fn candidate(row: &SegmentRow) -> Candidate {
    Candidate {
        key: SegmentKey { chain: 0, sequence: row.sequence },
        run: row.segment.run,
        start: row.start(),
        end: row.end(),
        confirmed: row.time_known,
        preference: 0,
    }
}
