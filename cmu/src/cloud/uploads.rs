//! What units ask of the cloud storage (A8.7.1 steps 7 to 11).
//!
//! A unit names no object, no user and no device: whose a segment is follows from the books, what it is
//! from what the unit has signed. It does say whose it believes a recording to be, and is refused when
//! that is not so any more.

use cmu_domain::limit::Limit;
use cmu_storage::{
    ChainRow, DeviceRow, KeptTerms, NoteRow, Reservation, SegmentRow, SegmentState, Step,
    StorageError,
};
use sightline_cloud::{
    MAX_SEGMENT_BYTES,
    admit::{self, Admitted, Noted, Refusal},
    from_wire,
    object::{InvalidKey, Kind, Meta, ObjectKey, Place, entry_text},
};
use sightline_cloud_store::{NewObject, SegmentStore, StoreError};
use sightline_model::{PuId, UnixMicros, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    cm::Subscription,
    cp::{CloudReply, CloudRequest, MAX_NOTES, SignedEntry},
    sc::ScReply,
};
use sightline_recording::statement::{Entry, Sequence};
use sightline_service_kit::flow;

use super::{CloudError, PUT_LIFE, key_of, meta_of, remove};
use crate::{sc::done_or_stale, state::App};

/// Segments that are deleted for one request: the unit asks again.
const MOST_REMOVED: u32 = 64;
/// Chains that one unit may begin, and entries that it may note: they count against nobody's space.
const CHAINS: Limit = Limit { count: 200, per_s: 3_600 };
const NOTES: Limit = Limit { count: 6_000, per_s: 3_600 };
/// Longest entry that is noted, in characters of base64url. One that tells of a thousand stretches is longer,
/// and is not kept.
const MAX_NOTE: usize = 8 << 10;

/// Answers a unit.
///
/// # Errors
/// [`StorageError`].
pub async fn asked(
    app: &App,
    device: &PuId,
    epoch: u64,
    ask: CloudRequest,
) -> Result<ScReply, StorageError> {
    if !app.db.devices().is_current(device, epoch).await? {
        return Ok(done_or_stale(false));
    }
    match answer(app, device, ask).await {
        Ok(reply) => {
            flow::sent("Sc", "CMU", "SCU", word(&reply), device.as_str());
            Ok(ScReply::Cloud { answer: Box::new(reply) })
        }
        Err(Failed::Refused(problem)) => {
            tracing::debug!(%device, %problem, "a unit's request to the cloud storage is refused");
            Ok(ScReply::Refused { problem })
        }
        Err(Failed::Cloud(CloudError::Storage(error))) => Err(error),
        Err(Failed::Cloud(error)) => {
            tracing::warn!(%device, %error, "the cloud storage fails");
            let why = "The cloud storage cannot be reached now.";
            Ok(ScReply::Refused { problem: Problem::new(ProblemKind::StorageAway, why) })
        }
    }
}

const fn word(reply: &CloudReply) -> &'static str {
    match reply {
        CloudReply::Opened => "cloud_opened",
        CloudReply::Put(_) => "cloud_put",
        CloudReply::Stored => "cloud_stored",
        CloudReply::Noted => "cloud_noted",
        CloudReply::Full { .. } => "cloud_full",
        CloudReply::RoomMade { .. } => "cloud_room_made",
    }
}

enum Failed {
    Refused(Problem),
    Cloud(CloudError),
}

impl From<CloudError> for Failed {
    fn from(error: CloudError) -> Self {
        Self::Cloud(error)
    }
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self::Cloud(error.into())
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Cloud(error.into())
    }
}

impl From<InvalidKey> for Failed {
    fn from(error: InvalidKey) -> Self {
        Self::Cloud(error.into())
    }
}

fn refuse(kind: ProblemKind, detail: impl Into<String>) -> Failed {
    Failed::Refused(Problem::new(kind, detail))
}

fn invalid(refusal: &Refusal) -> Failed {
    refuse(ProblemKind::InvalidRequest, refusal.to_string())
}

fn unreadable() -> Failed {
    refuse(ProblemKind::InvalidRequest, "entry: is none")
}

/// A unit whose owner may store something.
struct Unit<'a> {
    app: &'a App,
    store: &'a dyn SegmentStore,
    device: DeviceRow,
    owner: UserId,
}

async fn answer(app: &App, pu: &PuId, ask: CloudRequest) -> Result<CloudReply, Failed> {
    let Some(cloud) = &app.cloud else {
        return Err(refuse(ProblemKind::NotFound, "This centre has no cloud storage."));
    };
    let device = app.db.devices().get(pu).await?;
    let device = device.ok_or_else(|| refuse(ProblemKind::UnknownDevice, "unknown device"))?;
    let Some(owner) = device.owner.clone() else {
        return Err(refuse(ProblemKind::Forbidden, "Nobody owns this device."));
    };
    let account = app.db.accounts().get(&owner).await?;
    if account.is_none_or(|account| account.subscription != Subscription::Active) {
        return Err(refuse(ProblemKind::Forbidden, "The owner's account is not active."));
    }
    let unit = Unit { app, store: &*cloud.store, device, owner };
    match ask {
        CloudRequest::Open { owner, entry } => unit.open(&owner, &entry).await,
        CloudRequest::Upload { owner, entry, correction_us, time_known } => {
            unit.upload(&owner, &entry, (correction_us, time_known)).await
        }
        CloudRequest::Stored { chain, sequence } => unit.stored(&chain, sequence).await,
        CloudRequest::Note { owner, entries } => unit.note(&owner, &entries).await,
        CloudRequest::MakeRoom { bytes } => unit.make_room(bytes).await,
    }
}

impl Unit<'_> {
    fn is_owner(&self, owner: &UserId) -> Result<(), Failed> {
        if *owner == self.owner {
            return Ok(());
        }
        Err(refuse(ProblemKind::Forbidden, "The device belongs to somebody else by now."))
    }

    async fn limit(&self, limit: Limit, what: &str) -> Result<(), Failed> {
        let key = format!("cloud:{what}:{}", self.device.pu);
        let allowed = self.app.limit(limit, &key).await;
        allowed.map_err(|error| refuse(error.kind(), "The device asks too often."))
    }

    fn place(&self, chain: &ChainRow) -> Result<Place, Failed> {
        Ok(Place {
            domain: self.app.db.domain().clone(),
            user: self.owner.clone(),
            camera: chain.camera.clone(),
            tier: chain.tier,
            chain: chain.chain.parse().map_err(|_| CloudError::Corrupt)?,
        })
    }

    /// The entry as an object of its own: by it the list can be rebuilt.
    async fn keep_entry(
        &self,
        chain: &ChainRow,
        sequence: Sequence,
        entry: &Entry,
    ) -> Result<(), Failed> {
        let key = ObjectKey::new(self.place(chain)?, sequence, Kind::Entry)?;
        Ok(self.store.put(&key, entry_text(entry).into()).await?)
    }

    async fn open(&self, owner: &UserId, entry: &SignedEntry) -> Result<CloudReply, Failed> {
        self.is_owner(owner)?;
        let signed = from_wire(entry).ok_or_else(unreadable)?;
        let opened = admit::open(&signed, &self.device.public_key).map_err(|e| invalid(&e))?;
        self.limit(CHAINS, "chains").await?;
        let chain = ChainRow {
            chain: opened.chain.to_string(),
            camera: opened.subject.camera,
            tier: opened.subject.tier,
            encoded: entry.encoded.clone(),
            signature: entry.signature,
        };
        if !self.app.db.cloud().open(&chain).await? {
            return Err(refuse(ProblemKind::InvalidRequest, "another chain has this id"));
        }
        self.keep_entry(&chain, Sequence(0), &signed).await?;
        // Age limits may be older than the chain.
        let of = (chain.chain.as_str(), &chain.camera);
        if self.app.db.cloud().terms(of, &self.owner).await? != KeptTerms::default() {
            self.app.db.cloud().owe_terms(&chain.chain, &self.owner).await?;
        }
        Ok(CloudReply::Opened)
    }

    /// A chain of this unit.
    async fn chain(&self, chain: &str) -> Result<ChainRow, Failed> {
        let known = self.app.db.cloud().chain(chain).await?;
        let own = known.filter(|known| known.camera.pu == self.device.pu);
        own.ok_or_else(|| refuse(ProblemKind::NotFound, "No such chain was begun."))
    }

    async fn upload(
        &self,
        owner: &UserId,
        entry: &SignedEntry,
        (correction_us, time_known): (i64, bool),
    ) -> Result<CloudReply, Failed> {
        self.is_owner(owner)?;
        let signed = from_wire(entry).ok_or_else(unreadable)?;
        let meta = Meta { entry: signed, correction_us, time_known };
        let admitted = admit::segment(&meta, &self.device.public_key).map_err(|e| invalid(&e))?;
        let chain = self.chain(&admitted.chain.to_string()).await?;
        let row = self.row(&chain, &admitted, entry, (correction_us, time_known));
        let (app, now) = (self.app, self.app.now());
        match app.db.cloud().reserve(&row, app.config.cloud.free_bytes, now).await? {
            Reservation::Reserved => {
                let key = key_of(app.db.domain(), &row)?;
                let sha256 = admitted.segment.content.0;
                let new = NewObject { key: &key, len: row.bytes, sha256, meta: &meta };
                Ok(CloudReply::Put(self.store.put_request(&new, now, PUT_LIFE)?))
            }
            Reservation::Stored => Ok(CloudReply::Stored),
            Reservation::Leaving => {
                Err(refuse(ProblemKind::Busy, "The segment is just being deleted."))
            }
            Reservation::Other => {
                Err(refuse(ProblemKind::InvalidRequest, "another segment has this number"))
            }
            Reservation::Full { missing_bytes } => Ok(CloudReply::Full { missing_bytes }),
        }
    }

    fn row(
        &self,
        chain: &ChainRow,
        admitted: &Admitted,
        entry: &SignedEntry,
        (correction_us, time_known): (i64, bool),
    ) -> SegmentRow {
        SegmentRow {
            chain: chain.chain.clone(),
            sequence: admitted.sequence.0,
            user: self.owner.clone(),
            camera: chain.camera.clone(),
            tier: chain.tier,
            state: SegmentState::Reserved,
            run: admitted.segment.run.0,
            boot: admitted.segment.boot.0,
            start: admitted.start,
            end: admitted.end,
            correction_us,
            time_known,
            event: admitted.segment.causes.event,
            locked: false,
            bytes: admitted.segment.len,
            encoded: entry.encoded.clone(),
            signature: entry.signature,
        }
    }

    async fn stored(&self, chain: &str, sequence: u64) -> Result<CloudReply, Failed> {
        let row = self.app.db.cloud().segment(chain, sequence).await?;
        let own = |row: &SegmentRow| row.camera.pu == self.device.pu && row.user == self.owner;
        let unknown = || refuse(ProblemKind::NotFound, "No such segment was announced.");
        let row = row.filter(own).ok_or_else(unknown)?;
        match row.state {
            SegmentState::Stored => return Ok(CloudReply::Stored),
            SegmentState::Leaving => return Err(unknown()),
            SegmentState::Reserved => {}
        }
        if !self.is_there(&row).await? {
            return Err(refuse(ProblemKind::NotFound, "The store does not have the segment."));
        }
        if !self.app.db.cloud().stored(chain, sequence, self.app.now()).await? {
            return Err(unknown());
        }
        Ok(CloudReply::Stored)
    }

    /// Whether the store has the very object. What else lies under its name is deleted.
    async fn is_there(&self, row: &SegmentRow) -> Result<bool, Failed> {
        let key = key_of(self.app.db.domain(), row)?;
        flow::sent("Su", "CMU", "CS", "look", self.device.pu.as_str());
        let Some(found) = self.store.look(&key).await? else { return Ok(false) };
        // A step of the clock may have corrected the row since it was sent.
        let said = found.meta.as_ref().map_or((0, false), |m| (m.correction_us, m.time_known));
        let expected = meta_of(row, said.0, said.1)?;
        let mut is_right = found.len == row.bytes && found.meta.as_ref() == Some(&expected);
        if is_right && !self.store.checks_content().await? {
            let meta = found.meta.as_ref().unwrap_or(&expected);
            let promised = admit::segment(meta, &self.device.public_key);
            let promised = promised.ok().map(|admitted| admitted.segment.content.0);
            is_right = promised.is_some() && self.store.hash(&key).await? == promised;
        }
        if !is_right {
            tracing::warn!(%key, "what was sent is not what was announced; it is deleted");
            self.store.delete(&key).await?;
        }
        Ok(is_right)
    }

    async fn note(&self, owner: &UserId, entries: &[SignedEntry]) -> Result<CloudReply, Failed> {
        self.is_owner(owner)?;
        if entries.len() > MAX_NOTES {
            return Err(refuse(ProblemKind::InvalidRequest, "entries: are too many"));
        }
        for wire in entries {
            if wire.encoded.len() > MAX_NOTE {
                continue;
            }
            self.limit(NOTES, "notes").await?;
            let entry = from_wire(wire).ok_or_else(unreadable)?;
            let noted = admit::note(&entry, &self.device.public_key);
            let (chain, sequence, noted) = noted.map_err(|refusal| invalid(&refusal))?;
            let chain = self.chain(&chain.to_string()).await?;
            // In the store first: what is in the list can be rebuilt.
            self.keep_entry(&chain, sequence, &entry).await?;
            let (row, step) = note_row(&self.owner, &chain, (sequence, noted), wire);
            self.app.db.cloud().note(&row, step).await?;
        }
        Ok(CloudReply::Noted)
    }

    async fn make_room(&self, bytes: u64) -> Result<CloudReply, Failed> {
        let (app, wanted) = (self.app, bytes.min(MAX_SEGMENT_BYTES));
        let space = app.db.cloud().space(&self.owner, app.config.cloud.free_bytes).await?;
        let over = space.used_bytes.saturating_add(wanted).saturating_sub(space.quota_bytes);
        let none = CloudReply::RoomMade { segments: 0, bytes: 0 };
        if over == 0 {
            return Ok(none);
        }
        let no_space = "The space in the cloud is used up, and nothing of it may be deleted.";
        if wanted > space.quota_bytes {
            return Err(refuse(ProblemKind::NoSpaceLeft, no_space));
        }
        let (mut segments, mut freed) = (0, 0);
        for row in app.db.cloud().oldest(&self.owner, MOST_REMOVED).await? {
            if freed >= over {
                break;
            }
            if remove(app, self.store, &row).await? {
                segments += 1;
                freed += row.bytes;
            }
        }
        if segments == 0 {
            return Err(refuse(ProblemKind::NoSpaceLeft, no_space));
        }
        let device = self.device.pu.as_str();
        app.audit_quick(Some(&self.owner), "cloud.make_room", device, "ok").await;
        Ok(CloudReply::RoomMade { segments, bytes: freed })
    }
}

/// How an entry that is no segment is kept.
pub(super) fn note_row(
    owner: &UserId,
    chain: &ChainRow,
    (sequence, noted): (Sequence, Noted),
    wire: &SignedEntry,
) -> (NoteRow, Option<Step>) {
    let mut row = NoteRow {
        chain: chain.chain.clone(),
        sequence: sequence.0,
        user: owner.clone(),
        camera: chain.camera.clone(),
        tier: chain.tier,
        from: UnixMicros(0),
        reason: None,
        encoded: wire.encoded.clone(),
        signature: wire.signature,
    };
    match noted {
        Noted::Gap(gap) => {
            row.from = gap.from;
            row.reason = serde_json::to_string(&gap.reason).ok();
            (row, None)
        }
        Noted::Step(step) => {
            row.from = step.from;
            let is_known = step.to_authority.is_confirmed();
            let by_us = step.to.0.saturating_sub(step.from.0);
            let corrects = !step.from_authority.is_confirmed();
            (row, corrects.then_some(Step { boot: step.boot.0, by_us, is_known }))
        }
        Noted::Checkpoint => (row, None),
    }
}
