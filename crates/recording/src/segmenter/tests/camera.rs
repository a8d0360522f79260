//! A simulated camera and the network to it.

use bytes::{BufMut, Bytes, BytesMut};
use sightline_media::{AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack};
use sightline_model::{AudioCodec, UnixMicros};

/// 640 by 360 pictures, as a coder states them.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08,
    0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xc1, 0x92, 0x40,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

pub fn description(sound: Option<AudioCodec>) -> StreamDescription {
    let parameter_sets =
        ParameterSets::H264 { sps: Bytes::from_static(SPS), pps: Bytes::from_static(PPS) };
    StreamDescription {
        video: Some(VideoTrack { width: 640, height: 360, fps: 10.0, parameter_sets }),
        audio: sound.map(|codec| AudioTrack {
            codec,
            clock_hz: clock_hz(codec),
            channels: 1,
            config: if codec == AudioCodec::Aac {
                Bytes::from_static(&[0x14, 0x08])
            } else {
                Bytes::new()
            },
        }),
    }
}

const fn clock_hz(codec: AudioCodec) -> u32 {
    match codec {
        AudioCodec::Opus => 48_000,
        AudioCodec::Aac => 16_000,
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => 8_000,
    }
}

/// A unit, when it was taken and when it arrived, by the monotonic clock in microseconds.
pub struct Sent {
    pub unit: AccessUnit,
    pub taken_us: i64,
    pub arrived_us: i64,
}

impl Sent {
    /// Its timestamp, and when it arrived.
    pub fn at(&self) -> (i64, i64) {
        let (AccessUnit::Video { timestamp, .. } | AccessUnit::Audio { timestamp, .. }) =
            &self.unit;
        (*timestamp, self.arrived_us)
    }
}

#[derive(Debug)]
pub struct Camera {
    random: u64,
    /// Pictures between keyframes.
    group: i64,
    /// Pictures that are coded behind, and shown before, another one.
    reordered: i64,
    /// By how much its clock is fast, in millionths.
    drift_ppm: i64,
    /// The same of its sound's clock.
    sound_drift_ppm: i64,
    pub sound: Option<AudioCodec>,
    /// Whether the network loses units.
    pub loses: bool,
    jitter_us: u64,
    /// Where its clocks begin.
    base: i64,
}

/// How long the network takes at least.
const DELAY_US: i64 = 20_000;
const PICTURE_US: i64 = 100_000;

impl Camera {
    pub fn new(seed: u64) -> Self {
        let mut camera = Self {
            random: seed,
            group: 0,
            reordered: 0,
            drift_ppm: 0,
            sound_drift_ppm: 0,
            sound: None,
            loses: false,
            jitter_us: 1,
            base: 0,
        };
        let codecs = [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Pcmu, AudioCodec::Pcma];
        camera.reordered = camera.below(3) as i64;
        camera.group = (camera.reordered + 1) * (1 + camera.below(12) as i64);
        camera.drift_ppm = camera.below(400) as i64 - 200;
        camera.sound_drift_ppm = camera.drift_ppm + camera.below(200) as i64 - 100;
        camera.sound = codecs.get(camera.below(6) as usize).copied();
        camera.loses = camera.below(3) == 0;
        camera.jitter_us = 1 + camera.below(150_000);
        camera.base = camera.below(1 << 40) as i64 - (1 << 39);
        camera
    }

    /// Ten pictures a second, a keyframe each second, and a network without surprises.
    pub fn calm(&mut self, drift_ppm: i64) {
        (self.group, self.reordered, self.drift_ppm) = (10, 0, drift_ppm);
        (self.sound, self.loses, self.jitter_us) = (None, false, 30_000);
    }

    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// From taking a keyframe to its arrival, at least.
    pub const fn least_delay_us(&self) -> i64 {
        DELAY_US + self.reordered * PICTURE_US
    }

    /// By how much more it may be delayed, with a margin for drift.
    pub const fn longest_delay_us(&self) -> i64 {
        self.jitter_us as i64 + self.reordered * PICTURE_US + 60_000
    }

    /// What arrives in so many seconds, in the order of arrival.
    pub fn stream(&mut self, seconds: i64) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut newest_us = 0;
        for coded in 0..seconds * 1_000_000 / PICTURE_US {
            let shown = self.shown(coded);
            let taken_us = shown * PICTURE_US;
            let ticks = self.ticks(taken_us, 90_000, self.drift_ppm);
            let keyframe = coded % self.group == 0;
            // A picture that others are shown before is coded when those are there.
            let coded_us = coded * PICTURE_US + self.reordered * PICTURE_US;
            let arrived_us = self.arrival(coded_us, &mut newest_us);
            if self.loses && !keyframe && self.below(30) == 0 {
                continue;
            }
            let unit = self.picture(coded, ticks, keyframe);
            sent.push(Sent { unit, taken_us, arrived_us });
        }
        if let Some(codec) = self.sound {
            self.add_sound(codec, seconds, &mut sent);
        }
        sent.sort_by_key(|s| s.arrived_us);
        sent
    }

    /// Which picture is coded as the `coded`th: anchors first, then what is shown before them.
    fn shown(&self, coded: i64) -> i64 {
        let (group, within) = (coded / self.group, coded % self.group);
        if within == 0 || self.reordered == 0 {
            return coded;
        }
        let many = self.reordered + 1;
        let (mini, at) = ((within - 1) / many, (within - 1) % many);
        let first = mini * many + 1;
        let last = (first + self.reordered).min(self.group - 1);
        group * self.group + if at == 0 { last } else { first + at - 1 }
    }

    fn ticks(&self, taken_us: i64, clock_hz: u32, drift_ppm: i64) -> i64 {
        let by_its_clock = taken_us + taken_us * drift_ppm / 1_000_000;
        self.base + by_its_clock * i64::from(clock_hz) / 1_000_000
    }

    /// Nothing overtakes.
    fn arrival(&mut self, ready_us: i64, newest_us: &mut i64) -> i64 {
        let jitter_us = self.jitter_us;
        let arrived = ready_us + DELAY_US + self.below(jitter_us) as i64;
        *newest_us = arrived.max(*newest_us);
        *newest_us
    }

    fn picture(&self, number: i64, timestamp: i64, keyframe: bool) -> AccessUnit {
        let mut data = BytesMut::new();
        let mut put = |nal: &[u8]| {
            data.put_u32(nal.len() as u32);
            data.put_slice(nal);
        };
        if keyframe {
            put(SPS);
            put(PPS);
        }
        let header = if keyframe { 0x65 } else { 0x41 };
        put(&[&[header, 0x88][..], &[0x33; 30], &number.to_be_bytes()].concat());
        AccessUnit::h264(timestamp, UnixMicros(0), data.freeze())
    }

    fn add_sound(&mut self, codec: AudioCodec, seconds: i64, sent: &mut Vec<Sent>) {
        let piece_us = if codec == AudioCodec::Aac { 64_000 } else { 40_000 };
        let mut newest_us = 0;
        for number in 0..seconds * 1_000_000 / piece_us {
            let taken_us = number * piece_us;
            let timestamp = self.ticks(taken_us, clock_hz(codec), self.sound_drift_ppm);
            let arrived_us = self.arrival(taken_us, &mut newest_us);
            if self.loses && self.below(40) == 0 {
                continue;
            }
            let data = Bytes::copy_from_slice(&number.to_be_bytes());
            let unit = AccessUnit::Audio { timestamp, captured_at: UnixMicros(0), data };
            sent.push(Sent { unit, taken_us, arrived_us });
        }
    }
}
