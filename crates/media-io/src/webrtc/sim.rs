//! A session and a viewer over a path made of numbers, in virtual time.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use sightline_media::{AccessUnit, ParameterSets, StreamDescription, VideoTrack, ring::Limits};
use sightline_model::{Capabilities, ChannelId, Rights, StreamTier, UnixMicros};
use sightline_protocol::{Problem, pc::PathReport, sc::TokenGrant};
use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::SdpAnswer,
    media::{Direction, MediaKind},
    net::{Protocol, Receive},
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;

use super::{
    NoTranscoder, WebrtcConfig,
    feed::{FeedKey, Feeds},
    session::{Now, Origin, Session},
};
use crate::{
    camera::Camera,
    gate::Admission,
    hub::{Hub, Publisher},
};

const TICK: Duration = Duration::from_millis(1);
const CHANNEL: ChannelId = ChannelId(1);

/// One direction of the path: a bottleneck with a queue, as `tc tbf` makes it, and a delay.
struct Link {
    rate_bps: f64,
    delay: Duration,
    queue: Duration,
    loss: f64,
    random: u64,
    free_at: Instant,
    flying: VecDeque<(Instant, Vec<u8>)>,
}

impl Link {
    fn new(rate_bps: f64, delay_ms: u64, loss: f64, start: Instant) -> Self {
        Self {
            rate_bps,
            delay: Duration::from_millis(delay_ms),
            queue: Duration::from_millis(300),
            loss,
            random: 88_172_645_463_325_252,
            free_at: start,
            flying: VecDeque::new(),
        }
    }

    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn send(&mut self, now: Instant, bytes: &[u8]) {
        let begin = self.free_at.max(now);
        if begin - now > self.queue || self.chance() < self.loss {
            return;
        }
        let bits = (bytes.len() + 28) as f64 * 8.0;
        self.free_at = begin + Duration::from_secs_f64(bits / self.rate_bps);
        self.flying.push_back((self.free_at + self.delay, bytes.to_vec()));
    }

    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.flying.pop_front_if(|(at, _)| *at <= now).map(|(_, bytes)| bytes)
    }
}

struct Film {
    publisher: Publisher,
    frame_bytes: usize,
    gop: u32,
    number: u32,
}

impl Film {
    fn new(kbps: usize, gop: u32, width: u32) -> (Self, Hub) {
        let (publisher, hub) = Hub::new(Limits::default());
        let parameter_sets = ParameterSets::H264 {
            sps: Bytes::from_static(&[0x67, 1]),
            pps: Bytes::from_static(&[0x68, 1]),
        };
        publisher.online(StreamDescription {
            video: Some(VideoTrack { width, height: width / 2, fps: 25.0, parameter_sets }),
            audio: None,
        });
        // A keyframe weighs as much as six other pictures.
        let frame_bytes = kbps * 1_000 / 8 * gop as usize / 25 / (gop as usize + 5);
        (Self { publisher, frame_bytes, gop, number: 0 }, hub)
    }

    fn shoot(&mut self, captured_at: UnixMicros) {
        let keyframe = self.number.is_multiple_of(self.gop);
        let size = self.frame_bytes * if keyframe { 6 } else { 1 };
        let mut data = BytesMut::new();
        data.put_u32(size as u32);
        data.put_u8(if keyframe { 0x65 } else { 0x61 });
        data.put_bytes(7, size - 1);
        let data = data.freeze();
        let timestamp = i64::from(self.number) * 3_600;
        self.publisher.publish(AccessUnit::h264(timestamp, captured_at, data));
        self.number += 1;
    }
}

struct World {
    start: Now,
    now: Now,
    feeds: Feeds,
    session: Session,
    viewer: Rtc,
    down: Link,
    up: Link,
    main: Film,
    sub: Film,
    addresses: (SocketAddr, SocketAddr),
    /// Time of the last whole picture, and the longest time without one.
    last_picture: Option<Instant>,
    longest_gap: Duration,
    last_timestamp: Option<u32>,
    ticks: u64,
    _right: watch::Sender<Option<Problem>>,
    _path: watch::Receiver<Option<PathReport>>,
}

impl World {
    fn new(rate_bps: f64, delay_ms: u64, loss: f64) -> Self {
        let start = Now { instant: Instant::now(), unix: UnixMicros(1_700_000_000_000_000) };
        let (main, main_hub) = Film::new(2_000, 50, 1_280);
        let (sub, sub_hub) = Film::new(300, 50, 640);
        let camera =
            Camera { channel: CHANNEL, name: "Yard".into(), main: main_hub, sub: Some(sub_hub) };
        let mut feeds = Feeds::new(
            Arc::new(BTreeMap::from([(CHANNEL, camera)])),
            Arc::new(NoTranscoder),
            Arc::new(Notify::new()),
            TaskTracker::new(),
        );
        let addresses: (SocketAddr, SocketAddr) =
            (([192, 0, 2, 1], 1_000).into(), ([192, 0, 2, 2], 2_000).into());
        let mut viewer = RtcConfig::new().set_rtp_mode(true).build(start.instant);
        viewer.add_local_candidate(Candidate::host(addresses.1, Protocol::Udp).expect("valid"));
        let mut api = viewer.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().expect("changes");
        let (right, ended) = watch::channel(None);
        let (path, path_seen) = watch::channel(None);
        let own = Candidate::host(addresses.0, Protocol::Udp).expect("valid");
        let provider = str0m::crypto::from_feature_flags();
        let cert = provider.dtls_provider.generate_certificate().expect("crypto works");
        let origin = Origin {
            id: "s1".parse().expect("an id"),
            generation: 1,
            admission: Admission { grant: grant(), ended, path },
            candidate_tx: mpsc::channel(1).0,
            config: &WebrtcConfig::default(),
            cert: &cert,
            candidates: &[own],
        };
        let (session, answer) =
            Session::new(origin, &offer.to_sdp_string(), start, &mut feeds).expect("answered");
        let answer = SdpAnswer::from_sdp_string(&answer.sdp).expect("an answer");
        viewer.sdp_api().accept_answer(pending, answer).expect("fits");
        Self {
            start,
            now: start,
            feeds,
            session,
            viewer,
            down: Link::new(rate_bps, delay_ms, loss, start.instant),
            up: Link::new(5e6, delay_ms, 0.0, start.instant),
            main,
            sub,
            addresses,
            last_picture: None,
            longest_gap: Duration::ZERO,
            last_timestamp: None,
            ticks: 0,
            _right: right,
            _path: path_seen,
        }
    }

    async fn run_until(&mut self, seconds: f64, mut each: impl FnMut(&Self) -> bool) -> f64 {
        while self.elapsed() < seconds {
            self.tick().await;
            if each(self) {
                break;
            }
        }
        self.elapsed()
    }

    fn elapsed(&self) -> f64 {
        (self.now.instant - self.start.instant).as_secs_f64()
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        let passed = TICK * u32::try_from(self.ticks).expect("short");
        self.now = Now { instant: self.start.instant + passed, unix: self.start.unix.plus(passed) };
        let fresh = self.ticks.is_multiple_of(40);
        if fresh {
            self.main.shoot(self.now.unix);
            self.sub.shoot(self.now.unix);
            // The feeds measure in tasks of their own.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let now = self.now.instant;
        while let Some(bytes) = self.up.arrived(now) {
            let (to, from) = self.addresses;
            let receive = Receive::new(Protocol::Udp, from, to, &bytes).expect("a datagram");
            self.session.receive(receive, self.now, &mut self.feeds);
        }
        if fresh || self.session.next_wake() <= now {
            self.session.step(self.now, &mut self.feeds);
        }
        for transmit in self.session.out.drain(..) {
            self.down.send(now, &transmit.contents);
        }
        while let Some(bytes) = self.down.arrived(now) {
            let (from, to) = self.addresses;
            let receive = Receive::new(Protocol::Udp, from, to, &bytes).expect("a datagram");
            self.viewer.handle_input(Input::Receive(now, receive)).expect("taken");
            self.drain_viewer();
        }
        self.viewer.handle_input(Input::Timeout(now)).expect("taken");
        self.drain_viewer();
    }

    fn drain_viewer(&mut self) {
        loop {
            match self.viewer.poll_output().expect("alive") {
                Output::Timeout(_) => return,
                Output::Transmit(t) => self.up.send(self.now.instant, &t.contents),
                Output::Event(Event::RtpPacket(packet)) if packet.header.marker => {
                    let time = packet.header.timestamp;
                    if self.last_timestamp.is_none_or(|last| time.wrapping_sub(last) < 1 << 31) {
                        self.last_timestamp = Some(time);
                        let last = self.last_picture.replace(self.now.instant);
                        let gap = last.map_or(Duration::ZERO, |at| self.now.instant - at);
                        self.longest_gap = self.longest_gap.max(gap);
                    }
                }
                Output::Event(_) => {}
            }
        }
    }

    fn tier(&self) -> Option<StreamTier> {
        let video = self.session.video.as_ref()?;
        match video.current.as_ref()?.feed.key {
            FeedKey::Tier(_, tier) if !video.keyframes_only => Some(tier),
            FeedKey::Tier(..) | FeedKey::Exact { .. } | FeedKey::Opus(_) => None,
        }
    }
}

fn grant() -> TokenGrant {
    TokenGrant {
        domain: "example.org".parse().expect("a name"),
        user: "u1".parse().expect("an id"),
        session: "s1".parse().expect("an id"),
        channel: CHANNEL,
        rights: Rights::default(),
        capabilities: Capabilities::default(),
        expires_at: UnixMicros(i64::MAX),
    }
}

#[tokio::test]
async fn narrowed_to_1_mbit_and_released() {
    for (rate, delay_ms, loss) in
        [(6e6, 10, 0.0), (50e6, 2, 0.0), (10e6, 20, 0.0), (10e6, 40, 0.01), (100e6, 1, 0.0)]
    {
        let mut world = World::new(rate, delay_ms, loss);
        world.run_until(15.0, |_| false).await;
        let at = format!("{rate} bit/s, {delay_ms} ms, loss {loss}");
        assert_eq!(world.tier(), Some(StreamTier::Main), "{at}");
        world.longest_gap = Duration::ZERO;
        world.down.rate_bps = 1e6;
        let fell = world.run_until(30.0, |w| w.tier() == Some(StreamTier::Sub)).await - 15.0;
        let down_gap = world.longest_gap;
        world.run_until(35.0, |_| false).await;
        let held = world.tier();
        let narrow_gap = world.longest_gap;
        world.down.rate_bps = rate;
        let rose = world.run_until(95.0, |w| w.tier() == Some(StreamTier::Main)).await - 35.0;
        let narrow = world.session.path;
        world.run_until(35.0 + rose + 10.0, |_| false).await;
        eprintln!(
            "{at}: down after {fell:.1} s (gap {down_gap:?}), held {held:?} (gap {narrow_gap:?}), \
             up after {rose:.1} s, gap {:?}, path {narrow:?}",
            world.longest_gap
        );
        assert!(fell <= 5.0, "{at}: sub stream only after {fell} s");
        assert_eq!(held, Some(StreamTier::Sub), "{at}");
        assert!(rose <= 30.0, "{at}: main stream only after {rose} s");
        assert!(world.longest_gap < Duration::from_secs(1), "{at}: {:?}", world.longest_gap);
        assert_eq!(world.tier(), Some(StreamTier::Main), "{at}");
    }
}
