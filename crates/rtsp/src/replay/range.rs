//! The `Range` header.

use std::{fmt, str::FromStr};

use sightline_model::UnixMicros;

use super::{HeaderError, civil, is_digits};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// 0000-01-01T00:00:00Z and the last microsecond of the year 9999: what four digits can say.
const FIRST_US: i64 = -719_528 * DAY_US;
const LAST_US: i64 = 2_932_897 * DAY_US - 1;
/// Longest normal play time, in seconds: about 300 years.
const MAX_NPT_S: u64 = 9_999_999_999;

/// From when to when; at least one of them is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange<T> {
    /// Where playing begins; none: at the recording's beginning (in reverse: its end).
    pub from: Option<T>,
    /// Where it ends; none: with the recording.
    pub to: Option<T>,
}

/// Normal play time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NptTime {
    /// What is happening.
    Now,
    /// Microseconds from the beginning.
    Micros(u64),
}

/// A `Range` of a kind that is played here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Absolute time (RFC 7826 section 4.4.3).
    Clock(TimeRange<UnixMicros>),
    /// Normal play time (RFC 7826 section 4.4.2).
    Npt(TimeRange<NptTime>),
}

impl Range {
    /// From `from` on, absolute.
    #[must_use]
    pub const fn clock_from(from: UnixMicros) -> Self {
        Self::Clock(TimeRange { from: Some(from), to: None })
    }

    /// The direction of a closed range; none when it is open or of one instant.
    #[must_use]
    pub fn runs_forwards(&self) -> Option<bool> {
        let order = match self {
            Self::Clock(TimeRange { from: Some(from), to: Some(to) }) => to.cmp(from),
            Self::Npt(TimeRange {
                from: Some(NptTime::Micros(from)),
                to: Some(NptTime::Micros(to)),
            }) => to.cmp(from),
            Self::Clock(_) | Self::Npt(_) => return None,
        };
        (order != std::cmp::Ordering::Equal).then_some(order == std::cmp::Ordering::Greater)
    }
}

impl FromStr for Range {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let text = text.trim();
        // RFC 2326 lets a time follow at which the request takes effect: nothing waits here.
        if text.contains(';') {
            return Err(HeaderError::NotValid("Range"));
        }
        let (unit, range) = text.split_once('=').ok_or(HeaderError::Malformed("Range"))?;
        match unit.trim().to_ascii_lowercase().as_str() {
            "clock" => Ok(Self::Clock(times(range, clock)?)),
            "npt" => Ok(Self::Npt(times(range, npt)?)),
            _ => Err(HeaderError::Range),
        }
    }
}

fn times<T>(
    text: &str,
    read: fn(&str) -> Result<T, HeaderError>,
) -> Result<TimeRange<T>, HeaderError> {
    let malformed = HeaderError::Malformed("Range");
    let (from, to) = text.split_once('-').ok_or(malformed)?;
    let one = |text: &str| match text.trim() {
        "" => Ok(None),
        text => read(text).map(Some),
    };
    let range = TimeRange { from: one(from)?, to: one(to)? };
    if range.from.is_none() && range.to.is_none() { Err(malformed) } else { Ok(range) }
}

/// `8DIGIT "T" 6DIGIT [ "." 1*9DIGIT ] "Z"`.
fn clock(text: &str) -> Result<UnixMicros, HeaderError> {
    let malformed = HeaderError::Malformed("Range");
    let (date, time) = text.split_once('T').ok_or(malformed)?;
    let time = time.strip_suffix('Z').ok_or(malformed)?;
    let (time, fraction) = time.split_once('.').map_or((time, None), |(t, f)| (t, Some(f)));
    if date.len() != 8 || time.len() != 6 || !is_digits(date) || !is_digits(time) {
        return Err(malformed);
    }
    let of = |digits: &str| digits.parse::<i64>().map_err(|_| malformed);
    let (year, month, day) = (of(&date[..4])?, of(&date[4..6])?, of(&date[6..])?);
    let (hour, minute, second) = (of(&time[..2])?, of(&time[2..4])?, of(&time[4..])?);
    // Second 60 is a leap second (RFC 7826 section 4.4.3 counts UTC); it is the next one's first.
    if hour > 23 || minute > 59 || second > 60 {
        return Err(HeaderError::Range);
    }
    let days = civil::days(year, month, day).ok_or(HeaderError::Range)?;
    let seconds = (hour * 60 + minute) * 60 + second;
    let micros = fraction.map_or(Ok(0), fraction_us)?;
    Ok(UnixMicros(days * DAY_US + seconds * SECOND_US + micros))
}

/// `now`, seconds, or `h:mm:ss`, with a fraction.
fn npt(text: &str) -> Result<NptTime, HeaderError> {
    let malformed = HeaderError::Malformed("Range");
    if text.eq_ignore_ascii_case("now") {
        return Ok(NptTime::Now);
    }
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let of = |digits: &str| {
        let valid = is_digits(digits) && digits.len() <= 10;
        digits.parse::<u64>().ok().filter(|_| valid).ok_or(malformed)
    };
    let mut parts = whole.split(':');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    let seconds = match parts {
        (Some(seconds), None, _, _) => of(seconds)?,
        (Some(hours), Some(minutes), Some(seconds), None) => {
            let (minutes, seconds) = (of(minutes)?, of(seconds)?);
            if minutes > 59 || seconds > 59 {
                return Err(malformed);
            }
            (of(hours)? * 60 + minutes) * 60 + seconds
        }
        _ => return Err(malformed),
    };
    if seconds > MAX_NPT_S {
        return Err(HeaderError::Range);
    }
    let micros = fraction.filter(|f| !f.is_empty()).map_or(Ok(0), fraction_us)?;
    Ok(NptTime::Micros(seconds * 1_000_000 + micros.unsigned_abs()))
}

/// One to nine digits behind a point, as microseconds; what is finer is cut off.
fn fraction_us(digits: &str) -> Result<i64, HeaderError> {
    if !is_digits(digits) || digits.len() > 9 {
        return Err(HeaderError::Malformed("Range"));
    }
    let digit = |at| digits.as_bytes().get(at).map_or(0, |b| i64::from(b - b'0'));
    Ok((0..6).fold(0, |sum, at| sum * 10 + digit(at)))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(TimeRange { from, to }) => {
                f.write_str("clock=")?;
                from.map_or(Ok(()), |time| write_clock(f, time))?;
                f.write_str("-")?;
                to.map_or(Ok(()), |time| write_clock(f, time))
            }
            Self::Npt(TimeRange { from, to }) => {
                f.write_str("npt=")?;
                from.map_or(Ok(()), |time| write_npt(f, time))?;
                f.write_str("-")?;
                to.map_or(Ok(()), |time| write_npt(f, time))
            }
        }
    }
}

/// Times that four digits of a year cannot say become the nearest that they can.
fn write_clock(f: &mut fmt::Formatter<'_>, time: UnixMicros) -> fmt::Result {
    let micros = time.0.clamp(FIRST_US, LAST_US);
    let (year, month, day) = civil::date(micros.div_euclid(DAY_US));
    let of_day = micros.rem_euclid(DAY_US);
    let seconds = of_day / SECOND_US;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}")?;
    write_fraction(f, of_day % SECOND_US)?;
    f.write_str("Z")
}

fn write_npt(f: &mut fmt::Formatter<'_>, time: NptTime) -> fmt::Result {
    match time {
        NptTime::Now => f.write_str("now"),
        NptTime::Micros(micros) => {
            write!(f, "{}", micros / 1_000_000)?;
            write_fraction(f, i64::try_from(micros % 1_000_000).unwrap_or(0))
        }
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    let digits = format!("{micros:06}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}
