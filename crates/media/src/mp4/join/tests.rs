//! What was joined is shown in order, at its times, and is still what was recorded.

use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};
use sightline_model::AudioCodec;

use super::*;
use crate::{
    StreamDescription,
    mp4::read::tests::{START, h264, sound, units, write},
};

/// A sample as a player finds it: track, decoding time in microseconds, its bytes.
type Found = (TrackKind, i64, Vec<u8>);

fn join(segments: &[(Bytes, bool)]) -> (Vec<u8>, Vec<u64>) {
    let mut joiner = Joiner::new(START).expect("a file");
    let mut file = joiner.head().to_vec();
    let mut places = Vec::new();
    for (segment, goes_on) in segments {
        places.push(joiner.push(segment, *goes_on).expect("joined"));
        file.extend_from_slice(segment);
    }
    for (at, bytes) in joiner.finish().expect("a table").patches {
        let at = usize::try_from(at).expect("small");
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    (file, places)
}

fn found(file: &[u8]) -> Vec<Found> {
    let mut demuxer = Mp4FileDemuxer::new();
    while let Some(wanted) = demuxer.required_input() {
        let at = usize::try_from(wanted.position).expect("small");
        let end = wanted.size.map_or(file.len(), |size| at + size);
        demuxer.handle_input(Input { position: wanted.position, data: &file[at..end] });
    }
    let mut found = Vec::new();
    while let Some(sample) = demuxer.next_sample().expect("a table") {
        let at = usize::try_from(sample.data_offset).expect("small");
        let us = micros(sample.timestamp as i64, sample.track.timescale);
        let bytes = file[at..at + sample.data_size].to_vec();
        found.push((sample.track.kind, us, bytes));
    }
    found
}

fn of(found: &[Found], kind: TrackKind) -> Vec<&Found> {
    found.iter().filter(|(of, ..)| *of == kind).collect()
}

fn recorded(seconds: i64) -> Vec<Bytes> {
    let audio = Some(sound(AudioCodec::Opus, 48_000, &[]));
    let description = StreamDescription { video: Some(h264()), audio };
    write(&description, &units(seconds, 48_000))
}

#[test]
fn segments_of_one_run_follow_without_a_seam() {
    let files = recorded(8);
    let (file, places) = join(&files.iter().map(|f| (f.clone(), true)).collect::<Vec<_>>());
    for (segment, at) in files.iter().zip(places) {
        let at = usize::try_from(at).expect("small");
        assert_eq!(file[at..at + segment.len()], segment[..], "they are there as recorded");
    }
    let found = found(&file);
    let pictures = of(&found, TrackKind::Video);
    assert_eq!(pictures.len(), 200);
    for (i, (_, us, _)) in pictures.iter().enumerate() {
        assert_eq!(*us, i as i64 * 40_000);
    }
    let sounds = of(&found, TrackKind::Audio);
    assert_eq!(sounds.len(), 400);
    for (i, (_, us, bytes)) in sounds.iter().enumerate() {
        assert_eq!(*us, i as i64 * 20_000);
        assert_eq!(bytes[..], (i as i64).to_be_bytes());
    }
}

#[test]
fn what_was_not_recorded_in_between_is_left_out_and_tracks_stay_together() {
    let files = recorded(8);
    // The second and third segment are not there.
    let kept = [(files[0].clone(), false), (files[3].clone(), false), (files[4].clone(), true)];
    let found = found(&join(&kept).0);
    let pictures = of(&found, TrackKind::Video);
    assert_eq!(pictures.len(), 120);
    for (i, (_, us, _)) in pictures.iter().enumerate() {
        let late = *us - i as i64 * 40_000;
        // Until the first segment's sound has ended.
        assert!((0..20_001).contains(&late), "{i}: {us}");
    }
    let begin = pictures[40].1;
    let number = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().expect("a number"));
    let sounds = of(&found, TrackKind::Audio);
    let first = sounds.iter().find(|(.., bytes)| number(bytes) >= 240).expect("sound");
    assert!((first.1 - begin).abs() <= 20_001, "{} and {begin}", first.1);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_file_as_it_was() {
    let files = recorded(4);
    let mut joiner = Joiner::new(START).expect("a file");
    joiner.push(&files[0], false).expect("joined");
    let audio = Some(sound(AudioCodec::Pcma, 8_000, &[]));
    let other = StreamDescription { video: Some(h264()), audio };
    let other = write(&other, &units(4, 8_000));
    assert!(matches!(joiner.push(&other[0], false), Err(JoinError::Other(_))));
    assert!(matches!(joiner.push(&Bytes::from_static(b"none"), true), Err(JoinError::Read(_))));
    joiner.push(&files[1], true).expect("joined");
    assert!(joiner.finish().expect("a table").duration_ms > 3_000);
    assert!(matches!(Joiner::new(START).expect("a file").finish(), Err(JoinError::Empty)));
}
