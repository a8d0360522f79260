//! What was written is read; what was broken is refused.

use proptest::prelude::*;
use sightline_model::AudioCodec;

use super::*;
use crate::{
    AudioTrack, ParameterSets, VideoTrack,
    mp4::segment::{Part, RunWriter},
    packetize::nal_units,
};

pub(in crate::mp4) const START: UnixMicros = UnixMicros(1_700_000_000_000_000);
/// 640 by 128 pictures, as a coder states them.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08,
    0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xc1, 0x92, 0x40,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

pub(in crate::mp4) fn h264() -> VideoTrack {
    let parameter_sets =
        ParameterSets::H264 { sps: Bytes::from_static(SPS), pps: Bytes::from_static(PPS) };
    VideoTrack { width: 640, height: 128, fps: 25.0, parameter_sets }
}

fn prefixed(nals: &[&[u8]]) -> Bytes {
    let mut data = BytesMut::new();
    for nal in nals {
        data.put_u32(nal.len() as u32);
        data.put_slice(nal);
    }
    data.freeze()
}

/// Pictures at 25 a second, every tenth a keyframe, and pieces of sound of 20 ms.
pub(in crate::mp4) fn units(seconds: i64, clock_hz: u32) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    for i in 0..seconds * 25 {
        let at = UnixMicros(START.0 + i * 40_000);
        let number = i.to_be_bytes();
        let slice = [&[if i % 10 == 0 { 0x65 } else { 0x41 }, 0x88][..], &number].concat();
        let data = if i % 10 == 0 { prefixed(&[SPS, PPS, &slice]) } else { prefixed(&[&slice]) };
        units.push(AccessUnit::h264(1_000_000 + i * 3_600, at, data));
        for half in 0..2 {
            let sound = i * 2 + half;
            units.push(AccessUnit::Audio {
                timestamp: 77 + sound * i64::from(clock_hz) / 50,
                captured_at: UnixMicros(START.0 + sound * 20_000),
                data: Bytes::copy_from_slice(&sound.to_be_bytes()),
            });
        }
    }
    units
}

/// The files of one run, cut at every fortieth picture.
pub(in crate::mp4) fn write(description: &StreamDescription, units: &[AccessUnit]) -> Vec<Bytes> {
    let mut writer = RunWriter::new(description, START).expect("writer");
    let (mut pictures, mut files) = (0, Vec::new());
    let mut open = BytesMut::new();
    let mut drain = |writer: &mut RunWriter| {
        while let Some(part) = writer.poll_part() {
            match part {
                Part::Begin { head, .. } => open = BytesMut::from(&head[..]),
                Part::Fragment(bytes) => open.extend_from_slice(&bytes),
                Part::End { .. } => files.push(std::mem::take(&mut open).freeze()),
            }
        }
    };
    for unit in units {
        match unit {
            AccessUnit::Video { timestamp, captured_at, keyframe, data, .. } => {
                if let Some(placed) = writer.place(*timestamp, captured_at.0, *keyframe) {
                    let cut = pictures % 40 == 0;
                    writer.push_picture(placed, *keyframe, data, cut).expect("picture");
                }
                pictures += 1;
            }
            AccessUnit::Audio { timestamp, captured_at, data } => {
                writer.push_sound(*timestamp, captured_at.0, data).expect("sound");
            }
        }
        drain(&mut writer);
    }
    writer.finish(None).expect("finish");
    drain(&mut writer);
    files
}

pub(in crate::mp4) fn sound(codec: AudioCodec, clock_hz: u32, config: &'static [u8]) -> AudioTrack {
    AudioTrack { codec, clock_hz, channels: 1, config: Bytes::from_static(config) }
}

#[test]
fn every_coding_is_read_as_it_was_written() {
    let sounds = [
        Some(sound(AudioCodec::Aac, 16_000, &[0x14, 0x08])),
        Some(sound(AudioCodec::Opus, 48_000, &[])),
        Some(sound(AudioCodec::Pcmu, 8_000, &[])),
        Some(sound(AudioCodec::Pcma, 8_000, &[])),
        None,
    ];
    for audio in sounds {
        let clock_hz = audio.as_ref().map_or(8_000, |a| a.clock_hz);
        let sent = units(8, clock_hz);
        let description = StreamDescription { video: Some(h264()), audio: audio.clone() };
        let files = write(&description, &sent);
        assert_eq!(files.len(), 5, "{audio:?}");
        let read: Vec<Contents> = files.iter().map(|f| read(f, START).expect("readable")).collect();
        let mut position_90k = 0;
        for (file, contents) in files.iter().zip(&read) {
            assert_eq!(contents.position_90k, position_90k, "each begins where the last ended");
            position_90k = contents.end_90k;
            assert_eq!(contents.whole_len, file.len());
            assert_eq!(contents.pictures, 40);
            assert_eq!(contents.description.audio, audio);
            let video = contents.description.video.as_ref().expect("picture");
            assert_eq!(video, &VideoTrack { fps: 0.0, ..h264() });
            assert!(contents.units[0].unit.is_keyframe());
            assert_eq!(contents.units[0].decode_us, 0);
        }
        assert_eq!(position_90k, 8 * 90_000);
        let back = || read.iter().flat_map(|c| &c.units);
        let pictures: Vec<_> = back().filter(|u| u.unit.is_video()).collect();
        let sent_pictures: Vec<_> = sent.iter().filter(|u| u.is_video()).collect();
        assert_eq!(pictures.len(), sent_pictures.len());
        for (got, sent) in pictures.iter().zip(sent_pictures) {
            same_picture(&got.unit, sent);
        }
        let sounds: Vec<_> = back().filter(|u| !u.unit.is_video()).collect();
        assert_eq!(sounds.len(), if audio.is_some() { 400 } else { 0 });
        for (i, got) in sounds.iter().enumerate() {
            let AccessUnit::Audio { timestamp, data, .. } = &got.unit else { panic!("a picture") };
            assert_eq!(data[..], (i as i64).to_be_bytes());
            assert_eq!(*timestamp, i as i64 * i64::from(clock_hz) / 50);
        }
    }
}

fn same_picture(got: &AccessUnit, sent: &AccessUnit) {
    let (
        AccessUnit::Video { timestamp, keyframe, disposable, codec, data, .. },
        AccessUnit::Video {
            timestamp: sent_at,
            keyframe: sent_keyframe,
            disposable: sent_disposable,
            codec: sent_codec,
            data: sent_data,
            ..
        },
    ) = (got, sent)
    else {
        panic!("sound");
    };
    assert_eq!(*timestamp, sent_at - 1_000_000);
    assert_eq!((keyframe, disposable, codec), (sent_keyframe, sent_disposable, sent_codec));
    assert_eq!(data, sent_data);
}

#[test]
fn sound_is_in_the_segment_in_which_it_begins() {
    let audio = Some(sound(AudioCodec::Pcmu, 8_000, &[]));
    let description = StreamDescription { video: Some(h264()), audio };
    // Sound that is 300 ms behind the picture on its way, and out of step with its grid.
    let mut sent = units(8, 8_000);
    sent.sort_by_key(|u| u.captured_at().0 + if u.is_video() { 0 } else { 300_000 });
    for unit in &mut sent {
        if let AccessUnit::Audio { captured_at, .. } = unit {
            captured_at.0 += 7_000;
        }
    }
    for file in write(&description, &sent) {
        let contents = read(&file, START).expect("readable");
        let lasts_us = (contents.end_90k - contents.position_90k) as i64 * 100 / 9;
        let sounds = contents.units.iter().filter(|u| !u.unit.is_video());
        let begin: Vec<i64> = sounds.map(|u| u.decode_us).collect();
        assert!(begin.iter().all(|us| (0..lasts_us).contains(us)), "{begin:?}");
        assert!(begin.len() >= 79, "{}", begin.len());
    }
}

#[test]
fn a_stream_that_changes_its_form_gets_a_new_head_at_the_next_keyframe() {
    let first = StreamDescription { video: Some(h264()), audio: None };
    let pps = Bytes::from_static(&[0x68, 0xcb, 0x83, 0xcb, 0x21]);
    let parameter_sets = ParameterSets::H264 { sps: Bytes::from_static(SPS), pps };
    let video = VideoTrack { parameter_sets, ..h264() };
    let audio = Some(sound(AudioCodec::Opus, 48_000, &[]));
    let second = StreamDescription { video: Some(video), audio };
    let mut writer = RunWriter::new(&first, START).expect("writer");
    writer.describe(&first).expect("the same");
    assert!(!writer.wants_cut());
    let sent = units(2, 48_000);
    for (i, unit) in sent.iter().enumerate() {
        if i == 75 {
            writer.describe(&second).expect("another");
            assert!(writer.wants_cut());
        }
        match unit {
            AccessUnit::Video { timestamp, captured_at, keyframe, data, .. } => {
                let placed = writer.place(*timestamp, captured_at.0, *keyframe).expect("placed");
                let cut = *keyframe && writer.wants_cut();
                writer.push_picture(placed, *keyframe, data, cut).expect("picture");
            }
            AccessUnit::Audio { timestamp, captured_at, data } => {
                writer.push_sound(*timestamp, captured_at.0, data).expect("sound");
            }
        }
    }
    writer.finish(None).expect("finish");
    let parts: Vec<Part> = std::iter::from_fn(|| writer.poll_part()).collect();
    let heads: Vec<&Bytes> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Begin { head, .. } => Some(head),
            Part::Fragment(_) | Part::End { .. } => None,
        })
        .collect();
    assert_eq!(heads.len(), 2);
    assert_ne!(heads[0], heads[1]);
    let pictures: Vec<u32> = parts
        .iter()
        .filter_map(|part| match part {
            Part::End { pictures, .. } => Some(*pictures),
            Part::Begin { .. } | Part::Fragment(_) => None,
        })
        .collect();
    // Unit 75 is picture 25; the next keyframe is picture 30.
    assert_eq!(pictures, [30, 20]);
    let nothing = StreamDescription::default();
    assert!(matches!(writer.describe(&nothing), Err(crate::mp4::Mp4Error::NoPicture)));
}

#[test]
fn sound_that_stops_leaves_the_head_and_comes_back() {
    let description =
        StreamDescription { video: Some(h264()), audio: Some(sound(AudioCodec::Pcmu, 8_000, &[])) };
    let mut sent = units(12, 8_000);
    let silent = START.0 + 2_000_000..START.0 + 7_000_000;
    sent.retain(|u| u.is_video() || !silent.contains(&u.captured_at().0));
    let files = write(&description, &sent);
    let with_sound: Vec<bool> = files
        .iter()
        .map(|f| read(f, START).expect("readable").description.audio.is_some())
        .collect();
    // Segments of 1.6 s: a head lists the sound when any came during the segment before.
    assert_eq!(with_sound, [true, true, true, false, false, true, true, true]);
    let last = read(&files[6], START).expect("readable");
    let sound = last.units.iter().find(|u| !u.unit.is_video()).expect("sound");
    let AccessUnit::Audio { data, .. } = &sound.unit else { panic!("a picture") };
    let number = i64::from_be_bytes(data[..].try_into().expect("eight bytes"));
    let shown_us = sound.shown_us + last.position_90k as i64 * 100 / 9;
    assert!((shown_us - number * 20_000).abs() < 1_000, "{number} at {shown_us}");
}

#[test]
fn what_is_no_segment_is_refused() {
    let file = write(&StreamDescription { video: Some(h264()), audio: None }, &units(2, 8_000));
    let file = &file[0];
    assert!(matches!(read(&Bytes::new(), START), Err(ReadError::Head(_))));
    let head = head_len(file).expect("head");
    assert!(matches!(read(&file.slice(..head), START), Err(ReadError::Empty)));
    assert_eq!(whole_fragments_len(&file[..head]), 0);
    assert_eq!(whole_fragments_len(&file[..file.len() - 1]), {
        let first = Whole::fragments(file).next().expect("fragment");
        first.end
    });
    let after_power_loss = [&file[..], &[0; 5_000]].concat();
    assert_eq!(whole_fragments_len(&after_power_loss), file.len());
    // A list of a million samples that state nothing.
    let mut trun = BytesMut::new();
    trun.put_u32(16);
    trun.put_slice(b"trun\0\0\0\0\0\x0f\x42\x40");
    let mut moof = BytesMut::new();
    moof.put_u32(8 + 8 + 16);
    moof.put_slice(b"moof\0\0\0\x18traf");
    moof.put_slice(&trun);
    moof.put_slice(b"\0\0\0\x08mdat");
    let file = Bytes::from([&file[..head], &moof].concat());
    assert!(matches!(read(&file, START), Err(ReadError::Fragment { .. })));
}

fn whole_file() -> Bytes {
    let audio = Some(sound(AudioCodec::Opus, 48_000, &[]));
    let description = StreamDescription { video: Some(h264()), audio };
    write(&description, &units(4, 48_000)).swap_remove(1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>) {
        prop_assert!(whole_fragments_len(&bytes) <= bytes.len());
        prop_assert!(read(&bytes.into(), START).is_err());
    }

    #[test]
    fn a_file_cut_off_anywhere_holds_its_whole_fragments(part in 0.0..1.0_f64) {
        let file = whole_file();
        let cut = file.slice(..(file.len() as f64 * part) as usize);
        let whole = whole_fragments_len(&cut);
        prop_assert!(whole <= cut.len());
        let ends: Vec<usize> = Whole::fragments(&file).map(|f| f.end).collect();
        let expected = ends.iter().rfind(|end| **end <= cut.len()).copied().unwrap_or(0);
        prop_assert_eq!(whole, expected);
        if whole > 0 {
            prop_assert_eq!(read(&cut, START).expect("readable").whole_len, whole);
        }
    }

    #[test]
    fn a_damaged_file_does_no_harm(
        damage in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..20),
        in_boxes: bool,
    ) {
        let file = whole_file();
        let mut bytes = file.to_vec();
        // Half of the cases spoil the head and the first list of samples.
        let until = if in_boxes { 1_500.min(bytes.len()) } else { bytes.len() };
        for (part, with) in damage {
            bytes[(until as f64 * part) as usize] = with;
        }
        prop_assert!(whole_fragments_len(&bytes) <= bytes.len());
        if let Ok(contents) = read(&bytes.into(), START) {
            for unit in contents.units {
                let AccessUnit::Video { data, .. } = unit.unit else { continue };
                prop_assert!(nal_units(&data).map(|n| n.len() + 4).sum::<usize>() <= data.len());
            }
        }
    }
}
