//! What a viewer sees.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use str0m::rtp::Ssrc;

/// Whether a payload is the first of a keyframe: FU-A with the start bit (RFC 6184 section 5.8), or
/// the slice as a whole.
pub(super) fn begins_keyframe(payload: &[u8]) -> bool {
    match payload {
        [indicator, header, ..] if indicator & 0x1f == 28 => header & 0x9f == 0x85,
        [header, ..] => header & 0x1f == 5,
        [] => false,
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) last: bool,
    pub(super) keyframe: bool,
}

/// Shows pictures as a browser does: each when it and all that it refers to is there, or a later
/// keyframe as soon as that is whole.
#[derive(Debug, Default)]
pub(super) struct Screen {
    parts: BTreeMap<u64, Part>,
    /// Number of the first packet of the next picture.
    next: Option<u64>,
    shown_at: Option<Instant>,
    pub(super) longest_gap: Duration,
    pub(super) pictures: u64,
    pub(super) ssrc: Option<Ssrc>,
    asked_at: Option<Instant>,
}

impl Screen {
    /// Asks for a keyframe while packets come but no picture can be shown.
    pub(super) fn wants_keyframe(&mut self, now: Instant) -> Option<Ssrc> {
        const PATIENCE: Duration = Duration::from_millis(200);
        let waits = |at: Option<Instant>| at.is_some_and(|at| now - at > PATIENCE);
        let stuck = waits(self.shown_at) && self.parts.len() > 1;
        if !stuck || self.asked_at.is_some_and(|at| now - at <= PATIENCE) {
            return None;
        }
        self.asked_at = Some(now);
        self.ssrc
    }

    pub(super) fn take(&mut self, number: u64, part: Part, now: Instant) {
        self.parts.insert(number, part);
        while let Some(after) = self.next.and_then(|next| self.whole(next)).or_else(|| {
            let later = self.parts.range(self.next.unwrap_or(0)..);
            let mut keyframes = later.filter(|(_, part)| part.keyframe).map(|(number, _)| *number);
            keyframes.find_map(|number| self.whole(number))
        }) {
            self.next = Some(after);
            self.parts = self.parts.split_off(&after);
            self.pictures += 1;
            let gap = self.shown_at.replace(now).map_or(Duration::ZERO, |at| now - at);
            self.longest_gap = self.longest_gap.max(gap);
        }
    }

    /// The number after the picture that begins with this packet, when all of it is there.
    fn whole(&self, begin: u64) -> Option<u64> {
        let run = self.parts.range(begin..).zip(begin..).take_while(|((n, _), i)| *n == i);
        run.map(|((_, part), i)| (part.last, i)).find(|(last, _)| *last).map(|(_, i)| i + 1)
    }
}
