//! Recorders that could not be asked, in words.

use sightline_model::RecordingPlace;
use sightline_protocol::cm::{SilenceReason, SilentRecorder};

/// Who it is and why it says nothing, without an end: "the NVR … is not connected".
pub(crate) fn words(silent: &SilentRecorder) -> String {
    let who = match silent.place {
        RecordingPlace::Pu => "the camera's own unit".to_owned(),
        RecordingPlace::Nvr => format!("the NVR {}", silent.recorder),
        RecordingPlace::Cs => "the cloud storage".to_owned(),
    };
    let why = match silent.reason {
        SilenceReason::Offline => "is not connected",
        SilenceReason::NoAnswer => "did not answer in time",
        SilenceReason::StorageAway => "has no storage: its card or disk is gone",
        SilenceReason::Busy => "has too much to do just now",
        SilenceReason::Failed => "could not be asked, because something failed",
    };
    format!("{who} {why}")
}

#[cfg(test)]
mod tests {
    use sightline_model::{PuId, PublicKey};

    use super::*;

    #[test]
    fn who_is_silent_and_why_is_said_in_words() {
        let recorder = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let said =
            |place, reason| words(&SilentRecorder { place, recorder: recorder.clone(), reason });
        let unit = said(RecordingPlace::Pu, SilenceReason::StorageAway);
        assert_eq!(unit, "the camera's own unit has no storage: its card or disk is gone");
        let nvr = said(RecordingPlace::Nvr, SilenceReason::Offline);
        assert_eq!(nvr, format!("the NVR {recorder} is not connected"));
    }
}
