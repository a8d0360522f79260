//! What is counted of recordings.

use std::{sync::Arc, time::Duration};

use sightline_model::{ChannelId, StreamTier};
use sightline_recording::{segmenter::SegmentDraft, statement::GapReason};
use sightline_recording_store::{Health, State};

use super::clock::SharedClock;

/// The figures of one track: a camera's recording of one tier.
#[derive(Clone)]
pub struct Figures {
    channel: Arc<str>,
    tier: &'static str,
    clock: SharedClock,
}

impl Figures {
    pub fn new(channel: ChannelId, tier: StreamTier, clock: SharedClock) -> Self {
        let tier = match tier {
            StreamTier::Main => "main",
            StreamTier::Sub => "sub",
        };
        Self { channel: channel.to_string().into(), tier, clock }
    }

    /// The camera's channel, for the log.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// A segment is durable.
    pub fn segment(&self, draft: &SegmentDraft) {
        let lag_us = self.clock.now().time.0.saturating_sub(draft.end().0);
        let lag = Duration::from_micros(u64::try_from(lag_us).unwrap_or(0));
        let (channel, tier) = (self.channel.to_string(), self.tier);
        metrics::counter!(
            "sightline_pu_recording_segments_total", "channel" => channel.clone(), "tier" => tier
        )
        .increment(1);
        metrics::counter!(
            "sightline_pu_recording_bytes_total", "channel" => channel.clone(), "tier" => tier
        )
        .increment(draft.len);
        metrics::gauge!(
            "sightline_pu_recording_lag_seconds", "channel" => channel, "tier" => tier
        )
        .set(lag.as_secs_f64());
    }

    /// A gap has begun.
    pub fn gap(&self, reason: GapReason) {
        let (channel, tier) = (self.channel.to_string(), self.tier);
        metrics::counter!(
            "sightline_pu_recording_gaps_total",
            "channel" => channel, "tier" => tier, "reason" => reason_name(reason)
        )
        .increment(1);
    }
}

/// How the storage is: 1 for its state, 0 for every other.
pub fn storage(state: State) {
    for one in State::ALL {
        let is = if one == state { 1.0 } else { 0.0 };
        metrics::gauge!("sightline_pu_recording_storage", "state" => state_name(one)).set(is);
    }
}

/// Tells the person how the storage is.
pub fn tell(health: &Health) {
    storage(health.state);
    match health.state {
        State::Ok => tracing::info!("{}", health.state.words()),
        State::Slow | State::Full | State::ReadOnly | State::Away | State::Failing => {
            tracing::error!(detail = %health.detail, "{}", health.state.words());
        }
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Slow => "slow",
        State::Full => "full",
        State::ReadOnly => "read_only",
        State::Away => "away",
        State::Failing => "failing",
    }
}

const fn reason_name(reason: GapReason) -> &'static str {
    match reason {
        GapReason::NotPlanned => "not_planned",
        GapReason::CameraAway => "camera_away",
        GapReason::RecorderOff => "recorder_off",
        GapReason::StorageFull => "storage_full",
        GapReason::StorageReadOnly => "storage_read_only",
        GapReason::StorageAway => "storage_away",
        GapReason::StorageFailed => "storage_failed",
        GapReason::UnusableStream => "unusable_stream",
    }
}

/// Bytes of all recordings.
pub fn used(bytes: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    metrics::gauge!("sightline_pu_recording_stored_bytes").set(bytes as f64);
}
