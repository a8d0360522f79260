//! MP4 files from access units, so written that a crash loses at most the last second.
//!
//! While it grows the file is fragmented (`moov` with `mvex`, then `moof` and `mdat` pairs), which
//! any player opens as far as it goes. [`Writer::finish`] turns it into an ordinary file in place:
//! a complete `moov` is appended, and then 16 reserved bytes in front become the header of one
//! large `mdat` that swallows the fragments' boxes. Neither step can damage what was there.
//!
//! The writer holds no file: [`Writer::push`] gives bytes to append, [`Writer::finish`] the rest.
//!
//! Invariant: the first sample of every track is at time zero, the first picture is a keyframe, and
//! presentation times are exact; decoding times are made up from them (ISO/IEC 14496-12, 8.6.1).

mod entry;
pub mod join;
pub mod read;
pub mod segment;
mod timeline;

use std::time::Duration;

use shiguredo_mp4::{
    TrackKind,
    boxes::SampleEntry,
    mux::{
        Fmp4SegmentMuxer, Mp4FileMuxer, Mp4FileMuxerOptions, MuxError, Sample, SegmentMuxerOptions,
    },
};
use sightline_model::UnixMicros;

use crate::{AccessUnit, StreamDescription};
use timeline::{Piece, Track};

/// A fragment is closed after so much media time: what a crash can lose.
const FRAGMENT_US: i64 = 1_000_000;
/// How long the first fragment waits for sound that the description promises.
const SOUND_WAIT_US: i64 = 3_000_000;
/// A fragment is closed when it holds so much, whatever its duration.
const FRAGMENT_BYTES: usize = 16 << 20;
/// Length of the box header that [`Writer::finish`] turns from `free` into `mdat`.
const RESERVED: usize = 16;

/// Why no file can be made.
#[derive(Debug, thiserror::Error)]
pub enum Mp4Error {
    /// The stream's parameter sets or its sound's configuration cannot be used; the source's fault.
    #[error("the stream's description cannot be put into an MP4 file: {0}")]
    Description(String),
    /// There is neither picture nor sound that MP4 can hold.
    #[error("the stream has no track that an MP4 file can hold")]
    NoTrack,
    /// There is no picture, without which a segment has no place to begin.
    #[error("the stream has no picture, and segments are made of pictures")]
    NoPicture,
    /// Nothing was written: no keyframe has come.
    #[error("no keyframe came, so there is nothing to write")]
    Empty,
    /// Our own fault.
    #[error("the MP4 file cannot be composed: {0:?}")]
    Mux(#[from] MuxError),
}

/// The end of a file, to be written in this order.
#[derive(Debug)]
pub struct Finished {
    /// To be appended and synchronized to the disk first.
    pub append: Vec<u8>,
    /// To be written over what is at these offsets, in order.
    pub patches: Vec<(u64, Vec<u8>)>,
}

/// See the module.
pub struct Writer {
    fragments: Fmp4SegmentMuxer,
    file: Mp4FileMuxer,
    /// Bytes given out so far.
    position: u64,
    video: Option<Track>,
    audio: Option<Track>,
    left_out: Option<&'static str>,
    started: bool,
}

impl Writer {
    /// A writer for a stream of this form; `created` goes into the file.
    ///
    /// # Errors
    /// [`Mp4Error::Description`] and [`Mp4Error::NoTrack`].
    pub fn new(description: &StreamDescription, created: UnixMicros) -> Result<Self, Mp4Error> {
        let created = Duration::from_micros(u64::try_from(created.0).unwrap_or(0));
        let video = description.video.as_ref().map(Track::video).transpose()?;
        let (audio, left_out) = match &description.audio {
            Some(track) => match entry::audio(track)? {
                Some(entry) => (Some(Track::audio(track, entry)), None),
                None => (None, Some("G.722 sound has no place in an MP4 file")),
            },
            None => (None, None),
        };
        if video.is_none() && audio.is_none() {
            return Err(Mp4Error::NoTrack);
        }
        let fragments = Fmp4SegmentMuxer::with_options(SegmentMuxerOptions {
            creation_timestamp: created,
            ..Default::default()
        })?;
        let file = Mp4FileMuxer::with_options(Mp4FileMuxerOptions {
            creation_timestamp: created,
            ..Default::default()
        })?;
        Ok(Self { fragments, file, position: 0, video, audio, left_out, started: false })
    }

    /// What of the stream is not in the file and why, in words.
    #[must_use]
    pub const fn left_out(&self) -> Option<&'static str> {
        self.left_out
    }

    /// Whether anything has been given out yet.
    #[must_use]
    pub const fn started(&self) -> bool {
        self.started
    }

    /// The stream has changed its form; call before the first unit of the new form.
    ///
    /// # Errors
    /// [`Mp4Error::Description`] when the new form cannot be written.
    pub fn describe(&mut self, description: &StreamDescription) -> Result<Vec<u8>, Mp4Error> {
        let out = self.flush(None, true)?;
        if let (Some(track), Some(new)) = (&mut self.video, &description.video) {
            track.entry = entry::video(new)?;
            track.wait_for_keyframe();
        }
        if let (Some(track), Some(new)) = (&mut self.audio, &description.audio) {
            match entry::audio(new)? {
                Some(entry) if new.clock_hz == track.clock_hz.get() => track.entry = entry,
                _ => {
                    self.audio = None;
                    self.left_out = Some(
                        "the sound changed its coding in the middle and was left out from there",
                    );
                }
            }
        }
        Ok(out)
    }

    /// Takes a unit; what comes back is to be appended to the file.
    ///
    /// # Errors
    /// [`Mp4Error::Mux`].
    pub fn push(&mut self, unit: &AccessUnit) -> Result<Vec<u8>, Mp4Error> {
        let mut out = Vec::new();
        match unit {
            AccessUnit::Video { timestamp, captured_at, keyframe, data, .. } => {
                let Some(track) = &mut self.video else { return Ok(out) };
                let Some(position) = track.place(*timestamp, *captured_at, *keyframe) else {
                    return Ok(out);
                };
                if track.should_cut(position, *keyframe) && self.may_cut() {
                    out = self.flush(Some(position), false)?;
                }
                if let Some(track) = &mut self.video {
                    let data = entry::without_parameter_sets(data, &track.entry);
                    track.pending.push(Piece {
                        position,
                        captured_at: *captured_at,
                        keyframe: *keyframe,
                        data,
                    });
                }
            }
            AccessUnit::Audio { timestamp, captured_at, data } => {
                let waits_for_picture = self.video.as_ref().is_some_and(|v| !v.begun());
                let Some(track) = self.audio.as_mut().filter(|_| !waits_for_picture) else {
                    return Ok(out);
                };
                let Some(position) = track.place(*timestamp, *captured_at, true) else {
                    return Ok(out);
                };
                if self.video.is_none() && track.should_cut(position, true) {
                    out = self.flush(None, false)?;
                }
                if let Some(track) = &mut self.audio {
                    let data = data.clone();
                    track.pending.push(Piece {
                        position,
                        captured_at: *captured_at,
                        keyframe: true,
                        data,
                    });
                }
            }
        }
        Ok(out)
    }

    /// The first fragment must hold every track, since the file's beginning lists them.
    fn may_cut(&mut self) -> bool {
        let (Some(video), Some(audio)) = (&self.video, &self.audio) else { return true };
        if self.started || audio.pending.len() > 1 {
            return true;
        }
        if video.pending_us() < SOUND_WAIT_US && video.pending_bytes() < FRAGMENT_BYTES {
            return false;
        }
        self.audio = None;
        self.left_out = Some("no sound came in the first three seconds, so the file has none");
        true
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Mp4Error::Empty`] when no keyframe ever came.
    pub fn finish(mut self) -> Result<Finished, Mp4Error> {
        let mut append = self.flush(None, true)?;
        if !self.started {
            return Err(Mp4Error::Empty);
        }
        let mut patches = Vec::new();
        for (offset, bytes) in self.file.finalize()?.offset_and_bytes_pairs() {
            if offset == self.position {
                append.extend_from_slice(bytes);
            } else {
                patches.push((offset, bytes.to_vec()));
            }
        }
        // The header that hides the fragments comes before the cosmetic change of `ftyp`.
        patches.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        Ok(Finished { append, patches })
    }

    /// Closes the fragment; `next_video` is the position of the picture that comes after it.
    fn flush(&mut self, next_video: Option<i64>, last: bool) -> Result<Vec<u8>, Mp4Error> {
        if !self.started {
            timeline::align(self.video.as_ref(), self.audio.as_mut());
        }
        let mut samples = Vec::new();
        let mut payload = Vec::new();
        if let Some(track) = &mut self.video {
            let pieces = std::mem::take(&mut track.pending);
            track.emit(TrackKind::Video, &pieces, next_video, &mut samples, &mut payload);
        }
        if let Some(track) = &mut self.audio {
            // The newest piece waits for its successor, which tells how long it lasts.
            let keep = track.pending.len() - usize::from(!last && !track.pending.is_empty());
            let kept = track.pending.split_off(keep);
            let pieces = std::mem::replace(&mut track.pending, kept);
            let next = track.pending.first().map(|p| p.position);
            track.emit(TrackKind::Audio, &pieces, next, &mut samples, &mut payload);
        }
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        self.write_fragment(&samples, &payload)
    }

    fn write_fragment(&mut self, samples: &[Sample], payload: &[u8]) -> Result<Vec<u8>, Mp4Error> {
        let segment = self.fragments.create_media_segment_metadata(samples)?;
        let mut out = Vec::new();
        if !self.started {
            out = self.beginning()?;
            self.started = true;
        }
        out.extend_from_slice(&segment);
        self.file.advance_position(segment.len() as u64)?;
        let payload_at = self.position + out.len() as u64;
        for sample in samples {
            let data_offset = payload_at + sample.data_offset;
            self.file.append_sample(&Sample { data_offset, ..sample.clone() })?;
        }
        out.extend_from_slice(payload);
        self.position += out.len() as u64;
        Ok(out)
    }

    /// `ftyp`, a reserved `free` where `finish` puts the header of the one `mdat`, and `moov`.
    fn beginning(&mut self) -> Result<Vec<u8>, Mp4Error> {
        let mut out = self.file.initial_boxes_bytes().to_vec();
        out.truncate(out.len() - RESERVED);
        out.extend_from_slice(&[0, 0, 0, RESERVED as u8]);
        out.extend_from_slice(b"free\0\0\0\0\0\0\0\0");
        let init = self.fragments.init_segment_bytes()?;
        let ftyp_len = init.get(..4).map_or(0, |l| u32::from_be_bytes([l[0], l[1], l[2], l[3]]));
        let moov = init.get(ftyp_len as usize..).unwrap_or_default();
        out.extend_from_slice(moov);
        self.file.advance_position(moov.len() as u64)?;
        Ok(out)
    }
}

/// Whether the sample entry is one of H.265.
fn is_h265(entry: &SampleEntry) -> bool {
    matches!(entry, SampleEntry::Hvc1(_) | SampleEntry::Hev1(_))
}
