//! A whole connection of a player that holds a good token, with every question answered.

#![no_main]

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use sightline_media::{AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack};
use sightline_model::{AudioCodec, ChannelId, StreamTier, UnixMicros};
use sightline_rtsp::server::{Config, Directory, Grant, Lookup, Output, Server};

struct Cameras;

impl Directory for Cameras {
    fn look_up(&self, channel: ChannelId, _tier: StreamTier) -> Lookup {
        match channel.0 {
            0 => {}
            1 => return Lookup::Offline("away".into()),
            _ => return Lookup::Unknown,
        }
        let parameter_sets = ParameterSets::H264 {
            sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1f]),
            pps: Bytes::from_static(&[0x68, 1]),
        };
        let video = VideoTrack { width: 640, height: 360, fps: 25.0, parameter_sets };
        let audio = AudioTrack {
            codec: AudioCodec::Aac,
            clock_hz: 44_100,
            channels: 1,
            config: Bytes::from_static(&[0x12, 0x08]),
        };
        let stream = StreamDescription { video: Some(video), audio: Some(audio) };
        Lookup::Online { name: "Yard".into(), stream: Arc::new(stream) }
    }
}

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let Some((size, data)) = data.split_first() else { return };
    let mut number = 0;
    let random = Box::new(move || {
        number += 1;
        number
    });
    let mut server = Server::new(Config::new([192, 0, 2, 9].into()), random, now);
    let mut admitted = false;
    for chunk in data.chunks(usize::from(*size).max(1) * 8) {
        server.handle_input(chunk, &Cameras, now);
        while let Some(output) = server.poll_output() {
            match output {
                Output::Admit(_) => {
                    admitted = true;
                    let grant = Grant { channel: ChannelId(0), view: true, listen: true };
                    server.admitted(Ok(grant), &Cameras, now);
                }
                Output::OpenUdp { rtp, rtcp, .. } => {
                    // Media goes nowhere but to the peer.
                    assert_eq!((rtp.ip(), rtcp.ip()), ([192, 0, 2, 9].into(), [192, 0, 2, 9].into()));
                    let local = ([198, 51, 100, 1], 6_000).into();
                    server.udp_opened((rtp.port() % 3 > 0).then_some((local, 6_001)), &Cameras, now);
                }
                Output::Play(resource) => {
                    assert!(admitted && resource.channel == ChannelId(0));
                    let unit = AccessUnit::Audio {
                        timestamp: 1,
                        captured_at: UnixMicros(2),
                        data: Bytes::from_static(b"sound"),
                    };
                    let mut out = BytesMut::new();
                    for track in server.tracks_mut() {
                        if track.takes(&unit) {
                            track.write(&unit, &mut out, |_| {});
                        }
                        track.write_report(&mut out);
                    }
                }
                Output::Send(_) | Output::Pause | Output::Teardown | Output::Close => {}
            }
        }
    }
    if let Some(at) = server.poll_timeout() {
        server.handle_timeout(at);
    }
    server.end();
});
