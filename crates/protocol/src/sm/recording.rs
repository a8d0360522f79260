//! Recording over Sm (A8.7.1 steps 2 and 6, A8.7.2 steps 10 and 14, A8.7.3 steps 2 and 5, and the same steps
//! of playback). The CMU has checked the right of the user; the recorder checks limits and revisions.

use serde::{Deserialize, Serialize};
use sightline_model::PuId;

use crate::{
    Problem,
    ps::{RecordingReply, RecordingRequest},
};

/// From CMU to the SCU that holds the recorder's lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmRecording {
    /// The PU or NVR.
    pub device: PuId,
    /// What it is asked.
    pub recording: RecordingRequest,
}

/// The SCU's reply: the recorder's own, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmRecorded {
    /// As the recorder answered.
    pub recorded: Result<RecordingReply, Problem>,
}
