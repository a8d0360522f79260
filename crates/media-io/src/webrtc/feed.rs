//! Hubs as the engine uses them: their wake-ups, measured rates, and payloads shared by all
//! viewers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sightline_media::{AccessUnit, adapt, packetize::Payload};
use sightline_model::{ChannelId, StreamTier, UnixMicros};
use sightline_protocol::Problem;
use tokio::sync::Notify;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{QualitySource, Sources};
use crate::{
    archive::Archive,
    camera::Cameras,
    hub::{Hub, Next, Reader},
};

/// Over how long a rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// At most one keyframe request per source in this time.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(700);

/// Which hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FeedKey {
    Tier(ChannelId, StreamTier),
    Exact { channel: ChannelId, width: u32, height: u32, fps: u32 },
    Opus(ChannelId),
}

impl FeedKey {
    const fn channel(self) -> ChannelId {
        match self {
            Self::Tier(channel, _) | Self::Exact { channel, .. } | Self::Opus(channel) => channel,
        }
    }
}

/// The payloads of one unit, as the RTP library takes them.
pub(super) type Payloads = Arc<[Arc<[u8]>]>;

/// A hub in use by at least one session.
pub(super) struct Feed {
    pub(super) key: FeedKey,
    pub(super) hub: Hub,
    dirty: Arc<AtomicBool>,
    rate_bps: Arc<AtomicU64>,
    /// Payloads of units that the hub still holds: viewers that come at the same time catch up with
    /// the same ones.
    shared: Mutex<VecDeque<(Weak<AccessUnit>, Payloads)>>,
    asked: Mutex<Option<Instant>>,
    _stop: DropGuard,
}

impl Feed {
    /// Payloads of `unit`, made once for all viewers.
    pub(super) fn payloads(&self, unit: &Arc<AccessUnit>) -> Payloads {
        let mut shared = self.shared.lock();
        // Most viewers are live and want the newest.
        let known = shared.iter().rev().find(|(u, _)| Weak::as_ptr(u) == Arc::as_ptr(unit));
        if let Some((_, payloads)) = known {
            return Arc::clone(payloads);
        }
        let join = |payload: Payload<'_>| match payload.parts() {
            [[], body] => Arc::from(body),
            parts => Arc::from(parts.concat()),
        };
        let payloads: Payloads = unit.payloads().map(join).collect();
        shared.retain(|(unit, _)| unit.strong_count() > 0);
        shared.push_back((Arc::downgrade(unit), Arc::clone(&payloads)));
        payloads
    }

    /// Whether something has come since the last call.
    fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    /// Asks for a keyframe, unless that was done just now.
    pub(super) fn request_keyframe(&self, now: Instant) {
        let mut asked = self.asked.lock();
        if asked.is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_INTERVAL) {
            *asked = Some(now);
            self.hub.request_keyframe();
        }
    }

    /// What the choice of stream needs to know; `None` when offline or without picture.
    pub(super) fn tier(&self) -> Option<adapt::Tier> {
        let state = self.hub.state();
        let video = state.description()?.video.as_ref()?;
        let rate = self.rate_bps.load(Ordering::Relaxed);
        Some(adapt::Tier {
            rate_bps: (rate > 0).then_some(rate),
            codec: video.codec(),
            width: video.width,
            height: video.height,
            fps: video.fps,
        })
    }
}

/// All feeds, and what makes new ones.
pub(super) struct Feeds {
    pub(super) cameras: Cameras,
    quality: Arc<dyn QualitySource>,
    /// What was recorded, where the unit records.
    pub(super) archive: Option<Arc<dyn Archive>>,
    open: HashMap<FeedKey, Weak<Feed>>,
    wake: Arc<Notify>,
    tasks: TaskTracker,
}

impl Feeds {
    pub(super) fn new(sources: Sources, wake: Arc<Notify>, tasks: TaskTracker) -> Self {
        let Sources { cameras, quality, archive } = sources;
        Self { cameras, quality, archive, open: HashMap::new(), wake, tasks }
    }

    /// Wakes the engine.
    pub(super) fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Runs a session's helper, which ends with what it was given by the session.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// The camera's own encoding, if it has it.
    pub(super) fn tier(&mut self, channel: ChannelId, tier: StreamTier) -> Option<Arc<Feed>> {
        let camera = self.cameras.get(&channel)?;
        let hub = match tier {
            StreamTier::Main => camera.main.clone(),
            StreamTier::Sub => camera.sub.clone()?,
        };
        Some(self.open(FeedKey::Tier(channel, tier), || hub))
    }

    /// A re-encoded picture.
    pub(super) fn exact(
        &mut self,
        channel: ChannelId,
        (width, height, fps): (u32, u32, u32),
    ) -> Result<Arc<Feed>, Problem> {
        let key = FeedKey::Exact { channel, width, height, fps };
        if let Some(feed) = self.existing(key) {
            return Ok(feed);
        }
        let hub = self.quality.exact(channel, width, height, fps)?;
        Ok(self.open(key, || hub))
    }

    /// The camera's sound as Opus.
    pub(super) fn opus(&mut self, channel: ChannelId) -> Option<Arc<Feed>> {
        let key = FeedKey::Opus(channel);
        if let Some(feed) = self.existing(key) {
            return Some(feed);
        }
        let hub = self.quality.opus_audio(channel)?;
        Some(self.open(key, || hub))
    }

    /// Cameras of which something new has come since the last call.
    pub(super) fn take_dirty(&self) -> Vec<ChannelId> {
        let feeds = self.open.values().filter_map(Weak::upgrade);
        feeds.filter(|feed| feed.take_dirty()).map(|feed| feed.key.channel()).collect()
    }

    fn existing(&self, key: FeedKey) -> Option<Arc<Feed>> {
        self.open.get(&key).and_then(Weak::upgrade)
    }

    fn open(&mut self, key: FeedKey, hub: impl FnOnce() -> Hub) -> Arc<Feed> {
        if let Some(feed) = self.existing(key) {
            return feed;
        }
        self.open.retain(|_, feed| feed.strong_count() > 0);
        let hub = hub();
        let stop = CancellationToken::new();
        let feed = Arc::new(Feed {
            key,
            hub: hub.clone(),
            dirty: Arc::new(AtomicBool::new(true)),
            rate_bps: Arc::new(AtomicU64::new(0)),
            shared: Mutex::default(),
            asked: Mutex::new(None),
            _stop: stop.clone().drop_guard(),
        });
        let watcher = Watcher {
            reader: hub.subscribe(),
            dirty: Arc::clone(&feed.dirty),
            rate_bps: Arc::clone(&feed.rate_bps),
            wake: Arc::clone(&self.wake),
            window: VecDeque::new(),
        };
        self.tasks.spawn(async move {
            stop.run_until_cancelled(watcher.run()).await;
        });
        self.open.insert(key, Arc::downgrade(&feed));
        feed
    }
}

/// Wakes the engine for one hub and measures its rate. Owned by the [`Feed`], ends with it.
struct Watcher {
    reader: Reader,
    dirty: Arc<AtomicBool>,
    rate_bps: Arc<AtomicU64>,
    wake: Arc<Notify>,
    window: VecDeque<(UnixMicros, usize)>,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            match self.reader.next().await {
                Next::Unit(unit) if unit.is_video() => self.measure(&unit),
                Next::Unit(_) => {}
                Next::Skipped(_) | Next::State(_) => self.window.clear(),
            }
            self.dirty.store(true, Ordering::Release);
            self.wake.notify_one();
        }
    }

    fn measure(&mut self, unit: &AccessUnit) {
        let at = unit.captured_at();
        self.window.push_back((at, unit.len()));
        while self.window.len() > 2_000
            || self.window.front().is_some_and(|(first, _)| at.since(*first) > RATE_WINDOW)
        {
            self.window.pop_front();
        }
        let Some((first, _)) = self.window.front() else { return };
        let span = at.since(*first);
        if span < Duration::from_millis(800) {
            return;
        }
        let bytes: usize = self.window.iter().map(|(_, bytes)| bytes).sum();
        let bps = bytes as f64 * 8.0 / span.as_secs_f64();
        self.rate_bps.store(bps as u64, Ordering::Relaxed);
    }
}
