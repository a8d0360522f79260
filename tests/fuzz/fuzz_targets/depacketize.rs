//! RTP, RTCP and every depacketizer: units hold nothing but whole NAL units.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sightline_media::{
    AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack, packetize::nal_units,
};
use sightline_model::{AudioCodec, UnixMicros};
use sightline_rtsp::{depacketize::for_tracks, rtp, sdp};

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

fuzz_target!(|data: &[u8]| {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let codec = if flags & 2 != 0 { AudioCodec::Aac } else { AudioCodec::Pcmu };
    let mut tracks = for_tracks(&description(flags & 1 != 0, codec).tracks);
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
});
