//! `[cloud]` of the configuration file.

use std::path::PathBuf;

use serde::Deserialize;
use sightline_cloud::budget::{Budget, Per};
use sightline_model::RecordingPlan;
use sightline_service_kit::config::ConfigError;
use url::Url;

/// What waits in the spool when nothing is said: an hour of a good camera.
const SPOOL_BYTES: u64 = 1 << 30;

/// `[cloud]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudConfig {
    /// The folder of the spool, which must exist. Absent: nothing is recorded to the cloud.
    pub spool_dir: Option<PathBuf>,
    /// Most bytes that wait there.
    pub spool_max_bytes: Option<u64>,
    /// Most bytes that are sent in a day or month.
    pub budget_bytes: Option<u64>,
    /// In which of them.
    pub budget_per: Option<Per>,
    /// The authority of the store's certificate, when that is not the centre itself.
    pub store_ca: Option<PathBuf>,
}

/// `[cloud]` where it is on, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCloud {
    /// The folder of the spool.
    pub spool_dir: PathBuf,
    /// Most bytes that wait there.
    pub spool_max_bytes: u64,
    /// What may go over a metered link.
    pub budget: Option<Budget>,
    /// The authority of the store's certificate.
    pub store_ca: Option<PathBuf>,
    /// What addresses without a host are relative to.
    pub portal: Url,
}

impl CloudConfig {
    /// Whether and how to record to the cloud.
    ///
    /// # Errors
    /// [`ConfigError`], in words for whoever wrote it.
    pub fn check(&self, portal: Option<&Url>) -> Result<Option<CheckedCloud>, ConfigError> {
        let unusable = |why: String| Err(ConfigError::Unusable(why));
        let Some(spool_dir) = &self.spool_dir else {
            if *self == Self::default() {
                return Ok(None);
            }
            return unusable("cloud.spool_dir must name the folder of the spool".into());
        };
        if spool_dir.as_os_str().is_empty() {
            return unusable("cloud.spool_dir must not be empty".into());
        }
        let Some(portal) = portal else {
            return unusable("cloud: `portal` must be set, to which recordings are sent".into());
        };
        let least = RecordingPlan::MIN_BYTES;
        let spool_max_bytes = self.spool_max_bytes.unwrap_or(SPOOL_BYTES);
        if spool_max_bytes < least {
            return unusable(format!("cloud.spool_max_bytes must be at least {least} (64 MiB)"));
        }
        let budget = match (self.budget_bytes, self.budget_per) {
            (None, None) => None,
            (Some(bytes), Some(per)) if bytes > 0 => Some(Budget { bytes, per }),
            (Some(0), _) => return unusable("cloud.budget_bytes must be at least 1".into()),
            (_, _) => {
                let why = "cloud.budget_bytes and cloud.budget_per belong together";
                return unusable(why.into());
            }
        };
        Ok(Some(CheckedCloud {
            spool_dir: spool_dir.clone(),
            spool_max_bytes,
            budget,
            store_ca: self.store_ca.clone(),
            portal: portal.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_off_until_a_folder_is_named_and_needs_a_portal() {
        let portal = Url::parse("https://cameras.example").expect("a URL");
        assert_eq!(CloudConfig::default().check(None).expect("good"), None);
        let on = CloudConfig { spool_dir: Some("spool".into()), ..CloudConfig::default() };
        let checked = on.check(Some(&portal)).expect("good").expect("on");
        assert_eq!((checked.spool_max_bytes, checked.budget), (SPOOL_BYTES, None));
        assert!(on.check(None).expect_err("no portal").to_string().contains("portal"));
        let budget =
            CloudConfig { budget_bytes: Some(5), budget_per: Some(Per::Month), ..on.clone() };
        let budget = budget.check(Some(&portal)).expect("good").expect("on").budget;
        assert_eq!(budget, Some(Budget { bytes: 5, per: Per::Month }));
        for (bad, said) in [
            (CloudConfig { spool_dir: None, ..on.clone() }, None),
            (CloudConfig { spool_max_bytes: Some(1), ..on.clone() }, Some("64 MiB")),
            (CloudConfig { budget_bytes: Some(5), ..on.clone() }, Some("belong together")),
            (CloudConfig { budget_per: Some(Per::Day), ..on.clone() }, Some("belong together")),
        ] {
            match (bad.check(Some(&portal)), said) {
                (Err(error), Some(said)) => assert!(error.to_string().contains(said), "{error}"),
                (Ok(None), None) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}
