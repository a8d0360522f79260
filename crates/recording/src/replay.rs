//! The order in which pictures of recordings are sent to who looks back (decision 0093).
//!
//! - [`Planner`]: one camera. Forwards at any scale, in reverse by groups of pictures, single
//!   pictures, jumps; asks for pieces of the recording and gives units with the time at which each
//!   is to be sent and shown.
//! - [`InStep`]: several cameras at one playhead.
//! - [`choose`]: which segment is shown at which second where several claim it.
//! - [`thumbnail_at`]: the keyframes that stand for stretches of a timeline.
//! - [`export`]: what goes into one file, and which entries prove it.
//!
//! It holds no bytes of pictures: a unit names the segment and its number in it.
//!
//! ```
//! use std::time::Instant;
//! use sightline_model::UnixMicros;
//! use sightline_recording::replay::{Answer, Config, Input, Output, Planner, Play, Scale};
//! let now = Instant::now();
//! let mut planner = Planner::new(Config::default(), now);
//! planner.handle_input(Input::Play(Play::from(UnixMicros(0), Scale::NORMAL)), now);
//! let Some(Output::Need(request)) = planner.poll_output() else { panic!("asks first") };
//! planner.handle_input(Input::Segment(request.id, Answer::End), now);
//! assert!(matches!(planner.poll_output(), Some(Output::Ended(_))));
//! ```

mod choose;
mod clock;
pub mod export;
mod group;
mod in_step;
mod planner;
mod table;
mod thumbnail;
mod unit;

#[cfg(test)]
mod tests;

pub use choose::{Candidate, Stretch, choose};
pub use clock::{Scale, Way};
pub use group::{Budget, Selection};
pub use in_step::InStep;
pub use planner::Planner;
pub use table::{MAX_PICTURES, Picture, Piece, PieceError, SegmentKey, Sound, Table};
pub use thumbnail::{Thumbnail, thumbnail_at, thumbnails};
pub use unit::{
    Answer, Config, Delivery, EndReason, Gaps, GroupBound, Input, Notice, Output, Play, Request,
    RequestId, Unit, UnitKind,
};
