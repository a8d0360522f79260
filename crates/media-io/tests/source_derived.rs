//! Streams made from streams: transcoding, sound for WebRTC, snapshots; and the hub's promises.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openh264::{decoder::Decoder, formats::YUVSource};
use sightline_media::{
    AccessUnit, AudioTrack, StreamDescription, packetize::nal_units, ring::Limits,
};
use sightline_media_io::{
    codec::{self, AacToOpus, PictureError, SoundError},
    hub::{Hub, Next, Reader, SourceState},
    source::synthetic::{self, SyntheticConfig, barcode},
    transcode::TranscodePool,
};
use sightline_model::{AudioCodec, UnixMicros};
use sightline_protocol::ProblemKind;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

const PATIENCE: Duration = Duration::from_secs(40);

fn camera(config: SyntheticConfig) -> (Hub, DropGuard) {
    let (publisher, hub) = Hub::new(Limits::default());
    let token = CancellationToken::new();
    tokio::spawn(synthetic::run(config, publisher, token.clone()));
    (hub, token.drop_guard())
}

async fn next(reader: &mut Reader) -> Next {
    tokio::time::timeout(PATIENCE, reader.next()).await.expect("the stream goes on")
}

async fn unit(reader: &mut Reader, video: bool) -> Arc<AccessUnit> {
    loop {
        if let Next::Unit(unit) = next(reader).await
            && unit.is_video() == video
        {
            return unit;
        }
    }
}

fn annex_b(unit: &AccessUnit) -> Vec<u8> {
    let AccessUnit::Video { data, .. } = unit else { return Vec::new() };
    nal_units(data).flat_map(|nal| [&[0, 0, 0, 1], &nal[..]].concat()).collect()
}

fn timestamp(unit: &AccessUnit) -> i64 {
    match unit {
        AccessUnit::Video { timestamp, .. } | AccessUnit::Audio { timestamp, .. } => *timestamp,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transcoding_gives_the_size_rate_and_time_asked_for() {
    let (main, _guard) = camera(SyntheticConfig::default());
    let token = CancellationToken::new();
    let pool = TranscodePool::new(1, TaskTracker::new(), token.clone());
    let _end = token.drop_guard();
    for (width, height, fps) in [(352, 288, 5), (704, 576, 10)] {
        let hub = loop {
            match pool.get(&main, width, height, fps) {
                Ok(hub) => break hub,
                Err(problem) => assert_eq!(problem.kind, ProblemKind::Busy),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut reader = hub.subscribe();
        let mut decoder = Decoder::new().expect("decoder");
        let mut times = Vec::new();
        while times.len() < 12 {
            let unit = unit(&mut reader, true).await;
            assert!(!times.is_empty() || unit.is_keyframe(), "it starts with a keyframe");
            let bytes = annex_b(&unit);
            let picture = decoder.decode(&bytes).expect("decodable").expect("a picture");
            let (w, h) = picture.dimensions();
            assert_eq!((w as u32, h as u32), (width, height));
            let reading = barcode::decode_luma(picture.y(), picture.strides().0, w, h);
            let reading = reading.expect("the code survives");
            assert_eq!(reading.unix_ms as i64, unit.captured_at().0 / 1_000);
            times.push(timestamp(&unit));
        }
        let period = (times[11] - times[3]) as f64 / 8.0 / 90_000.0;
        let ratio = period * f64::from(fps);
        assert!((0.8..1.5).contains(&ratio), "{period} s from picture to picture at {fps} fps");
        let state = hub.state();
        let description = state.description().expect("online");
        let video = description.video.as_ref().expect("picture");
        assert_eq!((video.width, video.height, video.fps), (width, height, fps as f32));
        assert_eq!(description.audio.as_ref().map(|audio| audio.codec), Some(AudioCodec::Pcmu));
        unit(&mut reader, false).await;
        hub.request_keyframe();
        let mut pictures = 0;
        while !unit(&mut reader, true).await.is_keyframe() {
            pictures += 1;
            assert!(pictures < 3 * fps, "the keyframe asked for does not come");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transcoders_are_shared_bounded_and_end() {
    let (main, _guard) = camera(SyntheticConfig::default());
    let token = CancellationToken::new();
    let tasks = TaskTracker::new();
    let pool = TranscodePool::new(1, tasks.clone(), token.clone());
    let one = pool.get(&main, 352, 288, 5).expect("the first");
    let again = pool.get(&main, 352, 288, 5).expect("the same");
    assert!(one.is_same(&again));
    let refused = pool.get(&main, 352, 288, 6).err().map(|problem| problem.kind);
    assert_eq!(refused, Some(ProblemKind::Busy));
    for (width, height, fps) in [(351, 288, 5), (0, 0, 5), (352, 288, 0), (8_000, 288, 5)] {
        let refused = pool.get(&main, width, height, fps).err().map(|problem| problem.kind);
        assert_eq!(refused, Some(ProblemKind::InvalidRequest));
    }
    let mut reader = one.subscribe();
    unit(&mut reader, true).await;
    drop(reader);
    // Well before it would have ended by itself.
    let taken_over = tokio::time::timeout(Duration::from_secs(3), async {
        loop {
            if let Ok(other) = pool.get(&main, 704, 576, 5) {
                return other;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let other = taken_over.await.expect("what nobody watches gives way");
    assert!(!one.is_same(&other) && pool.running() == 1);
    let ended = async {
        while pool.running() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends after its last reader");
    pool.get(&main, 704, 576, 25).expect("its place is free");
    token.cancel();
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("the token ends it");
}

#[tokio::test]
async fn a_keyframe_becomes_a_jpeg() {
    let (main, _guard) = camera(SyntheticConfig { gop_s: 1.0, ..SyntheticConfig::default() });
    let mut reader = main.subscribe();
    let keyframe = unit(&mut reader, true).await;
    let state = main.state();
    let track = state.description().and_then(|d| d.video.clone()).expect("picture");
    let jpeg = codec::jpeg(&track, &keyframe, 80).expect("a picture");
    assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]));
    let other = unit(&mut reader, true).await;
    assert_eq!(codec::jpeg(&track, &other, 80), Err(PictureError::NotAKeyframe));
    let AccessUnit::Video { data, .. } = &*keyframe else { unreachable!("a picture") };
    let broken = AccessUnit::h264(0, UnixMicros(0), data.slice(..data.len() / 2));
    assert!(codec::jpeg(&track, &broken, 80).is_err());
}

/// ADTS frames of a tone, by ffmpeg: an encoder that is not ours.
async fn aac_tone(rate_hz: u32, channels: u16) -> Option<(AudioTrack, Vec<Bytes>)> {
    let output = tokio::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "sine=frequency=440:duration=4"])
        .args(["-ar", &rate_hz.to_string(), "-ac", &channels.to_string()])
        .args(["-c:a", "aac", "-b:a", "96k", "-f", "adts", "-"])
        .output()
        .await;
    let adts = match output {
        Ok(output) if output.status.success() => Bytes::from(output.stdout),
        _ => {
            eprintln!("\nSKIPPED: ffmpeg is not here\n");
            return None;
        }
    };
    // ISO/IEC 14496-3, 1.A.2: profile, frequency index and channels; then the length.
    let config = [
        (((adts[2] >> 6) + 1) << 3) | (adts[2] >> 3 & 7),
        (adts[2] << 5 & 0x80) | (adts[3] >> 6 | (adts[2] & 1) << 2) << 3,
    ];
    let (mut frames, mut at) = (Vec::new(), 0);
    while at + 7 <= adts.len() {
        let length = usize::from(adts[at + 3] & 3) << 11
            | usize::from(adts[at + 4]) << 3
            | usize::from(adts[at + 5] >> 5);
        frames.push(adts.slice(at + 7..at + length));
        at += length;
    }
    let config = Bytes::copy_from_slice(&config);
    Some((AudioTrack { codec: AudioCodec::Aac, clock_hz: rate_hz, channels, config }, frames))
}

fn energy(samples: &[f32], hz: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * hz / 48_000.0).cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for sample in samples {
        (s1, s2) = (f64::from(*sample) + coefficient * s1 - s2, s1);
    }
    s1 * s1 + s2 * s2 - coefficient * s1 * s2
}

#[tokio::test]
async fn aac_becomes_opus_of_the_same_pitch_and_time() {
    for (rate_hz, channels) in [(44_100, 1), (48_000, 2), (16_000, 1), (8_000, 1), (32_000, 2)] {
        let Some((track, frames)) = aac_tone(rate_hz, channels).await else { return };
        let mut converter = AacToOpus::new(&track).expect("AAC-LC");
        assert_eq!(converter.track().channels, channels);
        let layout =
            if channels == 1 { opusic_c::Channels::Mono } else { opusic_c::Channels::Stereo };
        let mut decoder =
            opusic_c::Decoder::new(layout, opusic_c::SampleRate::Hz48000).expect("decoder");
        let (mut samples, mut times) = (Vec::new(), Vec::new());
        for (i, frame) in frames.iter().enumerate() {
            for (time, packet) in converter.push(5_000 + i as i64 * 1_024, frame).expect("whole") {
                let mut pcm = vec![0.0; 960 * usize::from(channels)];
                let count = decoder.decode_float_to_slice(&packet, &mut pcm, false);
                assert_eq!(count.expect("Opus"), 960);
                samples.extend(pcm.iter().step_by(usize::from(channels)).copied());
                times.push(time);
            }
        }
        assert_eq!(times[0], 5_000 * 48_000 / i64::from(rate_hz));
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 960), "packets in a row");
        let expected = frames.len() as f64 * 1_024.0 / f64::from(rate_hz) * 50.0;
        assert!((times.len() as f64 - expected).abs() < 5.0, "{} of {expected}", times.len());
        let second = &samples[48_000..96_000];
        let total: f64 = second.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let share = energy(second, 440.0) / (total * 24_000.0);
        assert!(share > 0.95, "{share} of the energy at 440 Hz from {rate_hz} Hz");
    }
}

#[tokio::test]
async fn sound_for_webrtc_is_opus_or_as_it_comes() {
    let (main, _guard) = camera(SyntheticConfig::default());
    let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
    let sound = codec::opus_audio(&main, &tasks, token.clone());
    let mut reader = sound.subscribe();
    for _ in 0..20 {
        let unit = unit(&mut reader, false).await;
        let AccessUnit::Audio { data, .. } = &*unit else { unreachable!("sound") };
        assert_eq!(data.len(), 160);
    }
    drop(reader);

    let Some((track, frames)) = aac_tone(44_100, 1).await else { return };
    let (publisher, source) = Hub::new(Limits::default());
    let sound = codec::opus_audio(&source, &tasks, token.clone());
    let mut reader = sound.subscribe();
    publisher.online(StreamDescription { video: None, audio: Some(track) });
    // The hub announces Opus before the first packet.
    let online = async {
        loop {
            if let Next::State(SourceState::Online(description)) = next(&mut reader).await {
                break description;
            }
        }
    };
    let description = online.await;
    let audio = description.audio.as_ref().expect("sound");
    assert_eq!((audio.codec, audio.clock_hz), (AudioCodec::Opus, 48_000));
    let mut frames = frames.into_iter().zip(0_i64..);
    let mut publish = || {
        let (data, i) = frames.next().expect("a frame for each packet");
        let timestamp = i * 1_024;
        publisher.publish(AccessUnit::Audio { timestamp, captured_at: UnixMicros(0), data });
    };
    // What decoder and encoder hold back; then a frame of 1024 samples gives a packet of 960.
    for _ in 0..4 {
        publish();
    }
    let mut before = None;
    for _ in 0..50 {
        publish();
        let time = timestamp(&*unit(&mut reader, false).await);
        assert!(before.is_none_or(|before| time == before + 960));
        before = Some(time);
    }
    drop(publisher);
    token.cancel();
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("the token ends the tasks");
}

#[test]
fn broken_aac_is_refused_and_survived() {
    let track = |config: &'static [u8], codec, channels| AudioTrack {
        codec,
        clock_hz: 44_100,
        channels,
        config: Bytes::from_static(config),
    };
    for bad in [
        track(&[], AudioCodec::Aac, 1),
        track(&[0xff, 0xff], AudioCodec::Aac, 1),
        track(&[0x12, 0x08], AudioCodec::Aac, 6),
        track(&[0x12, 0x08], AudioCodec::Pcmu, 1),
    ] {
        assert!(matches!(AacToOpus::new(&bad), Err(SoundError::Unsupported(_))), "{bad:?}");
    }
    let mut converter = AacToOpus::new(&track(&[0x12, 0x08], AudioCodec::Aac, 1)).expect("AAC-LC");
    let mut random = 1_u32;
    for length in 0..300 {
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(length)
        .collect();
        let _ = converter.push(length as i64 * 1_024, &garbage);
    }
}

fn picture(number: i64, keyframe: bool, size: usize) -> AccessUnit {
    let mut data = u32::try_from(size).expect("small").to_be_bytes().to_vec();
    data.push(if keyframe { 0x65 } else { 0x41 });
    data.resize(size + 4, 7);
    AccessUnit::h264(number, UnixMicros(number), data.into())
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// A reader that stands still never changes what another sees, nor what the hub holds; what a
    /// reader sees is in order, and begins again at a keyframe after every gap.
    #[test]
    fn a_slow_reader_harms_nobody(
        gop in 2_i64..40,
        size in 10_usize..4_000,
        slow_every in 1_usize..200,
    ) {
        let limits = Limits { bytes: 60_000, units: 50, ..Limits::default() };
        let (publisher, hub) = Hub::new(limits);
        let (mut fast, mut slow) = (hub.subscribe(), hub.subscribe());
        let (mut seen, mut slow_last, mut gap) = (0, -1, true);
        for number in 0..400 {
            publisher.publish(picture(number, number % gop == 0, size));
            let Some(Next::Unit(unit)) = fast.try_next() else { panic!("the fast reader waits") };
            assert_eq!(timestamp(&unit), seen);
            seen += 1;
            assert!(hub.bytes() <= limits.bytes);
            if (number as usize).is_multiple_of(slow_every) {
                match slow.try_next() {
                    Some(Next::Unit(unit)) => {
                        assert!(timestamp(&unit) > slow_last);
                        assert!(!gap || unit.is_keyframe(), "it goes on at a keyframe");
                        assert!(gap || timestamp(&unit) == slow_last + 1, "nothing is missing");
                        (slow_last, gap) = (timestamp(&unit), false);
                    }
                    Some(Next::Skipped(_)) => gap = true,
                    Some(Next::State(_)) | None => {}
                }
            }
            let mut late = hub.subscribe();
            match late.try_next() {
                Some(Next::Unit(unit)) => assert!(unit.is_keyframe()),
                Some(other) => panic!("{other:?}"),
                // The newest keyframe did not fit; the next one will come.
                None => assert!(gop as usize * (size + 4) > limits.bytes || gop > 50),
            }
        }
    }
}

/// What this thread has had of a processor, whatever else ran meanwhile (proc(5), schedstat).
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// openh264 as [`codec::H264Encoder`] sets it up, but for pictures of a screen.
fn screen_encoder() -> openh264::encoder::Encoder {
    use openh264::encoder::{BitRate, Complexity, Encoder, EncoderConfig, FrameRate, UsageType};
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(2_000_000))
        .max_frame_rate(FrameRate::from_hz(25.0))
        .skip_frames(false)
        .usage_type(UsageType::ScreenContentRealTime)
        .complexity(Complexity::Low)
        .num_threads(1);
    let api = openh264::OpenH264API::from_source();
    Encoder::with_api_config(api, config).expect("encoder")
}

/// A measurement, not a test: what a general encoder takes for the synthetic camera's pictures.
#[tokio::test]
#[ignore = "measures"]
async fn cost_of_decoding_and_encoding() {
    let (main, _guard) = camera(SyntheticConfig::default());
    let mut reader = main.subscribe();
    let mut decoder = Decoder::new().expect("decoder");
    let mut encoder = codec::H264Encoder::new(25, 2_000_000).expect("encoder");
    let mut for_screens = screen_encoder();
    let mut spent = [Duration::ZERO; 3];
    for i in 0..100 {
        let bytes = annex_b(&*unit(&mut reader, true).await);
        let start = thread_cpu();
        let picture = decoder.decode(&bytes).expect("decodable").expect("a picture");
        spent[0] += thread_cpu() - start;
        let mut copy = codec::I420::new(1_280, 720);
        for (to, from, stride, width) in [
            (&mut copy.y, picture.y(), picture.strides().0, 1_280),
            (&mut copy.u, picture.u(), picture.strides().1, 640),
            (&mut copy.v, picture.v(), picture.strides().2, 640),
        ] {
            for (to, from) in to.chunks_mut(width).zip(from.chunks(stride)) {
                to.copy_from_slice(&from[..width]);
            }
        }
        let start = thread_cpu();
        encoder.encode(&copy, i % 50 == 0).expect("encodable");
        spent[1] += thread_cpu() - start;
        let start = thread_cpu();
        if i % 50 == 0 {
            for_screens.force_intra_frame();
        }
        for_screens.encode(&copy).expect("encodable");
        spent[2] += thread_cpu() - start;
    }
    let [decode, encode, screen] = spent.map(|all| all / 100);
    println!(
        "a picture of 720p: {decode:?} to decode, {encode:?} to encode, {screen:?} as a screen"
    );
}
