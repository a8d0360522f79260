//! Which hub a session is served from, and what the viewer is told about it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_media::adapt::{Decision, Level, Measured, Offered, Policy};
use sightline_model::{
    AudioCodec, Capabilities, ChannelId, QualityChoice, ServedStream, StreamTier, VideoCodec,
};
use sightline_protocol::{ProblemKind, pc::PuToCu};
use str0m::{Rtc, bwe::Bitrate, media::Pt};

use super::{
    feed::{Feed, FeedKey, Feeds},
    media::{AudioOut, FREE_RATE_BPS, VideoOut},
    negotiate,
    session::{Now, PathState, Session},
    trial::{PADDING_WAITS, Trial},
};
use crate::hub::SourceState;

/// How long a re-encoder may take to give its first picture.
const ENCODER_PATIENCE: Duration = Duration::from_secs(8);

/// How often a re-encoder is asked for again while all are taken.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A round trip below this does not leave the building.
const NEAR: Duration = Duration::from_millis(6);
/// Sending is not held below this: an estimate after overuse says little.
const SMALLEST_BPS: u64 = 400_000;
/// How long a full queue is given to drain before the first picture of a smaller stream: meanwhile
/// a camera that can has made a new keyframe.
const LET_DRAIN: Duration = Duration::from_millis(150);
/// A path that carries this much takes a keyframe at once.
const WIDE_BPS: u64 = 2_500_000;

/// A re-encoded stream that the viewer asked for.
struct Exact {
    feed: Arc<Feed>,
    asked_at: Option<Instant>,
}

/// See the module.
pub(super) struct Serve {
    channel: ChannelId,
    capabilities: Capabilities,
    policy: Policy,
    trial: Trial,
    trial_bps: u64,
    started: Instant,
    main: Option<Arc<Feed>>,
    sub: Option<Arc<Feed>>,
    /// Nobody has asked for live pictures yet: the camera is left alone.
    asleep: bool,
    exact: Option<Exact>,
    /// What will be asked for again, since no re-encoder was free, and when.
    queued: Option<(QualityChoice, Option<Instant>)>,
    /// Why the viewer's wish was not met, in words.
    refused: Option<String>,
    step: bool,
    told_camera: Option<(bool, Option<String>)>,
    told_stream: Option<ServedStream>,
    undecodable: Option<String>,
}

impl Serve {
    /// `on_demand`: live pictures are sent only when the viewer asks for a quality.
    pub(super) fn new(
        channel: ChannelId,
        capabilities: Capabilities,
        now: Now,
        (feeds, on_demand): (&mut Feeds, bool),
    ) -> Self {
        let mut serve = Self {
            channel,
            policy: Policy::new(capabilities.clone(), vec![VideoCodec::H264]),
            capabilities,
            trial: Trial::new(),
            trial_bps: 0,
            started: now.instant,
            main: None,
            sub: None,
            asleep: true,
            exact: None,
            queued: None,
            refused: None,
            step: true,
            told_camera: None,
            told_stream: None,
            undecodable: None,
        };
        if !on_demand {
            serve.wake(feeds);
        }
        serve
    }

    fn wake(&mut self, feeds: &mut Feeds) {
        if std::mem::take(&mut self.asleep) {
            self.main = feeds.tier(self.channel, StreamTier::Main);
            self.sub = feeds.tier(self.channel, StreamTier::Sub);
        }
    }

    /// Whether the choice should be looked at before its time.
    pub(super) const fn wants_step(&self) -> bool {
        self.step
    }

    pub(super) const fn ask_step(&mut self) {
        self.step = true;
    }

    /// A channel has opened: the viewer has been told nothing yet.
    pub(super) fn announce_again(&mut self) {
        self.told_camera = None;
        self.told_stream = None;
        self.step = true;
    }

    /// What the viewer's offer can take.
    pub(super) fn set_decodable(&mut self, codecs: Vec<VideoCodec>) {
        self.policy = Policy::new(self.capabilities.clone(), codecs);
        self.step = true;
    }

    pub(super) const fn not_decodable(&self) -> Option<&String> {
        self.undecodable.as_ref()
    }

    /// The viewer's wish.
    pub(super) fn set_choice(&mut self, choice: QualityChoice, feeds: &mut Feeds) {
        self.wake(feeds);
        self.exact = None;
        self.queued = None;
        self.refused = None;
        self.step = true;
        let choice = match choice {
            QualityChoice::Exact { width, height, fps } => self.exact(width, height, fps, feeds),
            QualityChoice::Auto | QualityChoice::Tier { .. } | QualityChoice::Keyframes => choice,
        };
        self.policy.set_choice(choice);
    }

    /// Takes an encoding of the camera that fits, else asks for a re-encoded one.
    fn exact(&mut self, width: u32, height: u32, fps: u32, feeds: &mut Feeds) -> QualityChoice {
        let fits = |feed: &Option<Arc<Feed>>| {
            feed.as_ref().and_then(|f| f.tier()).is_some_and(|tier| {
                let rate = (tier.fps - fps as f32).abs() < 0.5;
                tier.width == width && tier.height == height && rate
            })
        };
        if fits(&self.main) {
            return QualityChoice::Tier { tier: StreamTier::Main };
        }
        if fits(&self.sub) {
            return QualityChoice::Tier { tier: StreamTier::Sub };
        }
        match feeds.exact(self.channel, (width, height, fps)) {
            Ok(feed) => {
                self.exact = Some(Exact { feed, asked_at: None });
                QualityChoice::Exact { width, height, fps }
            }
            Err(problem) => {
                if problem.kind == ProblemKind::Busy {
                    self.queued = Some((QualityChoice::Exact { width, height, fps }, None));
                }
                self.refused = Some(problem.detail);
                QualityChoice::Auto
            }
        }
    }

    /// Asks once more for what was refused because all re-encoders were taken: one is free again
    /// soon after its last viewer has left, be it this one.
    fn ask_again(&mut self, now: Now, feeds: &mut Feeds) {
        let Some((choice, at)) = &mut self.queued else { return };
        if now.instant < *at.get_or_insert(now.instant + ASK_AGAIN) {
            return;
        }
        *at = None;
        let QualityChoice::Exact { width, height, fps } = *choice else { return };
        if let Ok(feed) = feeds.exact(self.channel, (width, height, fps)) {
            self.policy.set_choice(*choice);
            self.exact = Some(Exact { feed, asked_at: None });
            self.queued = None;
            self.refused = None;
        }
    }

    fn offered(&self) -> Offered {
        let tier = |feed: &Option<Arc<Feed>>| feed.as_ref().and_then(|f| f.tier());
        Offered { main: tier(&self.main), sub: tier(&self.sub) }
    }

    /// The capacity worth looking for.
    pub(super) fn desired_bps(&self) -> u64 {
        let exact = self.exact.as_ref().and_then(|e| e.feed.tier()).and_then(|t| t.rate_bps);
        exact.map_or_else(|| self.policy.desired_bps(&self.offered()), |bps| bps / 2 * 3)
    }

    /// What should flow, with padding, to try the path.
    pub(super) const fn trial_bps(&self) -> u64 {
        self.trial_bps
    }

    /// The feed for a decision, and why.
    fn target(&mut self, decision: Decision, now: Now) -> Option<(Arc<Feed>, String)> {
        if let Some(exact) = &mut self.exact {
            let since = *exact.asked_at.get_or_insert(now.instant);
            let waited = now.instant.saturating_duration_since(since);
            if exact.feed.tier().is_some() || waited < ENCODER_PATIENCE {
                return Some((Arc::clone(&exact.feed), "re-encoded to the size you chose".into()));
            }
            self.refused = Some("the picture could not be re-encoded".into());
            self.exact = None;
            self.policy.set_choice(QualityChoice::Auto);
        }
        let tier = decision.level.tier(self.sub.is_some());
        let feed = match tier {
            StreamTier::Main => self.main.as_ref(),
            StreamTier::Sub => self.sub.as_ref().or(self.main.as_ref()),
        };
        let reason = match &self.refused {
            Some(refused) => format!("{refused}; {}", decision.reason),
            None => decision.reason,
        };
        feed.map(|feed| (Arc::clone(feed), reason))
    }

    /// Whether there is a picture, else why not.
    fn camera_state(&self) -> (bool, Option<String>) {
        if self.asleep {
            return (false, Some("only recordings are sent until a live quality is chosen".into()));
        }
        if let Some(text) = &self.undecodable {
            return (false, Some(text.clone()));
        }
        let offered = self.offered();
        if offered.main.is_some() || offered.sub.is_some() {
            return (true, None);
        }
        let fault = match self.main.as_ref().map(|feed| feed.hub.state()) {
            Some(SourceState::Offline(reason)) => reason,
            Some(SourceState::Online(_)) => "the camera sends no picture".into(),
            None => "this unit has no such camera".into(),
        };
        (false, Some(fault))
    }
}

/// Looks at the path and the hubs, switches, and tells the viewer what has changed.
pub(super) fn choose(session: &mut Session, now: Now, feeds: &mut Feeds) {
    session.serve.step = false;
    choose_audio(session, now, feeds);
    session.serve.ask_again(now, feeds);
    let Session { serve, video, path, control, rtc, .. } = session;
    let Some(video) = video.as_mut() else { return };
    if !serve.asleep {
        let offered = serve.offered();
        let measured = try_path(serve, video, path, rtc, &offered, now);
        let since = now.instant.saturating_duration_since(serve.started);
        match serve.policy.decide(since, &offered, &measured) {
            Ok(decision) => {
                serve.undecodable = None;
                apply(serve, video, *path, decision, now, rtc);
            }
            Err(problem) => serve.undecodable = Some(problem.0),
        }
    }
    if !control.is_open() {
        return;
    }
    let camera = serve.camera_state();
    if serve.told_camera.as_ref() != Some(&camera) {
        let (online, fault) = camera.clone();
        control.send(rtc, &PuToCu::Camera { online, fault });
        serve.told_camera = Some(camera);
    }
    if let Some(stream) = served(serve, video)
        && serve.told_stream.as_ref() != Some(&stream)
    {
        control.send(rtc, &PuToCu::Serving { stream: stream.clone() });
        serve.told_stream = Some(stream);
    }
}

/// What is known of the path; raises an estimate that keeps a calm path from the better stream.
fn try_path(
    serve: &mut Serve,
    video: &VideoOut,
    path: &PathState,
    rtc: &mut Rtc,
    offered: &Offered,
    now: Now,
) -> Measured {
    let mut measured = Measured {
        estimate_bps: path.estimate_bps,
        loss: path.loss,
        rtt: path.rtt,
        queue: path.delay.queue(),
        backlog: video.backlog,
    };
    if let Some(estimate_bps) = path.estimate_bps {
        measured.estimate_bps = Some(serve.trial.at_least(estimate_bps, now.instant));
        let since = now.instant.saturating_duration_since(serve.started);
        let need = serve.policy.held_back(since, offered, &measured);
        let raised = serve.trial.next(estimate_bps, need, measured.is_calm(), now.instant);
        if let Some(raised_bps) = raised {
            tracing::debug!(estimate_bps, raised_bps, "the path is tried");
            rtc.bwe().reset(Bitrate::bps(raised_bps));
        }
    }
    let wanted = serve.policy.trial_bps(offered);
    let sent = video.current.as_ref().and_then(|s| s.feed.tier()).and_then(|t| t.rate_bps);
    let (sent, calm) = (sent.unwrap_or(SMALLEST_BPS), measured.queue < PADDING_WAITS);
    serve.trial_bps = serve.trial.padding_bps(wanted, sent, calm, now.instant);
    measured
}

fn apply(
    serve: &mut Serve,
    video: &mut VideoOut,
    path: PathState,
    decision: Decision,
    now: Now,
    rtc: &mut Rtc,
) {
    let auto = serve.policy.choice() == QualityChoice::Auto;
    let level = decision.level;
    let Some((feed, reason)) = serve.target(decision, now) else { return };
    let exact = serve.exact.is_some();
    let up = auto && level == Level::Main && !video.keyframes_only;
    let waits = (up || exact) && video.current.as_ref().is_some_and(|s| s.feed.tier().is_some());
    let keyframes_only = level == Level::KeyframesOnly && !exact;
    if video.keyframes_only && !keyframes_only {
        video.leave_keyframes(now);
    }
    video.keyframes_only = keyframes_only;
    let since = now.instant.saturating_duration_since(serve.started);
    let congested = serve.policy.just_fell(since);
    if video.switch_to(&feed, !waits, now) && congested {
        // What was sent of the better stream is of no use any more, and what lies in the queue
        // goes first anyway.
        video.forget_sent(rtc);
        video.keep_quiet((path.delay.queue() / 2).min(LET_DRAIN), now);
    }
    let need = feed.tier().and_then(|tier| tier.rate_bps).unwrap_or(0);
    let rate_bps = if congested {
        // The estimate follows late; so much is certain to be needed.
        (need * 2).max(SMALLEST_BPS)
    } else {
        pace(need, path, serve.policy.doubts_estimate(since), video.is_catching_up())
    };
    tracing::trace!(need_bps = need, rate_bps, backlog = ?video.backlog, ?path, "pace");
    video.set_rate(rate_bps);
    video.reason = reason;
}

/// How fast packets may follow each other: as they come where the way is short and wide, spread
/// over time where a router's queue would take a burst for congestion.
fn pace(need_bps: u64, path: PathState, doubtful: bool, catching_up: bool) -> u64 {
    let near = path.way.is_some_and(|way| way < NEAR);
    let low = path.estimate_bps.is_some_and(|bps| bps < need_bps / 10 * 8);
    let congested = path.loss > 0.03 || (low && !doubtful);
    match path.estimate_bps {
        // Some more than that, or the estimate would never see that the path has become wider.
        Some(estimate) if congested => (estimate / 2 * 3).max(SMALLEST_BPS),
        // A keyframe may leave at once, but not the seconds of pictures behind an older one.
        Some(estimate) if near && !catching_up && estimate > WIDE_BPS.max(need_bps) => {
            FREE_RATE_BPS
        }
        Some(estimate) => estimate.max(need_bps / 2 * 3),
        None => FREE_RATE_BPS / 2,
    }
}

/// What is being sent now; `None` while a switch is under way.
fn served(serve: &Serve, video: &VideoOut) -> Option<ServedStream> {
    let source = video.current.as_ref()?;
    if video.is_switching() {
        return None;
    }
    let tier = source.feed.tier()?;
    let (from, transcoded) = match source.feed.key {
        FeedKey::Tier(_, tier) => (tier, false),
        FeedKey::Exact { .. } | FeedKey::Opus(_) => (StreamTier::Main, true),
    };
    serve.main.as_ref()?;
    Some(ServedStream {
        tier: from,
        keyframes_only: video.keyframes_only,
        transcoded,
        codec: tier.codec,
        width: tier.width,
        height: tier.height,
        reason: video.reason.clone(),
    })
}

/// The camera's sound as it comes, where the viewer takes it; as Opus otherwise.
fn choose_audio(session: &mut Session, now: Now, feeds: &mut Feeds) {
    let Some(mid) = session.audio_mid else { return };
    let Some((feed, pt, codec)) = audio_source(session, feeds) else { return };
    if session.audio.as_ref().is_some_and(|audio| audio.is_from(&feed, pt)) {
        return;
    }
    let seq = session.audio.as_ref().map_or(1, AudioOut::seq);
    session.audio = Some(AudioOut::new((mid, seq), (pt, codec), feed, now.unix));
}

fn audio_source(session: &Session, feeds: &mut Feeds) -> Option<(Arc<Feed>, Pt, AudioCodec)> {
    let mid = session.audio_mid?;
    let serve = &session.serve;
    let heard = [&serve.main, &serve.sub].into_iter().flatten().find_map(|feed| {
        let state = feed.hub.state();
        Some((Arc::clone(feed), state.description()?.audio.as_ref()?.codec))
    });
    let (feed, codec) = heard?;
    if let Some(pt) = negotiate::audio_pt(&session.rtc, mid, codec) {
        return Some((feed, pt, codec));
    }
    let pt = negotiate::audio_pt(&session.rtc, mid, AudioCodec::Opus)?;
    Some((feeds.opus(session.channel())?, pt, AudioCodec::Opus))
}
