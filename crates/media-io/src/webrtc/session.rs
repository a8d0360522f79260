//! One viewer, sans-IO: datagrams, time and hubs in, datagrams out.
//!
//! Contract: every public call leaves the connection fully drained; what is to be sent lies in
//! `out`, and `next_wake` says when to call [`Session::step`] again.

mod follow;
mod offer;
mod path;
mod ways;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_model::{ChannelId, MediaSessionId, Rung, UnixMicros};
use sightline_protocol::{
    Problem,
    pc::{self, CuToPu, PuToCu},
};
use str0m::{
    Candidate, Event, IceConnectionState, Input, Output, Rtc,
    bwe::{Bitrate, BweKind},
    media::Mid,
    net::{Receive, Transmit},
};
use tokio::sync::mpsc;

pub(super) use self::{
    follow::{Pair, Sign},
    path::{Around, MAPPED},
};
use super::{
    WebrtcConfig,
    control::Control,
    delay::Delay,
    feed::Feeds,
    media::{AudioOut, VideoOut},
    replay::Replay,
    serve::Serve,
};
use crate::gate::Admission;

/// How often the choice of stream is looked at.
const POLICY_INTERVAL: Duration = Duration::from_millis(200);
/// While packets wait longer than this, it is looked at with every measurement.
const WAITING: Duration = Duration::from_millis(50);
/// How long the last word has to reach the viewer.
const FAREWELL: Duration = Duration::from_millis(250);
/// Outputs of one drain; more means that the connection is stuck.
const DRAIN_LIMIT: usize = 20_000;
/// Faults in a row after which a connection is given up.
const FAULT_LIMIT: u32 = 32;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) unix: UnixMicros,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), unix: std::time::SystemTime::now().into() }
    }

    /// The same moment as `unix` on the other clock.
    pub(super) fn instant_of(&self, unix: UnixMicros) -> Instant {
        let ago = self.unix.since(unix);
        self.instant.checked_sub(ago).unwrap_or(self.instant)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting { until: Instant },
    Connected,
    Disconnected { until: Instant },
    Ending { until: Instant },
    Closed,
}

/// What was measured of the path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathState {
    /// Estimated capacity, once the viewer's feedback has moved it.
    pub(super) estimate_bps: Option<u64>,
    pub(super) loss: f32,
    pub(super) rtt: Option<Duration>,
    /// What of the round trip is waiting.
    pub(super) delay: Delay,
    /// Round trip of ICE's own checks: nothing of the viewer's own delays in it.
    pub(super) way: Option<Duration>,
}

pub(super) struct Session {
    pub(super) id: MediaSessionId,
    /// Rises with every admission, so that an old one's end does not end a newer one.
    pub(super) generation: u64,
    pub(super) rtc: Rtc,
    admission: Admission,
    candidate_tx: mpsc::Sender<String>,
    offered_fingerprint: String,
    /// Name of the viewer's ICE as it runs now (RFC 8839 section 5.4); another one is a restart.
    offered_ufrag: String,
    /// How often it has been restarted.
    restarts: u32,
    phase: Phase,
    disconnect_grace: Duration,
    initial_estimate_bps: u64,
    /// Candidates of both ends, as they were given to the library.
    locals: Vec<Candidate>,
    remotes: Vec<Candidate>,
    /// Own relayed addresses, and how their relays are reached.
    pub(super) relays: HashMap<SocketAddr, Rung>,
    around: Arc<Around>,
    /// Since when a router has mapped the sockets in use, as far as that is known.
    mapped_since: Option<Instant>,
    sending: Option<Pair>,
    follow: follow::Follow,
    has_path: bool,
    /// Which pair carries media until a restarted ICE has found its own.
    detour: Option<Pair>,
    pub(super) video: Option<VideoOut>,
    pub(super) audio: Option<AudioOut>,
    pub(super) audio_mid: Option<Mid>,
    pub(super) control: Control,
    /// The viewer looks back, or may.
    replay: Option<Replay>,
    pub(super) serve: Serve,
    pub(super) path: PathState,
    next_policy: Instant,
    next_second: Instant,
    sent_before: u64,
    next_rtc: Instant,
    faults: u32,
    pub(super) out: Vec<Transmit>,
}

/// What a session is made from.
pub(super) struct Origin<'a> {
    pub(super) id: MediaSessionId,
    pub(super) generation: u64,
    pub(super) admission: Admission,
    pub(super) candidate_tx: mpsc::Sender<String>,
    pub(super) config: &'a WebrtcConfig,
    pub(super) cert: &'a str0m::config::DtlsCert,
    pub(super) candidates: &'a [Candidate],
    pub(super) around: Arc<Around>,
    pub(super) mapped_since: Option<Instant>,
}

/// A further offer for a session.
pub(super) struct Renewal<'a> {
    pub(super) sdp: &'a str,
    pub(super) admission: Admission,
    pub(super) candidate_tx: mpsc::Sender<String>,
    /// Other sockets to move to, where ICE is restarted.
    pub(super) fresh: Option<&'a [Candidate]>,
    pub(super) mapped_since: Option<Instant>,
}

impl Session {
    /// Whether the datagram is for this session.
    pub(super) fn accepts(&self, input: &Input<'_>) -> bool {
        self.rtc.accepts(input)
    }

    /// A datagram for this session. What cannot be read changes nothing.
    pub(super) fn receive(
        &mut self,
        receive: Receive<'_>,
        sign: Sign,
        now: Now,
        feeds: &mut Feeds,
    ) {
        self.heard((receive.destination, receive.source), sign, now);
        if let Err(error) = self.rtc.handle_input(Input::Receive(now.instant, receive)) {
            tracing::debug!(session = %self.id, %error, "datagram refused");
        }
        self.drain(now, feeds);
        if self.serve.wants_step() {
            self.step(now, feeds);
        }
    }

    /// Ends the session: the viewer is told, then the connection is closed.
    pub(super) fn end(&mut self, problem: Option<Problem>, now: Now, feeds: &mut Feeds) {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Closed) {
            return;
        }
        let told = problem.filter(|_| self.control.is_open());
        let Some(problem) = told else { return self.close(now, feeds) };
        self.control.send(&mut self.rtc, &PuToCu::Ended { problem });
        self.phase = Phase::Ending { until: now.instant + FAREWELL };
        self.drain(now, feeds);
    }

    /// Closes without waiting for the last word to arrive.
    pub(super) fn end_now(&mut self, now: Now, feeds: &mut Feeds) {
        if self.phase != Phase::Closed {
            self.close(now, feeds);
        }
    }

    fn close(&mut self, now: Now, feeds: &mut Feeds) {
        if self.rtc.close().is_ok() {
            self.drain(now, feeds);
        }
        self.phase = Phase::Closed;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed || !self.rtc.is_alive()
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Messages of the viewer that were not understood or too many.
    pub(super) fn ignored(&self) -> u64 {
        self.control.ignored + self.replay.as_ref().map_or(0, |replay| replay.ignored)
    }

    /// Whether something recorded waits to be sent.
    pub(super) fn has_replay_news(&self) -> bool {
        self.replay.as_ref().is_some_and(Replay::has_news)
    }

    /// When to call [`Self::step`] next. Counts only what a step in this phase renews: a time that
    /// stays in the past would keep the engine awake.
    pub(super) fn next_wake(&self) -> Instant {
        let next = match self.phase {
            Phase::Connecting { until } | Phase::Disconnected { until } => {
                until.min(self.next_policy)
            }
            Phase::Connected => {
                let live = self.video.as_ref().filter(|_| !self.looks_back());
                let blocked = live.and_then(|video| video.blocked_until);
                let next = self.next_second.min(self.next_policy);
                blocked.map_or(next, |at| at.min(next))
            }
            Phase::Ending { until } => until,
            Phase::Closed => self.next_rtc,
        };
        next.min(self.next_rtc)
    }

    /// Time has passed, or a hub has something new.
    pub(super) fn step(&mut self, now: Now, feeds: &mut Feeds) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now.instant)) {
            self.fault(&error);
        }
        self.drain(now, feeds);
        match self.phase {
            Phase::Connecting { until } | Phase::Disconnected { until } if now.instant >= until => {
                tracing::debug!(session = %self.id, "no path to the viewer");
                return self.close(now, feeds);
            }
            Phase::Ending { until } if now.instant >= until => return self.close(now, feeds),
            Phase::Ending { .. } | Phase::Closed => return,
            Phase::Connecting { .. } | Phase::Connected | Phase::Disconnected { .. } => {}
        }
        if now.instant >= self.next_policy || self.serve.wants_step() {
            self.next_policy = now.instant + POLICY_INTERVAL;
            self.choose(now, feeds);
        }
        if matches!(self.phase, Phase::Connected) {
            self.pump_replay(now, feeds);
            if !self.looks_back() {
                self.pump(now, feeds);
            }
            if now.instant >= self.next_second {
                self.next_second = now.instant + Duration::from_secs(1);
                self.tell_figures();
                self.drain(now, feeds);
            }
        }
    }

    fn choose(&mut self, now: Now, feeds: &mut Feeds) {
        super::serve::choose(self, now, feeds);
        let desired = self.serve.desired_bps();
        let trial = self.serve.trial_bps();
        self.rtc.bwe().set_bitrate(Bitrate::bps(trial), Bitrate::bps(desired));
        self.drain(now, feeds);
    }

    /// Writes what the hubs have. Draining after every unit keeps the library's queue short.
    fn pump(&mut self, now: Now, feeds: &mut Feeds) {
        loop {
            let sound = self.audio.as_mut().is_some_and(|audio| audio.pump(&mut self.rtc, now));
            let picture = self.video.as_mut().is_some_and(|video| video.pump(&mut self.rtc, now));
            if !sound && !picture {
                break;
            }
            if let Err(error) = self.rtc.handle_input(Input::Timeout(now.instant)) {
                self.fault(&error);
            }
            self.drain(now, feeds);
            if self.is_closed() {
                return;
            }
        }
        let changed = self.video.as_mut().is_some_and(|v| std::mem::take(&mut v.changed))
            | self.audio.as_mut().is_some_and(|a| std::mem::take(&mut a.changed));
        if changed {
            self.choose(now, feeds);
        }
    }

    fn looks_back(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.is_on)
    }

    /// Writes what of the recording the channel takes.
    fn pump_replay(&mut self, now: Now, feeds: &mut Feeds) {
        while let Some(replay) = &mut self.replay
            && replay.pump(&mut self.rtc)
        {
            if let Err(error) = self.rtc.handle_input(Input::Timeout(now.instant)) {
                self.fault(&error);
            }
            self.drain(now, feeds);
            if self.is_closed() {
                return;
            }
        }
    }

    fn read_replay(&mut self, data: &[u8], now: Now, feeds: &Feeds) {
        let was_on = self.looks_back();
        let Some(replay) = &mut self.replay else { return };
        let camera = (self.admission.grant.channel, &self.admission.grant.rights);
        replay.read(data, camera, &mut self.rtc, (now, feeds));
        if was_on && !replay.is_on {
            self.live_again(now);
        }
    }

    /// The viewer has missed pictures.
    fn live_again(&mut self, now: Now) {
        self.serve.ask_step();
        if let Some(video) = &mut self.video {
            video.keyframe_requested(now);
        }
    }

    fn tell_figures(&mut self) {
        let Some(video) = &self.video else { return };
        let sent = video.bytes_sent.saturating_sub(self.sent_before);
        self.sent_before = video.bytes_sent;
        let path = PuToCu::Path {
            estimate_bps: self.path.estimate_bps,
            sent_bps: sent * 8,
            loss_permille: (self.path.loss.clamp(0.0, 1.0) * 1_000.0) as u16,
        };
        let frame = video.newest.map(|(rtp_timestamp_90k, captured_at)| PuToCu::FrameTime {
            rtp_timestamp_90k,
            captured_at,
        });
        for message in frame.iter().chain([&path]) {
            self.control.send(&mut self.rtc, message);
        }
    }

    fn drain(&mut self, now: Now, feeds: &mut Feeds) {
        for _ in 0..DRAIN_LIMIT {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) if at > now.instant => {
                    self.next_rtc = at;
                    self.faults = 0;
                    return;
                }
                Ok(Output::Timeout(_)) => {
                    if let Err(error) = self.rtc.handle_input(Input::Timeout(now.instant)) {
                        self.fault(&error);
                    }
                }
                Ok(Output::Transmit(transmit)) => {
                    let transmit = self.route(transmit);
                    self.out.push(transmit);
                }
                Ok(Output::Event(event)) => self.event(event, now, feeds),
                Err(error) => self.fault(&error),
            }
            if self.is_closed() {
                return;
            }
        }
        tracing::warn!(session = %self.id, "the connection never comes to rest");
        self.next_rtc = now.instant + Duration::from_millis(5);
    }

    fn fault(&mut self, error: &str0m::RtcError) {
        self.faults += 1;
        tracing::debug!(session = %self.id, %error, "connection fault");
        if self.faults > FAULT_LIMIT {
            self.rtc.disconnect();
            self.phase = Phase::Closed;
        }
    }

    fn event(&mut self, event: Event, now: Now, feeds: &mut Feeds) {
        match event {
            Event::Connected => {
                self.phase = Phase::Connected;
                self.serve.ask_step();
                self.next_rtc = now.instant;
            }
            Event::IceConnectionStateChange(state) => self.ice_state(state, now),
            Event::ChannelOpen(id, label) if label == pc::CONTROL_CHANNEL => {
                self.control.open(id);
                self.serve.announce_again();
            }
            Event::ChannelOpen(id, label) if label == pc::REPLAY_CHANNEL => {
                self.replay = Some(Replay::open(id, &mut self.rtc, now));
            }
            Event::ChannelClose(id) => {
                self.control.close(id);
                if let Some(closed) = self.replay.take_if(|replay| replay.is(id))
                    && closed.is_on
                {
                    self.live_again(now);
                }
            }
            Event::ChannelBufferedAmountLow(id)
                if self.replay.as_ref().is_some_and(|replay| replay.is(id)) =>
            {
                // The next step writes more.
                self.serve.ask_step();
            }
            Event::ChannelData(data) if self.replay.as_ref().is_some_and(|r| r.is(data.id)) => {
                self.read_replay(&data.data, now, feeds);
            }
            Event::ChannelData(data) => match self.control.read(data.id, &data.data, now.instant) {
                Some(CuToPu::Ping { cu_time }) => {
                    let pong = PuToCu::Pong { cu_time, pu_time: now.unix };
                    self.control.send(&mut self.rtc, &pong);
                }
                Some(CuToPu::SetQuality { quality }) => self.serve.set_choice(quality, feeds),
                None => {}
            },
            Event::KeyframeRequest(request) => {
                if let Some(video) = self.video.as_mut().filter(|v| v.mid() == request.mid) {
                    video.keyframe_requested(now);
                }
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, can_probe }) => {
                let bps = estimate.as_u64();
                let moved = bps != self.initial_estimate_bps || self.path.estimate_bps.is_some();
                self.path.estimate_bps = (can_probe && moved).then_some(bps);
            }
            Event::PeerStats(stats) => {
                self.path.loss = stats.egress_loss_fraction.unwrap_or(self.path.loss);
                self.path.rtt = stats.rtt.or(self.path.rtt);
                if let Some(round_trip) = stats.rtt {
                    self.path.delay.note(round_trip, now.instant);
                }
                if self.path.delay.queue() > WAITING {
                    self.serve.ask_step();
                }
                let pair = stats.selected_candidate_pair;
                self.path.way = pair.and_then(|pair| pair.current_round_trip_time);
            }
            Event::MediaEgressStats(stats) if self.path.estimate_bps.is_none() => {
                self.path.loss = stats.loss.unwrap_or(self.path.loss);
            }
            Event::Closed => self.phase = Phase::Closed,
            // Nothing is received, and no other channel is known.
            _ => {}
        }
    }

    fn ice_state(&mut self, state: IceConnectionState, now: Now) {
        self.has_path = state.is_connected();
        if self.has_path {
            self.detour = None;
        }
        match (state, self.phase) {
            (IceConnectionState::Disconnected, Phase::Connected) => {
                self.phase = Phase::Disconnected { until: now.instant + self.disconnect_grace };
            }
            (
                IceConnectionState::Connected | IceConnectionState::Completed,
                Phase::Disconnected { .. },
            ) => {
                self.phase = Phase::Connected;
                self.serve.ask_step();
                // The viewer has missed pictures.
                if let Some(video) = &mut self.video {
                    video.keyframe_requested(now);
                }
            }
            (_, _) => {}
        }
    }

    /// Resolves when the viewer's right ends; to be watched by the engine.
    pub(super) fn ended(&self) -> tokio::sync::watch::Receiver<Option<Problem>> {
        self.admission.ended.clone()
    }

    pub(super) const fn channel(&self) -> ChannelId {
        self.admission.grant.channel
    }
}
