//! Weeks against the clock on the wall, engines against a naive model, buffers against a list.

mod engine;
mod pre_roll;
mod week;
mod year;

use sightline_model::{
    CameraId, ChannelId, EventKind, MinuteOfDay, PuId, PublicKey, RecordingPlace, RecordingPlan,
    Strategy, StrategyId, StreamTier, Trigger, UnixMicros, Weekday, WeeklySchedule, WeeklySpan,
};

use super::*;
use crate::statement::Authority;

pub(super) const ZONES: [&str; 4] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];

pub(super) const SECOND_US: u64 = 1_000_000;

/// `xorshift64*`: the same numbers on every machine.
pub(super) struct Seeded(u64);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to `below`, exclusive.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % below
    }
}

pub(super) fn utc(text: &str) -> UnixMicros {
    UnixMicros(text.parse::<jiff::Timestamp>().expect("a time").as_microsecond())
}

pub(super) fn id(text: &str) -> StrategyId {
    text.parse().expect("an id")
}

pub(super) fn camera() -> CameraId {
    let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
    CameraId { pu, channel: ChannelId(0) }
}

pub(super) fn plan(revision: u64, strategies: Vec<Strategy>) -> RecordingPlan {
    let nothing = RecordingPlan::nothing(camera(), RecordingPlace::Pu);
    RecordingPlan { revision, strategies, ..nothing }
}

pub(super) fn strategy(name: &str, trigger: Trigger) -> Strategy {
    Strategy { id: id(name), tier: StreamTier::Main, trigger }
}

pub(super) fn week(zone: &str, spans: &[(&[Weekday], &str, &str)]) -> WeeklySchedule {
    let time = |text: &str| text.parse::<MinuteOfDay>().expect("a time of day");
    let span = |(days, from, to): &(&[Weekday], &str, &str)| WeeklySpan {
        days: days.iter().copied().collect(),
        from: time(from),
        to: time(to),
    };
    let spans = spans.iter().map(span).collect();
    WeeklySchedule { zone: zone.parse().expect("a zone"), spans }
}

pub(super) fn on_event(kinds: &[EventKind], pre_roll_s: u16, post_roll_s: u16) -> Trigger {
    let kinds = kinds.iter().copied().collect();
    Trigger::Event { kinds, pre_roll_s, post_roll_s, during: None }
}
