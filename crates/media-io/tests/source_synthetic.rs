//! The synthetic camera as an independent decoder and an ear find it.

use std::time::{Duration, SystemTime};

use openh264::{decoder::Decoder, formats::YUVSource};
use sightline_media::{AccessUnit, packetize::nal_units, ring::Limits};
use sightline_media_io::{
    hub::{Hub, Next, Reader},
    source::synthetic::{self, ConfigError, SyntheticConfig, barcode},
};
use sightline_model::AudioCodec;
use tokio_util::sync::{CancellationToken, DropGuard};

fn start(config: SyntheticConfig) -> (Hub, DropGuard) {
    let (publisher, hub) = Hub::new(Limits::default());
    let token = CancellationToken::new();
    tokio::spawn(synthetic::run(config, publisher, token.clone()));
    (hub, token.drop_guard())
}

async fn unit(reader: &mut Reader) -> std::sync::Arc<AccessUnit> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await;
        if let Next::Unit(unit) = next.expect("the source gives units") {
            return unit;
        }
    }
}

fn annex_b(unit: &AccessUnit) -> Option<Vec<u8>> {
    let AccessUnit::Video { data, .. } = unit else { return None };
    Some(nal_units(data).flat_map(|nal| [&[0, 0, 0, 1], &nal[..]].concat()).collect())
}

#[tokio::test]
async fn decodes_to_the_time_and_camera_that_were_drawn() {
    for (width, height) in [(1280, 720), (640, 360), (352, 288), (1920, 1080)] {
        let config = SyntheticConfig {
            width,
            height,
            gop_s: 1.0,
            camera_label: "Yard".into(),
            ..SyntheticConfig::default()
        };
        let (hub, _guard) = start(config);
        let mut reader = hub.subscribe();
        let mut decoder = Decoder::new().expect("decoder");
        let mut pictures = 0;
        let mut keyframes = 0;
        while pictures < 60 {
            let unit = unit(&mut reader).await;
            let Some(bytes) = annex_b(&unit) else { continue };
            let picture = decoder.decode(&bytes).expect("decodable").expect("a picture each");
            let (w, h) = picture.dimensions();
            assert_eq!((w as u32, h as u32), (width, height));
            let reading = barcode::decode_luma(picture.y(), picture.strides().0, w, h);
            let reading = reading.unwrap_or_else(|| panic!("no code at {width}x{height}"));
            assert_eq!(reading.unix_ms as i64, unit.captured_at().0 / 1_000);
            assert_eq!(reading.camera, barcode::camera_number("Yard"));
            pictures += 1;
            keyframes += u32::from(unit.is_keyframe());
        }
        assert!(keyframes >= 2, "{keyframes} keyframes in 60 pictures");
        if let Some(folder) = std::env::var_os("TEST_PICTURES") {
            save_picture(&hub, &mut decoder, &std::path::PathBuf::from(folder)).await;
        }
    }
}

/// For the eye: the newest picture as a portable pixmap.
async fn save_picture(hub: &Hub, decoder: &mut Decoder, folder: &std::path::Path) {
    let mut reader = hub.subscribe();
    let unit = unit(&mut reader).await;
    let Some(bytes) = annex_b(&unit) else { return };
    let Some(picture) = decoder.decode(&bytes).expect("decodable") else { return };
    let (width, height) = picture.dimensions();
    let mut rgb = vec![0; width * height * 3];
    picture.write_rgb8(&mut rgb);
    let mut file = format!("P6 {width} {height} 255\n").into_bytes();
    file.append(&mut rgb);
    std::fs::write(folder.join(format!("synthetic-{width}x{height}.ppm")), file).expect("written");
}

#[tokio::test]
async fn an_asked_for_keyframe_comes_at_once() {
    let config = SyntheticConfig { gop_s: 60.0, ..SyntheticConfig::default() };
    let (hub, _guard) = start(config);
    let mut reader = hub.subscribe();
    assert!(unit(&mut reader).await.is_keyframe());
    for _ in 0..3 {
        hub.request_keyframe();
        let mut pictures = 0;
        loop {
            let unit = unit(&mut reader).await;
            pictures += u32::from(unit.is_video());
            if unit.is_keyframe() {
                break;
            }
        }
        // Pictures that were drawn before the request count too.
        assert!(pictures < 20, "{pictures} pictures until the keyframe");
    }
}

fn mu_law_decode(byte: u8) -> f64 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 0x84) << (byte >> 4 & 7)) - 0x84;
    f64::from(if byte & 0x80 == 0 { magnitude } else { -magnitude })
}

/// Energy at one pitch (Goertzel).
fn energy(samples: &[f64], hz: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * hz / 8_000.0).cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for sample in samples {
        (s1, s2) = (sample + coefficient * s1 - s2, s1);
    }
    s1 * s1 + s2 * s2 - coefficient * s1 * s2
}

#[tokio::test]
async fn the_tone_has_its_pitch_and_no_seam() {
    let (hub, _guard) = start(SyntheticConfig { tone_hz: 440.0, ..SyntheticConfig::default() });
    let mut reader = hub.subscribe();
    let mut samples = Vec::new();
    let mut expected = None;
    while samples.len() < 8_000 {
        let unit = unit(&mut reader).await;
        let AccessUnit::Audio { timestamp, data, .. } = &*unit else { continue };
        assert_eq!(data.len(), 160);
        assert_eq!(expected.unwrap_or(*timestamp), *timestamp, "a packet is missing");
        expected = Some(timestamp + 160);
        samples.extend(data.iter().map(|byte| mu_law_decode(*byte)));
    }
    samples.truncate(8_000);
    let total: f64 = samples.iter().map(|sample| sample * sample).sum();
    // All energy of a sine over n samples is n / 2 times the sum of squares.
    let share = energy(&samples, 440.0) / (total * 4_000.0);
    assert!(share > 0.99, "{share} of the energy is at 440 Hz");
    assert!(energy(&samples, 445.0) < energy(&samples, 440.0) / 100.0);
}

#[tokio::test]
async fn the_bit_rate_is_the_configured_one() {
    for bitrate_bps in [1_000_000, 3_000_000] {
        let (hub, _guard) = start(SyntheticConfig { bitrate_bps, ..SyntheticConfig::default() });
        let mut reader = hub.subscribe();
        let (mut bits, mut pictures) = (0, 0);
        while pictures < 100 {
            let unit = unit(&mut reader).await;
            if unit.is_video() {
                bits += unit.len() * 8;
                pictures += 1;
            }
        }
        let rate = bits as f64 / (f64::from(pictures) / 25.0);
        let ratio = rate / f64::from(bitrate_bps);
        assert!((0.85..1.15).contains(&ratio), "{rate} for {bitrate_bps}");
    }
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused() {
    let good = SyntheticConfig::default;
    for (bad, error) in [
        (SyntheticConfig { width: 641, ..good() }, ConfigError::Size),
        (SyntheticConfig { height: 4_000, ..good() }, ConfigError::Size),
        (SyntheticConfig { fps: 0, ..good() }, ConfigError::Rate),
        (SyntheticConfig { gop_s: f32::NAN, ..good() }, ConfigError::Rate),
        (SyntheticConfig { tone_hz: 5_000.0, ..good() }, ConfigError::Pitch),
        (SyntheticConfig { audio: AudioCodec::Aac, ..good() }, ConfigError::Audio),
    ] {
        let (publisher, hub) = Hub::new(Limits::default());
        let ended = synthetic::run(bad, publisher, CancellationToken::new()).await;
        assert_eq!(ended, Err(error));
        assert!(hub.state().description().is_none());
    }
}

/// CPU time of this process, in seconds.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// A measurement, not a test: `cargo test --test source_synthetic -- --ignored cost --nocapture`.
#[tokio::test]
#[ignore = "measures for 20 s"]
async fn cost() {
    let (_hub, _guard) = start(SyntheticConfig::default());
    let (cpu, wall) = (cpu_s().expect("Linux"), SystemTime::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let wall = wall.elapsed().expect("forward").as_secs_f64();
    let share = (cpu_s().expect("Linux") - cpu) / wall * 100.0;
    println!("720p25, 2 Mbit/s, tone: {share:.2} % of a core");
}
