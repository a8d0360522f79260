//! What a recorder reports, over Sc (H.626.4 clause 9.9: status and alarms).

use serde::{Deserialize, Serialize};
use sightline_model::PuId;

use crate::ps::RecorderReport;

/// From SCU to CMU; the reply is [`super::ScReply::Done`] or a refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScRecorderReport {
    /// The device that reports.
    pub device: PuId,
    /// Its lease; an older one changes nothing.
    pub epoch: u64,
    /// What it reports.
    pub report: RecorderReport,
}
