//! Positions, durations and decoding times of a track's samples.

use std::num::NonZeroU32;

use bytes::Bytes;
use shiguredo_mp4::{TrackKind, boxes::SampleEntry, mux::Sample};
use sightline_model::UnixMicros;

use super::{FRAGMENT_BYTES, FRAGMENT_US, Mp4Error, entry};
use crate::{AudioTrack, VIDEO_CLOCK_HZ, VideoTrack};

/// Timestamps that go back by more than this, or ahead by more than [`LONGEST_GAP_US`], belong to a
/// new clock: the source has restarted.
const JUMP_BACK_US: i64 = 2_000_000;
/// Longest gap that is shown as such.
const LONGEST_GAP_US: i64 = 60_000_000;
/// Sound and picture cannot be this far apart: then one of them is not dated by the PU's clock yet.
const FARTHEST_APART_US: i64 = 3_000_000;

pub(super) struct Piece {
    /// On the track's clock; zero is the track's first unit.
    pub position: i64,
    pub captured_at: UnixMicros,
    pub keyframe: bool,
    pub data: Bytes,
}

/// How a piece lies in its track: for how long, and how far behind its decoding it is shown.
pub(super) struct Laid {
    pub duration: u32,
    pub offset: i64,
}

pub(super) struct Track {
    pub entry: SampleEntry,
    pub clock_hz: NonZeroU32,
    pub pending: Vec<Piece>,
    /// Subtracted from timestamps; `None` until the first unit.
    base: Option<i64>,
    newest: (i64, UnixMicros),
    needs_keyframe: bool,
    /// Whether a picture ever came behind one that is shown later.
    pub reordered: bool,
    /// Decoding time of the next sample.
    pub decode: i64,
    /// Added to positions once the tracks are aligned.
    shift: i64,
    pub last_duration: i64,
}

impl Track {
    pub fn video(track: &VideoTrack) -> Result<Self, Mp4Error> {
        let entry = entry::video(track)?;
        let frame =
            if track.fps >= 1.0 { (VIDEO_CLOCK_HZ as f32 / track.fps) as i64 } else { 3_600 };
        Ok(Self::new(entry, VIDEO_CLOCK_HZ, frame, true))
    }

    pub fn audio(track: &AudioTrack, entry: SampleEntry) -> Self {
        Self::new(entry, track.clock_hz, i64::from(track.clock_hz) / 50, false)
    }

    fn new(entry: SampleEntry, clock_hz: u32, last_duration: i64, needs_keyframe: bool) -> Self {
        Self {
            entry,
            clock_hz: NonZeroU32::new(clock_hz).unwrap_or(NonZeroU32::MIN),
            pending: Vec::new(),
            base: None,
            newest: (0, UnixMicros(0)),
            needs_keyframe,
            reordered: false,
            decode: 0,
            shift: 0,
            last_duration,
        }
    }

    pub const fn begun(&self) -> bool {
        self.base.is_some()
    }

    pub const fn wait_for_keyframe(&mut self) {
        self.needs_keyframe = true;
    }

    pub fn micros(&self, ticks: i64) -> i64 {
        ticks.saturating_mul(1_000_000) / i64::from(self.clock_hz.get())
    }

    pub fn ticks(&self, micros: i64) -> i64 {
        micros.saturating_mul(i64::from(self.clock_hz.get())) / 1_000_000
    }

    /// Where the unit lies in the track; `None` when it comes before a place to start.
    pub fn place(&mut self, timestamp: i64, at: UnixMicros, keyframe: bool) -> Option<i64> {
        self.locate(timestamp, at, keyframe).map(|(position, _)| position)
    }

    /// The same, and whether the source's clock jumped, so that the time of arrival had to help.
    pub fn locate(
        &mut self,
        timestamp: i64,
        at: UnixMicros,
        keyframe: bool,
    ) -> Option<(i64, bool)> {
        if self.needs_keyframe && !keyframe {
            return None;
        }
        self.needs_keyframe = false;
        let base = *self.base.get_or_insert(timestamp);
        let mut position = timestamp.saturating_sub(base).saturating_add(self.shift);
        let mut jumped = false;
        let (newest, newest_at) = self.newest;
        if timestamp != base {
            let media_us = self.micros(position.saturating_sub(newest));
            if !(-JUMP_BACK_US..=LONGEST_GAP_US).contains(&media_us) {
                let wall_us = at.0.saturating_sub(newest_at.0).clamp(0, LONGEST_GAP_US);
                let wanted = newest + self.ticks(wall_us).max(self.last_duration);
                self.base = Some(timestamp - wanted + self.shift);
                position = wanted;
                jumped = true;
            }
        }
        if position < newest {
            self.reordered = true;
        }
        if position >= newest {
            self.newest = (position, at);
        }
        Some((position, jumped))
    }

    /// Moves the track, and what of it was not written yet.
    pub fn shift_by(&mut self, ticks: i64) {
        self.shift += ticks;
        self.newest.0 += ticks;
        for piece in &mut self.pending {
            piece.position += ticks;
        }
    }

    pub fn pending_us(&self) -> i64 {
        let first = self.pending.first().map_or(0, |p| p.position);
        self.pending.last().map_or(0, |p| self.micros(p.position - first))
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|p| p.data.len()).sum()
    }

    /// Whether the fragment ends before a unit at `position`. With reordered pictures it ends at
    /// keyframes only, where no picture before refers to one behind.
    pub fn should_cut(&self, position: i64, keyframe: bool) -> bool {
        let Some(first) = self.pending.first() else { return false };
        let long = self.micros(position - first.position) >= FRAGMENT_US;
        let allowed = keyframe || !self.reordered;
        (allowed && long) || self.pending_bytes() > FRAGMENT_BYTES
    }

    /// Turns pieces into samples. `next` is the position of what follows.
    pub fn emit(
        &mut self,
        kind: TrackKind,
        pieces: &[Piece],
        next: Option<i64>,
        samples: &mut Vec<Sample>,
        payload: &mut Vec<u8>,
    ) {
        for (piece, laid) in pieces.iter().zip(self.lay_out(pieces, next)) {
            samples.push(Sample {
                track_kind: kind,
                timescale: self.clock_hz,
                sample_entry: Some(self.entry.clone()),
                duration: laid.duration,
                keyframe: piece.keyframe,
                composition_time_offset: self.reordered.then_some(laid.offset),
                data_offset: payload.len() as u64,
                data_size: piece.data.len(),
            });
            payload.extend_from_slice(&piece.data);
        }
    }

    /// Durations and offsets of pieces. `next` is the position of what follows.
    ///
    /// Decoding times are the presentation times in rising order: then every offset between them is
    /// small, and none is needed where pictures are not reordered.
    pub fn lay_out(&mut self, pieces: &[Piece], next: Option<i64>) -> Vec<Laid> {
        let mut order: Vec<i64> = pieces.iter().map(|p| p.position).collect();
        order.sort_unstable();
        let mut laid = Vec::with_capacity(pieces.len());
        for (i, piece) in pieces.iter().enumerate() {
            let until = order.get(i + 1).copied().or(next);
            let duration = until.map_or(self.last_duration, |u| u - self.decode).max(1);
            laid.push(Laid {
                duration: u32::try_from(duration).unwrap_or(u32::MAX),
                offset: piece.position - self.decode,
            });
            self.decode += duration;
            self.last_duration = duration;
        }
        laid
    }
}

/// Puts sound and picture on one time by what the newest unit of each says of its capture. Sound
/// from before the first picture goes.
pub(super) fn align(video: Option<&Track>, audio: Option<&mut Track>) {
    let (Some(video), Some(audio)) = (video, audio) else { return };
    let offset_us = |track: &Track| {
        track.pending.last().map(|p| p.captured_at.0.saturating_sub(track.micros(p.position)))
    };
    let (Some(video_us), Some(audio_us)) = (offset_us(video), offset_us(audio)) else { return };
    let apart_us = audio_us.saturating_sub(video_us);
    let shift = if apart_us.abs() > FARTHEST_APART_US { 0 } else { audio.ticks(apart_us) };
    audio.shift = shift;
    for piece in &mut audio.pending {
        piece.position += shift;
    }
    audio.newest.0 += shift;
    audio.pending.retain(|p| p.position >= 0);
}
