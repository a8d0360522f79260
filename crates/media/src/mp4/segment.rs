//! The segment files of a run: one self-contained fragmented MP4 after the other (decision 0091).
//!
//! Each is a head (`ftyp`, `moov`) and pairs of `moof` and `mdat` of about a second. Decoding times
//! (`tfdt`) count from the beginning of the run, so that segments can be appended to each other
//! behind the first one's head. The writer holds no file: [`RunWriter::poll_part`] gives bytes.
//!
//! Invariants: a segment's first sample is the picture with which the caller began it; every
//! picture's decoding time is the end of the one before, across segments too; presentation times are
//! those of the media clock, exactly. A sound is in the segment in which it begins, when it comes no
//! later than half a second after the picture of its time.

mod fragment;
mod lane;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use shiguredo_mp4::{boxes::SampleEntry, mux::SegmentMuxerOptions};
use sightline_model::UnixMicros;

use super::{FRAGMENT_BYTES, FRAGMENT_US, Mp4Error, SOUND_WAIT_US, entry, timeline::Piece};
use crate::StreamDescription;
use lane::{Lane, REORDERED_PICTURES};

/// How far the picture goes ahead before a segment is closed without waiting for its last sound.
const SOUND_LATE_US: i64 = 500_000;
/// A fragment ends after so much even where pictures on both sides of its end are interleaved.
const LONGEST_FRAGMENT_US: i64 = 10_000_000;
/// How fast sound is moved to stay with the picture: one part in so many of a segment's duration.
const SOUND_CORRECTION: i64 = 2_000;
/// Sound that is farther than this from the picture is moved at once.
const SOUND_ASTRAY_US: i64 = 1_000_000;

/// What is to be done with a file, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A new file begins with this head.
    Begin {
        /// Where its first sample lies in the run, on the clock of 90 kHz.
        position_90k: u64,
        /// `ftyp` and `moov`. The same bytes as before when the stream's form is the same.
        head: Bytes,
    },
    /// To be appended to the file: a whole `moof` and its `mdat`.
    Fragment(Bytes),
    /// The file is complete.
    End {
        /// Where the next file of the run begins, on the clock of 90 kHz.
        position_90k: u64,
        /// Pictures in it.
        pictures: u32,
    },
}

/// Where a picture lies in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// When it is shown, on the clock of 90 kHz from the run's first picture on. Negative for what
    /// is shown before the first picture and cannot be decoded.
    pub position_90k: i64,
    /// The media clock jumped back, or more than a minute ahead: the position is by the time of
    /// arrival, and the run had better end.
    pub jumped: bool,
    arrived_us: i64,
}

/// The form of the stream from the next segment on.
struct Form {
    picture: SampleEntry,
    /// `None`: the sound goes on as it was.
    sound: Option<Option<Lane>>,
    left_out: Option<&'static str>,
}

/// See the module.
pub struct RunWriter {
    created: Duration,
    picture: Lane,
    sound: Option<Lane>,
    left_out: Option<&'static str>,
    next_form: Option<Form>,
    /// Index among the pending pictures of the one that begins the next segment.
    cut: Option<usize>,
    open: bool,
    /// Whether the open segment's head lists the sound.
    has_sound: bool,
    /// Decoding time at which the open segment began.
    began: i64,
    pictures: u32,
    sequence_number: u32,
    parts: VecDeque<Part>,
}

impl RunWriter {
    /// A writer for a stream of this form; `created` goes into the heads.
    ///
    /// # Errors
    /// [`Mp4Error::Description`], and [`Mp4Error::NoPicture`] for sound alone.
    pub fn new(description: &StreamDescription, created: UnixMicros) -> Result<Self, Mp4Error> {
        let video = description.video.as_ref().ok_or(Mp4Error::NoPicture)?;
        let (sound, left_out) = lane::sound(description.audio.as_ref())?;
        Ok(Self {
            created: Duration::from_micros(u64::try_from(created.0).unwrap_or(0)),
            picture: Lane::picture(video)?,
            sound,
            left_out,
            next_form: None,
            cut: None,
            open: false,
            has_sound: false,
            began: 0,
            pictures: 0,
            sequence_number: 0,
            parts: VecDeque::new(),
        })
    }

    /// What of the stream is not in the files and why, in words.
    #[must_use]
    pub const fn left_out(&self) -> Option<&'static str> {
        self.left_out
    }

    /// The stream changes its form with the next keyframe, which must begin a segment.
    ///
    /// # Errors
    /// As [`Self::new`]; the run can only be finished then.
    pub fn describe(&mut self, description: &StreamDescription) -> Result<(), Mp4Error> {
        let video = description.video.as_ref().ok_or(Mp4Error::NoPicture)?;
        let picture = entry::video(video)?;
        let (sound, left_out) = lane::sound(description.audio.as_ref())?;
        let same_sound = match (&self.sound, &sound) {
            (Some(old), Some(new)) => old.is_like(new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let same = same_sound && picture == self.picture.track.entry;
        let sound = (!same_sound).then_some(sound);
        self.next_form = (!same).then_some(Form { picture, sound, left_out });
        Ok(())
    }

    /// Whether the next keyframe must begin a segment.
    #[must_use]
    pub const fn wants_cut(&self) -> bool {
        self.next_form.is_some()
    }

    /// Where the picture lies; `None` when it comes before one with which decoding can begin.
    /// `arrived_us` is its arrival by a clock that is never set. Call once for each picture.
    pub fn place(&mut self, timestamp: i64, arrived_us: i64, keyframe: bool) -> Option<Placed> {
        let (position_90k, jumped) = self.picture.place(timestamp, arrived_us, keyframe)?;
        Some(Placed { position_90k, jumped, arrived_us })
    }

    /// Takes the picture that was placed last; with `cut` it begins a new segment.
    ///
    /// # Errors
    /// [`Mp4Error::Mux`].
    pub fn push_picture(
        &mut self,
        placed: Placed,
        keyframe: bool,
        data: &Bytes,
        cut: bool,
    ) -> Result<(), Mp4Error> {
        if placed.position_90k < 0 {
            // It refers to pictures before the run (ITU-T H.265, 3.111: skipped leading picture).
            return Ok(());
        }
        if cut && (self.open || !self.picture.track.pending.is_empty()) {
            self.settle(true)?;
            self.cut = Some(self.picture.track.pending.len());
        }
        let entry = match &self.next_form {
            Some(form) if self.cut.is_some() => &form.picture,
            Some(_) | None => &self.picture.track.entry,
        };
        let piece = Piece {
            position: placed.position_90k,
            captured_at: UnixMicros(placed.arrived_us),
            keyframe,
            data: entry::without_parameter_sets(data, entry),
        };
        self.picture.track.pending.push(piece);
        if self.cut.is_some() { self.settle(false) } else { self.flush_due() }
    }

    /// Takes a piece of sound; `arrived_us` as for pictures.
    ///
    /// # Errors
    /// [`Mp4Error::Mux`].
    pub fn push_sound(
        &mut self,
        timestamp: i64,
        arrived_us: i64,
        data: &Bytes,
    ) -> Result<(), Mp4Error> {
        if !self.picture.track.begun() {
            return Ok(());
        }
        let next = self.next_form.as_mut().and_then(|form| form.sound.as_mut());
        let Some(lane) = next.unwrap_or(&mut self.sound) else { return Ok(()) };
        lane.push_sound(timestamp, arrived_us, data);
        self.settle(false)
    }

    /// Ends the run. `next_90k` is the position of the picture that would have followed.
    ///
    /// # Errors
    /// [`Mp4Error::Mux`].
    pub fn finish(&mut self, next_90k: Option<i64>) -> Result<(), Mp4Error> {
        self.settle(true)?;
        let count = self.picture.track.pending.len();
        if count > 0 {
            let next = next_90k.filter(|n| *n > self.picture.newest());
            let next = next.unwrap_or_else(|| self.picture.likely_end());
            self.write(count, next, true)?;
        }
        if self.open {
            self.end();
        }
        Ok(())
    }

    /// The next thing to do; to be called until `None` after each of the other calls.
    pub fn poll_part(&mut self) -> Option<Part> {
        self.parts.pop_front()
    }

    /// Closes the segment before the cut, as soon as it is known what belongs to it.
    fn settle(&mut self, by_force: bool) -> Result<(), Mp4Error> {
        let Some(cut) = self.cut else { return Ok(()) };
        let Some(behind) = self.picture.track.pending.get(cut..) else { return Ok(()) };
        let Some(first) = behind.first() else { return Ok(()) };
        // Pictures that are shown before the one that they were coded after (ITU-T H.265, 3.77).
        let start = behind.iter().map(|p| p.position).min().unwrap_or(first.position);
        let settled = !super::is_h265(&self.picture.track.entry)
            || behind.iter().any(|p| p.position > first.position)
            || behind.len() >= REORDERED_PICTURES;
        let start_us = self.picture.track.micros(start);
        let picture_us = self.picture.track.micros(self.picture.newest());
        let heard = match &self.sound {
            Some(sound) if sound.heard => sound.newest_us() >= start_us,
            Some(_) | None => true,
        };
        if !by_force && !(settled && (heard || picture_us - start_us >= SOUND_LATE_US)) {
            return Ok(());
        }
        self.cut = None;
        self.write(cut, start, true)?;
        self.end();
        self.adopt_form();
        self.begin()?;
        self.flush_due()
    }

    /// Writes a fragment when there is enough for one.
    fn flush_due(&mut self) -> Result<(), Mp4Error> {
        let count = self.picture.settled_count(FRAGMENT_US);
        let long = self.picture.track.pending_us() >= LONGEST_FRAGMENT_US
            || self.picture.track.pending_bytes() > FRAGMENT_BYTES;
        let count = if count == 0 && long { self.picture.track.pending.len() - 1 } else { count };
        if count == 0 || !self.may_begin() {
            return Ok(());
        }
        let behind = self.picture.track.pending.iter().skip(count).map(|p| p.position);
        let next = behind.min().unwrap_or_else(|| self.picture.likely_end());
        self.write(count, next, false)
    }

    /// The first head lists the sound only when it has come.
    fn may_begin(&self) -> bool {
        let Some(sound) = &self.sound else { return true };
        self.open
            || sound.track.pending.len() > 1
            || self.picture.track.pending_us() >= SOUND_WAIT_US
            || self.picture.track.pending_bytes() > FRAGMENT_BYTES
    }

    fn adopt_form(&mut self) {
        let Some(form) = self.next_form.take() else { return };
        self.picture.track.entry = form.picture;
        self.left_out = form.left_out;
        if let Some(sound) = form.sound {
            self.sound = sound;
        }
    }

    /// Begins a segment with what is pending.
    fn begin(&mut self) -> Result<(), Mp4Error> {
        let lasted_us = self.picture.track.micros(self.picture.track.decode - self.began);
        if let Some(sound) = &mut self.sound {
            sound.stay_with(&self.picture, lasted_us);
            self.has_sound = sound.heard;
            sound.heard = !sound.track.pending.is_empty();
            sound.least_us = None;
        } else {
            self.has_sound = false;
        }
        self.picture.least_us = None;
        self.began = self.picture.track.decode;
        self.pictures = 0;
        self.open = true;
        let options =
            SegmentMuxerOptions { creation_timestamp: self.created, ..Default::default() };
        let sound = self.sound.as_ref().filter(|_| self.has_sound);
        let head = fragment::head(options, &self.picture.track, sound.map(|lane| &lane.track))?;
        let position_90k = u64::try_from(self.began).unwrap_or(0);
        self.parts.push_back(Part::Begin { position_90k, head });
        Ok(())
    }

    fn end(&mut self) {
        self.open = false;
        let position_90k = u64::try_from(self.picture.track.decode).unwrap_or(0);
        self.parts.push_back(Part::End { position_90k, pictures: self.pictures });
    }

    /// Writes the first `count` pictures and the sound up to `next`, where the next picture lies.
    fn write(&mut self, count: usize, next: i64, closes: bool) -> Result<(), Mp4Error> {
        if !self.open {
            self.begin()?;
        }
        let until_us = self.picture.track.micros(next);
        let picture = self.picture.take(count, Some(next));
        let sound = match &mut self.sound {
            Some(lane) => lane.take_sound(until_us, closes),
            None => None,
        };
        self.pictures += u32::try_from(count).unwrap_or(u32::MAX);
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let sound = sound.filter(|_| self.has_sound);
        let fragment = fragment::fragment(self.sequence_number, &picture, sound.as_ref())?;
        self.parts.push_back(Part::Fragment(fragment));
        Ok(())
    }
}
