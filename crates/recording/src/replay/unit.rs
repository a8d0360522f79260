//! What goes into a planner, and what comes out.

use std::{ops::Range, time::Instant};

use sightline_model::UnixMicros;

use super::{Budget, Piece, Scale, SegmentKey, Selection, Way};

/// How a receiver takes what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// At the pace of showing.
    #[default]
    Paced,
    /// As fast as the caller polls; the receiver is in control (ONVIF `Rate-Control: no`).
    Free,
}

/// What is done where nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gaps {
    /// It is skipped at once, with a mark.
    #[default]
    Skip,
    /// It takes as long as it took; several cameras in step need that.
    Wait,
}

/// How much of a group a receiver can hold while it shows it backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBound {
    /// Pictures.
    pub pictures: usize,
    /// Bytes of coded pictures.
    pub bytes: u64,
}

/// How a planner behaves whatever is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// When pictures are left out at a high scale.
    pub budget: Budget,
    /// In reverse, longer groups are sent several times, each time for the next part to be shown.
    /// None: every group once, whatever its length (ONVIF's order).
    pub group_bound: Option<GroupBound>,
    /// Gaps.
    pub gaps: Gaps,
}

impl Default for Config {
    fn default() -> Self {
        let group_bound = Some(GroupBound { pictures: 300, bytes: 16 << 20 });
        Self { budget: Budget::default(), group_bound, gaps: Gaps::Skip }
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Play {
    /// From when on; none: from what is shown now.
    pub at: Option<UnixMicros>,
    /// Until when, not included; none: to the end. Before [`Self::at`] in reverse.
    pub until: Option<UnixMicros>,
    /// How fast.
    pub scale: Scale,
    /// Which pictures.
    pub selection: Selection,
    /// At which pace.
    pub delivery: Delivery,
}

impl Play {
    /// All from `at` on.
    #[must_use]
    pub fn from(at: UnixMicros, scale: Scale) -> Self {
        Self { at: Some(at), ..Self::on(scale) }
    }

    /// On from what is shown.
    #[must_use]
    pub fn on(scale: Scale) -> Self {
        let (selection, delivery) = (Selection::Budget, Delivery::Paced);
        Self { at: None, until: None, scale, selection, delivery }
    }
}

/// Number of a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A piece of the recording is needed: forwards the one that is shown at `at`, else the first
/// after it; backwards the one that is shown just before `at`, else the last before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// The time.
    pub at: UnixMicros,
    /// The direction.
    pub way: Way,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The piece.
    Piece(Piece),
    /// A piece that cannot be read: it is passed over, like a gap. Its window.
    Unreadable(Range<UnixMicros>),
    /// Nothing yet, but it is still being recorded: [`Input::More`] will follow.
    Later,
    /// Nothing.
    End,
}

/// What a planner is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The answer to a request; one that is no longer waited for is ignored.
    Segment(RequestId, Answer),
    /// The recording has grown since [`Answer::Later`].
    More,
    /// Play, or go on, or play otherwise.
    Play(Play),
    /// Stop at what is shown; what was sent ahead is shown when playing goes on.
    Pause,
    /// Show one picture, the one at that time, and pause.
    Show(UnixMicros),
    /// Show the next or the previous picture, and pause. Counts from the time given, else from what
    /// is shown now by the planner's own clock.
    Step(Way, Option<UnixMicros>),
}

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// A picture.
    Picture,
    /// A piece of sound.
    Sound,
}

/// One picture or piece of sound, to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Whose.
    pub segment: SegmentKey,
    /// What.
    pub kind: UnitKind,
    /// Its number in the segment's table, in the order of the file.
    pub index: usize,
    /// Its number in what the table was read from.
    pub source: usize,
    /// When it was taken, corrected (decision 0090).
    pub wall: UnixMicros,
    /// When it is to be shown, in microseconds of playing; rises over what is shown, whatever
    /// the direction and through pauses, jumps and gaps.
    pub presentation_us: i64,
    /// When it is to be sent.
    pub due: Instant,
    /// Whether it is shown; else it is only decoded, for what follows.
    pub shown: bool,
    /// Decoding can start here (ONVIF C).
    pub keyframe: bool,
    /// Decoding has to start anew here: this does not follow what was sent before (ONVIF D).
    pub discontinuity: bool,
    /// The recording has a gap behind it; in reverse, its group has one in front (ONVIF E).
    pub section_end: bool,
    /// Nothing more is recorded in this direction (ONVIF T).
    pub last: bool,
    /// Number of the jump, turn or step that it belongs to: what was sent for an earlier one and is
    /// not shown yet is not to be shown any more.
    pub command: u32,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Nothing more is recorded in this direction.
    Recording,
    /// [`Play::until`] was reached.
    Until,
}

/// Something to be told to who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
    /// A group is longer than the receiver can hold, and is sent in parts.
    LargeGroup {
        /// Its pictures.
        pictures: usize,
        /// Of how many of its pictures one is shown; 1: all.
        one_of: usize,
    },
    /// A piece could not be read and was passed over.
    Unreadable {
        /// From when on, in microseconds since 1970.
        from: UnixMicros,
        /// Until when.
        to: UnixMicros,
    },
}

/// What a planner gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A piece of the recording is needed.
    Need(Request),
    /// To be sent now.
    Send(Unit),
    /// To be told.
    Notice(Notice),
    /// Nothing more comes until [`Input::More`] or something else is wanted.
    Ended(EndReason),
}
