//! Plans: what is to be recorded at one place, and for how long it stays.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{WeeklySchedule, WeeklySpan};
use crate::{CameraId, InvalidValue, StreamTier};

/// Where a recording lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RecordingPlace {
    /// The premises unit's own storage (A8.7.3).
    Pu,
    /// A network video recorder (A8.7.2).
    Nvr,
    /// The cloud storage (A8.7.1).
    Cs,
}

/// What has happened in front of a camera, or to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EventKind {
    /// Something moves.
    Motion,
    /// A loud or unusual sound.
    Sound,
    /// Somebody covers, turns or blinds the camera.
    Tamper,
    /// A wired contact or button.
    Input,
    /// A person, vehicle or thing was recognized, or a line was crossed.
    Object,
}

/// Why something was recorded; several reasons may hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Causes {
    /// Somebody pressed the button.
    pub manual: bool,
    /// The weekly schedule.
    pub schedule: bool,
    /// Continuous recording.
    pub continuous: bool,
    /// An event, or the time around one.
    pub event: bool,
}

impl Causes {
    /// Whether there is any.
    #[must_use]
    pub const fn any(self) -> bool {
        self.manual || self.schedule || self.continuous || self.event
    }

    /// The causes of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            manual: self.manual || other.manual,
            schedule: self.schedule || other.schedule,
            continuous: self.continuous || other.continuous,
            event: self.event || other.event,
        }
    }
}

/// Name of a strategy within its plan: 1 to 32 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,32}$"))]
pub struct StrategyId(Box<str>);

impl StrategyId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StrategyId {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if text.is_empty() || text.len() > 32 || !text.bytes().all(ok) {
            let form = "must have 1 to 32 letters, digits, '-' and '_'";
            return Err(InvalidValue::new("strategy id", form));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for StrategyId {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StrategyId> for String {
    fn from(id: StrategyId) -> String {
        id.0.into()
    }
}

impl fmt::Display for StrategyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a strategy record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Trigger {
    /// From when somebody starts it until they stop it, also across restarts.
    Manual {
        /// It ends by itself after so many seconds; absent: it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_s: Option<u32>,
    },
    /// During a week's hours.
    Schedule {
        /// Which.
        schedule: WeeklySchedule,
    },
    /// Always.
    Continuous,
    /// Around events.
    Event {
        /// Events of these kinds.
        kinds: BTreeSet<EventKind>,
        /// Seconds before an event's beginning that are recorded too.
        pre_roll_s: u16,
        /// Seconds after an event's end.
        post_roll_s: u16,
        /// Only events in these hours; absent: always.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        during: Option<WeeklySchedule>,
    },
}

/// One reason to record. Several hold side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Strategy {
    /// Its name in the plan.
    pub id: StrategyId,
    /// Which of the camera's encodings.
    pub tier: StreamTier,
    /// When.
    pub trigger: Trigger,
}

/// How long recordings stay. Absent limits are those of the storage: when it is full, the oldest
/// goes for the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Keep {
    /// Most bytes of each tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Longest time, in seconds since a segment's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// Longest time for clips of events, in seconds. They also go last when space is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_max_age_s: Option<u32>,
}

/// What one camera's recorder does at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordingPlan {
    /// The camera.
    pub camera: CameraId,
    /// The place.
    pub place: RecordingPlace,
    /// Rises with every change; the highest holds. 0: nothing was ever set.
    pub revision: u64,
    /// What is recorded; nothing when empty.
    pub strategies: Vec<Strategy>,
    /// For how long.
    #[serde(default)]
    pub keep: Keep,
}

/// Why a plan cannot be carried out: the fault of who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More strategies than [`RecordingPlan::MAX_STRATEGIES`].
    #[error("a plan has at most {max} strategies, not {0}", max = RecordingPlan::MAX_STRATEGIES)]
    TooMany(usize),
    /// Two strategies of one name.
    #[error("two strategies are called {0}")]
    Twice(StrategyId),
    /// Something of one strategy.
    #[error("strategy {id}: {reason}")]
    Strategy {
        /// Which.
        id: StrategyId,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The limits of [`Keep`].
    #[error("{0}")]
    Keep(&'static str),
}

impl RecordingPlan {
    /// Most strategies of a plan.
    pub const MAX_STRATEGIES: usize = 16;
    /// Most spans of one weekly schedule.
    pub const MAX_SPANS: usize = 64;
    /// Longest pre-roll, in seconds: it is held in memory.
    pub const MAX_PRE_ROLL_S: u16 = 30;
    /// Longest post-roll, in seconds.
    pub const MAX_POST_ROLL_S: u16 = 3_600;
    /// Longest manual recording that ends by itself, in seconds: 30 days.
    pub const MAX_MANUAL_S: u32 = 30 * 86_400;
    /// Least bytes that a limit may leave: less holds no minute of a good camera.
    pub const MIN_BYTES: u64 = 64 << 20;
    /// Shortest age at which recordings go, in seconds.
    pub const MIN_AGE_S: u32 = 3_600;

    /// Nothing is recorded there.
    #[must_use]
    pub const fn nothing(camera: CameraId, place: RecordingPlace) -> Self {
        let keep = Keep { max_bytes: None, max_age_s: None, event_max_age_s: None };
        Self { camera, place, revision: 0, strategies: Vec::new(), keep }
    }

    /// Checks counts and limits. Whether the zones exist is left to who knows them.
    ///
    /// # Errors
    /// [`PlanError`], the first that is found.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.strategies.len() > Self::MAX_STRATEGIES {
            return Err(PlanError::TooMany(self.strategies.len()));
        }
        let mut ids = BTreeSet::new();
        for strategy in &self.strategies {
            if !ids.insert(&strategy.id) {
                return Err(PlanError::Twice(strategy.id.clone()));
            }
            strategy.trigger.check().map_err(|reason| {
                let id = strategy.id.clone();
                PlanError::Strategy { id, reason }
            })?;
        }
        self.keep.check()
    }
}

impl Trigger {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Continuous | Self::Manual { limit_s: None } => Ok(()),
            Self::Manual { limit_s: Some(limit) } => match limit {
                1..=RecordingPlan::MAX_MANUAL_S => Ok(()),
                _ => Err(format!("limit_s must be 1 to {}", RecordingPlan::MAX_MANUAL_S)),
            },
            Self::Schedule { schedule } => check_schedule(schedule),
            Self::Event { kinds, pre_roll_s, post_roll_s, during } => {
                let (pre, post) = (RecordingPlan::MAX_PRE_ROLL_S, RecordingPlan::MAX_POST_ROLL_S);
                if kinds.is_empty() {
                    return Err("kinds must name at least one kind of event".into());
                }
                if *pre_roll_s > pre || *post_roll_s > post {
                    return Err(format!("pre_roll_s must be 0 to {pre}, post_roll_s 0 to {post}"));
                }
                during.as_ref().map_or(Ok(()), check_schedule)
            }
        }
    }
}

fn check_schedule(schedule: &WeeklySchedule) -> Result<(), String> {
    let most = RecordingPlan::MAX_SPANS;
    if schedule.spans.is_empty() || schedule.spans.len() > most {
        return Err(format!("a schedule must have 1 to {most} spans"));
    }
    schedule.spans.iter().try_for_each(|span: &WeeklySpan| {
        if span.days.is_empty() {
            return Err("a span must name at least one day".into());
        }
        if span.from == span.to || span.from == super::MinuteOfDay::END {
            let (from, to) = (span.from, span.to);
            return Err(format!(
                "a span from {from} to {to} is empty; a whole day is 00:00 to 24:00"
            ));
        }
        Ok(())
    })
}

impl Keep {
    fn check(&self) -> Result<(), PlanError> {
        if self.max_bytes.is_some_and(|bytes| bytes < RecordingPlan::MIN_BYTES) {
            return Err(PlanError::Keep("max_bytes must be at least 67108864 (64 MiB)"));
        }
        let ages = [self.max_age_s, self.event_max_age_s];
        if ages.iter().flatten().any(|age| *age < RecordingPlan::MIN_AGE_S) {
            return Err(PlanError::Keep("max_age_s and event_max_age_s must be at least 3600"));
        }
        match (self.max_age_s, self.event_max_age_s) {
            (Some(all), Some(event)) if event < all => {
                Err(PlanError::Keep("event_max_age_s must not be below max_age_s"))
            }
            (_, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelId, MinuteOfDay, PuId, PublicKey, Weekday, ZoneName};

    fn plan(strategies: Vec<Strategy>) -> RecordingPlan {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let camera = CameraId { pu, channel: ChannelId(0) };
        RecordingPlan { strategies, ..RecordingPlan::nothing(camera, RecordingPlace::Pu) }
    }

    fn with(trigger: Trigger) -> RecordingPlan {
        let id = "a".parse().expect("an id");
        plan(vec![Strategy { id, tier: StreamTier::Main, trigger }])
    }

    fn week(from: u16, to: u16, days: &[Weekday]) -> WeeklySchedule {
        let time = |minutes| MinuteOfDay::from_minutes(minutes).expect("of a day");
        let days = days.iter().copied().collect();
        let span = WeeklySpan { days, from: time(from), to: time(to) };
        WeeklySchedule { zone: ZoneName::utc(), spans: vec![span] }
    }

    fn event(kinds: &[EventKind], pre_roll_s: u16, post_roll_s: u16) -> Trigger {
        let kinds = kinds.iter().copied().collect();
        Trigger::Event { kinds, pre_roll_s, post_roll_s, during: None }
    }

    #[test]
    fn limits_are_kept_and_named() {
        let days = &Weekday::ALL;
        for good in [
            Trigger::Continuous,
            Trigger::Manual { limit_s: None },
            Trigger::Manual { limit_s: Some(RecordingPlan::MAX_MANUAL_S) },
            Trigger::Schedule { schedule: week(0, 1_440, days) },
            Trigger::Schedule { schedule: week(1_320, 360, days) },
            event(&[EventKind::Motion], 30, 3_600),
            event(&[EventKind::Input], 0, 0),
        ] {
            assert_eq!(with(good.clone()).check(), Ok(()), "{good:?}");
        }
        for (bad, said) in [
            (Trigger::Manual { limit_s: Some(0) }, "limit_s"),
            (Trigger::Manual { limit_s: Some(RecordingPlan::MAX_MANUAL_S + 1) }, "limit_s"),
            (Trigger::Schedule { schedule: week(5, 5, days) }, "empty"),
            (Trigger::Schedule { schedule: week(1_440, 5, days) }, "empty"),
            (Trigger::Schedule { schedule: week(0, 5, &[]) }, "day"),
            (event(&[], 0, 0), "kinds"),
            (event(&[EventKind::Motion], 31, 0), "pre_roll_s"),
            (event(&[EventKind::Motion], 0, 3_601), "post_roll_s"),
        ] {
            let error = with(bad.clone()).check().expect_err("beyond a limit").to_string();
            assert!(error.contains("strategy a") && error.contains(said), "{bad:?}: {error}");
        }
        let mut schedule = week(0, 5, days);
        schedule.spans = vec![schedule.spans[0].clone(); RecordingPlan::MAX_SPANS + 1];
        let error = with(Trigger::Schedule { schedule }).check().expect_err("too many spans");
        assert!(error.to_string().contains("1 to 64"), "{error}");
    }

    #[test]
    fn counts_names_and_ages_are_checked() {
        let one = with(Trigger::Continuous).strategies.remove(0);
        let twice = plan(vec![one.clone(), one.clone()]);
        assert_eq!(twice.check(), Err(PlanError::Twice(one.id.clone())));
        let many =
            (0..17).map(|n| Strategy { id: format!("s{n}").parse().expect("id"), ..one.clone() });
        assert_eq!(plan(many.collect()).check(), Err(PlanError::TooMany(17)));
        let keep = |max_bytes, max_age_s, event_max_age_s| {
            let keep = Keep { max_bytes, max_age_s, event_max_age_s };
            RecordingPlan { keep, ..plan(vec![]) }.check()
        };
        assert_eq!(keep(Some(RecordingPlan::MIN_BYTES), Some(3_600), Some(3_600)), Ok(()));
        assert_eq!(keep(None, None, Some(86_400)), Ok(()));
        assert!(keep(Some(RecordingPlan::MIN_BYTES - 1), None, None).is_err());
        assert!(keep(None, Some(3_599), None).is_err());
        assert!(keep(None, Some(7_200), Some(7_199)).is_err());
    }

    #[test]
    fn strategy_ids_refuse_what_is_no_name() {
        for bad in ["", "a b", "a.b", "ä", &"x".repeat(33)] {
            assert!(bad.parse::<StrategyId>().is_err(), "{bad:?} was taken");
        }
    }
}
