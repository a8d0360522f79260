//! One job of the uploader, carried out.

use std::time::Duration;

use sightline_cloud::{
    to_wire,
    uploader::{Chain, Failure, Item, Job, LaneId, Outcome},
};
use sightline_model::UserId;
use sightline_protocol::{
    ProblemKind,
    cp::{CloudReply, CloudRequest, MAX_NOTES},
};
use sightline_recording::statement::Sequence;
use sightline_recording_store::{Opened, StoreError};
use sightline_service_kit::flow;

use super::{Parts, way::SendError};

/// How long the centre may take: it asks the store, and may read what was sent.
const PATIENCE: Duration = Duration::from_secs(15);

const AWAY: Outcome = Outcome::Failed(Failure::Away);
const UNACCEPTABLE: Outcome = Outcome::Failed(Failure::Unacceptable);

/// What the centre answered, or what that means for the job.
type Answered = Result<CloudReply, Outcome>;

pub(super) async fn work(parts: &Parts, job: Job) -> Outcome {
    let worked = match job {
        Job::Open(chain) => open(parts, chain).await,
        Job::Note { chain, after } => note(parts, chain, after).await,
        Job::Look { lane, after } => parts.spool.next(lane, after).await.map(Outcome::Found),
        Job::Ask { lane, item } => ask(parts, lane, item).await,
        Job::Send { lane, item } => send(parts, lane, item).await,
        Job::Confirm { lane, item } => confirm(parts, lane, item).await,
        Job::MakeRoom { item, .. } => Ok(make_room(parts, item).await),
        Job::Release { lane, through } => {
            parts.spool.let_go(lane, through).await.map(|_| Outcome::Done)
        }
    };
    worked.unwrap_or_else(|error| {
        // The storage tells by itself how it is.
        tracing::debug!(%error, "the spool cannot be read");
        AWAY
    })
}

impl Parts {
    fn owner(&self) -> Result<UserId, Outcome> {
        self.owner.lock().clone().ok_or(AWAY)
    }

    async fn ask(&self, ask: CloudRequest) -> Answered {
        let problem = match self.uplink.ask_cloud(ask, PATIENCE).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(problem)) => problem,
            Err(_) => return Err(AWAY),
        };
        tracing::debug!(%problem, "the cloud storage refuses");
        Err(match problem.kind {
            ProblemKind::NoSpaceLeft => Outcome::Failed(Failure::NoSpace),
            ProblemKind::InvalidRequest => UNACCEPTABLE,
            _ => AWAY,
        })
    }
}

/// An answer to another question.
fn strange() -> Outcome {
    tracing::warn!("the centre gave an answer to another question about the cloud storage");
    AWAY
}

async fn open(parts: &Parts, chain: Chain) -> Result<Outcome, StoreError> {
    let Some(begin) = parts.spool.begin(chain).await? else { return Ok(AWAY) };
    let owner = match parts.owner() {
        Ok(owner) => owner,
        Err(outcome) => return Ok(outcome),
    };
    let entry = to_wire(&begin);
    Ok(match parts.ask(CloudRequest::Open { owner, entry }).await {
        Ok(CloudReply::Opened) => Outcome::Done,
        Ok(_) => strange(),
        Err(outcome) => outcome,
    })
}

async fn note(parts: &Parts, chain: Chain, after: Option<Sequence>) -> Result<Outcome, StoreError> {
    let notes = parts.spool.notes(chain, after, MAX_NOTES).await?;
    let noted = Outcome::Noted { through: notes.through, more: notes.more };
    if notes.entries.is_empty() {
        return Ok(noted);
    }
    let owner = match parts.owner() {
        Ok(owner) => owner,
        Err(outcome) => return Ok(outcome),
    };
    let entries = notes.entries.iter().map(to_wire).collect();
    Ok(match parts.ask(CloudRequest::Note { owner, entries }).await {
        Ok(CloudReply::Noted) => noted,
        Ok(_) => strange(),
        // What the centre will never have holds nothing up.
        Err(UNACCEPTABLE) => noted,
        Err(outcome) => outcome,
    })
}

async fn ask(parts: &Parts, lane: LaneId, item: Item) -> Result<Outcome, StoreError> {
    let Some((row, entry)) = parts.spool.segment(lane, item).await? else {
        return Ok(UNACCEPTABLE);
    };
    let owner = match parts.owner() {
        Ok(owner) => owner,
        Err(outcome) => return Ok(outcome),
    };
    let (correction_us, time_known) = (row.correction_us, row.time_known);
    let entry = to_wire(&entry);
    let asked = parts.ask(CloudRequest::Upload { owner, entry, correction_us, time_known }).await;
    Ok(match asked {
        Ok(CloudReply::Put(request)) => {
            parts.leave.lock().insert(lane, request);
            Outcome::Leave
        }
        Ok(CloudReply::Stored) => Outcome::Stored,
        Ok(CloudReply::Full { .. }) => Outcome::Full,
        Ok(CloudReply::Opened | CloudReply::Noted | CloudReply::RoomMade { .. }) => strange(),
        Err(outcome) => outcome,
    })
}

async fn send(parts: &Parts, lane: LaneId, item: Item) -> Result<Outcome, StoreError> {
    let Some(request) = parts.leave.lock().remove(&lane) else { return Ok(AWAY) };
    let opened = match parts.spool.open(lane, item).await? {
        Opened::File(opened) => opened,
        Opened::Damaged(_) | Opened::Expired => return Ok(UNACCEPTABLE),
    };
    let chain = parts.spool.id(lane.chain).await?.unwrap_or_default();
    flow::sent("Cp", parts.kind.unit(), "CS", "segment", &chain);
    match parts.way.put(&request, opened.file, opened.len).await {
        Ok(()) => {
            metrics::counter!("sightline_pu_cloud_sent_bytes_total").increment(opened.len);
            Ok(Outcome::Done)
        }
        Err(error @ (SendError::Address | SendError::Refused(_))) => {
            tracing::warn!(%error, "a segment was not taken by the cloud storage");
            Ok(AWAY)
        }
        Err(error @ SendError::Away(_)) => {
            tracing::debug!(%error, "a segment could not be sent");
            Ok(AWAY)
        }
    }
}

async fn confirm(parts: &Parts, lane: LaneId, item: Item) -> Result<Outcome, StoreError> {
    let Some(chain) = parts.spool.id(lane.chain).await? else { return Ok(AWAY) };
    let sequence = item.sequence.0;
    Ok(match parts.ask(CloudRequest::Stored { chain, sequence }).await {
        Ok(CloudReply::Stored) => {
            metrics::counter!("sightline_pu_cloud_stored_total").increment(1);
            Outcome::Stored
        }
        Ok(_) => strange(),
        Err(_) => AWAY,
    })
}

async fn make_room(parts: &Parts, item: Item) -> Outcome {
    match parts.ask(CloudRequest::MakeRoom { bytes: item.len }).await {
        Ok(CloudReply::RoomMade { .. }) => Outcome::Done,
        Ok(_) => strange(),
        Err(outcome) => outcome,
    }
}
