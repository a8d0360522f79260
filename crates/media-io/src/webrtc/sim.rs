//! A session and a viewer over a path made of numbers, in virtual time.

mod moves;
mod restarts;
mod screen;
mod vanished;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use sightline_media::{AccessUnit, ParameterSets, StreamDescription, VideoTrack, ring::Limits};
use sightline_model::{Capabilities, ChannelId, Rights, StreamTier, UnixMicros};
use sightline_protocol::{
    Problem,
    pc::{CONTROL_CHANNEL, PathReport},
    sc::TokenGrant,
};
use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::SdpAnswer,
    media::{Direction, KeyframeRequestKind, MediaKind},
    net::{Protocol, Receive},
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;

use self::screen::{Part, Screen, begins_keyframe};
use super::{
    NoTranscoder, Sources, WebrtcConfig,
    feed::{FeedKey, Feeds},
    session::{Now, Origin, Pair, Session, Sign},
};
use crate::{
    camera::Camera,
    gate::Admission,
    hub::{Hub, Publisher},
};

const TICK: Duration = Duration::from_millis(1);
const CHANNEL: ChannelId = ChannelId(1);

/// A camera and a path to its viewer.
#[derive(Debug, Clone, Copy)]
struct Setting {
    rate_bps: f64,
    delay_ms: u64,
    loss: f64,
    main_kbps: u32,
    sub_kbps: u32,
    gop: u32,
    obliging: bool,
    /// When the path becomes narrow.
    at_s: f64,
}

impl Setting {
    const fn new(rate_bps: f64, delay_ms: u64, loss: f64) -> Self {
        let (main_kbps, sub_kbps, gop, obliging) = (2_000, 300, 50, true);
        Self { rate_bps, delay_ms, loss, main_kbps, sub_kbps, gop, obliging, at_s: 15.0 }
    }

    /// Anything that is likely to be met.
    fn random(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut between = |least: f64, most: f64| least + (most - least) * random.unit();
        let main_kbps = between(1_600.0, 4_000.0) as u32;
        Self {
            rate_bps: f64::from(main_kbps) * 1_000.0 * between(1.8, 30.0),
            delay_ms: between(1.0, 50.0) as u64,
            loss: between(-0.01, 0.005).max(0.0),
            main_kbps,
            sub_kbps: between(150.0, 450.0) as u32,
            gop: between(25.0, 100.0) as u32,
            obliging: between(0.0, 1.0) < 0.5,
            at_s: between(15.0, 17.0),
        }
    }
}

struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What `tc tbf` lets pass at once after a pause.
const TOKENS: Duration = Duration::from_millis(128);

/// One direction of the path: a bottleneck with a queue, as `tc tbf` makes it, and a delay.
struct Link {
    rate_bps: f64,
    delay: Duration,
    /// What the queue holds, in time; more is lost.
    queue: Duration,
    loss: f64,
    random: Random,
    free_at: Instant,
    flying: VecDeque<(Instant, Pair, Vec<u8>)>,
}

impl Link {
    fn new(rate_bps: f64, delay_ms: u64, loss: f64, start: Instant) -> Self {
        Self {
            rate_bps,
            delay: Duration::from_millis(delay_ms),
            queue: Duration::from_millis(330),
            loss,
            random: Random(88_172_645_463_325_252),
            free_at: start,
            flying: VecDeque::new(),
        }
    }

    fn send(&mut self, now: Instant, ends: Pair, bytes: &[u8]) {
        let begin = self.free_at.max(now);
        if begin - now > self.queue || self.random.unit() < self.loss {
            return;
        }
        let bits = (bytes.len() + 28) as f64 * 8.0;
        // Unused time is saved up, to a limit: `free_at` lies that much back.
        let begin = self.free_at.max(now.checked_sub(TOKENS).unwrap_or(now));
        self.free_at = begin + Duration::from_secs_f64(bits / self.rate_bps);
        self.flying.push_back((self.free_at.max(now) + self.delay, ends, bytes.to_vec()));
    }

    /// Source and destination with it.
    fn arrived(&mut self, now: Instant) -> Option<(Pair, Vec<u8>)> {
        let flown = self.flying.pop_front_if(|(at, ..)| *at <= now);
        flown.map(|(_, ends, bytes)| (ends, bytes))
    }
}

struct Film {
    publisher: Publisher,
    frame_bytes: usize,
    /// Pictures from keyframe to keyframe.
    gop: u32,
    /// Whether it makes a keyframe when it is asked for one; many cameras do not.
    obliging: bool,
    number: u32,
    next_keyframe: u32,
}

impl Film {
    fn new(kbps: u32, gop: u32, obliging: bool, width: u32) -> (Self, Hub) {
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
        let frame_bytes = (kbps * 1_000 / 8 / 25 * gop / (gop + 5)) as usize;
        (Self { publisher, frame_bytes, gop, obliging, number: 0, next_keyframe: 0 }, hub)
    }

    async fn shoot(&mut self, captured_at: UnixMicros) {
        let asked = tokio::select! {
            biased;
            () = self.publisher.keyframe_wanted() => self.obliging,
            () = std::future::ready(()) => false,
        };
        let keyframe = asked || self.number >= self.next_keyframe;
        if keyframe {
            self.next_keyframe = self.number + self.gop;
        }
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
    addresses: Pair,
    /// Addresses that nothing leaves or reaches.
    dead: Vec<SocketAddr>,
    screen: Screen,
    ticks: u64,
    _right: watch::Sender<Option<Problem>>,
    path: watch::Receiver<Option<PathReport>>,
}

impl World {
    fn new(setting: &Setting) -> Self {
        let Setting { rate_bps, delay_ms, loss, main_kbps, sub_kbps, gop, obliging, .. } = *setting;
        let start = Now { instant: Instant::now(), unix: UnixMicros(1_700_000_000_000_000) };
        let (main, main_hub) = Film::new(main_kbps, gop, obliging, 1_280);
        let (sub, sub_hub) = Film::new(sub_kbps, gop, obliging, 640);
        let camera =
            Camera { channel: CHANNEL, name: "Yard".into(), main: main_hub, sub: Some(sub_hub) };
        let sources = Sources {
            cameras: BTreeMap::from([(CHANNEL, camera)]).into(),
            quality: Arc::new(NoTranscoder),
            archive: None,
        };
        let mut feeds = Feeds::new(sources, Arc::new(Notify::new()), TaskTracker::new());
        let addresses: Pair = (([192, 0, 2, 1], 1_000).into(), ([192, 0, 2, 2], 2_000).into());
        let mut viewer = RtcConfig::new().set_rtp_mode(true).build(start.instant);
        viewer.add_local_candidate(Candidate::host(addresses.1, Protocol::Udp).expect("valid"));
        let mut api = viewer.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        api.add_channel(CONTROL_CHANNEL.into());
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
            around: Arc::default(),
            mapped_since: None,
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
            dead: Vec::new(),
            screen: Screen::default(),
            ticks: 0,
            _right: right,
            path: path_seen,
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
            self.main.shoot(self.now.unix).await;
            self.sub.shoot(self.now.unix).await;
            // The feeds measure in tasks of their own.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let now = self.now.instant;
        while let Some(((from, to), bytes)) = self.up.arrived(now) {
            let receive = Receive::new(Protocol::Udp, from, to, &bytes).expect("a datagram");
            self.session.receive(receive, Sign::of(&bytes), self.now, &mut self.feeds);
        }
        if fresh || self.session.next_wake() <= now {
            self.session.step(self.now, &mut self.feeds);
            let next = self.session.next_wake();
            assert!(next > now || self.session.is_closed(), "the engine would not sleep");
        }
        for transmit in self.session.out.drain(..) {
            let ends = (transmit.source, transmit.destination);
            if !self.dead.iter().any(|dead| [ends.0, ends.1].contains(dead)) {
                self.down.send(now, ends, &transmit.contents);
            }
        }
        while let Some(((from, to), bytes)) = self.down.arrived(now) {
            let receive = Receive::new(Protocol::Udp, from, to, &bytes).expect("a datagram");
            self.viewer.handle_input(Input::Receive(now, receive)).expect("taken");
            self.drain_viewer();
        }
        self.viewer.handle_input(Input::Timeout(now)).expect("taken");
        self.drain_viewer();
        if let Some(ssrc) = self.screen.wants_keyframe(now)
            && let Some(stream) = self.viewer.direct_api().stream_rx(&ssrc)
        {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    fn drain_viewer(&mut self) {
        loop {
            match self.viewer.poll_output().expect("alive") {
                Output::Timeout(_) => return,
                Output::Transmit(t) => {
                    let ends = (t.source, t.destination);
                    if !self.dead.iter().any(|dead| [ends.0, ends.1].contains(dead)) {
                        self.up.send(self.now.instant, ends, &t.contents);
                    }
                }
                Output::Event(Event::RtpPacket(packet)) => {
                    let part = Part {
                        last: packet.header.marker,
                        keyframe: begins_keyframe(&packet.payload),
                    };
                    self.screen.ssrc = Some(packet.header.ssrc);
                    self.screen.take(*packet.seq_no, part, self.now.instant);
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

/// What came of a path that became narrow for 20 s.
#[derive(Debug)]
struct Outcome {
    fell_s: f64,
    held: Option<StreamTier>,
    rose_s: f64,
    /// Longest time without a new picture: around the fall, until the release, in all.
    gaps: [Duration; 3],
    stayed: Option<StreamTier>,
}

async fn narrowed_and_released(setting: &Setting) -> Outcome {
    let mut world = World::new(setting);
    let narrowed = setting.at_s;
    world.run_until(narrowed, |_| false).await;
    assert_eq!(world.tier(), Some(StreamTier::Main), "{setting:?}");
    world.screen.longest_gap = Duration::ZERO;
    world.down.rate_bps = 1e6;
    let fell = world.run_until(narrowed + 15.0, |w| w.tier() == Some(StreamTier::Sub)).await;
    world.run_until(fell + 3.0, |_| false).await;
    let down_gap = world.screen.longest_gap;
    let released = narrowed + 20.0;
    world.run_until(released, |_| false).await;
    let (held, narrow_gap) = (world.tier(), world.screen.longest_gap);
    world.down.rate_bps = setting.rate_bps;
    let risen = |w: &World| w.tier() == Some(StreamTier::Main);
    let rose = world.run_until(released + 60.0, risen).await;
    world.run_until(rose + 10.0, |_| false).await;
    let outcome = Outcome {
        fell_s: fell - narrowed,
        held,
        rose_s: rose - released,
        gaps: [down_gap, narrow_gap, world.screen.longest_gap],
        stayed: world.tier(),
    };
    eprintln!("{setting:?}: {outcome:?}");
    outcome
}

impl Outcome {
    /// What of the requirements is not met.
    fn fault(&self) -> Option<&'static str> {
        [
            (self.fell_s <= 5.0, "the sub stream came too late"),
            (self.held == Some(StreamTier::Sub), "the sub stream was not kept"),
            (self.rose_s <= 30.0, "the main stream came too late"),
            (self.gaps[2] <= Duration::from_secs(1), "the picture stood still"),
            (self.stayed == Some(StreamTier::Main), "the main stream was not kept"),
        ]
        .iter()
        .find_map(|(met, fault)| (!met).then_some(*fault))
    }
}

#[tokio::test]
async fn narrowed_to_1_mbit_and_released() {
    for (rate_bps, delay_ms, loss) in
        [(6e6, 10, 0.0), (50e6, 2, 0.0), (10e6, 20, 0.0), (10e6, 40, 0.01), (100e6, 1, 0.0)]
    {
        let setting = Setting::new(rate_bps, delay_ms, loss);
        let outcome = narrowed_and_released(&setting).await;
        assert_eq!(outcome.fault(), None, "{setting:?}: {outcome:?}");
    }
}

/// Decision 0031 says by which they were chosen. `TEST_SEEDS` tries more.
#[tokio::test]
async fn paths_that_no_threshold_was_chosen_by() {
    let seeds = std::env::var("TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let mut faults = Vec::new();
    for seed in 5_001..5_001 + seeds {
        let setting = Setting::random(seed);
        let outcome = narrowed_and_released(&setting).await;
        faults.extend(outcome.fault().map(|fault| (seed, fault, setting, outcome)));
    }
    assert!(faults.is_empty(), "{} of {seeds}: {faults:#?}", faults.len());
}
