//! What proves recordings in the cloud: entries as the unit has signed them (decision 0091).

use std::{collections::BTreeMap, ops::Range};

use sightline_model::{CameraId, PublicKey, StreamTier, UnixMicros, UserId};
use sightline_recording::chain::{ChainProof, MAX_CHAINS, Proof, ProvenEntry};

use super::{CloudError, entry_of};
use crate::state::App;

/// Most segments of one proof.
pub const MAX_PROVEN: usize = 5_400;
const PAGE: u32 = 1_000;

/// The proof of a span; none: it is of more than can be proven at once.
///
/// Each stretch of a chain without a hole is proven by itself: what lies between was never uploaded, is
/// gone, or is no segment.
///
/// # Errors
/// [`CloudError`].
pub async fn proof(
    app: &App,
    of: (&UserId, &CameraId, StreamTier),
    span: Range<UnixMicros>,
    key: PublicKey,
) -> Result<Option<Proof>, CloudError> {
    let mut chains: BTreeMap<String, BTreeMap<u64, ProvenEntry>> = BTreeMap::new();
    let (mut after, mut count): (Option<(UnixMicros, String, u64)>, _) = (None, 0);
    loop {
        let from = after.as_ref().map(|(at, chain, n)| (*at, chain.as_str(), *n));
        let page = app.db.cloud().segments(of, span.clone(), from, PAGE).await?;
        count += page.len();
        if count > MAX_PROVEN {
            return Ok(None);
        }
        for row in &page {
            let mut proven = ProvenEntry::new(entry_of(&row.encoded, row.signature)?);
            proven.file = Some(file_name(&row.chain, row.sequence));
            chains.entry(row.chain.clone()).or_default().insert(row.sequence, proven);
        }
        after = page.last().map(|row| (row.start, row.chain.clone(), row.sequence));
        if page.len() < PAGE as usize {
            break;
        }
    }
    let mut proofs = Vec::new();
    for (chain, entries) in chains {
        proofs.extend(of_chain(app, &chain, entries, key).await?);
    }
    Ok((proofs.len() <= MAX_CHAINS).then(|| Proof::new(proofs)))
}

async fn of_chain(
    app: &App,
    chain: &str,
    mut entries: BTreeMap<u64, ProvenEntry>,
    key: PublicKey,
) -> Result<Vec<ChainProof>, CloudError> {
    let Some(known) = app.db.cloud().chain(chain).await? else { return Err(CloudError::Corrupt) };
    let begin = ProvenEntry::new(entry_of(&known.encoded, known.signature)?);
    let (first, last) = (entries.keys().min().copied(), entries.keys().max().copied());
    let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
    let mut steps = Vec::new();
    for note in app.db.cloud().notes(chain, first).await? {
        let entry = ProvenEntry::new(entry_of(&note.encoded, note.signature)?);
        if note.sequence < last {
            entries.insert(note.sequence, entry);
        } else if note.reason.is_none() {
            steps.push(entry);
        }
    }
    let mut stretches: Vec<(u64, Vec<ProvenEntry>)> = Vec::new();
    for (number, entry) in entries {
        match stretches.last_mut() {
            Some((end, stretch)) if *end + 1 == number => {
                *end = number;
                stretch.push(entry);
            }
            // Nothing in front of the first segment explains it.
            Some(_) | None if entry.file.is_some() => stretches.push((number, vec![entry])),
            Some(_) | None => {}
        }
    }
    let proof = |(_, mut entries): (u64, Vec<ProvenEntry>)| {
        while entries.last().is_some_and(|last| last.file.is_none()) {
            entries.pop();
        }
        let context = [&begin].into_iter().chain(&steps).cloned().collect();
        ChainProof { recorder_key: key, context, entries }
    };
    Ok(stretches.into_iter().map(proof).collect())
}

/// Each chain counts from one: its name keeps files of two chains apart, of a spool and of the one after it.
fn file_name(chain: &str, sequence: u64) -> String {
    format!("{chain}-{sequence:012}.mp4")
}
