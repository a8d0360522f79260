//! Twenty seconds of pictures, ten in a second, each with its number in it; half a minute is missing
//! behind the twelfth.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use openh264::formats::YUVSource;
use sightline_media::{
    AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack, packetize::nal_units,
};
use sightline_media_io::codec::{H264Decoder, H264Encoder, I420};
use sightline_model::{
    AudioCodec, CameraId, ChannelId, PuId, PublicKey, Signature, StreamTier, UnixMicros,
};
use sightline_recording::{
    chain::Sign,
    clock::Moment,
    segmenter::{Config, Output, RunEnd, Segmenter},
    statement::{Authority, BootId, Causes, Gap, GapReason, Subject},
};
use sightline_recording_store::{ChainWriter, Key, Limits, Setup, Store};

/// 2026-11-21T17:00:00Z, when the first picture was taken.
pub const START: UnixMicros = UnixMicros(1_795_280_400_000_000);
/// Pictures.
pub const COUNT: u32 = 200;
/// The first picture behind the gap.
pub const BEHIND_GAP: u32 = 120;
/// From keyframe to keyframe.
pub const GROUP: u32 = 10;
const PICTURE_US: i64 = 100_000;
const GAP_US: i64 = 30_000_000;
const WIDTH: usize = 160;
const HEIGHT: usize = 96;
/// One column of this width for each bit of the number.
const BIT: usize = 16;

/// When a picture was taken.
pub fn taken(number: u32) -> UnixMicros {
    let gap = if number < BEHIND_GAP { 0 } else { GAP_US };
    UnixMicros(START.0 + i64::from(number) * PICTURE_US + gap)
}

/// Bytes of a gray picture.
pub const PICTURE_BYTES: usize = WIDTH * HEIGHT;

/// The number that a picture carries, by its rows of brightness of `stride` bytes.
pub fn number(luma: &[u8], stride: usize) -> u32 {
    let row = &luma[stride * (HEIGHT / 4)..];
    (0..WIDTH / BIT)
        .fold(0, |number, bit| number | u32::from(row[bit * BIT + BIT / 2] > 128) << bit)
}

/// The numbers of decoded pictures.
pub fn numbers<'a>(
    track: &VideoTrack,
    units: impl IntoIterator<Item = &'a AccessUnit>,
) -> Vec<u32> {
    let mut decoder = H264Decoder::new(track).expect("a decoder");
    let mut found = Vec::new();
    for unit in units {
        let AccessUnit::Video { data, .. } = unit else { continue };
        let picture = decoder.decode(data).expect("whole").expect("every picture is shown");
        found.push(number(picture.y(), picture.strides().0));
    }
    found
}

struct Camera {
    encoder: H264Encoder,
    noise: u32,
}

impl Camera {
    fn picture(&mut self, number: u32) -> AccessUnit {
        let mut picture = I420::new(WIDTH, HEIGHT);
        for (row, line) in picture.y.chunks_mut(WIDTH).enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                let bit = number >> (column / BIT) & 1 == 1;
                // The lower half makes the pictures as large as a camera's.
                *pixel = match (row < HEIGHT / 2, bit) {
                    (true, true) => 220,
                    (true, false) => 30,
                    (false, _) => {
                        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (self.noise >> 24) as u8
                    }
                };
            }
        }
        let keyframe = number.is_multiple_of(GROUP);
        let data = self.encoder.encode(&picture, keyframe).expect("encoded").expect("kept");
        // The media clock goes on while nothing is recorded.
        let ticks = (taken(number).0 - START.0) * 9 / 100;
        AccessUnit::h264(ticks, taken(number), data)
    }
}

fn form(keyframe: &AccessUnit, sound: bool) -> StreamDescription {
    let AccessUnit::Video { data, .. } = keyframe else { panic!("a picture") };
    let find = |kind| nal_units(data).find(|nal| nal[0] & 0x1f == kind).expect("in a keyframe");
    let parameter_sets = ParameterSets::H264 { sps: find(7), pps: find(8) };
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let video = VideoTrack { width, height, fps: 10.0, parameter_sets };
    let audio =
        AudioTrack { codec: AudioCodec::Pcmu, clock_hz: 8_000, channels: 1, config: Bytes::new() };
    StreamDescription { video: Some(video), audio: sound.then_some(audio) }
}

struct TestKey(SigningKey);

impl Sign for TestKey {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

fn key() -> Key {
    Key::new(TestKey(SigningKey::from_bytes(&[9; 32])))
}

/// The recorder.
pub fn recorder() -> PuId {
    PuId::from_public_key(&key().public_key())
}

/// Whose recording it is.
pub fn subject() -> Subject {
    let camera = CameraId { pu: recorder(), channel: ChannelId(0) };
    Subject { recorder: recorder(), camera, tier: StreamTier::Main }
}

/// What was recorded.
pub struct Film {
    pub store: Store,
    pub form: StreamDescription,
    pub units: Vec<AccessUnit>,
}

impl Film {
    pub fn video(&self) -> &VideoTrack {
        self.form.video.as_ref().expect("there is a picture")
    }

    /// Records it into `dir`.
    pub async fn shoot(dir: &Path) -> Self {
        let limits = Limits { reserve_bytes: 0, ..Limits::default() };
        let setup = Setup { dir: dir.into(), limits, key: key() };
        let (store, _) = Store::open(setup).await.expect("a store");
        let mut camera =
            Camera { encoder: H264Encoder::new(10, 2_000_000).expect("an encoder"), noise: 1 };
        let units: Vec<_> = (0..COUNT).map(|number| camera.picture(number)).collect();
        let form = form(&units[0], false);
        let config = Config { target: Duration::from_secs(2), ..Config::default() };
        let mut segmenter = Segmenter::new(BootId(1), config);
        segmenter.handle_description(&form).expect("a form that can be recorded");
        let mut writer = store.writer(&subject()).await.expect("lent");
        for (number, unit) in (0..COUNT).zip(&units) {
            if number == BEHIND_GAP {
                segmenter.handle_end(RunEnd::SourceAway);
                carry_out(&mut segmenter, &mut writer).await;
                gap(&mut writer, number - 1).await;
            }
            segmenter.handle_unit(unit, &moment(number)).expect("recorded");
            carry_out(&mut segmenter, &mut writer).await;
        }
        segmenter.handle_end(RunEnd::Stopped);
        carry_out(&mut segmenter, &mut writer).await;
        gap(&mut writer, COUNT - 1).await;
        writer.end().await;
        Self { store, form, units }
    }

    /// Records the first two groups once more, as the other encoding, from `from` on.
    pub async fn shoot_sub(&self, from: UnixMicros) {
        self.shoot_again(StreamTier::Sub, from).await;
    }

    /// Records the first two groups once more, from `from` on by the recorder's clock.
    pub async fn shoot_again(&self, tier: StreamTier, from: UnixMicros) {
        let mut segmenter = Segmenter::new(BootId(1), Config::default());
        segmenter.handle_description(&self.form).expect("a form that can be recorded");
        let mut writer = self.store.writer(&Subject { tier, ..subject() }).await.expect("lent");
        for (n, unit) in (0_i64..).zip(&self.units[..2 * GROUP as usize]) {
            let at = UnixMicros(from.0 + n * PICTURE_US);
            segmenter.handle_unit(unit, &moment_at(at)).expect("recorded");
            carry_out(&mut segmenter, &mut writer).await;
        }
        segmenter.handle_end(RunEnd::Stopped);
        carry_out(&mut segmenter, &mut writer).await;
        writer.end().await;
    }
}

/// The files of segments below a folder, in the order in which they were recorded: of one chain.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path if path.extension().is_some_and(|kind| kind == "mp4") => found.push(path),
            _ => {}
        }
    }
    found.sort_unstable();
    found
}

fn moment(number: u32) -> Moment {
    moment_at(taken(number))
}

fn moment_at(time: UnixMicros) -> Moment {
    let monotonic_us = u64::try_from(time.0 - START.0).expect("behind the start") + 1_000_000;
    Moment { monotonic_us, time, authority: Authority::System }
}

/// Nothing is recorded behind this picture.
async fn gap(writer: &mut ChainWriter, behind: u32) {
    let from = UnixMicros(taken(behind).0 + PICTURE_US);
    let (boot, authority, reason) = (BootId(1), Authority::System, GapReason::CameraAway);
    let stated = writer.gap(Gap { from, boot, authority, reason }).expect("taken");
    stated.wait().await.expect("durable");
}

async fn carry_out(segmenter: &mut Segmenter, writer: &mut ChainWriter) {
    while let Some(output) = segmenter.poll_output() {
        match output {
            Output::Open(opening) => writer.open_segment(opening).expect("taken"),
            Output::Append(bytes) => writer.append(bytes).expect("taken"),
            Output::Close(draft) => {
                let closed = writer.close_segment(draft, Causes::default()).expect("taken");
                closed.wait().await.expect("durable");
            }
            Output::RunEnded(_) | Output::Step(_) => {}
        }
    }
}
