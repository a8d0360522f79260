//! Reading a segment file back: access units for replay, and what a cut off file still holds.
//!
//! Files may come from anywhere: nothing here panics or takes memory without bound, whatever the
//! bytes are. What [`super::segment`] wrote comes back as it was, with three exceptions: access unit
//! delimiters are gone, parameter sets are those of the head, and times of arrival are the
//! presentation times.

mod boxes;
mod form;

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use shiguredo_mp4::{
    TrackKind,
    demux::{DemuxError, Fmp4SegmentDemuxer, Sample},
};
use sightline_model::{UnixMicros, VideoCodec};

use crate::{AccessUnit, StreamDescription, VIDEO_CLOCK_HZ};
use boxes::Whole;
pub(super) use boxes::check_runs;
pub use boxes::{body_behind_head, head_len, whole_fragments_len};

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not begin with a head of a kind that we write.
    #[error("the file has no usable head: {0}")]
    Head(String),
    /// A fragment is broken.
    #[error("the fragment at byte {at} is broken: {why}")]
    Fragment {
        /// Where it begins.
        at: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There is not one picture in it.
    #[error("the file holds no picture")]
    Empty,
}

/// A segment file's contents.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The stream's form. The rate of pictures is not in the file: 0.
    pub description: StreamDescription,
    /// Length of `ftyp` and `moov`, in bytes.
    pub head_len: usize,
    /// Up to where the file holds whole fragments, in bytes; what follows was cut off.
    pub whole_len: usize,
    /// Where it begins in its run, on the clock of 90 kHz.
    pub position_90k: u64,
    /// Where it ends in its run, on the clock of 90 kHz.
    pub end_90k: u64,
    /// Pictures in it.
    pub pictures: u32,
    /// Pictures and sound by the time of decoding.
    pub units: Vec<ReadUnit>,
}

/// A unit of a segment.
#[derive(Debug, Clone)]
pub struct ReadUnit {
    /// When it is to be decoded, in microseconds from the segment's beginning on; for sound negative
    /// when it came too late for the segment in which it began.
    pub decode_us: i64,
    /// When it is shown, in microseconds from the segment's beginning on.
    pub shown_us: i64,
    /// How long it lasts until the next one is decoded, in microseconds.
    pub duration_us: u64,
    /// The unit. Its timestamp is the position in the run on the track's clock; its time of capture
    /// is the segment's start plus [`Self::shown_us`].
    pub unit: AccessUnit,
}

/// Reads a segment that starts at `start`. What comes after the last whole fragment is left out.
///
/// # Errors
/// [`ReadError`].
pub fn read(file: &Bytes, start: UnixMicros) -> Result<Contents, ReadError> {
    let head_len = head_len(file).ok_or_else(|| ReadError::Head("no ftyp and moov".into()))?;
    let mut demuxer = Fmp4SegmentDemuxer::new();
    let broken = |e: DemuxError| ReadError::Head(e.to_string());
    let head = file.get(..head_len).unwrap_or_default();
    demuxer.handle_init_segment(head).map_err(broken)?;
    let description = form::description(head).map_err(|why| ReadError::Head(why.into()))?;
    let mut reader = Reader { description, ..Default::default() };
    let mut whole_len = head_len;
    for fragment in Whole::fragments(file) {
        let broken = |why: String| ReadError::Fragment { at: fragment.start, why };
        let bytes = file.slice(fragment.start..fragment.end);
        boxes::check_runs(&bytes).map_err(|why| broken(why.into()))?;
        let samples = demuxer.handle_media_segment(&bytes).map_err(|e| broken(e.to_string()))?;
        for sample in samples {
            reader.take(&bytes, &sample).map_err(|why| broken(why.into()))?;
        }
        whole_len = fragment.end;
    }
    reader.finish(file, head_len, whole_len, start)
}

/// The ranges of whole fragments.
pub(super) fn fragments(file: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    Whole::fragments(file)
}

/// A sample on its way to a unit.
struct Raw {
    kind: TrackKind,
    clock_hz: u32,
    decode: i64,
    shown: i64,
    duration: u32,
    keyframe: bool,
    data: Bytes,
}

impl Raw {
    fn micros(&self, ticks: i64) -> i64 {
        micros(ticks, self.clock_hz)
    }
}

fn micros(ticks: i64, clock_hz: u32) -> i64 {
    let wide = i128::from(ticks) * 1_000_000 / i128::from(clock_hz.max(1));
    i64::try_from(wide).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Reader {
    description: StreamDescription,
    picture: Option<(u64, u64)>,
    pictures: u32,
    /// By decoding time; of one time the picture first, then in the file's order.
    raw: BTreeMap<(i64, bool, usize), Raw>,
}

impl Reader {
    fn take(&mut self, bytes: &Bytes, sample: &Sample<'_>) -> Result<(), &'static str> {
        let clock_hz = sample.track.timescale.get();
        let at = usize::try_from(sample.data_offset).map_err(|_| "too large")?;
        let end = at.checked_add(sample.data_size).filter(|end| *end <= bytes.len());
        let data = bytes.slice(at..end.ok_or("a sample lies outside")?);
        let end = sample.timestamp.saturating_add(sample.duration.into());
        let video = sample.track.kind == TrackKind::Video;
        if video {
            if clock_hz != VIDEO_CLOCK_HZ {
                return Err("the picture's clock is not ours");
            }
            let (begins, ended) = self.picture.unwrap_or((sample.timestamp, end));
            self.picture = Some((begins.min(sample.timestamp), ended.max(end)));
            self.pictures = self.pictures.saturating_add(1);
        }
        let decode = i64::try_from(sample.timestamp).map_err(|_| "a time is out of range")?;
        let shown = decode.saturating_add(sample.composition_time_offset.unwrap_or(0));
        let raw = Raw {
            kind: sample.track.kind,
            clock_hz,
            decode,
            shown,
            duration: sample.duration,
            keyframe: sample.keyframe,
            data,
        };
        self.raw.insert((raw.micros(decode), !video, self.raw.len()), raw);
        Ok(())
    }

    fn finish(
        self,
        file: &Bytes,
        head_len: usize,
        whole_len: usize,
        start: UnixMicros,
    ) -> Result<Contents, ReadError> {
        let (position_90k, end_90k) = self.picture.ok_or(ReadError::Empty)?;
        let video = self.description.video.as_ref().ok_or(ReadError::Empty)?;
        let begins = i64::try_from(position_90k).unwrap_or(i64::MAX);
        let begins_us = micros(begins, VIDEO_CLOCK_HZ);
        let mut sets = BytesMut::new();
        for set in video.parameter_sets.nal_units() {
            sets.put_u32(u32::try_from(set.len()).unwrap_or(u32::MAX));
            sets.put_slice(set);
        }
        let codec = video.codec();
        let units = self.raw.into_values().map(|raw| {
            let decode_us = raw.micros(raw.decode).saturating_sub(begins_us);
            let shown_us = raw.micros(raw.shown).saturating_sub(begins_us);
            let captured_at = UnixMicros(start.0.saturating_add(shown_us));
            let duration_us = raw.micros(raw.duration.into()).unsigned_abs();
            let unit = unit(raw, codec, &sets, captured_at);
            ReadUnit { decode_us, shown_us, duration_us, unit }
        });
        debug_assert!(whole_len <= file.len());
        Ok(Contents {
            head_len,
            whole_len,
            position_90k,
            end_90k,
            pictures: self.pictures,
            units: units.collect(),
            description: self.description,
        })
    }
}

fn unit(raw: Raw, codec: VideoCodec, sets: &[u8], captured_at: UnixMicros) -> AccessUnit {
    let timestamp = raw.shown;
    if raw.kind == TrackKind::Audio {
        return AccessUnit::Audio { timestamp, captured_at, data: raw.data };
    }
    let data = if raw.keyframe { [sets, &raw.data].concat().into() } else { raw.data };
    let mut unit = match codec {
        VideoCodec::H264 => AccessUnit::h264(timestamp, captured_at, data),
        VideoCodec::H265 => AccessUnit::h265(timestamp, captured_at, data),
    };
    if let AccessUnit::Video { keyframe, .. } = &mut unit {
        *keyframe = raw.keyframe;
    }
    unit
}

#[cfg(test)]
pub(super) mod tests;
