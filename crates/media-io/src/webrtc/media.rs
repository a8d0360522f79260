//! The outgoing tracks of one session: which units are written, when, and under which timestamp.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_media::{AccessUnit, VIDEO_CLOCK_HZ, VideoTrack};
use sightline_model::{AudioCodec, UnixMicros, VideoCodec};
use str0m::{
    Rtc,
    media::{MediaTime, Mid, Pt},
    rtp::{ExtensionValues, RtpWrite},
};

use super::{
    budget::Budget,
    clock::OutClock,
    feed::{Feed, Payloads},
    negotiate::{RETRANSMIT_PACKETS, VideoPts},
    session::Now,
};
use crate::hub::{Next, Reader, SourceState};

/// Sending rate while nothing speaks against it: a keyframe leaves in a few milliseconds.
pub(super) const FREE_RATE_BPS: u64 = 40_000_000;
/// A live picture older than this is not worth sending: the viewer goes on at a keyframe.
const TOO_OLD: Duration = Duration::from_millis(1_000);
/// A catch-up that takes longer is given up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(3);
/// Sound older than this is left out.
const SOUND_TOO_OLD: Duration = Duration::from_millis(400);
/// How long a switch upwards waits for a new keyframe before it takes the one in the ring.
const SWITCH_PATIENCE: Duration = Duration::from_secs(6);
/// How long packets are kept to be sent again, and which share of all may be such: as the library
/// has it by itself.
const RETRANSMIT_AGE: Duration = Duration::from_secs(3);
const RETRANSMIT_SHARE: Option<f32> = Some(0.15);
/// Packets that carry the wish for no play-out delay at the start of a stream.
const DELAY_WISHES: u32 = 64;

/// A place in a hub.
pub(super) struct Source {
    pub(super) feed: Arc<Feed>,
    reader: Reader,
    pub(super) codec: Option<VideoCodec>,
    since: Now,
}

impl Source {
    fn new(feed: &Arc<Feed>, now: Now) -> Self {
        let codec = feed.tier().map(|tier| tier.codec);
        Self { feed: Arc::clone(feed), reader: feed.hub.subscribe(), codec, since: now }
    }

    /// As [`Self::new`], but what the hub holds already is left out.
    fn from_now_on(feed: &Arc<Feed>, now: Now) -> Self {
        let mut source = Self::new(feed, now);
        while let Some(next) = source.try_next() {
            drop(next);
        }
        source
    }

    fn try_next(&mut self) -> Option<Next> {
        let next = self.reader.try_next()?;
        if let Next::State(SourceState::Online(description)) = &next {
            self.codec = description.video.as_ref().map(VideoTrack::codec);
        }
        Some(next)
    }
}

/// The picture track.
pub(super) struct VideoOut {
    mid: Mid,
    pub(super) pts: VideoPts,
    seq: u64,
    clock: OutClock,
    budget: Budget,
    /// A picture of which a part has been written.
    partial: Option<Partial>,
    pub(super) current: Option<Source>,
    pending: Option<Source>,
    pub(super) keyframes_only: bool,
    waiting_for_keyframe: bool,
    catching_up: Option<Instant>,
    restarted_at: Option<Instant>,
    delay_wishes: u32,
    quiet_until: Option<Instant>,
    /// Set while the budget is spent.
    pub(super) blocked_until: Option<Instant>,
    /// Age of the picture that waits.
    pub(super) backlog: Duration,
    /// Timestamp and capture time of the newest live picture.
    pub(super) newest: Option<(u32, UnixMicros)>,
    /// The source went, came or changed, or another one took over.
    pub(super) changed: bool,
    pub(super) bytes_sent: u64,
    pub(super) skipped: u64,
    /// Why this stream, in words for the viewer.
    pub(super) reason: String,
}

impl VideoOut {
    pub(super) fn new(mid: Mid, pts: VideoPts, now: Now) -> Self {
        Self {
            mid,
            pts,
            seq: 1,
            clock: OutClock::new(VIDEO_CLOCK_HZ, now.unix),
            budget: Budget::new(FREE_RATE_BPS, now.instant),
            partial: None,
            current: None,
            pending: None,
            keyframes_only: false,
            waiting_for_keyframe: true,
            catching_up: None,
            restarted_at: None,
            delay_wishes: DELAY_WISHES,
            quiet_until: None,
            blocked_until: None,
            backlog: Duration::ZERO,
            newest: None,
            changed: true,
            bytes_sent: 0,
            skipped: 0,
            reason: String::new(),
        }
    }

    pub(super) const fn mid(&self) -> Mid {
        self.mid
    }

    /// How fast packets may follow each other.
    pub(super) const fn set_rate(&mut self, rate_bps: u64) {
        self.budget.set_rate(rate_bps);
    }

    /// Goes over to `feed`: at once, from the newest keyframe that is there, or at its next one.
    /// True when it has done so at once.
    pub(super) fn switch_to(&mut self, feed: &Arc<Feed>, at_once: bool, now: Now) -> bool {
        let is =
            |source: &Option<Source>| source.as_ref().is_some_and(|s| Arc::ptr_eq(&s.feed, feed));
        if is(&self.current) {
            self.pending = None;
        } else if at_once || self.current.is_none() {
            self.pending = None;
            // The rest of the picture that was begun is of no use: a keyframe comes.
            self.partial = None;
            self.current = Some(Source::new(feed, now));
            self.restarted_at = Some(now.instant);
            self.begin(now);
            feed.request_keyframe(now.instant);
            return true;
        } else if !is(&self.pending) {
            self.pending = Some(Source::from_now_on(feed, now));
            feed.request_keyframe(now.instant);
        }
        false
    }

    /// Sends nothing for so long, then begins with the keyframe that is the newest by then.
    pub(super) fn keep_quiet(&mut self, how_long: Duration, now: Now) {
        self.quiet_until = Some(now.instant + how_long);
    }

    /// What was sent so far is not sent again, even if the viewer asks for it.
    pub(super) fn forget_sent(&self, rtc: &mut Rtc) {
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            stream.set_rtx_cache(RETRANSMIT_PACKETS, RETRANSMIT_AGE, RETRANSMIT_SHARE);
        }
    }

    /// Whether older pictures are on their way, for the decoder to begin with.
    pub(super) const fn is_catching_up(&self) -> bool {
        self.catching_up.is_some()
    }

    /// Whether another source is about to take over.
    pub(super) const fn is_switching(&self) -> bool {
        self.pending.is_some()
    }

    /// Every picture again: what lies between has been left out, so begin at a keyframe.
    pub(super) fn leave_keyframes(&mut self, now: Now) {
        let Some(feed) = self.current.as_ref().map(|source| Arc::clone(&source.feed)) else {
            return;
        };
        self.current = Some(Source::new(&feed, now));
        self.begin(now);
    }

    fn begin(&mut self, now: Now) {
        self.clock.forget_source();
        self.waiting_for_keyframe = true;
        self.catching_up = Some(now.instant);
        self.changed = true;
    }

    /// The viewer cannot decode on. Asks for a keyframe; meanwhile repeats the newest picture
    /// group, for sources that make keyframes in their own time only.
    pub(super) fn keyframe_requested(&mut self, now: Now) {
        let Some(current) = &self.current else { return };
        current.feed.request_keyframe(now.instant);
        let recent = |at: Option<Instant>| {
            at.is_some_and(|at| now.instant.saturating_duration_since(at) < Duration::from_secs(1))
        };
        if self.catching_up.is_some() || self.keyframes_only || recent(self.restarted_at) {
            return;
        }
        self.restarted_at = Some(now.instant);
        let feed = Arc::clone(&current.feed);
        self.current = Some(Source::new(&feed, now));
        self.begin(now);
    }

    /// Writes what may be written; returns false when nothing is left to do. The caller drains
    /// the connection after each call that returns true.
    pub(super) fn pump(&mut self, rtc: &mut Rtc, now: Now) -> bool {
        self.blocked_until = self.budget.wait(now.instant);
        if self.blocked_until.is_some() && (self.partial.is_some() || self.current.is_some()) {
            self.measure_backlog();
            return false;
        }
        self.blocked_until = self.quiet_until.filter(|until| now.instant < *until);
        if self.blocked_until.is_some() {
            return false;
        }
        self.quiet_until = None;
        if self.write_partial(rtc) {
            return true;
        }
        if let Some(unit) = self.try_pending(now) {
            self.write(rtc, &unit, now);
            return true;
        }
        if self.catching_up.is_some() {
            self.skip_what_is_overtaken();
        }
        let Some(next) = self.current.as_mut().and_then(Source::try_next) else {
            self.catching_up = None;
            self.backlog = Duration::ZERO;
            return false;
        };
        match next {
            Next::Unit(unit) => self.take(rtc, &unit, now),
            Next::Skipped(count) => {
                self.skipped += count;
                self.begin(now);
            }
            Next::State(_) => self.begin(now),
        }
        true
    }

    /// A new keyframe while older pictures are being caught up with: they are not needed any more.
    fn skip_what_is_overtaken(&mut self) {
        let Some(source) = &mut self.current else { return };
        let before = source.reader.behind();
        source.reader.skip_to_newest_keyframe();
        let skipped = before.saturating_sub(source.reader.behind());
        if skipped > 0 {
            self.skipped += skipped;
            self.waiting_for_keyframe = true;
        }
    }

    fn measure_backlog(&mut self) {
        let behind = self.current.as_ref().map_or(0, |source| source.reader.behind());
        // While catching up the distance is wanted, and shrinks.
        if self.catching_up.is_some() || behind < 2 {
            self.backlog = Duration::ZERO;
        }
    }

    fn take(&mut self, rtc: &mut Rtc, unit: &Arc<AccessUnit>, now: Now) {
        let AccessUnit::Video { keyframe, captured_at, .. } = &**unit else { return };
        if !keyframe && (self.waiting_for_keyframe || self.keyframes_only) {
            return;
        }
        let age = now.unix.since(*captured_at);
        match self.catching_up {
            Some(since) => {
                let long = now.instant.saturating_duration_since(since) > CATCH_UP_LIMIT;
                if long && !keyframe && age > TOO_OLD {
                    return self.give_up(now);
                }
            }
            None => {
                self.backlog = age;
                if age > TOO_OLD && !keyframe {
                    return self.give_up(now);
                }
            }
        }
        self.write(rtc, unit, now);
    }

    /// Leaves out everything up to the next keyframe.
    fn give_up(&mut self, now: Now) {
        let Some(source) = &mut self.current else { return };
        let before = source.reader.behind();
        source.reader.skip_to_newest_keyframe();
        self.skipped += before - source.reader.behind().min(before);
        source.feed.request_keyframe(now.instant);
        self.waiting_for_keyframe = true;
        self.catching_up = None;
        self.clock.forget_source();
    }

    /// The unit with which a waiting source takes over.
    fn try_pending(&mut self, now: Now) -> Option<Arc<AccessUnit>> {
        let pending = self.pending.as_mut()?;
        while let Some(next) = pending.try_next() {
            if let Next::Unit(unit) = next
                && unit.is_keyframe()
            {
                self.current = self.pending.take();
                self.begin(now);
                self.catching_up = None;
                return Some(unit);
            }
        }
        let waited = now.instant.saturating_duration_since(pending.since.instant);
        if waited > SWITCH_PATIENCE {
            let feed = Arc::clone(&pending.feed);
            self.switch_to(&feed, true, now);
        }
        None
    }

    fn write(&mut self, rtc: &mut Rtc, unit: &Arc<AccessUnit>, now: Now) {
        let AccessUnit::Video { timestamp, captured_at, keyframe, .. } = &**unit else { return };
        let Some(source) = &self.current else { return };
        let Some(pt) = source.codec.and_then(|codec| self.pts.of(codec)) else { return };
        let behind = source.reader.behind();
        let payloads = source.feed.payloads(unit);
        let age = now.unix.since(*captured_at);
        let old = self.catching_up.is_some() && (behind > 0 || age > TOO_OLD);
        let (time, taken_at) = if old {
            (self.clock.catch_up(now.unix, behind), now.unix)
        } else {
            (self.clock.live(*timestamp, *captured_at), *captured_at)
        };
        if !old {
            self.newest = Some((time, *captured_at));
        }
        if self.waiting_for_keyframe {
            self.waiting_for_keyframe = false;
            self.delay_wishes = DELAY_WISHES;
            self.changed = true;
        }
        let wish = *keyframe || self.delay_wishes > 0;
        self.delay_wishes = self.delay_wishes.saturating_sub(1);
        let wallclock = now.instant_of(taken_at);
        let packet = Packet { pt, time, wallclock, no_delay: wish, marks_end: true };
        self.partial = Some(Partial { packet, payloads, next: 0 });
        self.write_partial(rtc);
    }

    /// Writes on at the picture that has been begun, as far as the budget goes.
    fn write_partial(&mut self, rtc: &mut Rtc) -> bool {
        let Some(partial) = &mut self.partial else { return false };
        let budget = self.budget.left();
        let mut end = partial.next;
        let mut size = 0;
        while size < budget
            && let Some(payload) = partial.payloads.get(end)
        {
            size += payload.len();
            end += 1;
        }
        let range = partial.next..end;
        write_packets(rtc, self.mid, &mut self.seq, &partial.packet, &partial.payloads, range);
        partial.next = end;
        if end == partial.payloads.len() {
            self.partial = None;
        }
        self.budget.spend(size);
        self.bytes_sent += size as u64;
        true
    }
}

/// The sound track.
pub(super) struct AudioOut {
    mid: Mid,
    seq: u64,
    clock: OutClock,
    pt: Pt,
    feed: Arc<Feed>,
    reader: Reader,
    /// The source went, came or changed.
    pub(super) changed: bool,
}

impl AudioOut {
    pub(super) fn new(
        (mid, seq): (Mid, u64),
        (pt, codec): (Pt, AudioCodec),
        feed: Arc<Feed>,
        origin: UnixMicros,
    ) -> Self {
        let hz = if codec == AudioCodec::Opus { 48_000 } else { 8_000 };
        let reader = feed.hub.subscribe();
        Self { mid, seq, clock: OutClock::new(hz, origin), pt, feed, reader, changed: false }
    }

    pub(super) const fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn is_from(&self, feed: &Arc<Feed>, pt: Pt) -> bool {
        Arc::ptr_eq(&self.feed, feed) && self.pt == pt
    }

    /// Writes one unit; false when there is none.
    pub(super) fn pump(&mut self, rtc: &mut Rtc, now: Now) -> bool {
        while let Some(next) = self.reader.try_next() {
            match next {
                Next::Unit(unit) => {
                    let AccessUnit::Audio { timestamp, captured_at, .. } = &*unit else { continue };
                    if now.unix.since(*captured_at) > SOUND_TOO_OLD {
                        continue;
                    }
                    let time = self.clock.live(*timestamp, *captured_at);
                    let wallclock = now.instant_of(*captured_at);
                    let packet =
                        Packet { pt: self.pt, time, wallclock, no_delay: false, marks_end: false };
                    let payloads = self.feed.payloads(&unit);
                    let all = 0..payloads.len();
                    write_packets(rtc, self.mid, &mut self.seq, &packet, &payloads, all);
                    return true;
                }
                Next::Skipped(_) => self.clock.forget_source(),
                Next::State(_) => {
                    self.clock.forget_source();
                    self.changed = true;
                }
            }
        }
        false
    }
}

/// A picture on its way out.
struct Partial {
    packet: Packet,
    payloads: Payloads,
    next: usize,
}

struct Packet {
    pt: Pt,
    time: u32,
    wallclock: Instant,
    no_delay: bool,
    /// The marker bit: last packet of a picture (RFC 6184 section 5.1); not for sound.
    marks_end: bool,
}

/// Writes packets of one unit.
fn write_packets(
    rtc: &mut Rtc,
    mid: Mid,
    seq: &mut u64,
    packet: &Packet,
    payloads: &Payloads,
    range: Range<usize>,
) {
    let mut api = rtc.direct_api();
    let Some(stream) = api.stream_tx_by_mid(mid, None) else { return };
    for i in range {
        let Some(payload) = payloads.get(i) else { return };
        let mut extensions = ExtensionValues::default();
        if packet.no_delay && i == 0 {
            extensions.play_delay_min = Some(MediaTime::ZERO);
            extensions.play_delay_max = Some(MediaTime::ZERO);
        }
        let write = RtpWrite::new(
            packet.pt,
            (*seq).into(),
            packet.time,
            packet.wallclock,
            Arc::clone(payload),
        )
        .marker(packet.marks_end && i + 1 == payloads.len())
        .nackable(true)
        .ext_vals(extensions);
        stream.write_rtp(write);
        *seq += 1;
    }
}
