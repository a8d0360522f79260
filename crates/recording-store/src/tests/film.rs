//! Segments of a simulated camera, for unit tests and (by path) for the tests with real kills.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::{BufMut, Bytes, BytesMut};
use ed25519_dalek::Signer;
use sightline_media::{AccessUnit, ParameterSets, StreamDescription, VideoTrack};
use sightline_model::{CameraId, ChannelId, PuId, PublicKey, Signature, StreamTier, UnixMicros};
use sightline_recording::{
    chain::Sign,
    clock::Moment,
    segmenter::{Config, Opening, Output, RunEnd, SegmentDraft, Segmenter},
    statement::{Authority, BootId, Subject},
};

/// When the first picture is taken.
pub const START_US: i64 = 1_700_000_000_000_000;
/// 640 by 360 pictures, as a coder states them.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08,
    0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xc1, 0x92, 0x40,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const PICTURES_PER_SECOND: i64 = 10;
/// Length of a picture, in bytes.
const PICTURE_BYTES: usize = 1_000;

struct TestKey(ed25519_dalek::SigningKey);

impl Sign for TestKey {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

/// The recorder's key of every test.
pub fn key() -> super::Key {
    super::Key::new(TestKey(ed25519_dalek::SigningKey::from_bytes(&[7; 32])))
}

/// One of the recorder's cameras.
pub fn subject(channel: u16) -> Subject {
    let recorder = PuId::from_public_key(&key().public_key());
    let camera = CameraId { pu: recorder.clone(), channel: ChannelId(channel) };
    Subject { recorder, camera, tier: StreamTier::Main }
}

/// Everything below a folder that is no folder.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files
}

/// A segment as the segmenter gives it out.
pub struct Shot {
    pub opening: Opening,
    pub parts: Vec<Bytes>,
    pub draft: SegmentDraft,
}

/// A camera that gives a keyframe every second, and a segmenter that cuts there.
pub struct Film {
    segmenter: Segmenter,
    start_us: i64,
    authority: Authority,
    pictures: i64,
}

impl Film {
    pub fn new(boot: BootId, start_us: i64) -> Self {
        let config = Config { target: std::time::Duration::from_secs(1), ..Config::default() };
        let mut segmenter = Segmenter::new(boot, config);
        let sets =
            ParameterSets::H264 { sps: Bytes::from_static(SPS), pps: Bytes::from_static(PPS) };
        let track = VideoTrack { width: 640, height: 360, fps: 10.0, parameter_sets: sets };
        let form = StreamDescription { video: Some(track), audio: None };
        segmenter.handle_description(&form).expect("a form that can be recorded");
        Self { segmenter, start_us, authority: Authority::System, pictures: 0 }
    }

    /// By whose word its times are from now on.
    pub fn vouched_for_by(mut self, authority: Authority) -> Self {
        self.authority = authority;
        self
    }

    /// The next segment.
    pub fn shoot(&mut self) -> Shot {
        let (mut opening, mut parts) = (None, Vec::new());
        // A segment is given out with the keyframe behind it.
        for _ in 0..100 {
            while let Some(output) = self.segmenter.poll_output() {
                match output {
                    Output::Open(begun) => opening = Some(begun),
                    Output::Append(bytes) => parts.push(bytes),
                    Output::Close(draft) => {
                        return Shot { opening: opening.expect("opened before"), parts, draft };
                    }
                    Output::RunEnded(_) | Output::Step(_) => {}
                }
            }
            self.take_picture();
        }
        panic!("no segment came of a hundred pictures");
    }

    /// The source goes away for so long; the next segment begins a run.
    pub fn pause(&mut self, seconds: i64) {
        self.segmenter.handle_end(RunEnd::SourceAway);
        // What was cut off is of no interest to whoever pauses.
        while self.segmenter.poll_output().is_some() {}
        self.pictures += seconds * PICTURES_PER_SECOND;
    }

    fn take_picture(&mut self) {
        let n = self.pictures;
        self.pictures += 1;
        let taken_us = n * 1_000_000 / PICTURES_PER_SECOND;
        let keyframe = n % PICTURES_PER_SECOND == 0;
        let mut data = BytesMut::new();
        let mut nal = |header: u8, len: usize| {
            data.put_u32(u32::try_from(len).expect("short"));
            data.put_u8(header);
            data.extend((1..len).map(|i| (n as usize * 31 + i * 7) as u8 | 1));
        };
        nal(if keyframe { 0x65 } else { 0x41 }, PICTURE_BYTES);
        let time = UnixMicros(self.start_us + taken_us);
        let unit = AccessUnit::h264(n * 90_000 / PICTURES_PER_SECOND, time, data.freeze());
        let monotonic_us = u64::try_from(taken_us).expect("after the boot");
        let arrived = Moment { monotonic_us, time, authority: self.authority };
        self.segmenter.handle_unit(&unit, &arrived).expect("a picture that can be recorded");
    }
}
