//! A camera that needs none: test pattern, clock and tone.
//!
//! The picture carries the time twice, for people and, as a [`barcode`], for programs. Its size in
//! bits is made up to the configured rate with snow, so that adaptation and benchmarks meet a
//! stream of the size that a camera would send.

pub mod barcode;
mod bits;
mod cavlc;
mod font;
mod mosaic;
mod pattern;
mod tone;

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use sightline_media::{AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack};
use sightline_model::{AudioCodec, UnixMicros};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::hub::Publisher;

/// Form of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticConfig {
    /// Width in pixels: even, 160 to 3840.
    pub width: u32,
    /// Height in pixels: even, 90 to 2160.
    pub height: u32,
    /// Pictures per second, 1 to 60.
    pub fps: u32,
    /// Seconds from keyframe to keyframe, 0.1 to 60.
    pub gop_s: f32,
    /// Bits per second of the picture. What the pattern needs less is filled with snow; what it
    /// needs more (about 0.4 Mbit/s at 720p25) it takes.
    pub bitrate_bps: u32,
    /// Shown in the picture; its hash is the camera number in the [`barcode`].
    pub camera_label: String,
    /// Pitch of the tone, 0 to 3,400; 0 is silence.
    pub tone_hz: f32,
    /// Coding of the tone: one of the two laws of G.711.
    pub audio: AudioCodec,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            width: 1280,
            height: 720,
            fps: 25,
            gop_s: 2.0,
            bitrate_bps: 2_000_000,
            camera_label: "Sightline".into(),
            tone_hz: 440.0,
            audio: AudioCodec::Pcmu,
        }
    }
}

impl SyntheticConfig {
    /// The small encoding of the same camera: 640x360, 15 pictures per second, 0.3 Mbit/s.
    #[must_use]
    pub fn sub(&self) -> Self {
        Self {
            width: 640,
            height: 360,
            fps: self.fps.min(15),
            bitrate_bps: 300_000,
            ..self.clone()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let even = self.width.is_multiple_of(2) && self.height.is_multiple_of(2);
        if !even || !(160..=3840).contains(&self.width) || !(90..=2160).contains(&self.height) {
            return Err(ConfigError::Size);
        }
        if !(1..=60).contains(&self.fps) || !(0.1..=60.0).contains(&self.gop_s) {
            return Err(ConfigError::Rate);
        }
        if !(0.0..=3_400.0).contains(&self.tone_hz) {
            return Err(ConfigError::Pitch);
        }
        match self.audio {
            AudioCodec::Pcmu | AudioCodec::Pcma => Ok(()),
            AudioCodec::G722 | AudioCodec::Opus | AudioCodec::Aac => Err(ConfigError::Audio),
        }
    }
}

/// What is wrong with a [`SyntheticConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Width or height.
    #[error("the picture must be of even size, 160x90 to 3840x2160")]
    Size,
    /// Picture or keyframe rate.
    #[error("the rate must be 1 to 60 pictures per second, with a keyframe every 0.1 to 60 s")]
    Rate,
    /// Tone.
    #[error("the tone must be 0 to 3400 Hz")]
    Pitch,
    /// Sound coding.
    #[error("the tone can be coded as pcmu or pcma")]
    Audio,
}

/// Publishes the stream until `token` is cancelled.
///
/// # Errors
/// When the configuration cannot be carried out; nothing is published then.
pub async fn run(
    config: SyntheticConfig,
    publisher: Publisher,
    token: CancellationToken,
) -> Result<(), ConfigError> {
    config.check()?;
    let mut camera = Synthetic::new(config);
    publisher.online(camera.description());
    let start = Instant::now();
    let frame_period = Duration::from_secs(1) / camera.config.fps;
    let mut frames = interval_at(start, frame_period);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut packets = interval_at(start, Duration::from_millis(20));
    // Late packets of sound are still wanted: a gap is heard.
    packets.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = publisher.keyframe_wanted() => camera.keyframe_wanted = true,
            tick = frames.tick() => {
                let number = (tick - start).as_nanos() / frame_period.as_nanos();
                let number = u64::try_from(number).unwrap_or(u64::MAX);
                let late = tick.elapsed();
                if late > frame_period {
                    tracing::debug!(?late, "too busy: pictures are left out");
                }
                publisher.publish(camera.frame(number, SystemTime::now()));
            }
            tick = packets.tick() => {
                let number = (tick - start).as_millis() / 20;
                let number = u64::try_from(number).unwrap_or(u64::MAX);
                publisher.publish(camera.sound(number, SystemTime::now()));
            }
        }
    }
}

/// The camera without its clock.
struct Synthetic {
    config: SyntheticConfig,
    painter: pattern::Painter,
    encoder: mosaic::Encoder,
    keyframe_wanted: bool,
    /// Number of the next frame that has to be a keyframe.
    next_keyframe: u64,
    /// Bits that may still be spent; below zero after a keyframe.
    credit_bits: i64,
}

/// Bits that a macroblock of snow takes, about; the credit corrects the rest.
const SNOW_BITS: i64 = 210;

impl Synthetic {
    fn new(config: SyntheticConfig) -> Self {
        Self {
            painter: pattern::Painter::new(config.width, config.height, &config.camera_label),
            encoder: mosaic::Encoder::new(config.width, config.height, config.fps),
            keyframe_wanted: false,
            next_keyframe: 0,
            credit_bits: 0,
            config,
        }
    }

    fn description(&self) -> StreamDescription {
        let (sps, pps) = self.encoder.parameter_sets();
        StreamDescription {
            video: Some(VideoTrack {
                width: self.config.width,
                height: self.config.height,
                fps: self.config.fps as f32,
                parameter_sets: ParameterSets::H264 {
                    sps: Bytes::copy_from_slice(sps),
                    pps: Bytes::copy_from_slice(pps),
                },
            }),
            audio: Some(AudioTrack {
                codec: self.config.audio,
                clock_hz: tone::RATE_HZ,
                channels: 1,
                config: Bytes::new(),
            }),
        }
    }

    fn frame(&mut self, number: u64, now: SystemTime) -> AccessUnit {
        let captured_at = UnixMicros::from(now);
        let unix_ms = u64::try_from(captured_at.0 / 1_000).unwrap_or(0);
        let budget = i64::from(self.config.bitrate_bps / self.config.fps);
        self.credit_bits = (self.credit_bits + budget).min(2 * budget);
        let capacity = self.painter.snow_capacity();
        let snow = usize::try_from(self.credit_bits / SNOW_BITS).unwrap_or(0).min(capacity);

        let keyframe = self.keyframe_wanted || number >= self.next_keyframe;
        let coded = self.encoder.encode(self.painter.paint(unix_ms, snow), keyframe);
        self.credit_bits -= i64::try_from(coded.bits()).unwrap_or(i64::MAX);
        if coded.keyframe {
            self.keyframe_wanted = false;
            let gop = (self.config.gop_s * self.config.fps as f32).round().max(1.0) as u64;
            self.next_keyframe = number + gop;
        }
        let size = coded.nals.iter().map(|nal| nal.len() + 4).sum();
        let mut data = BytesMut::with_capacity(size);
        for nal in &coded.nals {
            data.extend_from_slice(&u32::try_from(nal.len()).unwrap_or(u32::MAX).to_be_bytes());
            data.extend_from_slice(nal);
        }
        let timestamp = number.saturating_mul(u64::from(sightline_media::VIDEO_CLOCK_HZ))
            / u64::from(self.config.fps);
        AccessUnit::h264(i64::try_from(timestamp).unwrap_or(i64::MAX), captured_at, data.freeze())
    }

    fn sound(&self, number: u64, now: SystemTime) -> AccessUnit {
        let law = match self.config.audio {
            AudioCodec::Pcma => tone::a_law,
            AudioCodec::Pcmu | AudioCodec::G722 | AudioCodec::Opus | AudioCodec::Aac => {
                tone::mu_law
            }
        };
        AccessUnit::Audio {
            timestamp: i64::try_from(number.saturating_mul(tone::PACKET)).unwrap_or(i64::MAX),
            captured_at: UnixMicros::from(now),
            data: tone::packet(number, self.config.tone_hz).map(law).collect(),
        }
    }
}
