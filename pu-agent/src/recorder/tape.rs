//! What the segmenter of one track gives out, carried to the writer of its chain; and the gaps.
//!
//! Nothing here waits for the storage: the writer queues. A segment that the storage does not take ends
//! the run, and the store states the gap; the next keyframe is tried again.

use std::{collections::VecDeque, future::Future, pin::Pin};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sightline_model::UnixMicros;
use sightline_recording::{
    clock::Moment,
    segmenter::{Opening, Output, RunEnd, SegmentDraft},
    statement::{Authority, BootId, Causes, ClockStep, Gap, GapReason},
};
use sightline_recording_store::{ChainWriter, Pending, StoreError};

use super::figures::Figures;

/// Steps that wait for the storage. The oldest goes when there are more.
const MOST_OWED: usize = 64;

/// What will be durable.
enum Handed {
    Segment(SegmentDraft),
    Gap(Gap),
    Step(ClockStep),
}

type Awaited = Pin<Box<dyn Future<Output = (Handed, Result<(), StoreError>)> + Send>>;

/// The newest moment that is recorded.
#[derive(Debug, Clone, Copy)]
struct End {
    at: UnixMicros,
    boot: BootId,
    authority: Authority,
}

impl End {
    const fn of(draft: &SegmentDraft) -> Self {
        let Opening { boot, authority, .. } = draft.opening;
        Self { at: draft.end(), boot, authority }
    }
}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// Go on.
    Done,
    /// End the segmenter's run: the storage does not take it.
    Refused,
    /// Get the chain's writer anew: our own fault broke the open segment.
    Lost,
}

/// See the module.
pub struct Tape {
    writer: Option<ChainWriter>,
    boot: BootId,
    /// Why segments that begin now are recorded.
    causes: Causes,
    /// The same of the open one.
    open: Option<Causes>,
    /// The rest of the run is passed over.
    refused: bool,
    /// Why nothing is recorded; none while something is.
    gap: Option<GapReason>,
    end: Option<End>,
    /// Steps that could not be written yet.
    owed: VecDeque<ClockStep>,
    /// Likewise.
    owed_gap: Option<Gap>,
    awaited: FuturesUnordered<Awaited>,
    figures: Figures,
}

impl Tape {
    /// Without a writer yet.
    pub fn new(boot: BootId, figures: Figures) -> Self {
        Self {
            writer: None,
            boot,
            causes: Causes::default(),
            open: None,
            refused: false,
            gap: Some(GapReason::RecorderOff),
            end: None,
            owed: VecDeque::new(),
            owed_gap: None,
            awaited: FuturesUnordered::new(),
            figures,
        }
    }

    /// Takes the chain's writer. Its chain ends with a gap, for the reason `ended`.
    pub fn load(&mut self, writer: ChainWriter, ended: GapReason) {
        self.writer = Some(writer);
        self.gap = Some(ended);
        self.end = None;
    }

    /// Whether there is a writer.
    pub const fn is_loaded(&self) -> bool {
        self.writer.is_some()
    }

    /// Whether something is recorded, as far as is known.
    pub const fn is_recording(&self) -> bool {
        self.gap.is_none()
    }

    /// Why it is recorded from now on. What is open was recorded for these causes too: a pre-roll
    /// reaches into it.
    pub fn set_causes(&mut self, causes: Causes) {
        self.causes = causes;
        if let Some(open) = &mut self.open {
            *open = open.and(causes);
        }
    }

    /// Nothing is recorded from the newest segment's end on, or from `now` on where nothing was.
    pub fn gap(&mut self, reason: GapReason, now: &Moment) {
        if self.writer.is_none() || self.gap == Some(reason) {
            return;
        }
        let now = End { at: now.time, boot: self.boot, authority: now.authority };
        let from = self.end.filter(|_| self.gap.is_none()).unwrap_or(now);
        self.gap = Some(reason);
        let End { at, boot, authority } = from;
        self.owed_gap = Some(Gap { from: at, boot, authority, reason });
        self.pay();
    }

    /// The recorder's clock was set. Without a writer the step is found when there is one.
    pub fn step(&mut self, step: ClockStep) {
        if self.writer.is_some() {
            self.owe(step);
            self.pay();
        }
    }

    /// Carries one output of the segmenter out.
    pub fn carry(&mut self, output: Output) -> Carried {
        let result = match output {
            Output::RunEnded(why) => return self.run_ended(why),
            Output::Step(step) => {
                self.step(step);
                return Carried::Done;
            }
            Output::Open(_) | Output::Append(_) | Output::Close(_) if self.refused => {
                return Carried::Done;
            }
            Output::Open(opening) => self.open(opening),
            Output::Append(bytes) => match &mut self.writer {
                Some(writer) => writer.append(bytes),
                None => Err(StoreError::Closed),
            },
            Output::Close(draft) => self.close(draft),
        };
        let Err(error) = result else { return Carried::Done };
        // The store states this gap, as long as it lasts.
        let reason = reason_of(&error);
        if self.gap != Some(reason) {
            tracing::warn!(channel = self.figures.channel(), %error, "recording stops");
            self.figures.gap(reason);
        }
        (self.refused, self.open, self.gap) = (true, None, Some(reason));
        Carried::Refused
    }

    /// The next thing that became durable, or failed to. Never ends; cancel-safe.
    pub async fn acknowledged(&mut self) {
        match self.awaited.next().await {
            Some((handed, result)) => self.settle(handed, result),
            None => std::future::pending().await,
        }
    }

    /// Waits until everything that was handed in is written or has failed, and gives the writer back.
    pub async fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.end().await;
        }
        while let Some((handed, result)) = self.awaited.next().await {
            self.settle(handed, result);
        }
    }

    fn open(&mut self, opening: Opening) -> Result<(), StoreError> {
        self.pay();
        let writer = self.writer.as_mut().ok_or(StoreError::Closed)?;
        writer.open_segment(opening)?;
        self.open = Some(self.causes);
        if let Some(reason) = self.gap.take() {
            tracing::info!(channel = self.figures.channel(), after = ?reason, "recording begins");
        }
        Ok(())
    }

    fn close(&mut self, draft: SegmentDraft) -> Result<(), StoreError> {
        let causes = self.open.take().unwrap_or(self.causes);
        let writer = self.writer.as_mut().ok_or(StoreError::Closed)?;
        let pending = writer.close_segment(draft, causes)?;
        self.end = Some(End::of(&draft));
        self.awaited.push(awaited(Handed::Segment(draft), pending));
        Ok(())
    }

    fn run_ended(&mut self, why: RunEnd) -> Carried {
        self.refused = false;
        let broken = self.open.take().is_some();
        match why {
            RunEnd::Failed => {
                tracing::error!(
                    channel = self.figures.channel(),
                    "a segment could not be composed"
                );
                if broken {
                    // Dropping it ends the segment as far as it went.
                    self.writer = None;
                    return Carried::Lost;
                }
            }
            RunEnd::Stopped | RunEnd::SourceAway => {}
            RunEnd::ClockStep
            | RunEnd::MediaClockJump
            | RunEnd::ClocksApart
            | RunEnd::UnusableStream => {
                tracing::info!(channel = self.figures.channel(), ?why, "a run of recording ended");
            }
        }
        Carried::Done
    }

    fn owe(&mut self, step: ClockStep) {
        if self.owed.len() == MOST_OWED {
            self.owed.pop_front();
        }
        self.owed.push_back(step);
    }

    /// Hands in what waits, where no segment is open.
    fn pay(&mut self) {
        let Some(writer) = self.writer.as_mut().filter(|_| self.open.is_none()) else { return };
        while let Some(step) = self.owed.pop_front() {
            match writer.clock_step(step) {
                Ok(pending) => self.awaited.push(awaited(Handed::Step(step), pending)),
                Err(_) => return self.owed.push_front(step),
            }
        }
        // One that is over needs no words any more.
        if let Some(gap) = self.owed_gap.take().filter(|_| self.gap.is_some()) {
            match writer.gap(gap) {
                Ok(pending) => self.awaited.push(awaited(Handed::Gap(gap), pending)),
                Err(_) => self.owed_gap = Some(gap),
            }
        }
    }

    fn settle(&mut self, handed: Handed, result: Result<(), StoreError>) {
        let figures = self.figures.clone();
        let channel = figures.channel();
        match (handed, result) {
            (Handed::Segment(draft), Ok(())) => self.figures.segment(&draft),
            (Handed::Gap(Gap { reason, .. }), Ok(())) => {
                tracing::info!(channel, ?reason, "nothing is recorded");
                self.figures.gap(reason);
            }
            (Handed::Step(_), Ok(())) => {}
            (Handed::Step(step), Err(error)) => {
                tracing::warn!(channel, %error, "that the clock was set is stated later");
                self.owe(step);
            }
            (Handed::Segment(_), Err(error)) => {
                tracing::warn!(channel, %error, "a segment is not stored whole");
                self.figures.gap(reason_of(&error));
            }
            (Handed::Gap(gap), Err(error)) => {
                tracing::warn!(channel, reason = ?gap.reason, %error, "a gap is stated later");
                self.owed_gap.get_or_insert(gap);
            }
        }
    }
}

fn awaited(handed: Handed, pending: Pending) -> Awaited {
    Box::pin(async move { (handed, pending.wait().await.map(drop)) })
}

/// What the store states where this ended a segment.
fn reason_of(error: &StoreError) -> GapReason {
    match error {
        StoreError::Unavailable(state) => state.gap_reason(),
        StoreError::Closed => GapReason::RecorderOff,
        StoreError::InUse
        | StoreError::Misuse(_)
        | StoreError::Behind
        | StoreError::Io { .. }
        | StoreError::Index(_)
        | StoreError::Migrate(_)
        | StoreError::Corrupt(_)
        | StoreError::Failed(_) => GapReason::StorageFailed,
    }
}
