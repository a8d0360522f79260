//! `[recording]` of the configuration file.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::Deserialize;
use sightline_model::{RecordingPlan, StreamTier};
use sightline_service_kit::config::ConfigError;

/// Longest age that can be configured, in days.
const MAX_AGE_DAYS: u32 = 3_650;

/// `[recording]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordingConfig {
    /// The folder of the recordings, which must exist. Absent: nothing is recorded.
    pub dir: Option<PathBuf>,
    /// Most bytes of all recordings together; absent: as much as the storage has, but for a reserve.
    pub max_bytes: Option<u64>,
    /// Recordings go after so many days; absent: when space is needed.
    pub max_age_days: Option<u32>,
    /// Which encodings of every camera are recorded all the time, until a plan is set remotely.
    pub continuous: BTreeSet<StreamTier>,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        let continuous = [StreamTier::Main].into();
        Self { dir: None, max_bytes: None, max_age_days: None, continuous }
    }
}

/// `[recording]` where it is on, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRecording {
    /// The folder of the recordings.
    pub dir: PathBuf,
    /// Most bytes of all recordings together.
    pub max_bytes: Option<u64>,
    /// The plan that holds for every camera until another one is set.
    pub first: FirstPlan,
}

/// The plan that holds until another one is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstPlan {
    /// Which encodings are recorded all the time.
    pub continuous: BTreeSet<StreamTier>,
    /// After which time recordings go.
    pub max_age: Option<Duration>,
}

impl RecordingConfig {
    /// What is to be recorded and where; none: nothing.
    ///
    /// # Errors
    /// [`ConfigError`], in words for whoever wrote it.
    pub fn check(&self) -> Result<Option<CheckedRecording>, ConfigError> {
        let unusable = |why: String| Err(ConfigError::Unusable(why));
        let Some(dir) = &self.dir else {
            if *self == Self::default() {
                return Ok(None);
            }
            return unusable("recording.dir must name the folder of the recordings".into());
        };
        if dir.as_os_str().is_empty() {
            return unusable(
                "recording.dir must not be empty; leave it out to record nothing".into(),
            );
        }
        let least = RecordingPlan::MIN_BYTES;
        if self.max_bytes.is_some_and(|bytes| bytes < least) {
            return unusable(format!("recording.max_bytes must be at least {least} (64 MiB)"));
        }
        if self.max_age_days.is_some_and(|days| !(1..=MAX_AGE_DAYS).contains(&days)) {
            return unusable(format!("recording.max_age_days must be 1 to {MAX_AGE_DAYS}"));
        }
        let max_age = self.max_age_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let first = FirstPlan { continuous: self.continuous.clone(), max_age };
        Ok(Some(CheckedRecording { dir: dir.clone(), max_bytes: self.max_bytes, first }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> RecordingConfig {
        RecordingConfig { dir: Some("card".into()), ..RecordingConfig::default() }
    }

    #[test]
    fn it_is_off_until_a_folder_is_named() {
        assert_eq!(RecordingConfig::default().check().expect("good"), None);
        let checked = on().check().expect("good").expect("on");
        assert_eq!(checked.first.continuous, [StreamTier::Main].into());
        assert_eq!((checked.max_bytes, checked.first.max_age), (None, None));
    }

    #[test]
    fn what_cannot_work_is_refused_in_words() {
        let without = RecordingConfig { max_age_days: Some(7), ..RecordingConfig::default() };
        let (empty, tiny) = (Some(PathBuf::new()), Some((64 << 20) - 1));
        for (bad, said) in [
            (without, "recording.dir"),
            (RecordingConfig { dir: empty, ..on() }, "recording.dir"),
            (RecordingConfig { max_bytes: tiny, ..on() }, "recording.max_bytes"),
            (RecordingConfig { max_age_days: Some(0), ..on() }, "recording.max_age_days"),
            (RecordingConfig { max_age_days: Some(3_651), ..on() }, "recording.max_age_days"),
        ] {
            let error = bad.check().expect_err("cannot work").to_string();
            assert!(error.contains(said), "{error}");
        }
        let good = RecordingConfig {
            max_bytes: Some(64 << 20),
            max_age_days: Some(30),
            continuous: BTreeSet::new(),
            ..on()
        };
        let checked = good.check().expect("good").expect("on");
        assert_eq!(checked.first.max_age, Some(Duration::from_secs(30 * 86_400)));
    }
}
