//! A track of a run: what waits to be written, and how sound stays with the picture.

use bytes::Bytes;
use sightline_model::UnixMicros;

use super::{SOUND_ASTRAY_US, SOUND_CORRECTION, fragment::Samples};
use crate::{
    AudioTrack, VideoTrack,
    mp4::{
        Mp4Error, entry,
        timeline::{Piece, Track},
    },
};

/// At most sixteen pictures are coded before and shown after another one (ITU-T H.264, A.3.1; ITU-T
/// H.265, A.4.2): when so many have come, none that is shown before the first of them follows.
pub const REORDERED_PICTURES: usize = 17;
/// Sound that waits for a segment is forgotten beyond so many pieces.
const MOST_SOUNDS: usize = 4_096;

pub struct Lane {
    pub track: Track,
    /// Arrival less position of the unit that was delayed least since the segment began.
    pub least_us: Option<i64>,
    /// Whether sound came since the segment began.
    pub heard: bool,
    /// Whether sound was put beside the picture yet.
    aligned: bool,
    newest: i64,
}

/// The lane of a sound track, or why it has none.
pub fn sound(track: Option<&AudioTrack>) -> Result<(Option<Lane>, Option<&'static str>), Mp4Error> {
    let Some(track) = track else { return Ok((None, None)) };
    Ok(match entry::audio(track)? {
        Some(entry) => (Some(Lane::new(Track::audio(track, entry))), None),
        None => (None, Some("G.722 sound has no place in an MP4 file")),
    })
}

impl Lane {
    pub fn picture(track: &VideoTrack) -> Result<Self, Mp4Error> {
        Track::video(track).map(Self::new)
    }

    const fn new(track: Track) -> Self {
        Self { track, least_us: None, heard: false, aligned: false, newest: i64::MIN }
    }

    /// Whether both are sound of one form.
    pub fn is_like(&self, other: &Self) -> bool {
        self.track.entry == other.track.entry && self.track.clock_hz == other.track.clock_hz
    }

    /// The latest position so far, on the track's clock.
    pub const fn newest(&self) -> i64 {
        self.newest
    }

    pub fn newest_us(&self) -> i64 {
        self.track.micros(self.newest)
    }

    /// Where the newest unit ends by what its predecessors lasted.
    pub fn likely_end(&self) -> i64 {
        let longest = i64::from(self.track.clock_hz.get());
        self.newest.saturating_add(self.track.last_duration.clamp(1, longest))
    }

    /// The position on the track's clock, and whether the source's clock jumped.
    pub fn place(&mut self, timestamp: i64, arrived_us: i64, start: bool) -> Option<(i64, bool)> {
        let (position, jumped) = self.track.locate(timestamp, UnixMicros(arrived_us), start)?;
        let delay_us = arrived_us.saturating_sub(self.track.micros(position));
        self.least_us = Some(self.least_us.map_or(delay_us, |least| least.min(delay_us)));
        self.newest = self.newest.max(position);
        Some((position, jumped))
    }

    pub fn push_sound(&mut self, timestamp: i64, arrived_us: i64, data: &Bytes) {
        let Some((position, _)) = self.place(timestamp, arrived_us, true) else { return };
        self.heard = true;
        if self.track.pending.len() < MOST_SOUNDS {
            let captured_at = UnixMicros(arrived_us);
            let data = data.clone();
            self.track.pending.push(Piece { position, captured_at, keyframe: true, data });
        }
    }

    /// Moves the sound to where the least delayed units say it belongs: at first by any amount, then
    /// by little for each segment, since its clock may be another crystal than the picture's.
    pub fn stay_with(&mut self, picture: &Self, lasted_us: i64) {
        let (Some(sound_us), Some(picture_us)) = (self.least_us, picture.least_us) else { return };
        let apart_us = sound_us.saturating_sub(picture_us);
        let most_us = lasted_us / SOUND_CORRECTION;
        let new = !std::mem::replace(&mut self.aligned, true);
        let by_us = if new || apart_us.abs() > SOUND_ASTRAY_US {
            apart_us
        } else {
            apart_us.clamp(-most_us, most_us)
        };
        let ticks = self.track.ticks(by_us);
        self.track.shift_by(ticks);
        self.newest = self.newest.saturating_add(ticks);
        if new {
            // What began before has no place: the files until now have no such track.
            let begins = self.track.ticks(picture.track.micros(picture.track.decode));
            self.track.pending.retain(|p| p.position >= begins);
        }
    }

    /// How many of the pending pictures may be written: those that last so long, and before which
    /// nothing is shown that is still to come.
    pub fn settled_count(&self, at_least_us: i64) -> usize {
        let pending = &self.track.pending;
        let behind = if self.track.reordered { REORDERED_PICTURES } else { 1 };
        let Some(most) = pending.len().checked_sub(behind).filter(|most| *most > 0) else {
            return 0;
        };
        let lasts_us = self.track.micros(pending[most].position - pending[0].position);
        if lasts_us < at_least_us {
            return 0;
        }
        let mut least_behind: i64 =
            pending[most..].iter().map(|p| p.position).min().unwrap_or(i64::MAX);
        let mut newest_before = Vec::with_capacity(most);
        for piece in &pending[..most] {
            let newest = newest_before.last().copied().unwrap_or(i64::MIN);
            newest_before.push(piece.position.max(newest));
        }
        for count in (1..=most).rev() {
            if newest_before[count - 1] < least_behind {
                return count;
            }
            least_behind = least_behind.min(pending[count - 1].position);
        }
        0
    }

    /// Takes the first `count` pending pieces out, to be written.
    pub fn take(&mut self, count: usize, next: Option<i64>) -> Samples {
        let kept = self.track.pending.split_off(count);
        let pieces = std::mem::replace(&mut self.track.pending, kept);
        let first = pieces.iter().map(|p| p.position).min();
        self.track.decode = self.track.decode.max(first.unwrap_or(0)).max(0);
        let decode = self.track.decode;
        let laid = self.track.lay_out(&pieces, next);
        Samples { decode: u64::try_from(decode).unwrap_or(0), pieces, laid }
    }

    /// Takes the sound that begins before `until_us`. The newest piece waits for its successor, which
    /// tells how long it lasts, unless the segment closes.
    pub fn take_sound(&mut self, until_us: i64, closes: bool) -> Option<Samples> {
        let begins_before = |p: &Piece| self.track.micros(p.position) < until_us;
        let before = self.track.pending.iter().take_while(|p| begins_before(p)).count();
        let follower = self.track.pending.get(before).map(|p| p.position);
        let count = if follower.is_some() || closes { before } else { before.saturating_sub(1) };
        if count == 0 {
            return None;
        }
        let last = self.track.pending[count - 1].position;
        let next = self.track.pending.get(count).map(|p| p.position);
        let longest = i64::from(self.track.clock_hz.get());
        let next = next.unwrap_or(last + self.track.last_duration.clamp(1, longest));
        Some(self.take(count, Some(next)))
    }
}
