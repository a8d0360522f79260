//! Codings that the synthetic camera does not have, made and played by ffmpeg.

mod rtsp_support;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use rtsp_support::Unit;
use sightline_media::{
    AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack, ring::Limits,
};
use sightline_media_io::{
    hub::{Hub, Publisher},
    rtsp_server::Options,
};
use sightline_model::{AudioCodec, UnixMicros, VideoCodec};
use tokio_util::sync::CancellationToken;

fn ffmpeg(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ffmpeg").args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(text)
}

fn make(folder: &Path, name: &str, source: &str, coding: &[&str]) -> Option<Vec<u8>> {
    let file = folder.join(name);
    let path = file.to_str()?;
    let arguments =
        [&["-v", "error", "-y", "-f", "lavfi", "-i", source, "-t", "2"], coding, &[path]].concat();
    ffmpeg(&arguments)?;
    std::fs::read(file).ok()
}

fn nal_units(annex_b: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..annex_b.len().saturating_sub(3))
        .filter(|i| annex_b[*i..].starts_with(&[0, 0, 1]))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([annex_b.len()]);
    let nal = |(start, end): (&usize, usize)| {
        let mut nal = &annex_b[start + 3..end];
        while let [rest @ .., 0] = nal {
            nal = rest;
        }
        nal
    };
    starts.iter().zip(ends).map(nal).collect()
}

/// Pictures of an H.265 stream in which every access unit begins with a delimiter.
fn pictures(annex_b: &[u8]) -> (ParameterSets, Vec<(bool, Bytes)>) {
    let kind = |nal: &[u8]| nal[0] >> 1 & 0x3f;
    let nals = nal_units(annex_b);
    let set = |wanted| {
        let found = nals.iter().find(|n| kind(n) == wanted).expect("in the stream");
        Bytes::copy_from_slice(found)
    };
    let sets = ParameterSets::H265 { vps: set(32), sps: set(33), pps: set(34) };
    let mut units = Vec::new();
    for unit in nals.split(|n| kind(n) == 35).filter(|u| !u.is_empty()) {
        let mut data = BytesMut::new();
        for nal in unit {
            data.put_u32(u32::try_from(nal.len()).expect("small"));
            data.put_slice(nal);
        }
        units.push((unit.iter().any(|n| (16..=23).contains(&kind(n))), data.freeze()));
    }
    (sets, units)
}

fn adts_frames(mut adts: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let [0xff, _, _, a, b, c, _, ..] = *adts {
        let length = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c >> 5);
        frames.push(Bytes::copy_from_slice(&adts[7..length]));
        adts = &adts[length..];
    }
    frames
}

struct Material {
    pictures: Vec<(bool, Bytes)>,
    sounds: Vec<Bytes>,
    sound_ticks: i64,
    clock_hz: i64,
}

/// Gives the material again and again, 25 pictures per second.
async fn publish(publisher: Publisher, material: Material, token: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(40));
    let mut sounds = 0_i64;
    for number in 0_i64.. {
        tokio::select! {
            () = token.cancelled() => return,
            _ = tick.tick() => {}
        }
        let captured_at = UnixMicros::from(SystemTime::now());
        let of = |count: usize, number: i64| usize::try_from(number).expect("counted") % count;
        let (keyframe, data) = material.pictures[of(material.pictures.len(), number)].clone();
        let timestamp = number * 3_600;
        publisher.publish(AccessUnit::Video {
            timestamp,
            captured_at,
            keyframe,
            disposable: false,
            codec: VideoCodec::H265,
            data,
        });
        while sounds * material.sound_ticks * 25 < (number + 1) * material.clock_hz {
            let data = material.sounds[of(material.sounds.len(), sounds)].clone();
            let timestamp = sounds * material.sound_ticks;
            publisher.publish(AccessUnit::Audio { timestamp, captured_at, data });
            sounds += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_decodes_h265_with_aac_and_g722() {
    let folder = std::env::temp_dir().join(format!("sightline-codings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let video = [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "keyint=25:bframes=0:aud=1:log-level=none",
        "-f",
        "hevc",
    ];
    let hevc = make(&folder, "v.hevc", "testsrc=size=640x360:rate=25", &video);
    let aac = make(&folder, "a.aac", "sine=r=44100", &["-ac", "1", "-c:a", "aac", "-f", "adts"]);
    let g722 = make(&folder, "a.g722", "sine=r=16000", &["-ac", "1", "-c:a", "g722", "-f", "g722"]);
    std::fs::remove_dir_all(&folder).expect("own folder");
    let (Some(hevc), Some(aac), Some(g722)) = (hevc, aac, g722) else {
        eprintln!("NOT TESTED: no ffmpeg with libx265, aac and g722");
        return;
    };
    // AAC-LC (2), 44.1 kHz (4), one channel (ISO/IEC 14496-3 section 1.6.2.1).
    let config = Bytes::from_static(&[0x12, 0x08]);
    let g722_frames = g722.chunks_exact(160).map(Bytes::copy_from_slice).collect();
    for (codec, clock_hz, config, sounds, sound_ticks, name) in [
        (AudioCodec::Aac, 44_100, config, adts_frames(&aac), 1_024, "aac"),
        (AudioCodec::G722, 8_000, Bytes::new(), g722_frames, 160, "g722"),
    ] {
        let (parameter_sets, pictures) = pictures(&hevc);
        let (publisher, hub) = Hub::new(Limits::default());
        publisher.online(StreamDescription {
            video: Some(VideoTrack { width: 640, height: 360, fps: 25.0, parameter_sets }),
            audio: Some(AudioTrack { codec, clock_hz, channels: 1, config }),
        });
        let unit = Unit::with_hub(hub, Options::default()).await;
        let material = Material { pictures, sounds, sound_ticks, clock_hz: clock_hz.into() };
        unit.tasks.spawn(publish(publisher, material, unit.token.clone()));
        let url = unit.url("0");
        let text = tokio::task::spawn_blocking(move || {
            ffmpeg(&[
                "-v",
                "info",
                "-rtsp_transport",
                "tcp",
                "-i",
                &url,
                "-t",
                "2",
                "-map",
                "0:v",
                "-map",
                "0:a",
                "-f",
                "null",
                "-",
            ])
        });
        let text = tokio::time::timeout(Duration::from_secs(60), text).await.expect("ends");
        let text = text.expect("ran").expect("plays");
        for expected in
            ["Video: hevc", &format!("Audio: {}", if name == "g722" { "adpcm_g722" } else { name })]
        {
            assert!(text.contains(expected), "no {expected} in: {text}");
        }
        for trouble in ["rror", "corrupt", "missed"] {
            assert!(!text.contains(trouble), "{text}");
        }
        unit.stop().await;
    }
}
