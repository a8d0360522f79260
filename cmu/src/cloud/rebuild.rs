//! The list, made again from what lies in the store: whole, after the database was lost, or what it misses.
//! Nothing is deleted for being unknown: it may be the list that was lost.

use cmu_storage::{ChainRow, Database, Reservation, SegmentRow, SegmentState};
use sightline_cloud::{
    admit,
    object::{Kind, Meta, ObjectKey, read_entry},
    to_wire,
};
use sightline_cloud_store::SegmentStore;
use sightline_model::{PublicKey, UnixMicros};
use sightline_recording::{
    chain::decode,
    statement::{Entry, What},
};

use super::{CloudError, terms, uploads::note_row};

/// Longest object of an entry, in bytes.
const MAX_ENTRY: u64 = 96 << 10;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Segments that are in the list again.
    pub segments: u64,
    /// Segments that were in the list already.
    pub known: u64,
    /// Entries that are no segments.
    pub entries: u64,
    /// Segments of which the store says that they are locked.
    pub locked: u64,
    /// Objects that are none of ours, or do not prove to be what their names say: left as they are.
    pub strange: u64,
}

/// Lists whatever the store has of this domain. What is known stays as it is.
///
/// # Errors
/// [`CloudError`]; what was done until then stays, and it can be called again.
pub async fn rebuild(
    db: &Database,
    store: &dyn SegmentStore,
    now: UnixMicros,
) -> Result<Rebuilt, CloudError> {
    let (prefix, mut rebuilt) = (ObjectKey::prefix_of(db.domain()), Rebuilt::default());
    // Entries first: they say which chains there are. Last what was said of segments that are listed by then.
    for kind in [Kind::Entry, Kind::Segment, Kind::Terms] {
        let mut after: Option<String> = None;
        loop {
            let page = store.list(&prefix, after.as_deref()).await?;
            for (name, len) in &page.objects {
                let Ok(key) = name.parse::<ObjectKey>() else {
                    rebuilt.strange += u64::from(kind == Kind::Entry);
                    continue;
                };
                if key.kind() == kind {
                    one(db, store, (&key, *len), now, &mut rebuilt).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(rebuilt)
}

/// Lists segments that are in no list: those of a request that was used again after its segment was
/// deleted, and of a database that is older than the store.
///
/// # Errors
/// [`CloudError`]; what was done until then stays.
pub async fn compare(
    db: &Database,
    store: &dyn SegmentStore,
    now: UnixMicros,
) -> Result<Rebuilt, CloudError> {
    let (prefix, mut found) = (ObjectKey::prefix_of(db.domain()), Rebuilt::default());
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref()).await?;
        for (name, len) in &page.objects {
            let Ok(key) = name.parse::<ObjectKey>() else { continue };
            let chain = key.place().chain.to_string();
            let is_known = match key.kind() {
                // Its other entries come with it, or are told by the unit.
                Kind::Entry => db.cloud().chain(&chain).await?.is_some(),
                Kind::Segment => db.cloud().segment(&chain, key.sequence().0).await?.is_some(),
                // The list knows better.
                Kind::Terms => true,
            };
            if !is_known && is_whole(store, &key).await? {
                tracing::warn!(%key, "an object of the cloud storage was in no list");
                one(db, store, (&key, *len), now, &mut found).await?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Whether a segment has the bytes that were promised: one that was never acknowledged may have others,
/// where the store does not check.
async fn is_whole(store: &dyn SegmentStore, key: &ObjectKey) -> Result<bool, CloudError> {
    if key.kind() == Kind::Entry || store.checks_content().await? {
        return Ok(true);
    }
    let meta = store.look(key).await?.and_then(|found| found.meta);
    let promised = meta.and_then(|meta| match decode(&meta.entry).ok()?.what {
        What::Segment(segment) => Some(segment.content.0),
        _ => None,
    });
    Ok(promised.is_some() && store.hash(key).await? == promised)
}

async fn one(
    db: &Database,
    store: &dyn SegmentStore,
    (key, len): (&ObjectKey, u64),
    now: UnixMicros,
    rebuilt: &mut Rebuilt,
) -> Result<(), CloudError> {
    // A unit that has not registered since the database was lost cannot be asked for its key: what
    // carries its name in our own store is taken as it is.
    let device = db.devices().get(&key.place().camera.pu).await?;
    let signer = device.map(|device| device.public_key);
    match key.kind() {
        Kind::Entry => {
            let text = store.read(key, MAX_ENTRY).await?;
            let text = text.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            let Some(entry) = text.as_deref().and_then(read_entry) else {
                rebuilt.strange += 1;
                return Ok(());
            };
            let is_kept = keep_entry(db, key, &entry, signer.as_ref()).await?;
            *(if is_kept { &mut rebuilt.entries } else { &mut rebuilt.strange }) += 1;
        }
        Kind::Segment => {
            let meta = store.look(key).await?.and_then(|found| found.meta);
            let row = meta.as_ref().and_then(|meta| row(key, len, meta, signer.as_ref()));
            match row {
                Some(row) => list(db, &row, now, rebuilt).await?,
                None => rebuilt.strange += 1,
            }
        }
        Kind::Terms => match terms::take(db, store, key).await? {
            Some(locked) => rebuilt.locked += locked,
            None => rebuilt.strange += 1,
        },
    }
    Ok(())
}

async fn list(
    db: &Database,
    row: &SegmentRow,
    now: UnixMicros,
    rebuilt: &mut Rebuilt,
) -> Result<(), CloudError> {
    match db.cloud().reserve(row, u64::MAX, now).await? {
        Reservation::Reserved => {
            db.cloud().stored(&row.chain, row.sequence, now).await?;
            rebuilt.segments += 1;
        }
        Reservation::Stored | Reservation::Leaving => rebuilt.known += 1,
        Reservation::Other | Reservation::Full { .. } => rebuilt.strange += 1,
    }
    Ok(())
}

fn is_signed(entry: &Entry, signer: Option<&PublicKey>) -> bool {
    signer.is_none_or(|key| admit::signed(entry, key).is_ok())
}

async fn keep_entry(
    db: &Database,
    key: &ObjectKey,
    entry: &Entry,
    signer: Option<&PublicKey>,
) -> Result<bool, CloudError> {
    let (place, wire) = (key.place(), to_wire(entry));
    let Ok(statement) = decode(entry) else { return Ok(false) };
    let is_ours = statement.chain == place.chain
        && statement.sequence == key.sequence()
        && is_signed(entry, signer);
    if !is_ours {
        return Ok(false);
    }
    let chain = ChainRow {
        chain: place.chain.to_string(),
        camera: place.camera.clone(),
        tier: place.tier,
        encoded: wire.encoded.clone(),
        signature: wire.signature,
    };
    let noted = match statement.what {
        What::Begin { subject } => {
            let fits = subject.camera == place.camera && subject.tier == place.tier;
            return Ok(fits && db.cloud().open(&chain).await?);
        }
        What::Gap(gap) => admit::Noted::Gap(gap),
        What::ClockStep(step) => admit::Noted::Step(step),
        What::Checkpoint(_) => admit::Noted::Checkpoint,
        What::Segment(_) => return Ok(false),
    };
    let (row, _) = note_row(&place.user, &chain, (statement.sequence, noted), &wire);
    // Its correction is in what the segments say of themselves, or lost with those that were sent before.
    db.cloud().note(&row, None).await?;
    Ok(true)
}

fn row(key: &ObjectKey, len: u64, meta: &Meta, signer: Option<&PublicKey>) -> Option<SegmentRow> {
    let (place, wire) = (key.place(), to_wire(&meta.entry));
    let statement = decode(&meta.entry).ok()?;
    let What::Segment(segment) = statement.what else { return None };
    let is_ours = statement.chain == place.chain
        && statement.sequence == key.sequence()
        && segment.len == len
        && is_signed(&meta.entry, signer);
    let start = segment.start.0.checked_add(meta.correction_us)?;
    let end = start.checked_add_unsigned(segment.duration_us)?;
    is_ours.then(|| SegmentRow {
        chain: place.chain.to_string(),
        sequence: key.sequence().0,
        user: place.user,
        camera: place.camera,
        tier: place.tier,
        state: SegmentState::Reserved,
        run: segment.run.0,
        boot: segment.boot.0,
        start: UnixMicros(start),
        end: UnixMicros(end),
        correction_us: meta.correction_us,
        time_known: meta.time_known,
        event: segment.causes.event,
        locked: false,
        bytes: segment.len,
        encoded: wire.encoded,
        signature: wire.signature,
    })
}
