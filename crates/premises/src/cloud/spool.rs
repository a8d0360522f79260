//! The spool: a segment store, read in the order of its chains.

use std::ops::Range;

use parking_lot::Mutex;
use sightline_cloud::uploader::{Chain, Item, LaneId};
use sightline_model::UnixMicros;
use sightline_recording::{
    chain::decode,
    retention::Which,
    statement::{Entry, Sequence, Subject, What},
};
use sightline_recording_store::{Opened, SegmentRow, Store, StoreError};
use tokio::sync::watch;

use crate::recorder::owners::Visible;

/// Entries that are read at once.
const PAGE: u32 = 500;
/// Pages that one look goes through: what is another owner's is passed over.
const MOST_PAGES: usize = 40;

/// See the module.
pub(super) struct Spool {
    store: watch::Receiver<Option<Store>>,
    visible: watch::Receiver<Visible>,
    /// Subjects by the numbers of their chains.
    known: Mutex<Vec<Subject>>,
}

/// Entries of a chain that are no segments, and how far it was looked.
pub(super) struct Notes {
    pub entries: Vec<Entry>,
    pub through: Option<Sequence>,
    pub more: bool,
}

impl Spool {
    pub fn new(store: watch::Receiver<Option<Store>>, visible: watch::Receiver<Visible>) -> Self {
        Self { store, visible, known: Mutex::default() }
    }

    fn opened(&self) -> Result<Store, StoreError> {
        self.store.borrow().clone().ok_or(StoreError::Closed)
    }

    fn subject(&self, chain: Chain) -> Result<Subject, StoreError> {
        let number = usize::try_from(chain.0).unwrap_or(usize::MAX);
        let known = self.known.lock().get(number).cloned();
        known.ok_or(StoreError::Misuse("there is no such chain"))
    }

    /// The chains of the unit's own cameras, and the newest entry of each.
    pub async fn heads(&self) -> Vec<(Chain, Sequence)> {
        let Ok(store) = self.opened() else { return Vec::new() };
        let mut heads = Vec::new();
        for subject in store.subjects() {
            // Another unit's card may be in.
            if subject.camera.pu != subject.recorder {
                continue;
            }
            let Ok(Some(head)) = store.head(&subject, UnixMicros(0)).await else { continue };
            heads.push((self.number(subject), head.sequence));
        }
        heads
    }

    fn number(&self, subject: Subject) -> Chain {
        let mut known = self.known.lock();
        let place = known.iter().position(|one| *one == subject).unwrap_or_else(|| {
            known.push(subject);
            known.len() - 1
        });
        Chain(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// The chain's first entry.
    pub async fn begin(&self, chain: Chain) -> Result<Option<Entry>, StoreError> {
        let page = self.opened()?.entries(&self.subject(chain)?, None, 1).await?;
        Ok(page.rows.into_iter().next().filter(|(n, _)| *n == Sequence(0)).map(|(_, e)| e))
    }

    /// Entries behind a number that are no segments, at most so many.
    pub async fn notes(
        &self,
        chain: Chain,
        after: Option<Sequence>,
        most: usize,
    ) -> Result<Notes, StoreError> {
        let subject = self.subject(chain)?;
        let page = self.opened()?.entries(&subject, after, PAGE).await?;
        let visible = self.visible.borrow().clone();
        if visible.is_empty() {
            // Whose time it is is not known yet: what is left out now would never be told.
            return Ok(Notes { entries: Vec::new(), through: after, more: false });
        }
        let is_shown = |at: UnixMicros| visible.iter().any(|span| span.contains(&at));
        let mut notes = Notes { entries: Vec::new(), through: after, more: page.next.is_some() };
        for (number, entry) in page.rows {
            if notes.entries.len() == most {
                notes.more = true;
                break;
            }
            notes.through = Some(number);
            match decode(&entry).map(|statement| statement.what) {
                Ok(What::Gap(gap)) if is_shown(gap.from) => notes.entries.push(entry),
                Ok(What::ClockStep(_) | What::Checkpoint(_)) => notes.entries.push(entry),
                Ok(What::Begin { .. } | What::Segment(_) | What::Gap(_)) | Err(_) => {}
            }
        }
        Ok(notes)
    }

    /// The next segment of a lane that is the owner's.
    pub async fn next(
        &self,
        lane: LaneId,
        mut after: Option<Sequence>,
    ) -> Result<Option<Item>, StoreError> {
        let (store, subject) = (self.opened()?, self.subject(lane.chain)?);
        for _ in 0..MOST_PAGES {
            let page = store.entries(&subject, after, PAGE).await?;
            for (sequence, entry) in &page.rows {
                let Ok(What::Segment(segment)) = decode(entry).map(|s| s.what) else { continue };
                if segment.causes.event != lane.is_event {
                    continue;
                }
                let row = store.segment(&subject, *sequence).await?;
                if row.is_some_and(|row| !row.damaged && self.is_own(&(row.start()..row.end()))) {
                    return Ok(Some(Item { sequence: *sequence, len: segment.len }));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// A segment across a change of the owner belongs to nobody.
    fn is_own(&self, times: &Range<UnixMicros>) -> bool {
        let visible = self.visible.borrow().clone();
        visible.iter().any(|span| span.start <= times.start && times.end <= span.end)
    }

    /// A segment, with the entry that states it. None: it has gone.
    pub async fn segment(
        &self,
        lane: LaneId,
        item: Item,
    ) -> Result<Option<(SegmentRow, Entry)>, StoreError> {
        let (store, subject) = (self.opened()?, self.subject(lane.chain)?);
        let Some(row) = store.segment(&subject, item.sequence).await? else { return Ok(None) };
        if row.damaged || !self.is_own(&(row.start()..row.end())) {
            return Ok(None);
        }
        let after = item.sequence.0.checked_sub(1).map(Sequence);
        let page = store.entries(&subject, after, 1).await?;
        let entry = page.rows.into_iter().next().filter(|(n, _)| *n == item.sequence);
        Ok(entry.map(|(_, entry)| (row, entry)))
    }

    pub async fn open(&self, lane: LaneId, item: Item) -> Result<Opened, StoreError> {
        self.opened()?.open_file(&self.subject(lane.chain)?, item.sequence).await
    }

    /// The chain's id.
    pub async fn id(&self, chain: Chain) -> Result<Option<String>, StoreError> {
        let head = self.opened()?.head(&self.subject(chain)?, UnixMicros(0)).await?;
        Ok(head.map(|head| head.chain.to_string()))
    }

    pub async fn let_go(&self, lane: LaneId, through: Sequence) -> Result<u64, StoreError> {
        let which = if lane.is_event { Which::WithEvent } else { Which::WithoutEvent };
        self.opened()?.let_go(&self.subject(lane.chain)?, which, through).await
    }
}
