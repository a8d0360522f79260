//! Looking back: how sinks reach recordings, and the player that gives what was recorded in time.
//!
//! An [`Archive`] finds segments and reads them; which of them is played when, and in which order, is
//! decided by `sightline_recording::replay`. A [`Player`] is one viewer's place in one recording: it
//! asks the archive for what the plan needs and gives units when they are due.
//!
//! Nothing piles up: a player only works while [`Player::next`] is polled, and holds the segments
//! that its plan still needs, two at most, and one on its way.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_media::{AccessUnit, StreamDescription, mp4::read::Contents};
use sightline_model::{ChannelId, StreamTier, UnixMicros};
use sightline_recording::{
    replay::{
        Answer, Config, EndReason, Input, Notice, Output, Piece, PieceError, Planner, Play,
        RequestId, SegmentKey, Table, Unit, Way,
    },
    statement::RunId,
};

use crate::gate::BoxFuture;

/// What is still being recorded is looked at again after this.
const GROWS_EVERY: Duration = Duration::from_secs(1);

/// Whose recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recording {
    /// The camera.
    pub channel: ChannelId,
    /// The encoding that is wanted; another one may be what was recorded.
    pub tier: StreamTier,
}

/// A segment that was read.
#[derive(Debug)]
pub struct Loaded {
    stream: Arc<StreamDescription>,
    table: Arc<Table>,
    contents: Contents,
}

impl Loaded {
    /// Checks what was read.
    ///
    /// # Errors
    /// [`PieceError`] when it cannot be played; the segment's fault.
    pub fn new(contents: Contents) -> Result<Self, PieceError> {
        let table = Arc::new(Table::of(&contents)?);
        Ok(Self { stream: Arc::new(contents.description.clone()), table, contents })
    }

    /// The form of what is in it.
    #[must_use]
    pub const fn stream(&self) -> &Arc<StreamDescription> {
        &self.stream
    }
}

/// A segment, and which part of it the timeline shows (decision 0090).
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub key: SegmentKey,
    /// Its run.
    pub run: RunId,
    /// When it begins, corrected.
    pub start: UnixMicros,
    /// The part that is shown, the end not included.
    pub window: Range<UnixMicros>,
    /// What is in it.
    pub loaded: Arc<Loaded>,
}

/// What an [`Archive`] finds.
#[derive(Debug, Clone)]
pub enum Look {
    /// This.
    Found(Found),
    /// Something is there, but cannot be read: it is passed over. When it was.
    Unreadable(Range<UnixMicros>),
    /// Nothing yet, but recording goes on.
    Later,
    /// Nothing.
    End,
}

/// Why an archive does not answer; the storage's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recordings cannot be read: {0}")]
pub struct ArchiveError(pub String);

/// Recordings that can be looked back at.
pub trait Archive: Send + Sync + 'static {
    /// Forwards: the segment that is shown at `at`, else the first after it. Backwards: the one that
    /// is shown just before `at`, else the last before it.
    fn find(
        self: Arc<Self>,
        of: Recording,
        at: UnixMicros,
        way: Way,
    ) -> BoxFuture<'static, Result<Look, ArchiveError>>;
}

/// A unit to be sent now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its place in the plan: when it was taken, when it is shown, its marks.
    pub plan: Unit,
    /// The unit.
    pub unit: AccessUnit,
    /// The form of the stream that it belongs to.
    pub stream: Arc<StreamDescription>,
}

/// What a [`Player`] gives.
#[derive(Debug, Clone)]
pub enum Event {
    /// To be sent now.
    Unit(Box<Due>),
    /// To be told to the viewer.
    Notice(Notice),
    /// The end of what is recorded so far was reached; it goes on by itself as more is recorded.
    CaughtUp,
    /// Nothing more comes until something else is wanted.
    Ended(EndReason),
    /// The storage fails. Nothing more comes until something else is wanted.
    Failed(ArchiveError),
}

/// How fast playing passes beside the clock on the wall, in thousandths: RTSP's `Speed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(u32);

impl Speed {
    /// As the clock on the wall.
    pub const NORMAL: Self = Self(1_000);

    /// The nearest that is there: 1/8 to 8. None for what is no speed.
    #[must_use]
    pub fn nearest(value: f64) -> Option<Self> {
        if value.is_nan() || value <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let thousandths = (value * 1_000.0).round().clamp(125.0, 8_000.0) as u32;
        Some(Self(thousandths))
    }

    /// In thousandths.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

/// The planner's clock: runs `speed` times as fast as ours from `real` on.
#[derive(Debug, Clone, Copy)]
struct Pace {
    real: Instant,
    planned: Instant,
    speed: Speed,
}

impl Pace {
    fn planned(&self, real: Instant) -> Instant {
        let passed = real.saturating_duration_since(self.real);
        self.planned + scaled(passed, self.speed.0, 1_000)
    }

    fn real(&self, planned: Instant) -> Instant {
        let passed = planned.saturating_duration_since(self.planned);
        self.real + scaled(passed, 1_000, self.speed.0)
    }

    fn set(&mut self, speed: Speed, now: Instant) {
        *self = Self { real: now, planned: self.planned(now), speed };
    }
}

/// Ten years at most: far from where clocks overflow, and longer than anybody plays.
fn scaled(time: Duration, by: u32, of: u32) -> Duration {
    const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);
    time.min(TEN_YEARS) * by / of.max(1)
}

struct Held {
    key: SegmentKey,
    loaded: Arc<Loaded>,
}

type Answering = (RequestId, BoxFuture<'static, Result<Look, ArchiveError>>);

/// One viewer's place in one recording. See the module.
pub struct Player {
    archive: Arc<dyn Archive>,
    of: Recording,
    planner: Planner,
    pace: Pace,
    asked: Option<Answering>,
    /// When to look whether more was recorded.
    grows_at: Option<Instant>,
    caught_up: bool,
    held: Vec<Held>,
}

/// What woke the player.
enum Woken {
    Answered(Result<Look, ArchiveError>),
    Grown,
    Time,
}

impl Player {
    /// A player that waits to be told what to play.
    #[must_use]
    pub fn new(archive: Arc<dyn Archive>, of: Recording, config: Config) -> Self {
        let now = now();
        Self {
            archive,
            of,
            planner: Planner::new(config, now),
            pace: Pace { real: now, planned: now, speed: Speed::NORMAL },
            asked: None,
            grows_at: None,
            caught_up: false,
            held: Vec::new(),
        }
    }

    /// Which encoding is asked for from the next segment on.
    pub const fn prefer(&mut self, tier: StreamTier) {
        self.of.tier = tier;
    }

    /// Plays, or goes on, or plays otherwise.
    pub fn play(&mut self, play: Play, speed: Speed) {
        self.pace.set(speed, now());
        // The storage may be back.
        self.tell(Input::More);
        self.tell(Input::Play(play));
    }

    /// Stops at what is shown.
    pub fn pause(&mut self) {
        self.tell(Input::Pause);
    }

    /// Shows one picture, the one at that time, and pauses.
    pub fn show(&mut self, at: UnixMicros) {
        self.tell(Input::Show(at));
    }

    /// Shows the next or the previous picture, counted from the time given or else from what is
    /// shown, and pauses.
    pub fn step(&mut self, way: Way, from: Option<UnixMicros>) {
        self.tell(Input::Step(way, from));
    }

    /// The time of the picture that is shown now, as far as is known here.
    #[must_use]
    pub fn playhead(&self) -> Option<UnixMicros> {
        self.planner.playhead(self.pace.planned(now()))
    }

    /// The presentation time now (see [`Unit::presentation_us`]).
    #[must_use]
    pub fn presentation_us(&self) -> i64 {
        self.planner.presentation_us(self.pace.planned(now()))
    }

    /// The scale of playing.
    #[must_use]
    pub const fn scale(&self) -> sightline_recording::replay::Scale {
        self.planner.scale()
    }

    /// The next thing, when it is due. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        loop {
            self.planner.handle_timeout(self.pace.planned(now()));
            if let Some(event) = self.drain() {
                return event;
            }
            let wake = self.planner.poll_timeout().map(|at| self.pace.real(at));
            let (asked, grows_at) = (&mut self.asked, self.grows_at);
            let woken = tokio::select! {
                look = answered(asked) => Woken::Answered(look),
                () = sleep_until(grows_at) => Woken::Grown,
                () = sleep_until(wake) => Woken::Time,
            };
            if let Some(event) = self.woken(woken) {
                return event;
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.planner.handle_input(input, self.pace.planned(now()));
    }

    /// What the planner has to say.
    fn drain(&mut self) -> Option<Event> {
        while let Some(output) = self.planner.poll_output() {
            match output {
                Output::Need(request) => {
                    let archive = Arc::clone(&self.archive);
                    let looking = archive.find(self.of, request.at, request.way);
                    self.grows_at = None;
                    // An answer to an earlier request is not waited for any more.
                    self.asked = Some((request.id, looking));
                }
                Output::Send(plan) => {
                    if let Some(due) = self.due(plan) {
                        return Some(Event::Unit(Box::new(due)));
                    }
                }
                Output::Notice(notice) => return Some(Event::Notice(notice)),
                Output::Ended(reason) => return Some(Event::Ended(reason)),
            }
        }
        None
    }

    fn due(&self, plan: Unit) -> Option<Due> {
        let held = self.held.iter().find(|held| held.key == plan.segment);
        debug_assert!(held.is_some(), "the plan holds what it sends from");
        let loaded = &held?.loaded;
        let unit = loaded.contents.units.get(plan.source)?.unit.clone();
        Some(Due { plan, unit, stream: Arc::clone(&loaded.stream) })
    }

    fn woken(&mut self, woken: Woken) -> Option<Event> {
        match woken {
            Woken::Time => None,
            Woken::Grown => {
                self.grows_at = None;
                self.tell(Input::More);
                None
            }
            Woken::Answered(look) => {
                let (id, _) = self.asked.take()?;
                self.answer(id, look)
            }
        }
    }

    fn answer(&mut self, id: RequestId, look: Result<Look, ArchiveError>) -> Option<Event> {
        let (answer, event) = match look {
            Ok(Look::Found(found)) => {
                self.caught_up = false;
                (self.hold(found), None)
            }
            Ok(Look::Unreadable(window)) => (Answer::Unreadable(window), None),
            Ok(Look::End) => (Answer::End, None),
            Ok(Look::Later) => {
                let again = std::mem::replace(&mut self.caught_up, true);
                self.grows_at = Some(now() + GROWS_EVERY);
                (Answer::Later, (!again).then_some(Event::CaughtUp))
            }
            // It is not asked again before the viewer wants something.
            Err(error) => (Answer::Later, Some(Event::Failed(error))),
        };
        self.tell(Input::Segment(id, answer));
        event
    }

    fn hold(&mut self, found: Found) -> Answer {
        // A table that the plan has let go is only ours.
        self.held.retain(|held| Arc::strong_count(&held.loaded.table) > 1);
        let Found { key, run, start, window, loaded } = found;
        let table = Arc::clone(&loaded.table);
        let Ok(piece) = Piece::new(key, run, start, window.clone(), table) else {
            return Answer::Unreadable(window);
        };
        self.held.retain(|held| held.key != key);
        self.held.push(Held { key, loaded });
        Answer::Piece(piece)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn answered(asked: &mut Option<Answering>) -> Result<Look, ArchiveError> {
    match asked {
        Some((_, looking)) => looking.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_day_of_playing_passes_as_the_first() {
        let begin = now();
        let pace = Pace { real: begin, planned: begin, speed: Speed(8_000) };
        let days = |n: u32| Duration::from_secs(86_400) * n;
        assert_eq!(pace.planned(begin + days(3)), begin + days(24));
        assert_eq!(pace.real(begin + days(24)), begin + days(3));
        // Nothing of it overflows.
        assert!(pace.planned(begin + days(100_000)) > begin);
    }
}
