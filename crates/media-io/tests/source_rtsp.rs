//! The RTSP source against GStreamer's RTSP server (`crates/testkit/cameras/gst_rtsp.py`).

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sightline_media::{
    AccessUnit, MAX_RTP_PAYLOAD, ParameterSets, StreamDescription, packetize::nal_units,
    ring::Limits,
};
use sightline_media_io::{
    hub::{Hub, Next, Reader, SourceState},
    source::rtsp::{self, RtspSourceConfig, SourceError, Transport},
};
use sightline_model::{AudioCodec, Secret, UnixMicros, VideoCodec};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(40);

struct Camera {
    _process: Child,
    port: u16,
}

impl Camera {
    /// Starts a camera; `None`, loudly, where the machine lacks GStreamer's RTSP server.
    async fn start(port: u16, options: &str) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/cameras/gst_rtsp.py");
        let spawned = Command::new(script)
            .args(["--port", &port.to_string()])
            .args(options.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                eprintln!("\nSKIPPED: the test camera does not start: {error}\n");
                return None;
            }
        };
        let mut lines = BufReader::new(process.stdout.take()?).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("camera starts");
        let line = line.expect("readable").unwrap_or_default();
        match line.strip_prefix("READY ").and_then(|port| port.parse().ok()) {
            Some(port) => Some(Self { _process: process, port }),
            None => {
                eprintln!("\nSKIPPED: no GStreamer RTSP server here: {line}\n");
                None
            }
        }
    }

    fn config(&self) -> RtspSourceConfig {
        RtspSourceConfig::new(url(self.port, "main"))
    }
}

fn url(port: u16, path: &str) -> url::Url {
    format!("rtsp://127.0.0.1:{port}/{path}").parse().expect("URL")
}

fn watch(config: RtspSourceConfig) -> (Hub, DropGuard) {
    let (publisher, hub) = Hub::new(Limits::default());
    let token = CancellationToken::new();
    tokio::spawn(rtsp::run(config, publisher, token.clone()));
    (hub, token.drop_guard())
}

async fn description(hub: &Hub) -> Arc<StreamDescription> {
    let mut state = hub.watch_state();
    let online = state.wait_for(|state| state.description().is_some());
    let online = tokio::time::timeout(PATIENCE, online).await;
    let online = online.unwrap_or_else(|_| panic!("never online: {:?}", hub.state()));
    Arc::clone(online.expect("open").description().expect("online"))
}

async fn reason(hub: &Hub, expected: &SourceError) {
    let expected = SourceState::Offline(expected.to_string());
    let mut state = hub.watch_state();
    let found = tokio::time::timeout(PATIENCE, state.wait_for(|state| *state == expected)).await;
    assert!(found.is_ok(), "{:?} instead of {expected:?}", hub.state());
}

async fn next(reader: &mut Reader) -> Next {
    tokio::time::timeout(PATIENCE, reader.next()).await.expect("the camera goes on")
}

async fn pictures(reader: &mut Reader, count: usize) -> Vec<Arc<AccessUnit>> {
    let mut pictures = Vec::new();
    while pictures.len() < count {
        if let Next::Unit(unit) = next(reader).await
            && unit.is_video()
        {
            pictures.push(unit);
        }
    }
    pictures
}

fn check_picture(unit: &AccessUnit, description: &StreamDescription, before: i64) -> i64 {
    let AccessUnit::Video { timestamp, captured_at, keyframe, data, .. } = unit else {
        unreachable!("pictures only")
    };
    assert!(*timestamp > before, "{timestamp} after {before}");
    let age = UnixMicros::from(SystemTime::now()).since(*captured_at);
    assert!(age < Duration::from_secs(20), "captured {age:?} ago");
    assert!(unit.payloads().all(|payload| payload.len() <= MAX_RTP_PAYLOAD));
    let nals: Vec<_> = nal_units(data).collect();
    let sets = &description.video.as_ref().expect("picture").parameter_sets;
    let wanted = match sets {
        ParameterSets::H264 { sps, pps } => vec![sps, pps],
        ParameterSets::H265 { vps, sps, pps } => vec![vps, sps, pps],
    };
    if *keyframe {
        let heads: Vec<_> = nals.iter().map(|nal| &nal[..nal.len().min(40)]).collect();
        assert!(wanted.iter().all(|set| nals.contains(set)), "{wanted:?} not all in {heads:?}");
    }
    *timestamp
}

#[tokio::test]
async fn every_coding_and_transport_arrives() {
    let login = "--user admin --password s3cret";
    for (options, transport, codec, audio) in [
        ("--audio aac", Transport::Tcp, VideoCodec::H264, Some((AudioCodec::Aac, 44_100))),
        ("--audio aac", Transport::Udp, VideoCodec::H264, Some((AudioCodec::Aac, 44_100))),
        ("--audio pcmu", Transport::Udp, VideoCodec::H264, Some((AudioCodec::Pcmu, 8_000))),
        ("--audio pcma", Transport::Tcp, VideoCodec::H264, Some((AudioCodec::Pcma, 8_000))),
        (
            "--codec h265 --audio g722",
            Transport::Tcp,
            VideoCodec::H265,
            Some((AudioCodec::G722, 8_000)),
        ),
        ("--codec h265", Transport::Udp, VideoCodec::H265, None),
        ("--audio opus", Transport::Tcp, VideoCodec::H264, None),
    ] {
        let Some(camera) = Camera::start(0, &format!("{login} {options}")).await else { return };
        let (hub, _guard) = watch(RtspSourceConfig {
            username: Some("admin".into()),
            password: Some(Secret::new("s3cret".into())),
            transport,
            ..camera.config()
        });
        let description = description(&hub).await;
        let video = description.video.as_ref().expect("picture");
        assert_eq!((video.codec(), video.width, video.height), (codec, 640, 360), "{options}");
        assert!((video.fps - 25.0).abs() < 0.1, "{} fps", video.fps);
        let track = description.audio.as_ref().map(|audio| (audio.codec, audio.clock_hz));
        assert_eq!(track, audio, "{options}");

        let mut reader = hub.subscribe();
        let mut before = i64::MIN;
        let pictures = pictures(&mut reader, 40).await;
        assert!(pictures[0].is_keyframe(), "a reader starts at a keyframe");
        for picture in &pictures {
            before = check_picture(picture, &description, before);
        }
        if let Some((_, clock_hz)) = audio {
            check_sound(&mut reader, clock_hz).await;
        }
    }
}

async fn check_sound(reader: &mut Reader, clock_hz: u32) {
    let mut times = Vec::new();
    while times.len() < 20 {
        if let Next::Unit(unit) = next(reader).await
            && let AccessUnit::Audio { timestamp, data, .. } = &*unit
        {
            assert!(!data.is_empty());
            times.push(*timestamp);
        }
    }
    assert!(times.is_sorted() && times[0] < times[19]);
    let step_s = (times[19] - times[0]) as f64 / 19.0 / f64::from(clock_hz);
    assert!((0.001..0.2).contains(&step_s), "{step_s} s from packet to packet");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let Some(camera) = Camera::start(0, "--user admin --password right").await else { return };
    let wrong = RtspSourceConfig::new(
        format!("rtsp://admin:wrong@127.0.0.1:{}/main", camera.port).parse().expect("URL"),
    );
    reason(&watch(wrong).0, &SourceError::WrongPassword).await;
    let (hub, _guard) = watch(camera.config());
    reason(&hub, &SourceError::PasswordNeeded).await;

    let camera = Camera::start(0, "").await.expect("it started before");
    let (hub, _guard) = watch(RtspSourceConfig::new(url(camera.port, "other")));
    reason(&hub, &SourceError::NoSuchStream).await;

    let camera = Camera::start(0, "--codec none --audio pcmu").await.expect("it started before");
    let (hub, _guard) = watch(camera.config());
    reason(&hub, &SourceError::NoVideo).await;

    let camera = Camera::start(0, "--codec jpeg").await.expect("it started before");
    let (hub, _guard) = watch(camera.config());
    reason(&hub, &SourceError::UnsupportedVideo("JPEG".into())).await;
}

#[tokio::test]
async fn nobody_there_is_said() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr();
    let (hub, _guard) = watch(RtspSourceConfig::new(url(free.expect("address").port(), "main")));
    reason(&hub, &SourceError::Unreachable).await;
}

#[tokio::test]
async fn garbage_is_survived() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    let (hub, _guard) = watch(RtspSourceConfig::new(url(port, "main")));
    for answer in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        b"$\0\xff\xff",
        b"",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nv=x",
    ] {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        let (mut socket, _) = accepted.expect("it tries again").expect("accepted");
        socket.write_all(answer).await.expect("sent");
        drop(socket);
    }
    assert!(hub.state().description().is_none());
}

#[tokio::test]
async fn a_camera_that_went_comes_back_by_itself() {
    let Some(camera) = Camera::start(0, "--audio pcmu").await else { return };
    let port = camera.port;
    let (hub, _guard) = watch(camera.config());
    let mut reader = hub.subscribe();
    pictures(&mut reader, 5).await;
    drop(camera);
    let mut state = hub.watch_state();
    let gone = state.wait_for(|state| matches!(state, SourceState::Offline(_)));
    tokio::time::timeout(PATIENCE, gone).await.expect("noticed").expect("open");
    let _camera = Camera::start(port, "--audio pcmu").await.expect("it started before");
    // The same reader goes on, at a keyframe.
    while !matches!(next(&mut reader).await, Next::State(SourceState::Online(_))) {}
    assert!(pictures(&mut reader, 10).await[0].is_keyframe());
}

#[tokio::test]
async fn changed_parameters_are_announced_before_their_keyframe() {
    let Some(camera) = Camera::start(0, "--resize-every 2").await else { return };
    let (hub, _guard) = watch(camera.config());
    let mut reader = hub.subscribe();
    let (mut sizes, mut description) = (Vec::new(), description(&hub).await);
    let mut before = i64::MIN;
    while sizes.len() < 3 {
        match next(&mut reader).await {
            Next::State(SourceState::Online(changed)) => {
                description = changed;
                let video = description.video.as_ref().expect("picture");
                sizes.push((video.width, video.height));
            }
            Next::Unit(unit) => before = check_picture(&unit, &description, before),
            Next::State(SourceState::Offline(reason)) => panic!("offline: {reason}"),
            Next::Skipped(_) => {}
        }
    }
    sizes.dedup();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
}
