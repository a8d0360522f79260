//! Segment files are read by ffmpeg and ffprobe, each by itself and one behind the other.

use sightline_media::mp4::{
    read::read,
    segment::{Part, RunWriter},
};

use super::*;

struct Segment {
    head: Bytes,
    body: Vec<u8>,
    position_90k: u64,
    end_90k: u64,
    pictures: u32,
}

impl Segment {
    /// With a box behind the head that players do not know.
    fn file(&self) -> Vec<u8> {
        [&self.head[..], b"\0\0\0\x1auuid0123456789abcdef!?", &self.body].concat()
    }
}

/// One run, cut at the first keyframe after every `every_90k`.
fn segments(stream: &StreamDescription, units: &[AccessUnit], every_90k: i64) -> Vec<Segment> {
    let mut writer = RunWriter::new(stream, UnixMicros(START)).expect("writer");
    let mut began = 0;
    for unit in units {
        match unit {
            AccessUnit::Video { timestamp, captured_at, keyframe, data, .. } => {
                let placed = writer.place(*timestamp, captured_at.0, *keyframe);
                let Some(placed) = placed else { continue };
                let cut = *keyframe && placed.position_90k - began >= every_90k;
                if cut {
                    began = placed.position_90k;
                }
                writer.push_picture(placed, *keyframe, data, cut).expect("picture");
            }
            AccessUnit::Audio { timestamp, captured_at, data } => {
                writer.push_sound(*timestamp, captured_at.0, data).expect("sound");
            }
        }
    }
    writer.finish(None).expect("finish");
    let mut segments = Vec::new();
    while let Some(part) = writer.poll_part() {
        match part {
            Part::Begin { position_90k, head } => segments.push(Segment {
                head,
                body: Vec::new(),
                position_90k,
                end_90k: 0,
                pictures: 0,
            }),
            Part::Fragment(bytes) => {
                segments.last_mut().expect("open").body.extend_from_slice(&bytes);
            }
            Part::End { position_90k, pictures } => {
                let segment = segments.last_mut().expect("open");
                segment.end_90k = position_90k;
                segment.pictures = pictures;
            }
        }
    }
    segments
}

/// The same pictures over and over, on one media clock.
fn repeated(track: &VideoTrack, pictures: &[Picture], times: i64) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    for round in 0..times {
        for picture in pictures {
            let pts = picture.pts + round * 4 * 90_000;
            let picture = Picture { pts, keyframe: picture.keyframe, data: picture.data.clone() };
            units.push(unit(track, &picture, 5_000_000));
        }
    }
    units
}

/// Each file by itself, and all bodies behind the first head: no complaint, every picture once, at
/// its time.
///
/// ffmpeg shows fragments whose composition offsets are negative later than they say, by the depth
/// of the reordering (decision 0091), which is up to `latest_s` here. Distances are exact.
fn check(
    dir: &Path,
    units: &[AccessUnit],
    segments: &[Segment],
    latest_s: f64,
) -> serde_json::Value {
    let mut end_90k = 0;
    for segment in segments {
        assert_eq!(segment.position_90k, end_90k, "without a seam");
        end_90k = segment.end_90k;
        let alone = probe(dir, &segment.file());
        assert_eq!(pts(&alone, "video").len(), segment.pictures as usize);
        let first = &alone["packets"].as_array().expect("list")[0];
        assert!(first["flags"].as_str().expect("flags").starts_with('K'), "{first}");
        let begins = segment.position_90k as f64 / 90_000.0;
        let shown_first = pts(&alone, "video").into_iter().fold(f64::MAX, f64::min);
        let late_s = shown_first - begins;
        assert!((-0.001..latest_s + 0.001).contains(&late_s), "{shown_first} instead of {begins}");
        assert_eq!(segment.head, segments[0].head);
    }
    let mut whole = segments[0].head.to_vec();
    whole.extend(segments.iter().flat_map(|s| &s.body));
    let whole = probe(dir, &whole);
    let times = pts(&whole, "video");
    let sent: Vec<i64> = units
        .iter()
        .filter_map(|u| match u {
            AccessUnit::Video { timestamp, .. } => Some(*timestamp),
            AccessUnit::Audio { .. } => None,
        })
        .collect();
    assert_eq!(times.len(), sent.len());
    let late_s = times[0];
    assert!((-0.001..latest_s + 0.001).contains(&late_s), "{late_s}");
    for (got, sent_at) in times.iter().zip(&sent) {
        let wanted = (sent_at - sent[0]) as f64 / 90_000.0 + late_s;
        assert!((got - wanted).abs() < 0.001, "{got} instead of {wanted}");
    }
    whole
}

#[test]
fn segments_of_h264_with_opus_join_without_a_seam() {
    let dir = tempfile::tempdir().expect("dir");
    let (track, pictures) = pictures(dir.path(), "libx264", 25, 0);
    let audio =
        AudioTrack { codec: AudioCodec::Opus, clock_hz: 48_000, channels: 2, config: Bytes::new() };
    let stream = StreamDescription { video: Some(track.clone()), audio: Some(audio) };
    let mut units = repeated(&track, &pictures, 3);
    units.extend((0..600).map(|i| sound(i * 20 + 7, 48_000, &[0xfc, 0xff, 0xfe])));
    units.sort_by_key(AccessUnit::captured_at);
    let segments = segments(&stream, &units, 4 * 90_000);
    assert_eq!(segments.len(), 3);
    let whole = check(dir.path(), &units, &segments, 0.0);
    let audio = pts(&whole, "audio");
    assert_eq!(audio.len(), 600);
    for (i, at) in audio.iter().enumerate() {
        let wanted = i as f64 * 0.02 + 0.007;
        assert!((at - wanted).abs() < 0.002, "sound {i} at {at}");
    }
}

#[test]
fn segments_of_reordered_pictures_join_without_a_seam() {
    let dir = tempfile::tempdir().expect("dir");
    // H.265 has keyframes with pictures that are shown before them (open groups).
    for codec in ["libx264", "libx265"] {
        let (track, pictures) = pictures(dir.path(), codec, 25, 2);
        assert!(pictures.windows(2).any(|w| w[1].pts < w[0].pts), "the test needs B pictures");
        let stream = StreamDescription { video: Some(track.clone()), audio: None };
        let units = repeated(&track, &pictures, 3);
        let segments = segments(&stream, &units, 2 * 90_000);
        assert_eq!(segments.len(), 6, "{codec}");
        check(dir.path(), &units, &segments, 0.08);
    }
}

#[test]
fn segments_of_h265_with_g711_and_aac_are_read_by_themselves() {
    let dir = tempfile::tempdir().expect("dir");
    let (track, pictures) = pictures(dir.path(), "libx265", 25, 0);
    let g711 = |_: usize| vec![0xd5; 160];
    let aac = aac_frames();
    let aac_config = Bytes::from_static(&[0x14, 0x08]);
    let tone = |i: usize| aac[i % aac.len()].clone();
    let cases: [(_, _, _, &dyn Fn(usize) -> Vec<u8>, _, _); 3] = [
        (AudioCodec::Pcmu, 8_000, Bytes::new(), &g711, 20, "pcm_mulaw"),
        (AudioCodec::Pcma, 8_000, Bytes::new(), &g711, 20, "pcm_alaw"),
        (AudioCodec::Aac, 16_000, aac_config, &tone, 64, "aac"),
    ];
    for (codec, clock_hz, config, data, lasts_ms, name) in cases {
        let audio = AudioTrack { codec, clock_hz, channels: 1, config };
        let stream = StreamDescription { video: Some(track.clone()), audio: Some(audio) };
        let mut units = repeated(&track, &pictures, 2);
        let sounds =
            (0..8_000 / lasts_ms).map(|i| sound(i * lasts_ms, clock_hz, &data(i as usize)));
        units.extend(sounds);
        units.sort_by_key(AccessUnit::captured_at);
        let segments = segments(&stream, &units, 2 * 90_000);
        assert_eq!(segments.len(), 4);
        let whole = check(dir.path(), &units, &segments, 0.0);
        assert_eq!(whole["streams"][0]["codec_name"], "hevc");
        assert_eq!(whole["streams"][1]["codec_name"], name);
        assert_eq!(pts(&whole, "audio").len() as i64, 8_000 / lasts_ms);
        // And by ourselves: the same pictures with the same parameter sets.
        let contents = read(&segments[1].file().into(), UnixMicros(START)).expect("readable");
        let back = contents.description.video.as_ref().expect("picture");
        assert_eq!(back.parameter_sets, track.parameter_sets);
        assert_eq!(contents.pictures, segments[1].pictures);
    }
}
