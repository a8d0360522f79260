//! A run: when its segments end, when they begin on the recorder's clock, and when it must end.

use std::collections::VecDeque;

use bytes::Bytes;
use sightline_media::{
    AccessUnit, StreamDescription,
    mp4::{
        Mp4Error,
        segment::{Part, Placed, RunWriter},
    },
};
use sightline_model::UnixMicros;

use super::{Config, Opening, RunEnd, micros_between};
use crate::{
    clock::{LARGEST_SLEW_US, Moment, SLEW_PPM},
    statement::{Authority, BootId},
};

/// The media clock and the recorder's clock lie apart when no picture for so long says otherwise, by
/// the monotonic clock in microseconds: a network that stalls delivers late, and then catches up.
const LATE_FOR_US: u64 = 10_000_000;

/// Whether a picture was taken.
pub enum Taken {
    /// It is in the segment that was open.
    Passed,
    /// It begins a segment.
    Began,
    /// It belongs to another run. This one is to be ended, with its position if that is known.
    Refused { why: RunEnd, next_90k: Option<i64> },
}

pub struct Run {
    writer: RunWriter,
    config: Config,
    /// Of the segment that the newest picture is in.
    current: Option<Line>,
    /// Segments that the writer has not begun yet.
    starts: VecDeque<Line>,
    first: bool,
    ending: Option<RunEnd>,
    /// Since when (monotonic) every picture was more than a second late.
    late_since_us: Option<u64>,
    bytes: u64,
}

/// Where and when a segment begins.
#[derive(Debug, Clone, Copy)]
struct Line {
    position_90k: i64,
    time: UnixMicros,
    monotonic_us: u64,
    authority: Authority,
    /// How late its least delayed picture was, by this line, in microseconds.
    least_late_us: Option<i64>,
}

impl Line {
    /// From its beginning to a position, in microseconds; negative before it.
    fn until_us(&self, position_90k: i64) -> i64 {
        let position = |p: i64| u64::try_from(p).unwrap_or(0);
        let (from, to) = (position(self.position_90k), position(position_90k));
        if to >= from {
            i64::try_from(micros_between(from, to)).unwrap_or(i64::MAX)
        } else {
            i64::try_from(micros_between(to, from)).map_or(i64::MIN, i64::wrapping_neg)
        }
    }

    /// How late a picture is.
    fn late_us(&self, position_90k: i64, arrived: &Moment) -> i64 {
        let due = self.time.0.saturating_add(self.until_us(position_90k));
        arrived.time.0.saturating_sub(due)
    }
}

/// Whether a file can hold a stream of this form.
pub fn check(description: &StreamDescription) -> Result<(), Mp4Error> {
    RunWriter::new(description, UnixMicros(0)).map(drop)
}

impl Run {
    pub fn new(
        description: &StreamDescription,
        config: Config,
        created: UnixMicros,
    ) -> Result<Self, Mp4Error> {
        Ok(Self {
            writer: RunWriter::new(description, created)?,
            config,
            current: None,
            starts: VecDeque::new(),
            first: true,
            ending: None,
            late_since_us: None,
            bytes: 0,
        })
    }

    pub fn left_out(&self) -> Option<&'static str> {
        self.writer.left_out()
    }

    pub fn describe(&mut self, description: &StreamDescription) -> Result<(), Mp4Error> {
        self.writer.describe(description)
    }

    /// The next keyframe belongs to another run.
    pub const fn end_soon(&mut self, why: RunEnd) {
        if self.ending.is_none() {
            self.ending = Some(why);
        }
    }

    pub fn push_sound(
        &mut self,
        timestamp: i64,
        arrived: &Moment,
        data: &Bytes,
    ) -> Result<(), Mp4Error> {
        self.bytes += data.len() as u64;
        self.writer.push_sound(timestamp, signed(arrived.monotonic_us), data)
    }

    pub fn push_picture(
        &mut self,
        unit: &AccessUnit,
        arrived: &Moment,
        cut_soon: bool,
    ) -> Result<Taken, Mp4Error> {
        let AccessUnit::Video { timestamp, keyframe, data, .. } = unit else {
            return Ok(Taken::Passed);
        };
        let arrived_us = signed(arrived.monotonic_us);
        let Some(placed) = self.writer.place(*timestamp, arrived_us, *keyframe) else {
            return Ok(Taken::Passed);
        };
        if placed.jumped {
            self.end_soon(RunEnd::MediaClockJump);
        }
        if self.ending.is_none() {
            self.compare(placed, arrived);
        }
        if let Some(why) = self.ending.filter(|_| *keyframe) {
            let next_90k = (!placed.jumped).then_some(placed.position_90k);
            return Ok(Taken::Refused { why, next_90k });
        }
        let cut = self.begins(placed, *keyframe, cut_soon);
        if cut {
            self.begin_segment(placed, arrived);
        } else if self.ending.is_none()
            && let Some(line) = &mut self.current
        {
            let late_us = line.late_us(placed.position_90k, arrived);
            line.least_late_us = Some(line.least_late_us.map_or(late_us, |l| l.min(late_us)));
        }
        self.bytes += data.len() as u64;
        self.writer.push_picture(placed, *keyframe, data, cut)?;
        Ok(if cut { Taken::Began } else { Taken::Passed })
    }

    pub fn finish(&mut self, next_90k: Option<i64>) -> Result<(), Mp4Error> {
        self.writer.finish(next_90k)
    }

    pub fn poll_part(&mut self) -> Option<Part> {
        self.writer.poll_part()
    }

    /// What is known of the segment that the writer begins now.
    pub fn opening(&mut self, boot: BootId, position_90k: u64) -> Opening {
        let line = self.starts.pop_front().or(self.current).unwrap_or(Line {
            position_90k: 0,
            time: UnixMicros(0),
            monotonic_us: 0,
            authority: Authority::Unconfirmed,
            least_late_us: None,
        });
        // Pictures that were coded after the keyframe may be shown before it.
        let before_us = line.until_us(i64::try_from(position_90k).unwrap_or(i64::MAX));
        let first_of_run = std::mem::take(&mut self.first);
        Opening {
            first_of_run,
            start: UnixMicros(line.time.0.saturating_add(before_us)),
            boot,
            monotonic_us: line.monotonic_us.saturating_add_signed(before_us),
            authority: line.authority,
            position_90k,
        }
    }

    /// Whether media clock and recorder's clock still say the same, within a second.
    fn compare(&mut self, placed: Placed, arrived: &Moment) {
        let Some(line) = &self.current else { return };
        let late_us = line.late_us(placed.position_90k, arrived);
        if late_us > LARGEST_SLEW_US {
            let since_us = *self.late_since_us.get_or_insert(arrived.monotonic_us);
            if arrived.monotonic_us.saturating_sub(since_us) > LATE_FOR_US {
                self.end_soon(RunEnd::ClocksApart);
            }
            return;
        }
        self.late_since_us = None;
        if late_us < -LARGEST_SLEW_US {
            // No network delivers early: the run's first picture was late.
            self.end_soon(RunEnd::ClocksApart);
        }
    }

    fn begins(&self, placed: Placed, keyframe: bool, cut_soon: bool) -> bool {
        let Some(line) = &self.current else { return true };
        let lasted_us = line.until_us(placed.position_90k);
        if lasted_us <= 0 {
            return false;
        }
        // A source whose pictures do not come at exact times ends a segment at the same keyframe.
        let target_us = micros(self.config.target) / 20 * 19;
        let wanted = cut_soon || self.writer.wants_cut() || lasted_us >= target_us;
        keyframe && wanted
            || lasted_us >= micros(self.config.longest)
            || self.bytes >= self.config.most_bytes
    }

    fn begin_segment(&mut self, placed: Placed, arrived: &Moment) {
        self.bytes = 0;
        let position_90k = placed.position_90k;
        let line = match &self.current {
            None => Line {
                position_90k,
                time: arrived.time,
                monotonic_us: arrived.monotonic_us,
                authority: arrived.authority,
                least_late_us: None,
            },
            Some(before) => before.next(position_90k, arrived, self.ending.is_some()),
        };
        self.starts.push_back(line);
        let least_late_us = self.ending.is_none().then(|| line.late_us(position_90k, arrived));
        self.current = Some(Line { least_late_us, ..line });
    }
}

impl Line {
    /// The segment behind this one. When the run is about to end, `arrived` is by another clock.
    fn next(&self, position_90k: i64, arrived: &Moment, ending: bool) -> Self {
        let lasted_us = self.until_us(position_90k);
        let most_us = lasted_us.saturating_mul(SLEW_PPM) / 1_000_000;
        let correction_us = self.least_late_us.unwrap_or(0).clamp(-most_us, most_us);
        let moved_us = lasted_us.saturating_add(correction_us);
        let time = UnixMicros(self.time.0.saturating_add(moved_us));
        let (monotonic_us, authority) = if ending {
            (self.monotonic_us.saturating_add_signed(moved_us), self.authority)
        } else {
            let before_us = time.0.saturating_sub(arrived.time.0);
            (arrived.monotonic_us.saturating_add_signed(before_us), arrived.authority)
        };
        Self { position_90k, time, monotonic_us, authority, least_late_us: None }
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn signed(monotonic_us: u64) -> i64 {
    i64::try_from(monotonic_us).unwrap_or(i64::MAX)
}
