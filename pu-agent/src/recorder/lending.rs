//! The writers of the chains, taken from the storage as soon as it gives them.

use std::{future::Future, pin::Pin, time::Duration};

use sightline_recording::{
    chain,
    statement::{Gap, GapReason, Segment, Sequence, Subject, What},
};
use sightline_recording_store::{ChainWriter, Store, StoreError};
use tokio::sync::watch;

use super::clock::Dates;

/// How often a storage that gives no writer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// So many of a chain's newest entries are searched for its newest segment and gap.
const SEARCHED: u64 = 256;

/// A writer, and what its chain ends with.
pub struct Lent {
    pub writer: ChainWriter,
    pub end: End,
}

/// What a chain ends with.
pub struct End {
    /// The newest segment, if it is of this boot.
    pub newest: Option<Segment>,
    /// Why nothing is recorded: "not planned" if the chain says so already, else "recorder off".
    pub gap: GapReason,
}

/// Gives nothing where there is no such chain.
pub type Lending = Pin<Box<dyn Future<Output = Option<Lent>> + Send>>;

/// The chain's writer. A new chain begins.
pub async fn writer(
    mut store: watch::Receiver<Option<Store>>,
    subject: Subject,
    dates: Dates,
) -> Option<Lent> {
    let store = opened(&mut store).await;
    let mut told = false;
    loop {
        match take_up(&store, &subject, &dates).await {
            Ok(lent) => return Some(lent),
            Err(error) if !told => {
                told = true;
                tracing::warn!(camera = %subject.camera, %error, "it cannot be recorded yet");
            }
            Err(error) => tracing::debug!(camera = %subject.camera, %error, "still not"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// The chain's writer, if it was ever begun.
pub async fn writer_of_begun(
    mut store: watch::Receiver<Option<Store>>,
    subject: Subject,
    dates: Dates,
) -> Option<Lent> {
    let is_begun = opened(&mut store).await.subjects().contains(&subject);
    if is_begun { writer(store, subject, dates).await } else { None }
}

/// States of a chain that no track writes that nothing more is planned to be recorded.
pub async fn leave(store: &Store, subject: &Subject, dates: &Dates) -> Result<(), StoreError> {
    let Lent { mut writer, end } = take_up(store, subject, dates).await?;
    if let Some(step) = end.newest.and_then(|newest| dates.missed_step(&newest)) {
        writer.clock_step(step)?.wait().await?;
    }
    if end.gap != GapReason::NotPlanned {
        let now = dates.now();
        let (from, authority) = (now.time, now.authority);
        let gap = Gap { from, boot: dates.boot(), authority, reason: GapReason::NotPlanned };
        writer.gap(gap)?.wait().await?;
    }
    writer.end().await;
    Ok(())
}

async fn opened(store: &mut watch::Receiver<Option<Store>>) -> Store {
    let opened = store.wait_for(Option::is_some).await.map(|store| store.clone());
    match opened {
        Ok(Some(opened)) => opened,
        // The recorder is ending.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Where the chain ended with a segment, the store has stated a gap behind it.
async fn take_up(store: &Store, subject: &Subject, dates: &Dates) -> Result<Lent, StoreError> {
    let writer = store.writer(subject).await?;
    let end = end(store, subject, dates).await?;
    Ok(Lent { writer, end })
}

/// The newest segment is given as if it had been dated by the last step that the chain knows of: what
/// nobody has seen since is counted from there.
async fn end(store: &Store, subject: &Subject, dates: &Dates) -> Result<End, StoreError> {
    let mut end = End { newest: None, gap: GapReason::RecorderOff };
    let Some(head) = store.head(subject, dates.now().time).await? else { return Ok(end) };
    let after = head.sequence.0.checked_sub(SEARCHED).map(Sequence);
    let limit = u32::try_from(SEARCHED).unwrap_or(u32::MAX);
    let entries = store.entries(subject, after, limit).await?;
    for (_, entry) in &entries.rows {
        match chain::decode(entry).map(|statement| statement.what) {
            Ok(What::Segment(segment)) => {
                end = End { newest: Some(segment), gap: GapReason::RecorderOff };
            }
            Ok(What::ClockStep(step)) => {
                if let Some(newest) = end.newest.as_mut().filter(|n| n.boot == step.boot) {
                    newest.start = step.to;
                    newest.monotonic_us = step.monotonic_us;
                    newest.authority = step.to_authority;
                }
            }
            Ok(What::Gap(gap)) if gap.reason == GapReason::NotPlanned => end.gap = gap.reason,
            // Whatever else it was, what holds now is stated.
            Ok(What::Gap(_)) => end.gap = GapReason::RecorderOff,
            Ok(What::Begin { .. } | What::Checkpoint(_)) => {}
            Err(_) => return Err(StoreError::Corrupt("entry of a chain")),
        }
    }
    end.newest = end.newest.filter(|newest| newest.boot == dates.boot());
    Ok(end)
}
