//! A track that the server has agreed to send.

use sightline_model::UnixMicros;

use crate::{depacketize::Depacketizer, sdp::Track};

pub(super) struct ActiveTrack {
    pub(super) track: Track,
    pub(super) channel: u8,
    pub(super) depacketizer: Depacketizer,
    /// Sender's clock: timestamp, and the time that it stands for.
    pub(super) clock: Option<(u32, UnixMicros)>,
    pub(super) ssrc: u32,
}

impl ActiveTrack {
    /// What the sender's clock showed at a timestamp, once it has said so.
    pub(super) fn captured_at(&self, timestamp: u32) -> Option<UnixMicros> {
        let (at, time) = self.clock?;
        #[expect(clippy::cast_possible_wrap, reason = "difference modulo 2^32")]
        let ticks = i64::from(timestamp.wrapping_sub(at) as i32);
        let micros = ticks * 1_000_000 / i64::from(self.track.clock_hz());
        Some(UnixMicros(time.0.saturating_add(micros)))
    }
}
