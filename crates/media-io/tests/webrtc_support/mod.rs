//! A camera made of numbers, and a viewer built on the WebRTC library's own receiving side.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use sightline_media::{
    AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack, ring::Limits,
};
use sightline_media_io::{
    archive::Archive,
    camera::{Camera, Cameras},
    gate::Admission,
    hub::{Hub, Publisher},
    webrtc::{
        self, Engine, LocalCandidates, NoTranscoder, OfferRequest, QualitySource, Sources,
        WebrtcConfig,
    },
};
use sightline_model::{AudioCodec, Capabilities, ChannelId, MediaSessionId, Rights, UnixMicros};
use sightline_protocol::{
    Problem,
    pc::{CONTROL_CHANNEL, CuToPu, CuToPuReplay, PathReport, PuToCu, REPLAY_CHANNEL},
    sc::TokenGrant,
};
use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::{ChannelConfig, ChannelId as DataChannel},
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::RtpPacket,
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The one camera.
pub const CHANNEL: ChannelId = ChannelId(1);
/// Longer than anything takes; a test that needs it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a made-up stream looks.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub fps: u32,
    pub gop: u32,
    pub bytes_per_frame: usize,
    pub width: u32,
    pub height: u32,
}

pub const MAIN: Shape =
    Shape { fps: 25, gop: 25, bytes_per_frame: 5_000, width: 1280, height: 720 };
pub const SUB: Shape = Shape { fps: 25, gop: 25, bytes_per_frame: 800, width: 640, height: 360 };

pub fn description(shape: Shape) -> StreamDescription {
    StreamDescription {
        video: Some(VideoTrack {
            width: shape.width,
            height: shape.height,
            fps: shape.fps as f32,
            parameter_sets: ParameterSets::H264 {
                sps: Bytes::from_static(&[0x67, 0x42, 0xe0, 0x1f]),
                pps: Bytes::from_static(&[0x68, 0xce]),
            },
        }),
        audio: Some(AudioTrack {
            codec: AudioCodec::Pcmu,
            clock_hz: 8_000,
            channels: 1,
            config: Bytes::new(),
        }),
    }
}

/// A picture whose first slice bytes tell its number.
pub fn picture(shape: Shape, number: u32, captured_at: UnixMicros) -> AccessUnit {
    let keyframe = number.is_multiple_of(shape.gop);
    let size = shape.bytes_per_frame * if keyframe { 5 } else { 1 };
    let mut data = BytesMut::new();
    if keyframe {
        for set in [&[0x67_u8, 0x42, 0xe0, 0x1f][..], &[0x68, 0xce][..]] {
            data.put_u32(set.len() as u32);
            data.put_slice(set);
        }
    }
    data.put_u32(size as u32);
    data.put_u8(if keyframe { 0x65 } else { 0x61 });
    data.put_u32(number);
    data.put_bytes(0x5a, size - 5);
    let data = data.freeze();
    let timestamp = i64::from(number) * i64::from(90_000 / shape.fps) + 1_000_000;
    AccessUnit::h264(timestamp, captured_at, data)
}

pub fn now() -> UnixMicros {
    SystemTime::now().into()
}

/// Publishes one stream in real time until dropped; while `online` is false the hub is offline.
pub async fn film(publisher: Publisher, shape: Shape, mut online: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / shape.fps);
    let mut number = 0;
    loop {
        if !*online.borrow_and_update() {
            publisher.offline("the camera does not answer");
            if online.wait_for(|on| *on).await.is_err() {
                return;
            }
            number = 0;
        }
        publisher.online(description(shape));
        ticks.tick().await;
        if online.has_changed().is_err() {
            return;
        }
        publisher.publish(picture(shape, number, now()));
        for half in 0..2_i64 {
            publisher.publish(AccessUnit::Audio {
                timestamp: (i64::from(number) * 2 + half) * 160,
                captured_at: now(),
                data: Bytes::from_static(&[0x7f; 160]),
            });
        }
        number += 1;
    }
}

/// An engine with one camera.
pub struct Unit {
    pub engine: Engine,
    pub main: Hub,
    pub camera_on: watch::Sender<bool>,
    pub token: CancellationToken,
    pub tasks: TaskTracker,
}

impl Unit {
    pub fn start() -> Self {
        Self::with(Arc::new(NoTranscoder), 64)
    }

    /// One that records.
    pub fn recorded(archive: Arc<dyn Archive>) -> Self {
        Self::made(Arc::new(NoTranscoder), (64, None), Some(archive))
    }

    /// One that records the camera for another device.
    pub fn of_another_device() -> Self {
        Self::made(Arc::new(NoTranscoder), (64, Some(CHANNEL)), None)
    }

    pub fn with(quality: Arc<dyn QualitySource>, max_sessions: usize) -> Self {
        Self::made(quality, (max_sessions, None), None)
    }

    fn made(
        quality: Arc<dyn QualitySource>,
        (max_sessions, live_on_demand_from): (usize, Option<ChannelId>),
        archive: Option<Arc<dyn Archive>>,
    ) -> Self {
        let (camera_on, online) = watch::channel(true);
        let tasks = TaskTracker::new();
        let (main_publisher, main) = Hub::new(Limits::default());
        let (sub_publisher, sub) = Hub::new(Limits::default());
        tasks.spawn(film(main_publisher, MAIN, online.clone()));
        tasks.spawn(film(sub_publisher, SUB, online));
        let camera =
            Camera { channel: CHANNEL, name: "Yard".into(), main: main.clone(), sub: Some(sub) };
        let cameras = Cameras::from(BTreeMap::from([(CHANNEL, camera)]));
        let token = CancellationToken::new();
        let config = WebrtcConfig {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            max_sessions,
            live_on_demand_from,
            ..WebrtcConfig::default()
        };
        let local = LocalCandidates::default();
        let sources = Sources { cameras, quality, archive };
        let engine = webrtc::start(config, local, sources, token.clone(), &tasks)
            .expect("loopback is there");
        Self { engine, main, camera_on, token, tasks }
    }

    pub async fn wait_for_picture(&self) {
        let mut reader = self.main.subscribe();
        while !matches!(reader.next().await, sightline_media_io::hub::Next::Unit(_)) {}
    }

    /// Stops everything and waits for every task.
    pub async fn stop(self) {
        self.token.cancel();
        drop(self.camera_on);
        drop(self.engine);
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("every task ends");
    }
}

/// The other end of an [`Admission`].
pub struct Right {
    pub end: watch::Sender<Option<Problem>>,
    pub path: watch::Receiver<Option<PathReport>>,
}

pub fn admission(session: &MediaSessionId, capabilities: Capabilities) -> (Admission, Right) {
    admission_with(session, capabilities, Rights::default())
}

pub fn admission_with(
    session: &MediaSessionId,
    capabilities: Capabilities,
    rights: Rights,
) -> (Admission, Right) {
    let (end, ended) = watch::channel(None);
    let (path, path_seen) = watch::channel(None);
    let grant = TokenGrant {
        domain: "example.org".parse().expect("a name"),
        user: "u1".parse().expect("an id"),
        session: session.clone(),
        channel: CHANNEL,
        rights,
        capabilities,
        expires_at: UnixMicros(i64::MAX),
    };
    (Admission { grant, ended, path }, Right { end, path: path_seen })
}

/// What a viewer has seen.
#[derive(Debug)]
pub enum Seen {
    Connected,
    Packet(Box<RtpPacket>),
    Message(PuToCu),
    ReplayOpen,
    /// Text or a unit's message, over the channel of replay.
    Replay(Vec<u8>),
    Closed,
}

/// What a test may tell a viewer.
pub enum Tell {
    Send(CuToPu),
    Raw(Vec<u8>),
    RestartIce,
    OpenReplay,
    /// Over the channel of replay.
    Replay(CuToPuReplay),
    RawReplay(Vec<u8>),
    /// Neither reads nor sends.
    Stall,
    Stop,
}

pub struct Viewer {
    pub session: MediaSessionId,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub tell: mpsc::UnboundedSender<Tell>,
    pub right: Right,
}

impl Viewer {
    pub async fn connect(engine: &Engine, name: &str, tasks: &TaskTracker) -> Self {
        Self::try_connect(engine, name, tasks).await.expect("the offer is answered")
    }

    pub async fn try_connect(
        engine: &Engine,
        name: &str,
        tasks: &TaskTracker,
    ) -> Result<Self, Problem> {
        Self::connect_with(engine, name, tasks, Rights::default()).await
    }

    pub async fn connect_with(
        engine: &Engine,
        name: &str,
        tasks: &TaskTracker,
        rights: Rights,
    ) -> Result<Self, Problem> {
        let session: MediaSessionId = name.parse().expect("an id");
        let (admission, right) = admission_with(&session, Capabilities::default(), rights);
        let (seen_tx, seen) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        let mut peer = Peer::new(engine.clone(), session.clone(), seen_tx).await;
        let (offer, pending) = peer.first_offer();
        peer.exchange(offer, pending, admission).await?;
        tasks.spawn(peer.run(told));
        Ok(Self { session, seen, tell, right })
    }

    pub async fn next(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv())
            .await
            .expect("something comes")
            .expect("the viewer runs")
    }

    /// The next thing that `pick` takes.
    pub async fn wait<T>(&mut self, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "waited in vain");
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub async fn message<T>(&mut self, mut pick: impl FnMut(PuToCu) -> Option<T>) -> T {
        self.wait(|seen| match seen {
            Seen::Message(message) => pick(message),
            _ => None,
        })
        .await
    }

    /// Opens the channel of replay.
    pub async fn open_replay(&mut self) {
        self.say(Tell::OpenReplay);
        self.wait(|seen| matches!(seen, Seen::ReplayOpen).then_some(())).await;
    }

    /// The next message of the channel of replay.
    pub async fn replay(&mut self) -> Vec<u8> {
        self.wait(|seen| if let Seen::Replay(bytes) = seen { Some(bytes) } else { None }).await
    }

    pub async fn video_packet(&mut self) -> RtpPacket {
        self.wait(|seen| match seen {
            Seen::Packet(packet) if is_video(&packet) => Some(*packet),
            _ => None,
        })
        .await
    }

    pub fn say(&self, what: Tell) {
        self.tell.send(what).expect("the viewer runs");
    }
}

/// Sound of this camera comes as payload type 0.
pub fn is_video(packet: &RtpPacket) -> bool {
    *packet.header.payload_type != 0 && !packet.payload.is_empty()
}

/// The number of the picture that a first fragment belongs to, and its NAL type.
pub fn picture_number(packet: &RtpPacket) -> Option<(u8, u32)> {
    let p = &packet.payload;
    match p.first()? & 0x1f {
        28 if p.get(1)? >> 7 == 1 => {
            Some((p[1] & 0x1f, u32::from_be_bytes(p.get(2..6)?.try_into().ok()?)))
        }
        1 | 5 => Some((p[0] & 0x1f, u32::from_be_bytes(p.get(1..5)?.try_into().ok()?))),
        _ => None,
    }
}

struct Peer {
    engine: Engine,
    session: MediaSessionId,
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    control: Option<DataChannel>,
    replay: Option<DataChannel>,
    seen: mpsc::UnboundedSender<Seen>,
    candidates: mpsc::Receiver<String>,
    candidate_tx: mpsc::Sender<String>,
    stalled: bool,
}

impl Peer {
    async fn new(
        engine: Engine,
        session: MediaSessionId,
        seen: mpsc::UnboundedSender<Seen>,
    ) -> Self {
        let mut rtc =
            RtcConfig::new().enable_pcmu(true, false).set_rtp_mode(true).build(Instant::now());
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback is there");
        let local = socket.local_addr().expect("bound");
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp).expect("an address"));
        let (candidate_tx, candidates) = mpsc::channel(8);
        Self {
            engine,
            session,
            rtc,
            socket,
            local,
            control: None,
            replay: None,
            seen,
            candidates,
            candidate_tx,
            stalled: false,
        }
    }

    fn first_offer(&mut self) -> (SdpOffer, SdpPendingOffer) {
        let mut api = self.rtc.sdp_api();
        let _: Mid = api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let _: Mid = api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        api.add_channel(CONTROL_CHANNEL.into());
        api.apply().expect("changes")
    }

    async fn exchange(
        &mut self,
        offer: SdpOffer,
        pending: SdpPendingOffer,
        admission: Admission,
    ) -> Result<(), Problem> {
        let request = OfferRequest {
            ice_servers: Vec::new(),
            session: self.session.clone(),
            sdp: offer.to_sdp_string(),
            admission,
            candidate_tx: self.candidate_tx.clone(),
        };
        let answer = self.engine.offer(request).await?;
        let answer = SdpAnswer::from_sdp_string(&answer.sdp).expect("an answer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits");
        Ok(())
    }

    async fn run(mut self, mut told: mpsc::UnboundedReceiver<Tell>) {
        let mut buffer = vec![0; 2_000];
        loop {
            let Some(timeout) = self.drain().await else {
                let _ = self.seen.send(Seen::Closed);
                return;
            };
            tokio::select! {
                tell = told.recv() => match tell {
                    Some(tell) => if !self.obey(tell).await { return },
                    None => return,
                },
                received = self.socket.recv_from(&mut buffer), if !self.stalled => {
                    let Ok((length, source)) = received else { continue };
                    let Ok(receive) =
                        Receive::new(Protocol::Udp, source, self.local, &buffer[..length])
                    else { continue };
                    let _ = self.rtc.handle_input(Input::Receive(Instant::now(), receive));
                }
                Some(line) = self.candidates.recv() => {
                    if let Ok(candidate) = Candidate::from_sdp_string(&line) {
                        self.rtc.add_remote_candidate(candidate);
                    }
                }
                () = tokio::time::sleep_until(timeout.into()), if !self.stalled => {
                    let _ = self.rtc.handle_input(Input::Timeout(Instant::now()));
                }
            }
        }
    }

    async fn obey(&mut self, tell: Tell) -> bool {
        match tell {
            Tell::Send(message) => {
                let text = serde_json::to_vec(&message).expect("JSON");
                self.write(&text);
            }
            Tell::Raw(bytes) => self.write(&bytes),
            Tell::RestartIce => {
                let mut api = self.rtc.sdp_api();
                api.ice_restart(true);
                let (offer, pending) = api.apply().expect("a change");
                let (admission, right) = admission(&self.session, Capabilities::default());
                // As long as the test runs.
                std::mem::forget(right);
                self.exchange(offer, pending, admission).await.expect("the restart is answered");
            }
            Tell::OpenReplay => {
                let label = REPLAY_CHANNEL.into();
                let config = ChannelConfig { label, ..ChannelConfig::default() };
                self.rtc.direct_api().create_data_channel(config);
            }
            Tell::Replay(message) => {
                let text = serde_json::to_vec(&message).expect("JSON");
                self.write_to(self.replay, &text);
            }
            Tell::RawReplay(bytes) => self.write_to(self.replay, &bytes),
            Tell::Stall => self.stalled = true,
            Tell::Stop => return false,
        }
        true
    }

    fn write(&mut self, bytes: &[u8]) {
        self.write_to(self.control, bytes);
    }

    fn write_to(&mut self, id: Option<DataChannel>, bytes: &[u8]) {
        let id = id.expect("the channel is open");
        let mut channel = self.rtc.channel(id).expect("the channel is open");
        assert!(channel.write(false, bytes).expect("written"));
    }

    async fn drain(&mut self) -> Option<Instant> {
        if self.stalled {
            return Some(Instant::now() + PATIENCE);
        }
        loop {
            match self.rtc.poll_output().ok()? {
                Output::Timeout(at) => return self.rtc.is_alive().then_some(at),
                Output::Transmit(t) => {
                    let _ = self.socket.send_to(&t.contents, t.destination).await;
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        let seen = match event {
            Event::Connected => Seen::Connected,
            Event::ChannelOpen(id, label) if label == REPLAY_CHANNEL => {
                self.replay = Some(id);
                Seen::ReplayOpen
            }
            Event::ChannelOpen(id, _) => {
                self.control = Some(id);
                return;
            }
            Event::ChannelData(data) if self.replay == Some(data.id) => Seen::Replay(data.data),
            Event::ChannelData(data) => match serde_json::from_slice(&data.data) {
                Ok(message) => Seen::Message(message),
                Err(_) => return,
            },
            Event::RtpPacket(packet) => Seen::Packet(Box::new(packet)),
            Event::Closed => Seen::Closed,
            _ => return,
        };
        let _ = self.seen.send(seen);
    }
}
