//! Joining segments to one file that every player opens.
//!
//! The segments lie in the file as they were recorded, byte for byte, inside one large `mdat`; behind
//! them a table of samples says where their pictures and sound are. So the file is a copy and not a
//! conversion: whoever has the recorder's signatures checks them against stretches of it (decision
//! 0091).
//!
//! A [`Joiner`] holds no file: what is to be written where is given out. It holds one segment's table
//! and what the whole table needs, some thirty bytes for each picture.
//!
//! Invariant: tracks begin together, and stay together: where a run ends, its successor begins for all
//! tracks at the time to which the longest has come. What was not recorded in between is left out.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use shiguredo_mp4::{
    TrackKind,
    boxes::SampleEntry,
    demux::{DemuxError, Fmp4SegmentDemuxer},
    mux::{Mp4FileMuxer, Mp4FileMuxerOptions, MuxError, Sample},
};
use sightline_model::UnixMicros;

use super::read::{self, ReadError};

/// Why a segment cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It cannot be read; its own fault.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// One file cannot hold both: its sound's clock is another one.
    #[error("the segment does not go into one file with those before it: {0}")]
    Other(MuxError),
    /// Not one segment was given: the caller's fault.
    #[error("there is nothing to join")]
    Empty,
    /// Our own fault.
    #[error("the file cannot be composed: {0}")]
    Mux(MuxError),
}

/// See the module.
#[derive(Debug)]
pub struct Joiner {
    muxer: Mp4FileMuxer,
    /// Up to where the table knows of the file's bytes.
    reached: u64,
    /// The file's length until now, in bytes.
    len: u64,
    held: Option<Held>,
    /// To be added to times in a run, in microseconds.
    base_us: i64,
    /// Where the newest segment ends in the file, in microseconds.
    end_us: i64,
    /// The clocks of pictures and sound, once there were any.
    clocks: [Option<NonZeroU32>; 2],
}

/// The newest segment: how long its last samples last is told by its successor.
#[derive(Debug)]
struct Held {
    items: Vec<Item>,
    /// Where it ends in the file, in bytes.
    end: u64,
}

/// A sample, by its place and time in the file.
#[derive(Debug, Clone)]
struct Item {
    kind: TrackKind,
    entry: Option<SampleEntry>,
    keyframe: bool,
    timescale: NonZeroU32,
    ticks: i64,
    duration: u32,
    composition: Option<i64>,
    at: u64,
    len: usize,
}

/// What [`Joiner::finish`] leaves to be written.
#[derive(Debug)]
pub struct Joined {
    /// To be written over what is at these offsets, or behind the end, in this order.
    pub patches: Vec<(u64, Vec<u8>)>,
    /// The file's length in milliseconds.
    pub duration_ms: u64,
}

impl Joiner {
    /// A file without segments; `created` goes into it.
    ///
    /// # Errors
    /// [`JoinError::Mux`].
    pub fn new(created: UnixMicros) -> Result<Self, JoinError> {
        let creation_timestamp = Duration::from_micros(u64::try_from(created.0).unwrap_or(0));
        let options = Mp4FileMuxerOptions { creation_timestamp, ..Default::default() };
        let muxer = Mp4FileMuxer::with_options(options).map_err(JoinError::Mux)?;
        let len = muxer.initial_boxes_bytes().len() as u64;
        let (held, clocks) = (None, [None; 2]);
        Ok(Self { muxer, reached: len, len, held, base_us: 0, end_us: 0, clocks })
    }

    /// What the file begins with.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.muxer.initial_boxes_bytes()
    }

    /// Takes the next segment; `goes_on`: without a seam behind the one before. All its bytes are to be
    /// appended to the file: returned is where they begin.
    ///
    /// # Errors
    /// [`JoinError::Read`] and [`JoinError::Other`]; the file is then as it was.
    pub fn push(&mut self, segment: &Bytes, goes_on: bool) -> Result<u64, JoinError> {
        let (mut items, begin_us, end_us) = samples(segment, self.len)?;
        for item in &items {
            self.check(item)?;
        }
        let goes_on = goes_on && self.held.is_some();
        let base_us = if goes_on { self.base_us } else { self.end_us.saturating_sub(begin_us) };
        for item in &mut items {
            item.ticks = item.ticks.saturating_add(ticks(base_us, item.timescale));
            // Tables know no time before a track's first sample.
            if self.clocks[track(item.kind)].replace(item.timescale).is_none() {
                item.ticks = 0;
            }
        }
        let nexts = [TrackKind::Video, TrackKind::Audio]
            .map(|kind| items.iter().filter(|item| item.kind == kind).map(|item| item.ticks).min());
        self.write_held(nexts)?;
        let at = self.len;
        self.len += segment.len() as u64;
        self.held = Some(Held { items, end: self.len });
        self.base_us = base_us;
        self.end_us = self.end_us.max(base_us.saturating_add(end_us));
        Ok(at)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`JoinError::Empty`], [`JoinError::Mux`].
    pub fn finish(mut self) -> Result<Joined, JoinError> {
        if self.held.is_none() {
            return Err(JoinError::Empty);
        }
        self.write_held([None; 2])?;
        let boxes = self.muxer.finalize().map_err(JoinError::Mux)?;
        let pairs = boxes.offset_and_bytes_pairs();
        let mut patches: Vec<_> = pairs.map(|(at, bytes)| (at, bytes.to_vec())).collect();
        // The table comes first: a file whose head names what is not there is worth less than none.
        patches.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Ok(Joined { patches, duration_ms: self.end_us.max(0).unsigned_abs() / 1_000 })
    }

    /// Whether the track's clock is the one that it began with.
    fn check(&self, item: &Item) -> Result<(), JoinError> {
        match self.clocks[track(item.kind)].filter(|clock| *clock != item.timescale) {
            Some(expected) => Err(JoinError::Other(MuxError::TimescaleMismatch {
                track_kind: item.kind,
                expected,
                actual: item.timescale,
            })),
            None => Ok(()),
        }
    }

    /// Enters the held segment; `nexts`: when each track's next sample begins.
    fn write_held(&mut self, mut nexts: [Option<i64>; 2]) -> Result<(), JoinError> {
        let Some(Held { mut items, end }) = self.held.take() else { return Ok(()) };
        for item in items.iter_mut().rev() {
            let next = nexts[track(item.kind)].replace(item.ticks);
            let lasts =
                next.map(|next| u32::try_from(next.saturating_sub(item.ticks)).unwrap_or(0));
            item.duration = lasts.unwrap_or(item.duration);
        }
        for item in items {
            self.pass(item.at)?;
            let sample = Sample {
                track_kind: item.kind,
                sample_entry: item.entry,
                keyframe: item.keyframe,
                timescale: item.timescale,
                duration: item.duration,
                composition_time_offset: item.composition,
                data_offset: item.at,
                data_size: item.len,
            };
            self.muxer.append_sample(&sample).map_err(JoinError::Mux)?;
            self.reached = item.at + item.len as u64;
        }
        self.pass(end)
    }

    /// What lies before `at` is no sample.
    fn pass(&mut self, at: u64) -> Result<(), JoinError> {
        let gap = at.saturating_sub(self.reached);
        self.muxer.advance_position(gap).map_err(JoinError::Mux)?;
        self.reached = self.reached.max(at);
        Ok(())
    }
}

const fn track(kind: TrackKind) -> usize {
    match kind {
        TrackKind::Video => 0,
        TrackKind::Audio | TrackKind::Subtitle => 1,
    }
}

fn ticks(us: i64, timescale: NonZeroU32) -> i64 {
    let wide = i128::from(us) * i128::from(timescale.get()) / 1_000_000;
    i64::try_from(wide).unwrap_or(i64::MAX)
}

fn micros(ticks: i64, timescale: NonZeroU32) -> i64 {
    let wide = i128::from(ticks) * 1_000_000 / i128::from(timescale.get());
    i64::try_from(wide).unwrap_or(i64::MAX)
}

/// A segment's samples in the order of their bytes, as if it began at `offset`; where its pictures
/// begin, and where its longest track ends, in microseconds of its run.
fn samples(segment: &Bytes, offset: u64) -> Result<(Vec<Item>, i64, i64), JoinError> {
    let head_len = read::head_len(segment);
    let head_len = head_len.ok_or_else(|| ReadError::Head("no ftyp and moov".into()))?;
    let mut demuxer = Fmp4SegmentDemuxer::new();
    let broken = |e: DemuxError| ReadError::Head(e.to_string());
    demuxer.handle_init_segment(segment.get(..head_len).unwrap_or_default()).map_err(broken)?;
    let (mut items, mut begin_us, mut end_us) = (Vec::new(), i64::MAX, i64::MIN);
    for fragment in read::fragments(segment) {
        let start = fragment.start;
        let broken = |why: String| ReadError::Fragment { at: start, why };
        let bytes = segment.slice(fragment);
        read::check_runs(&bytes).map_err(|why| broken(why.into()))?;
        let found = demuxer.handle_media_segment(&bytes).map_err(|e| broken(e.to_string()))?;
        for sample in found {
            let inside = sample.data_offset.checked_add(sample.data_size as u64);
            if inside.is_none_or(|end| end > bytes.len() as u64) {
                return Err(broken("a sample lies outside".into()).into());
            }
            let ticks = i64::try_from(sample.timestamp);
            let ticks = ticks.map_err(|_| broken("a time is out of range".into()))?;
            let timescale = sample.track.timescale;
            let item = Item {
                kind: sample.track.kind,
                entry: sample.sample_entry.cloned(),
                keyframe: sample.keyframe,
                timescale,
                ticks,
                duration: sample.duration,
                composition: sample.composition_time_offset,
                at: offset + start as u64 + sample.data_offset,
                len: sample.data_size,
            };
            if item.kind == TrackKind::Video {
                begin_us = begin_us.min(micros(ticks, timescale));
            }
            let end = ticks.saturating_add(sample.duration.into());
            end_us = end_us.max(micros(end, timescale));
            items.push(item);
        }
    }
    if begin_us == i64::MAX {
        return Err(ReadError::Empty.into());
    }
    items.sort_by_key(|item| item.at);
    Ok((items, begin_us, end_us))
}

#[cfg(test)]
mod tests;
