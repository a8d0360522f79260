//! Sessions over TCP and UDP against a real server: what one player does never harms another.

mod rtsp_support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use rtsp_support::{TOKEN, Unit};
use sightline_media::{AccessUnit, ParameterSets, StreamDescription, VideoTrack, ring::Limits};
use sightline_media_io::{
    hub::{Hub, Publisher},
    rtsp_server::Options,
};
use sightline_model::{Right, Rights, SessionToken, UnixMicros};
use sightline_protocol::{Problem, ProblemKind, pc::MediaTransport};
use sightline_rtsp::{
    client::{Client, ClientError, Event, Options as ClientOptions, Output},
    rtp::{Packet, Rtcp, parse_rtcp},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
};

const SOON: Duration = Duration::from_secs(10);

struct Player {
    client: Client,
    stream: TcpStream,
}

impl Player {
    async fn start(address: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("listens");
        Self::over(stream, address, token)
    }

    fn over(stream: TcpStream, address: SocketAddr, token: &str) -> Self {
        let mut options = ClientOptions::new(format!("rtsp://{address}/0").parse().expect("valid"));
        options.token = Some(SessionToken::new(token.to_owned()));
        let mut client = Client::new(options);
        client.start(Instant::now());
        Self { client, stream }
    }

    async fn next(&mut self) -> Event {
        let mut buffer = vec![0; 65_536];
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::Send(bytes) => self.stream.write_all(&bytes).await.expect("open"),
                    Output::Event(event) => return event,
                }
            }
            let read = tokio::time::timeout(SOON, self.stream.read(&mut buffer));
            match read.await.expect("the server goes on") {
                Ok(0) | Err(_) => return Event::Ended,
                Ok(count) => {
                    let now = UnixMicros::from(SystemTime::now());
                    self.client.handle_input(&buffer[..count], Instant::now(), now);
                }
            }
        }
    }

    async fn playing(&mut self) {
        while !matches!(self.next().await, Event::Playing) {}
    }

    async fn picture(&mut self) -> AccessUnit {
        loop {
            match self.next().await {
                Event::Unit(unit) if unit.is_video() => return unit,
                Event::Unit(_) | Event::Paused | Event::Playing => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn timestamp(unit: &AccessUnit) -> i64 {
    match unit {
        AccessUnit::Video { timestamp, .. } | AccessUnit::Audio { timestamp, .. } => *timestamp,
    }
}

fn description() -> StreamDescription {
    let parameter_sets = ParameterSets::H264 {
        sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1f]),
        pps: Bytes::from_static(&[0x68, 1]),
    };
    let video = VideoTrack { width: 640, height: 360, fps: 25.0, parameter_sets };
    StreamDescription { video: Some(video), audio: None }
}

/// A picture of `size` bytes, drawn now.
fn picture(timestamp: i64, keyframe: bool, size: usize) -> AccessUnit {
    captured(UnixMicros::from(SystemTime::now()), timestamp, keyframe, size)
}

fn captured(captured_at: UnixMicros, timestamp: i64, keyframe: bool, size: usize) -> AccessUnit {
    let mut data = BytesMut::new();
    let header = if keyframe { 0x65 } else { 0x41 };
    let slice: Vec<u8> =
        std::iter::once(header).chain((1..size).map(|i| (i % 251) as u8)).collect();
    let sets: &[&[u8]] = if keyframe { &[&[0x67, 0x42, 0xc0, 0x1f], &[0x68, 1]] } else { &[] };
    for nal in sets.iter().copied().chain([&slice[..]]) {
        data.put_u32(u32::try_from(nal.len()).expect("small"));
        data.put_slice(nal);
    }
    let data = data.freeze();
    AccessUnit::h264(timestamp, captured_at, data)
}

async fn scripted() -> (Unit, Publisher) {
    let (publisher, hub) = Hub::new(Limits::default());
    publisher.online(description());
    publisher.publish(picture(0, true, 3_000));
    (Unit::with_hub(hub, Options::default()).await, publisher)
}

async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listens");
    // A server that has refused may close before all is written.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_at_once_at_the_keyframe_that_was_before() {
    let (unit, publisher) = scripted().await;
    publisher.publish(picture(3_600, false, 500));
    let mut player = Player::start(unit.address, TOKEN).await;
    player.playing().await;
    let first = player.picture().await;
    assert!(first.is_keyframe());
    assert!(!player.picture().await.is_keyframe());
    let path = unit.gate.paths.lock().last().and_then(|p| p.borrow().clone());
    assert_eq!(path.expect("reported").transport, MediaTransport::RtspTcp);
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_was_away_goes_on_in_the_same_session() {
    let (unit, publisher) = scripted().await;
    let mut player = Player::start(unit.address, TOKEN).await;
    player.playing().await;
    let before = timestamp(&player.picture().await);
    publisher.offline("cable");
    assert!(raw(unit.address, b"").await.is_empty());
    publisher.online(description());
    // Its clock starts anew.
    publisher.publish(picture(-77, true, 2_000));
    let after = player.picture().await;
    assert!(after.is_keyframe() && timestamp(&after) > before);
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_coding_after_a_return_ends_the_session() {
    let (unit, publisher) = scripted().await;
    let mut player = Player::start(unit.address, TOKEN).await;
    player.playing().await;
    player.picture().await;
    let mut changed = description();
    let h265 = ParameterSets::H265 { vps: Bytes::new(), sps: Bytes::new(), pps: Bytes::new() };
    changed.video.as_mut().expect("a picture").parameter_sets = h265;
    publisher.online(changed);
    assert!(matches!(player.next().await, Event::Ended));
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_stops_and_play_goes_on_at_a_keyframe() {
    let (unit, publisher) = scripted().await;
    let mut player = Player::start(unit.address, TOKEN).await;
    player.playing().await;
    player.picture().await;
    player.client.pause(Instant::now());
    while !matches!(player.next().await, Event::Paused) {}
    publisher.publish(picture(3_600, false, 500));
    publisher.publish(picture(7_200, true, 500));
    publisher.publish(picture(10_800, false, 500));
    player.client.resume(Instant::now());
    assert!(matches!(player.next().await, Event::Playing), "nothing came while paused");
    assert!(player.picture().await.is_keyframe());
    player.client.teardown(Instant::now());
    while !matches!(player.next().await, Event::Ended) {}
    drop(player);
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_ends_the_stream_within_two_seconds() {
    let (unit, _publisher) = scripted().await;
    let mut player = Player::start(unit.address, TOKEN).await;
    player.playing().await;
    player.picture().await;
    let problem = Problem::new(ProblemKind::TokenRevoked, "unbound");
    unit.gate.ended.lock().last().expect("admitted").send_replace(Some(problem));
    let end = tokio::time::timeout(Duration::from_secs(2), player.next()).await;
    assert!(matches!(end.expect("within two seconds"), Event::Ended));
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_is_refused_and_who_may_not_listen_hears_nothing() {
    let unit = Unit::start(Options::default()).await;
    unit.online().await;
    let deaf = Rights([Right::View].into());
    unit.gate.rights.lock().insert("deaf".into(), deaf);
    let mut player = Player::start(unit.address, "deaf").await;
    let Event::Described(stream) = player.next().await else { panic!("refused") };
    assert!(stream.video.is_some() && stream.audio.is_none());

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("valid")).expect("loopback");
    let stream = socket.connect(unit.address).await.expect("listens");
    let mut second = Player::over(stream, unit.address, "deaf");
    let Event::Failed(ClientError::Refused { status: 403, .. }) = second.next().await else {
        panic!("a second client was let in")
    };
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_player_delays_nobody_and_goes_on_at_a_keyframe() {
    let (publisher, hub) = Hub::new(Limits::default());
    publisher.online(description());
    // Every picture is old enough for a player that is behind to skip.
    let begin = UnixMicros(UnixMicros::from(SystemTime::now()).0 - 3_600_000_000);
    let picture = |number: i64, keyframe, size| {
        let at = begin.plus(Duration::from_millis(40 * number.unsigned_abs()));
        captured(at, number * 3_600, keyframe, size)
    };
    publisher.publish(picture(0, true, 3_000));
    let options = Options { max_lag: Duration::ZERO, ..Options::default() };
    let unit = Unit::with_hub(hub, options).await;
    let mut slow = Player::start(unit.address, TOKEN).await;
    slow.playing().await;
    let mut quick = Player::start(unit.address, TOKEN).await;
    quick.playing().await;
    assert!(quick.picture().await.is_keyframe());
    // More than all buffers between hub and the slow player hold, and than the hub itself.
    for number in 1..400 {
        publisher.publish(picture(number, number % 20 == 0, 60_000));
        let got = quick.picture().await;
        assert!(got.len() >= 60_000, "the quick one gets every picture, whole");
    }
    publisher.publish(picture(400, true, 1_234));
    let (mut last, mut count, mut jumped) = (i64::MIN, 0, false);
    loop {
        let unit = slow.picture().await;
        let now = timestamp(&unit);
        assert!(now > last);
        if last != i64::MIN && now - last > 2 * 3_600 {
            jumped = true;
            assert!(unit.is_keyframe(), "goes on with {now} after {last}");
        }
        (last, count) = (now, count + 1);
        if (1_234..2_000).contains(&unit.len()) {
            break;
        }
    }
    assert!(jumped && count < 400, "{count}");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_connections_harm_nobody() {
    let unit = Unit::start(Options::default()).await;
    unit.online().await;
    let mut player = Player::start(unit.address, TOKEN).await;
    player.playing().await;
    let long = [b"OPTIONS * RTSP/1.0\r\nX: ".to_vec(), vec![b'a'; 40_000]].concat();
    let many = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".repeat(2_000);
    for (bytes, expected) in [
        (&b"\x16\x03\x01\x00\xa5"[..], "RTSP/1.0 400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "RTSP/1.0 400"),
        (b"DESCRIBE rtsp://x/0 RTSP/9.0\r\nCSeq: 1\r\n\r\n", "RTSP/1.0 505"),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999\r\n\r\n", "RTSP/1.0 413"),
        (b"SETUP rtsp://x/0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;mode=\"\r\n\r\n", " 401"),
        (&long, "RTSP/1.0 414"),
        (&many, "RTSP/1.0 200 OK"),
        (b"$\x00\xff\xff", ""),
    ] {
        let answer = raw(unit.address, bytes).await;
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
    for _ in 0..20 {
        player.picture().await;
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_its_half_of_the_connection_gets_its_answer() {
    let unit = Unit::start(Options::default()).await;
    // Whether its answer or its end comes first is chance.
    for _ in 0..200 {
        let answer = raw(unit.address, b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n").await;
        assert!(answer.starts_with("RTSP/1.0 200 OK"), "{answer:?}");
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_given_back() {
    let (publisher, hub) = Hub::new(Limits::default());
    publisher.online(description());
    let options = Options { max_connections_per_address: 2, ..Options::default() };
    let unit = Unit::with_hub(hub, options).await;
    let ask = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
    let one = TcpStream::connect(unit.address).await.expect("listens");
    let two = TcpStream::connect(unit.address).await.expect("listens");
    assert!(raw(unit.address, ask).await.contains(" 503 "));
    drop((one, two));
    let again = async {
        while !raw(unit.address, ask).await.contains(" 200 ") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("places come back");
    unit.stop().await;
}

async fn ask(stream: &mut TcpStream, request: String) -> String {
    stream.write_all(request.as_bytes()).await.expect("open");
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    while !answer.ends_with(b"\r\n\r\n") {
        let count = tokio::time::timeout(SOON, stream.read(&mut buffer)).await.expect("answers");
        match count {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The dialogue of VLC (live555): the token is in the first URL alone.
#[tokio::test(flavor = "multi_thread")]
async fn udp_carries_rtp_reports_and_goodbye() {
    let (unit, publisher) = scripted().await;
    let (rtp, rtcp) = (
        UdpSocket::bind("127.0.0.1:0").await.expect("a port"),
        UdpSocket::bind("127.0.0.1:0").await.expect("a port"),
    );
    let port = |socket: &UdpSocket| socket.local_addr().expect("bound").port();
    let mut stream = TcpStream::connect(unit.address).await.expect("listens");
    let base = format!("rtsp://{}/0/main/", unit.address);
    let setup = format!(
        "SETUP {base}video?token={TOKEN} RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port={}-{}\r\n\r\n",
        port(&rtp),
        port(&rtcp)
    );
    let answer = ask(&mut stream, setup).await;
    assert!(answer.contains("RTSP/1.0 200 OK") && answer.contains("server_port="), "{answer}");
    let id = answer.split("Session: ").nth(1).and_then(|s| s.split(';').next()).expect("named");
    let play =
        format!("PLAY {base} RTSP/1.0\r\nCSeq: 4\r\nSession: {id}\r\nRange: npt=0.000-\r\n\r\n");
    let answer = ask(&mut stream, play).await;
    let first = answer.split("seq=").nth(1).and_then(|s| s.split(';').next()).expect("RTP-Info");
    let mut buffer = [0; 2_000];
    let mut sequence: u16 = first.parse().expect("a number");
    loop {
        let count = tokio::time::timeout(SOON, rtp.recv(&mut buffer)).await.expect("flows");
        let data = Bytes::copy_from_slice(&buffer[..count.expect("received")]);
        let packet = Packet::parse(data).expect("RTP");
        assert_eq!(packet.sequence, sequence);
        sequence = sequence.wrapping_add(1);
        if packet.marker {
            break;
        }
    }
    let count = tokio::time::timeout(SOON, rtcp.recv(&mut buffer)).await.expect("reports");
    let parts = parse_rtcp(&buffer[..count.expect("received")]);
    let Some(Rtcp::SenderReport { time, .. }) = parts.first() else { panic!("{parts:?}") };
    let age = UnixMicros::from(SystemTime::now()).since(*time);
    assert!(age < Duration::from_secs(60), "captured {age:?} ago");
    let path = unit.gate.paths.lock().last().and_then(|p| p.borrow().clone());
    assert_eq!(path.expect("reported").transport, MediaTransport::RtspUdp);

    let problem = Problem::new(ProblemKind::TokenRevoked, "unbound");
    unit.gate.ended.lock().last().expect("admitted").send_replace(Some(problem));
    let goodbye = async {
        loop {
            let count = rtcp.recv(&mut buffer).await.expect("received");
            if parse_rtcp(&buffer[..count]).contains(&Rtcp::Bye) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(2), goodbye).await.expect("within two seconds");
    drop(publisher);
    unit.stop().await;
}
