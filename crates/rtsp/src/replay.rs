//! What RTSP says when recordings are played: `Range`, `Scale` and `Speed` (RFC 2326 sections 12.29,
//! 12.34 and 12.35, RFC 7826 sections 18.40, 18.46 and 18.50), and the headers of the ONVIF Streaming
//! Specification, chapter "Playback".
//!
//! Times of recordings are absolute: `clock=20090615T114900.44Z-`. `npt` counts from where the
//! recording begins, and `npt=now-` is live.
//!
//! ```
//! use sightline_rtsp::replay::{Range, TimeRange};
//! let range: Range = "clock=20090615T114900.440Z-".parse()?;
//! let Range::Clock(TimeRange { from: Some(from), to: None }) = range else { panic!("open") };
//! assert_eq!(from.0, 1_245_066_540_440_000);
//! assert_eq!(range.to_string(), "clock=20090615T114900.44Z-");
//! # Ok::<(), sightline_rtsp::replay::HeaderError>(())
//! ```

mod civil;
mod extension;
mod range;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use rtsp_types::{HeaderName, Request, StatusCode, headers};

pub use extension::{EXTENSION_LEN, EXTENSION_PROFILE, ReplayExtension};
pub use range::{NptTime, Range, TimeRange};

/// Feature of the ONVIF Streaming Specification for `Require` and `Supported`.
pub const ONVIF_REPLAY: &str = "onvif-replay";

/// Longest value of a header that is read here, in bytes.
const MAX_VALUE: usize = 128;
/// Most digits of a number before its point (RFC 7826 section 20.1).
const MAX_DIGITS: usize = 9;

/// Why a header cannot be heeded; the player's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It does not have the form of its kind.
    #[error("the header {0} is malformed")]
    Malformed(&'static str),
    /// A range of another unit than `clock` and `npt`, of times that do not exist, or that runs
    /// against the direction of `Scale`.
    #[error("the range cannot be played")]
    Range,
    /// It means nothing together with the others.
    #[error("the header {0} is not valid together with the others")]
    NotValid(&'static str),
}

impl HeaderError {
    /// The status to refuse with (RFC 7826 section 17.4).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BadRequest,
            Self::Range => StatusCode::InvalidRange,
            Self::NotValid(_) => StatusCode::HeaderFieldNotValidForResource,
        }
    }
}

/// How fast the recording's time is to pass, 1 as it happened, below 0 in reverse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale(f64);

impl Scale {
    /// As it happened.
    pub const NORMAL: Self = Self(1.0);

    /// A scale; `None` for 0 and what is no number.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value != 0.0).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_number(f, self.0)
    }
}

impl FromStr for Scale {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let malformed = HeaderError::Malformed("Scale");
        let text = text.trim();
        let (sign, digits) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
        let size = number(digits).ok_or(malformed)?;
        Self::new(sign * size).ok_or(malformed)
    }
}

/// How fast bytes are to be sent, as a multiple of the rate of showing; a range that the server
/// chooses from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    lower: f64,
    upper: f64,
}

impl Speed {
    /// A range of speeds; `None` when it is empty or its end is 0.
    #[must_use]
    pub fn new(lower: f64, upper: f64) -> Option<Self> {
        let valid = lower.is_finite() && upper.is_finite() && lower >= 0.0 && upper > 0.0;
        (valid && lower <= upper).then_some(Self { lower, upper })
    }

    /// The least.
    #[must_use]
    pub const fn lower(self) -> f64 {
        self.lower
    }

    /// The most.
    #[must_use]
    pub const fn upper(self) -> f64 {
        self.upper
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_number(f, self.lower)?;
        f.write_str("-")?;
        write_number(f, self.upper)
    }
}

impl FromStr for Speed {
    type Err = HeaderError;

    /// One number (RFC 2326) or two (RFC 7826).
    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let malformed = HeaderError::Malformed("Speed");
        let (lower, upper) = text.split_once('-').unwrap_or((text, text));
        let of = |text: &str| number(text.trim()).ok_or(malformed);
        Self::new(of(lower)?, of(upper)?).ok_or(malformed)
    }
}

/// Which pictures are wanted (ONVIF `Frames`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frames {
    /// All.
    #[default]
    All,
    /// Those that do not refer to later ones.
    Predicted,
    /// Keyframes only, which lie at least so many milliseconds of the recording apart.
    Intra {
        /// Least distance; 0: all.
        interval_ms: u32,
    },
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Predicted => f.write_str("predicted"),
            Self::Intra { interval_ms: 0 } => f.write_str("intra"),
            Self::Intra { interval_ms } => write!(f, "intra/{interval_ms}"),
        }
    }
}

impl FromStr for Frames {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let malformed = HeaderError::Malformed("Frames");
        let (kind, interval) = match text.trim().split_once('/') {
            Some((kind, interval)) => (kind.trim(), Some(interval.trim())),
            None => (text.trim(), None),
        };
        match (kind, interval) {
            ("all", None) => Ok(Self::All),
            ("predicted", None) => Ok(Self::Predicted),
            ("intra", None) => Ok(Self::Intra { interval_ms: 0 }),
            ("intra", Some(digits)) => {
                let valid = digits.len() <= MAX_DIGITS && is_digits(digits);
                let interval_ms = digits.parse().ok().filter(|_| valid).ok_or(malformed)?;
                Ok(Self::Intra { interval_ms })
            }
            _ => Err(malformed),
        }
    }
}

/// What a PLAY asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlayHeaders {
    /// From when to when; none: on from where it stands.
    pub range: Option<Range>,
    /// How fast.
    pub scale: Option<Scale>,
    /// How fast to send.
    pub speed: Option<Speed>,
    /// Whether the server keeps the pace; else it sends as fast as the player takes.
    pub rate_control: bool,
    /// Whether it takes effect at once, rather than when what is played is over.
    pub immediate: bool,
    /// Which pictures; none: the server's choice.
    pub frames: Option<Frames>,
}

impl Default for PlayHeaders {
    /// Of a request without any of them.
    fn default() -> Self {
        let (range, scale, speed, frames) = (None, None, None, None);
        Self { range, scale, speed, rate_control: true, immediate: false, frames }
    }
}

impl PlayHeaders {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// See [`HeaderError`]; its status is the answer.
    pub fn of<B>(request: &Request<B>) -> Result<Self, HeaderError> {
        let own = |name| {
            let name = HeaderName::from_static_str(name).ok()?;
            value(request, &name)
        };
        let headers = Self {
            range: read("Range", value(request, &headers::RANGE))?,
            scale: read("Scale", value(request, &headers::SCALE))?,
            speed: read("Speed", value(request, &headers::SPEED))?,
            rate_control: switch("Rate-Control", own("Rate-Control"))?.unwrap_or(true),
            immediate: switch("Immediate", own("Immediate"))?.unwrap_or(false),
            frames: read("Frames", own("Frames"))?,
        };
        headers.check()?;
        Ok(headers)
    }

    /// Whether time runs backwards.
    #[must_use]
    pub fn is_reverse(&self) -> bool {
        self.scale.is_some_and(|scale| scale.value() < 0.0)
    }

    fn check(&self) -> Result<(), HeaderError> {
        // ONVIF: without rate control the scale only tells the direction.
        if !self.rate_control && self.scale.is_some_and(|s| s.value().abs() != 1.0) {
            return Err(HeaderError::NotValid("Scale"));
        }
        // ONVIF: a closed range runs in the direction of Scale. RFC 7826 section 18.40 as well.
        match self.range.and_then(|range| range.runs_forwards()) {
            Some(forwards) if forwards == self.is_reverse() => Err(HeaderError::Range),
            Some(_) | None => Ok(()),
        }
    }
}

fn value<'a, B>(request: &'a Request<B>, name: &HeaderName) -> Option<&'a str> {
    request.header(name).map(|value| value.as_str())
}

fn read<T: FromStr<Err = HeaderError>>(
    name: &'static str,
    value: Option<&str>,
) -> Result<Option<T>, HeaderError> {
    match value {
        None => Ok(None),
        Some(value) if value.len() > MAX_VALUE => Err(HeaderError::Malformed(name)),
        Some(value) => value.parse().map(Some),
    }
}

fn switch(name: &'static str, value: Option<&str>) -> Result<Option<bool>, HeaderError> {
    match value.map(|v| v.trim().to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("yes") => Ok(Some(true)),
        Some("no") => Ok(Some(false)),
        Some(_) => Err(HeaderError::Malformed(name)),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `1*9DIGIT [ "." 1*9DIGIT ]`.
fn number(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let valid = |digits: &str| is_digits(digits) && digits.len() <= MAX_DIGITS;
    (valid(whole) && fraction.is_none_or(valid)).then(|| text.parse().ok())?
}

/// With at least one digit behind the point, as the examples of both RFCs have it.
fn write_number(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let text = format!("{value:.9}");
    let text = text.trim_end_matches('0');
    f.write_str(text)?;
    if text.ends_with('.') { f.write_str("0") } else { Ok(()) }
}
