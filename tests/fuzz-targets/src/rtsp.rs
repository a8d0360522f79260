//! RTSP and SDP, from the bytes of a connection to whole dialogues.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use sightline_media::{AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack};
use sightline_model::{AudioCodec, ChannelId, SessionToken, StreamTier, UnixMicros};
use sightline_rtsp::{
    Url,
    client::{Client, Event, Options, Output as ClientOutput},
    replay::{Frames, Range, Scale, Speed},
    sdp as session_description,
    server::{
        Config, Directory, Grant, Lookup, NoReplay, Output, Replaying, Resource, Server, Stamps,
    },
    transport,
    wire::{Frame, Framer, interleaved_header},
};

fn frames(chunks: &mut dyn Iterator<Item = &[u8]>) -> (Vec<String>, bool) {
    let mut framer = Framer::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        assert!(framer.buffered() >= chunk.len());
        loop {
            match framer.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if let Frame::Interleaved { channel, data } = &frame {
                        let length = u16::try_from(data.len()).expect("16 bits say its length");
                        assert_eq!(interleaved_header(*channel, length)[1], *channel);
                    }
                    frames.push(format!("{frame:?}"));
                }
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// Messages and interleaved packets: one cut or another of the same bytes gives the same frames.
pub fn rtsp_framer(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let whole = frames(&mut std::iter::once(data));
    let cut = frames(&mut data.chunks(usize::from(*size).max(1)));
    assert_eq!(whole.0, cut.0);
}

/// The Transport header, the headers of replay, and URLs with tokens.
pub fn rtsp_headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(range) = text.parse::<Range>() {
        assert_eq!(range.to_string().parse(), Ok(range), "{text}");
    }
    if let Ok(scale) = text.parse::<Scale>() {
        assert!(scale.value() != 0.0 && scale.to_string().parse() == Ok(scale), "{text}");
    }
    if let Ok(speed) = text.parse::<Speed>() {
        assert_eq!(speed.to_string().parse(), Ok(speed), "{text}");
    }
    if let Ok(frames) = text.parse::<Frames>() {
        assert_eq!(frames.to_string().parse(), Ok(frames), "{text}");
    }
    for offer in transport::parse(text) {
        let _ = offer.only_to([192, 0, 2, 9].into());
        let _ = transport::udp_answer(&offer, (([192, 0, 2, 1], 6_000).into(), 6_001), 7);
    }
    if let Ok(url) = text.parse::<Url>()
        && let Some(resource) = Resource::parse(&url)
    {
        let base = resource.base(&url);
        assert!(base.query().is_none() && base.password().is_none());
        let again = Resource::parse(&base).expect("its own base");
        assert!(again.same_stream(&resource));
    }
}

/// Session descriptions: what is read can be written and read again.
pub fn sdp(data: &[u8]) {
    let Ok(description) = session_description::parse(data) else { return };
    let stream = description.stream();
    let text = session_description::write("Yard", 1, &stream);
    assert!(session_description::parse(text.as_bytes()).is_ok(), "{text}");
}

/// Between what the server sends: the viewer does something, or time passes.
const THEN: u8 = 0x1f;

/// What a hostile server sends to a viewer who pauses, goes on, waits and leaves at any time.
pub fn rtsp_client(data: &[u8]) {
    let mut now = Instant::now();
    let Some((flags, data)) = data.split_first() else { return };
    let mut options = Options::new("rtsp://192.0.2.7/0/main".parse().expect("a URL"));
    options.version_2 = flags & 1 != 0;
    options.raw_packets = flags & 2 != 0;
    options.token = (flags & 4 != 0).then(|| SessionToken::new("secret".to_owned()));
    assert!(!format!("{options:?}").contains("secret"));
    let mut client = Client::new(options);
    if flags & 8 == 0 {
        client.start(now);
    }
    let mut over = false;
    for piece in data.split(|byte| *byte == THEN) {
        let (what, bytes) = piece.split_first().unwrap_or((&0, &[]));
        let mut bytes = bytes;
        match what {
            b'p' => client.pause(now),
            b'r' => client.resume(now),
            b'd' => client.teardown(now),
            b't' => {
                if let Some(at) = client.poll_timeout() {
                    now = now.max(at);
                    client.handle_timeout(now);
                }
            }
            _ => bytes = piece,
        }
        for chunk in bytes.chunks(usize::from(*flags >> 4).max(1) * 16) {
            client.handle_input(chunk, now, UnixMicros(0));
        }
        while let Some(output) = client.poll_output() {
            assert!(!over, "something after the end: {output:?}");
            over = matches!(output, ClientOutput::Event(Event::Ended | Event::Failed(_)));
        }
    }
    assert!(!over || client.poll_timeout().is_none());
    client.teardown(now);
}

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

/// A whole connection of a player that holds a good token, with every question answered.
pub fn rtsp_server(data: &[u8]) {
    let now = Instant::now();
    let Some((size, data)) = data.split_first() else { return };
    let mut number = 0;
    let random = Box::new(move || {
        number += 1;
        number
    });
    let mut config = Config::new([192, 0, 2, 9].into());
    config.archive = size.is_multiple_of(2);
    let mut server = Server::new(config, random, now);
    let mut admitted = false;
    for chunk in data.chunks(usize::from(*size).max(1) * 8) {
        server.handle_input(chunk, &Cameras, now);
        while let Some(output) = server.poll_output() {
            match output {
                Output::Admit(_) => {
                    admitted = true;
                    let (view, listen, playback) = (true, true, size % 4 > 0);
                    let grant = Grant { channel: ChannelId(0), view, listen, playback };
                    server.admitted(Ok(grant), &Cameras, now);
                }
                Output::OpenUdp { rtp, rtcp, .. } => {
                    // Media goes nowhere but to the peer.
                    assert_eq!(
                        (rtp.ip(), rtcp.ip()),
                        ([192, 0, 2, 9].into(), [192, 0, 2, 9].into())
                    );
                    let local = ([198, 51, 100, 1], 6_000).into();
                    server.udp_opened(
                        (rtp.port() % 3 > 0).then_some((local, 6_001)),
                        &Cameras,
                        now,
                    );
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
                Output::LookUp(resource) => {
                    let Some(span) = resource.span else { panic!("only spans are looked up") };
                    assert!(admitted && span.to.is_none_or(|to| span.from < to));
                    let found = match Cameras.look_up(ChannelId(0), resource.tier) {
                        Lookup::Online { stream, .. } if span.from.0 % 3 > 0 => Ok(stream),
                        _ => Err(NoReplay::Nothing),
                    };
                    server.looked_up(found, &Cameras, now);
                }
                Output::Replay(wish) => {
                    assert!(admitted && wish.resource.channel == ChannelId(0));
                    assert!(wish.scale != 0.0 && wish.speed > 0.0);
                    let from = wish.at.unwrap_or(UnixMicros(1));
                    if let Some(until) = wish.until.filter(|_| wish.at.is_some()) {
                        assert!((until > from) == (wish.scale > 0.0) || until == from);
                    }
                    let (until, scale, speed) = (wish.until, wish.scale, wish.speed);
                    let stamps = if wish.onvif { Stamps::Recorded } else { Stamps::Shown };
                    let found = Replaying { from, until, scale, speed, stamps, time_us: from.0 };
                    let found = if from.0 % 5 == 0 { Err(NoReplay::Nothing) } else { Ok(found) };
                    server.replaying(found, &Cameras, now);
                    if from.0 % 7 == 0 {
                        server.replayed(from);
                        server.replay_ended(now);
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
}
