//! From access units to segment files, and when each of them begins (decision 0090).
//!
//! The contract: every call of a `handle_` function is followed by [`Segmenter::poll_output`] until it
//! says `None`. Outputs come in the order in which they are to be carried out; between `Open` and
//! `Close` there is one file. A segment is closed up to half a second after the picture that ends it,
//! when the sound that belongs to it has come.
//!
//! Invariant: within a run every segment begins where the one before ended, by the media clock; no
//! picture that can be decoded is left out; starts follow the recorder's clock by at most 500 millionths.

mod run;
mod stamp;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sightline_media::{
    AccessUnit, StreamDescription,
    mp4::{Mp4Error, segment::Part},
};
use sightline_model::{KeyId, UnixMicros};

use crate::{
    clock::Moment,
    statement::{Authority, BootId, Causes, ClockStep, Digest, RunId, Segment},
};
use run::{Run, Taken};
pub use stamp::{Recovered, recover};

/// How long segments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// A segment ends before the first keyframe after so long.
    pub target: Duration,
    /// A segment ends before any picture after so long, when no keyframe comes. The next one then
    /// begins with a picture that needs the segment before it.
    pub longest: Duration,
    /// The same after so many bytes.
    pub most_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: Duration::from_secs(4),
            longest: Duration::from_secs(300),
            most_bytes: 256 << 20,
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The caller ended it: recording is not wanted any more, or the service stops.
    Stopped,
    /// The caller ended it: the source went away.
    SourceAway,
    /// The recorder's clock was set.
    ClockStep,
    /// The media clock jumped back, or more than a minute ahead.
    MediaClockJump,
    /// The media clock and the recorder's clock lie more than a second apart.
    ClocksApart,
    /// The stream took on a form that cannot be put into a file.
    UnusableStream,
    /// Our own fault: the file cannot be composed. What was open has no `Close`; it is treated like
    /// a file found at a start ([`recover`]).
    Failed,
}

/// What is known of a segment when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Whether it begins a run: the run then has this segment's number. Else it is of the same run
    /// as the chain's newest segment.
    pub first_of_run: bool,
    /// As [`Segment::start`].
    pub start: UnixMicros,
    /// As [`Segment::boot`].
    pub boot: BootId,
    /// As [`Segment::monotonic_us`].
    pub monotonic_us: u64,
    /// As [`Segment::authority`].
    pub authority: Authority,
    /// As [`Segment::position_90k`].
    pub position_90k: u64,
}

/// What is known of a segment when it ends: all but what the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentDraft {
    /// What was known when it began.
    pub opening: Opening,
    /// As [`Segment::duration_us`].
    pub duration_us: u64,
    /// Length of the file as composed here, in bytes.
    pub len: u64,
    /// As [`Segment::head_len`].
    pub head_len: u32,
    /// SHA-256 of the file as composed here: of what is stored, unless that is encrypted.
    pub content: Digest,
    /// As [`Segment::pictures`].
    pub pictures: u32,
}

impl SegmentDraft {
    /// When it ends.
    #[must_use]
    pub const fn end(&self) -> UnixMicros {
        UnixMicros(self.opening.start.0.saturating_add_unsigned(self.duration_us))
    }

    /// The statement of an unencrypted segment of this run.
    #[must_use]
    pub const fn into_segment(self, run: RunId, causes: Causes, recovered: bool) -> Segment {
        const UNENCRYPTED: Option<KeyId> = None;
        Segment {
            run,
            start: self.opening.start,
            duration_us: self.duration_us,
            position_90k: self.opening.position_90k,
            boot: self.opening.boot,
            monotonic_us: self.opening.monotonic_us,
            authority: self.opening.authority,
            len: self.len,
            head_len: self.head_len,
            content: self.content,
            pictures: self.pictures,
            key: UNENCRYPTED,
            causes,
            recovered,
        }
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A new file begins.
    Open(Opening),
    /// To be appended to the open file.
    Append(Bytes),
    /// The open file is complete.
    Close(SegmentDraft),
    /// The run ended; the next segment begins another one.
    RunEnded(RunEnd),
    /// The step that was handed in belongs into the chain here.
    Step(ClockStep),
}

/// See the module.
pub struct Segmenter {
    boot: BootId,
    config: Config,
    description: Option<StreamDescription>,
    run: Option<Run>,
    cut_soon: bool,
    file: Option<OpenFile>,
    /// Steps that wait for the end of the run that was dated by the clock before them.
    steps: Vec<ClockStep>,
    outputs: VecDeque<Output>,
}

struct OpenFile {
    opening: Opening,
    hash: Sha256,
    len: u64,
    head_len: u32,
}

impl Segmenter {
    /// A segmenter for one source; units are dated by the monotonic clock of this boot.
    #[must_use]
    pub const fn new(boot: BootId, config: Config) -> Self {
        Self {
            boot,
            config,
            description: None,
            run: None,
            cut_soon: false,
            file: None,
            steps: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What of the stream is not in the files and why, in words.
    #[must_use]
    pub fn left_out(&self) -> Option<&'static str> {
        self.run.as_ref().and_then(Run::left_out)
    }

    /// The stream's form, from the next keyframe on. Units are passed over until it is known.
    ///
    /// # Errors
    /// [`Mp4Error`] when no file can hold it: the run ends, and units are passed over until another
    /// form comes.
    pub fn handle_description(&mut self, description: &StreamDescription) -> Result<(), Mp4Error> {
        let described = match &mut self.run {
            Some(run) => run.describe(description),
            None => run::check(description),
        };
        match described {
            Ok(()) => {
                self.description = Some(description.clone());
                Ok(())
            }
            Err(error) => {
                self.description = None;
                self.end_run(RunEnd::UnusableStream, None);
                Err(error)
            }
        }
    }

    /// The next unit of the stream, and when it arrived ([`crate::clock::RecorderClock::moment_of`]).
    ///
    /// # Errors
    /// [`Mp4Error`] by our own fault: the run has ended with [`RunEnd::Failed`].
    pub fn handle_unit(&mut self, unit: &AccessUnit, arrived: &Moment) -> Result<(), Mp4Error> {
        let result = self.take(unit, arrived);
        if result.is_err() {
            self.fail();
        }
        result
    }

    /// The recorder's clock was set. What is open goes on by the clock before until the next
    /// keyframe; then the step is given out as [`Output::Step`], and a new run begins.
    pub fn handle_step(&mut self, step: ClockStep) {
        self.steps.push(step);
        match &mut self.run {
            Some(run) => run.end_soon(RunEnd::ClockStep),
            None => self.give_out_steps(),
        }
    }

    /// The next keyframe begins a segment: the reasons for recording change.
    pub const fn handle_cut(&mut self) {
        self.cut_soon = true;
    }

    /// Ends the run at once. Everything that came is in its files.
    pub fn handle_end(&mut self, why: RunEnd) {
        self.end_run(why, None);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn take(&mut self, unit: &AccessUnit, arrived: &Moment) -> Result<(), Mp4Error> {
        let (AccessUnit::Video { .. }, Some(description)) = (unit, &self.description) else {
            if let (Some(run), AccessUnit::Audio { timestamp, data, .. }) = (&mut self.run, unit) {
                run.push_sound(*timestamp, arrived, data)?;
                self.drain();
            }
            return Ok(());
        };
        let run = match &mut self.run {
            Some(run) => run,
            None if unit.is_keyframe() => {
                self.run.insert(Run::new(description, self.config, arrived.time)?)
            }
            None => return Ok(()),
        };
        match run.push_picture(unit, arrived, self.cut_soon)? {
            Taken::Passed => {}
            Taken::Began => self.cut_soon = false,
            Taken::Refused { why, next_90k } => {
                self.end_run(why, next_90k);
                return self.take(unit, arrived);
            }
        }
        self.drain();
        Ok(())
    }

    /// Turns the writer's parts into outputs.
    fn drain(&mut self) {
        while let Some(run) = &mut self.run {
            let Some(part) = run.poll_part() else { break };
            match part {
                Part::Begin { position_90k, head } => {
                    let opening = run.opening(self.boot, position_90k);
                    let head_len = u32::try_from(head.len()).unwrap_or(u32::MAX);
                    let hash = Sha256::new();
                    self.file = Some(OpenFile { opening, hash, len: 0, head_len });
                    self.outputs.push_back(Output::Open(opening));
                    self.append(head);
                    self.append(stamp::encode(&opening));
                }
                Part::Fragment(bytes) => self.append(bytes),
                Part::End { position_90k, pictures } => self.close(position_90k, pictures),
            }
        }
    }

    fn append(&mut self, bytes: Bytes) {
        let Some(file) = &mut self.file else { return };
        file.hash.update(&bytes);
        file.len += bytes.len() as u64;
        self.outputs.push_back(Output::Append(bytes));
    }

    fn close(&mut self, end_90k: u64, pictures: u32) {
        let Some(file) = self.file.take() else { return };
        let duration_us = micros_between(file.opening.position_90k, end_90k);
        self.outputs.push_back(Output::Close(SegmentDraft {
            opening: file.opening,
            duration_us,
            len: file.len,
            head_len: file.head_len,
            content: Digest(file.hash.finalize().into()),
            pictures,
        }));
    }

    fn end_run(&mut self, why: RunEnd, next_90k: Option<i64>) {
        let Some(run) = &mut self.run else { return };
        if run.finish(next_90k).is_err() {
            self.fail();
            return;
        }
        self.drain();
        self.run = None;
        self.outputs.push_back(Output::RunEnded(why));
        self.give_out_steps();
    }

    fn fail(&mut self) {
        if self.run.take().is_some() {
            self.file = None;
            self.outputs.push_back(Output::RunEnded(RunEnd::Failed));
        }
        self.give_out_steps();
    }

    fn give_out_steps(&mut self) {
        self.outputs.extend(self.steps.drain(..).map(Output::Step));
    }
}

/// From one position to another in microseconds, so that durations of a run add up exactly.
fn micros_between(from_90k: u64, to_90k: u64) -> u64 {
    let micros = |position: u64| u128::from(position) * 100 / 9;
    u64::try_from(micros(to_90k).saturating_sub(micros(from_90k))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
