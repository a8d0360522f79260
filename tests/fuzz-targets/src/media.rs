//! RTP, access units, MP4 files, and the clock in the picture.

use std::sync::LazyLock;

use bytes::Bytes;
use sightline_media::{
    AccessUnit, AudioTrack, MAX_RTP_PAYLOAD, ParameterSets, StreamDescription, VideoTrack,
    mp4::{Mp4Error, Writer},
    packetize::nal_units,
};
use sightline_model::{AudioCodec, UnixMicros};
use sightline_rtsp::{depacketize::for_tracks, rtp, sdp};

use crate::Choices;

#[path = "../../../crates/media-io/src/source/synthetic/barcode.rs"]
mod code;

/// By the lowest bits of the first byte: H.264 or H.265, PCMU or AAC.
static DESCRIPTIONS: LazyLock<[sdp::Description; 4]> = LazyLock::new(|| {
    [
        (false, AudioCodec::Pcmu),
        (true, AudioCodec::Pcmu),
        (false, AudioCodec::Aac),
        (true, AudioCodec::Aac),
    ]
    .map(|(h265, codec)| description(h265, codec))
});

fn description(h265: bool, codec: AudioCodec) -> sdp::Description {
    let set = |byte: u8| Bytes::copy_from_slice(&[byte, 1, 2, 3]);
    let parameter_sets = if h265 {
        ParameterSets::H265 { vps: set(0x40), sps: set(0x42), pps: set(0x44) }
    } else {
        ParameterSets::H264 { sps: set(0x67), pps: set(0x68) }
    };
    let stream = StreamDescription {
        video: Some(VideoTrack { width: 2, height: 2, fps: 1.0, parameter_sets }),
        audio: Some(AudioTrack { codec, clock_hz: 8_000, channels: 1, config: Bytes::new() }),
    };
    sdp::parse(sdp::write("Yard", 1, &stream).as_bytes()).expect("own description")
}

/// RTP, RTCP and every depacketizer: units hold nothing but whole NAL units.
pub fn depacketize(data: &[u8]) {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let description = &DESCRIPTIONS[usize::from(flags & 3)];
    let mut tracks = for_tracks(&description.tracks);
    let mut units = Vec::new();
    // Length, track, sequence step, then the packet from its second byte on.
    while let [length, control, tail @ ..] = rest {
        let (body, later) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = later;
        let _ = rtp::parse_rtcp(body);
        let packet = Bytes::from([&[0x80], body].concat());
        if let Some(packet) = rtp::Packet::parse(packet) {
            tracks[usize::from(control & 1)].push(&packet, UnixMicros(0), &mut units);
        }
    }
    let mut started = false;
    for unit in units {
        if let AccessUnit::Video { data, keyframe, .. } = unit {
            started |= keyframe;
            assert!(started, "a picture before the first keyframe");
            let whole: usize = nal_units(&data).map(|n| n.len() + 4).sum();
            assert!(whole > 0 && whole <= data.len());
        }
    }
}

/// NAL units and their packets: what is packetized comes out the same.
pub fn packetize(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    let mut nals: Vec<Bytes> = nal_units(&data).collect();
    assert!(nals.iter().map(|nal| nal.len() + 4).sum::<usize>() <= data.len());
    let at = UnixMicros(0);
    joins(&AccessUnit::h264(0, at, data.clone()), h264, &nals);
    // Of H.265, what is nothing but a header is left out.
    nals.retain(|nal| nal.len() > 2);
    joins(&AccessUnit::h265(0, at, data), h265, &nals);
}

/// NAL units out of payloads, or `None`.
type Join = fn(&[Vec<u8>]) -> Option<Vec<Vec<u8>>>;

fn joins(unit: &AccessUnit, join: Join, nals: &[Bytes]) {
    let mut payloads = Vec::new();
    for payload in unit.payloads() {
        assert!((1..=MAX_RTP_PAYLOAD).contains(&payload.len()));
        payloads.push(payload.parts().concat());
        assert_eq!(payloads.last().map(Vec::len), Some(payload.len()));
    }
    // A NAL unit that passes for a packet of several, or for a piece, is nobody's picture.
    let ambiguous = |nal: &Bytes| nal[0] & 0x1f >= 24 || nal[0] >> 1 & 0x3f >= 48;
    if !nals.iter().any(ambiguous) {
        assert!(join(&payloads).is_some_and(|joined| joined == nals));
    }
}

/// NAL units out of payloads, by RFC 6184 sections 5.6, 5.7.1 and 5.8.
fn h264(payloads: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut nals = Vec::new();
    for payload in payloads {
        match payload[0] & 0x1f {
            24 => gathered(payload.get(1..)?, &mut nals)?,
            28 => {
                let [indicator, header, piece @ ..] = &payload[..] else { return None };
                piece_of(&mut nals, *header, &[indicator & 0xe0 | header & 0x1f], piece)?;
            }
            _ => nals.push(payload.clone()),
        }
    }
    Some(nals)
}

/// NAL units out of payloads, by RFC 7798 section 4.4.
fn h265(payloads: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut nals = Vec::new();
    for payload in payloads {
        match payload[0] >> 1 & 0x3f {
            48 => gathered(payload.get(2..)?, &mut nals)?,
            49 => {
                let [first, second, header, piece @ ..] = &payload[..] else { return None };
                let first = first & 0x81 | (header & 0x3f) << 1;
                piece_of(&mut nals, *header, &[first, *second], piece)?;
            }
            _ => nals.push(payload.clone()),
        }
    }
    Some(nals)
}

fn gathered(mut rest: &[u8], nals: &mut Vec<Vec<u8>>) -> Option<()> {
    while let [high, low, tail @ ..] = rest {
        let (nal, later) = tail.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        nals.push(nal.to_vec());
        rest = later;
    }
    rest.is_empty().then_some(())
}

/// A piece whose header says by its highest bit whether it is the first.
fn piece_of(nals: &mut Vec<Vec<u8>>, header: u8, nal_header: &[u8], piece: &[u8]) -> Option<()> {
    if header & 0x80 != 0 {
        nals.push(nal_header.to_vec());
    }
    nals.last_mut()?.extend_from_slice(piece);
    Some(())
}

/// A recording of whatever units come: the file's parts lie where the writer says.
pub fn mp4(data: &[u8]) {
    let mut choices = Choices::new(data);
    let first = any_description(&mut choices);
    let Ok(mut writer) = Writer::new(&first, UnixMicros(1_700_000_000_000_000)) else { return };
    let mut length = 0;
    let mut captured_at = 0;
    while !choices.is_empty() {
        let step = i64::from(choices.u16()) << choices.below(8);
        captured_at += step;
        let written = match choices.below(8) {
            0 => writer.describe(&any_description(&mut choices)),
            1..=3 => writer.push(&AccessUnit::Audio {
                timestamp: captured_at / 100 - i64::from(choices.byte()),
                captured_at: UnixMicros(captured_at),
                data: Bytes::from(vec![0x55; choices.byte().into()]),
            }),
            kind => {
                let timestamp = captured_at * 9 / 100 - i64::from(choices.u16());
                let at = UnixMicros(captured_at);
                let unit = nal_unit(&mut choices);
                writer.push(&match kind {
                    4..=6 => AccessUnit::h264(timestamp, at, unit),
                    _ => AccessUnit::h265(timestamp, at, unit),
                })
            }
        };
        match written {
            Ok(bytes) => length += bytes.len() as u64,
            Err(_) => return,
        }
    }
    let started = writer.started();
    match writer.finish() {
        Ok(end) => {
            length += end.append.len() as u64;
            for (offset, bytes) in &end.patches {
                assert!(offset + bytes.len() as u64 <= length, "a patch beyond the end");
            }
        }
        Err(error) => assert!(!started || !matches!(error, Mp4Error::Empty)),
    }
}

/// A whole NAL unit in few bytes, so that a short input is a long recording; or any bytes at all.
fn nal_unit(choices: &mut Choices<'_>) -> Bytes {
    let header = choices.byte();
    if header == 0xff {
        return Bytes::copy_from_slice(choices.piece());
    }
    let length = 1 + choices.below(255);
    let mut unit = vec![0, 0, 0, length, header];
    unit.resize(4 + usize::from(length), 0x69);
    unit.into()
}

/// Parameter sets that a decoder takes, or bytes that it does not.
fn any_description(choices: &mut Choices<'_>) -> StreamDescription {
    let whole = |hex: &[u8]| Bytes::copy_from_slice(hex);
    let parameter_sets = match choices.below(4) {
        0 | 1 => Some(ParameterSets::H264 {
            sps: whole(&[
                0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8, 0x08, 0x00, 0x00, 0x03,
                0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xc1, 0x92, 0x40,
            ]),
            pps: whole(&[0x68, 0xcb, 0x83, 0xcb, 0x20]),
        }),
        2 => {
            let set = |choices: &mut Choices<'_>| whole(choices.piece());
            Some(if choices.flag() {
                ParameterSets::H264 { sps: set(choices), pps: set(choices) }
            } else {
                ParameterSets::H265 { vps: set(choices), sps: set(choices), pps: set(choices) }
            })
        }
        _ => None,
    };
    let video = parameter_sets.map(|parameter_sets| VideoTrack {
        width: 640,
        height: 360,
        fps: 25.0,
        parameter_sets,
    });
    let (codec, clock_hz, config) = match choices.below(7) {
        0 => (AudioCodec::Aac, 44_100, Bytes::from_static(&[0x12, 0x08])),
        1 => (AudioCodec::Aac, 44_100, whole(choices.piece())),
        2 => (AudioCodec::Opus, 48_000, Bytes::new()),
        3 => (AudioCodec::Pcmu, 8_000, Bytes::new()),
        4 => (AudioCodec::Pcma, u32::from(choices.u16()), Bytes::new()),
        5 => (AudioCodec::G722, 8_000, Bytes::new()),
        _ => return StreamDescription { video, audio: None },
    };
    let channels = 1 + u16::from(choices.flag());
    StreamDescription { video, audio: Some(AudioTrack { codec, clock_hz, channels, config }) }
}

/// Pictures with and without the code: nothing is read that was not written.
pub fn barcode(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (width, height) = (usize::from(choices.byte()), usize::from(choices.byte()));
    let stride = width + usize::from(choices.below(3));
    if choices.flag() {
        let bytes_per_pixel = 3 + usize::from(choices.flag());
        let _ = code::decode_rgb(choices.rest(), bytes_per_pixel, width, height);
        return;
    }
    if choices.flag() {
        let _ = code::decode_luma(choices.rest(), stride, width, height);
        return;
    }
    let camera = code::camera_number(std::str::from_utf8(choices.piece()).unwrap_or("Yard"));
    let unix_ms = (0..6).fold(0, |ms, _| ms << 8 | u64::from(choices.byte()));
    let reading = code::Reading { unix_ms, camera };
    let mut picture = drawn(code::encode(reading), width, height);
    let spoilt = choices.rest();
    let spoil_any = !spoilt.is_empty();
    for (i, by) in spoilt.iter().enumerate() {
        if let Some(value) = picture.get_mut(i * 97) {
            *value ^= by;
        }
    }
    let read = code::decode_luma(&picture, width, width, height);
    // Below two pixels a block the middles of blocks are not where the blocks are.
    if !spoil_any && width >= 2 * code::COLUMNS && height >= 36 {
        assert_eq!(read, Some(reading));
    }
}

fn drawn(code: [u8; code::COLUMNS * code::ROWS / 8], width: usize, height: usize) -> Vec<u8> {
    let mut luma = vec![128; width * height];
    for (i, value) in luma.iter_mut().enumerate() {
        let (x, y) = ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
        let row = (y / height as f64 - code::TOP) / code::ROW_HEIGHT;
        if (0.0..code::ROWS as f64).contains(&row) {
            let column = (x / width as f64 * code::COLUMNS as f64) as usize;
            let bit = row as usize * code::COLUMNS + column;
            *value = if code[bit / 8] >> (7 - bit % 8) & 1 == 1 { 220 } else { 30 };
        }
    }
    luma
}
