//! The plan of each camera, kept through restarts.
//!
//! One file for each camera in the unit's data folder, replaced whole. What cannot be read counts as
//! not there: then the plan of the configuration holds until the next one is set.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use sightline_model::{
    CameraId, Keep, PuId, RecordingPlace, RecordingPlan, Strategy, StrategyId, StreamTier, Trigger,
};
use sightline_recording::{
    clock::Moment,
    retention::EventClips,
    strategy::{Engine, Kept},
};
use sightline_recording_store::ChainKeep;
use sightline_service_kit::config::write_private;

use super::config::FirstPlan;

/// Longest file that is read. A plan of the largest size takes about a tenth of it.
const MAX_LEN: u64 = 1 << 20;

/// Where one camera's plan is kept.
#[derive(Debug, Clone)]
pub struct PlanFile(PathBuf);

impl PlanFile {
    /// In the device's data folder, one for each place: of its own cameras by their numbers, of other
    /// devices' by both.
    #[must_use]
    pub fn new(data_dir: &Path, recorder: &PuId, camera: &CameraId, place: RecordingPlace) -> Self {
        let kind = match place {
            RecordingPlace::Pu | RecordingPlace::Nvr => "recording-plan",
            RecordingPlace::Cs => "cloud-plan",
        };
        let name = if camera.pu == *recorder {
            camera.channel.to_string()
        } else {
            camera.to_string()
        };
        Self(data_dir.join(format!("{kind}-{name}.json")))
    }

    /// What an earlier run kept, if it is this camera's.
    #[must_use]
    pub fn read(&self, camera: &CameraId) -> Option<Kept> {
        let why = match read(&self.0) {
            Ok(Some(kept)) if kept.plan.camera == *camera => return Some(kept),
            Ok(Some(_)) => "it is another camera's".to_owned(),
            Ok(None) => return None,
            Err(why) => why,
        };
        let path = self.0.display();
        tracing::error!(%path, why, "the kept plan is not used; the configured one holds");
        None
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// When the data folder cannot be written to.
    pub fn write(&self, kept: &Kept) -> io::Result<()> {
        write_private(&self.0, &serde_json::to_vec(kept)?)
    }
}

fn read(path: &Path) -> Result<Option<Kept>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_LEN {
        return Err("it is too long".into());
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| error.to_string())
}

/// The engine of a camera after a start.
#[must_use]
pub fn engine(
    camera: &CameraId,
    place: RecordingPlace,
    kept: Option<Kept>,
    first: &FirstPlan,
    now: Moment,
) -> Engine {
    let first = first_plan(camera, place, first);
    let begin = |plan, manual| Kept { version: Kept::VERSION, plan, manual };
    let kept = match kept {
        // Revision 0: nothing was set remotely, so the configuration may have changed it.
        Some(kept) if kept.version == Kept::VERSION && kept.plan.revision == 0 => {
            begin(first.clone(), kept.manual)
        }
        Some(kept) => kept,
        None => begin(first.clone(), Vec::new()),
    };
    Engine::restore(kept, now).unwrap_or_else(|error| {
        tracing::error!(%camera, %error, "the kept plan is not used; the configured one holds");
        Engine::restore(begin(first, Vec::new()), now)
            .unwrap_or_else(|_| Engine::new(camera.clone(), place))
    })
}

/// The plan of the configuration. Its revision is 0: any that is set replaces it.
fn first_plan(camera: &CameraId, place: RecordingPlace, first: &FirstPlan) -> RecordingPlan {
    let strategy = |tier: &StreamTier| {
        let id: Result<StrategyId, _> = match tier {
            StreamTier::Main => "continuous-main",
            StreamTier::Sub => "continuous-sub",
        }
        .parse();
        id.ok().map(|id| Strategy { id, tier: *tier, trigger: Trigger::Continuous })
    };
    let max_age_s = first.max_age.map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
    RecordingPlan {
        strategies: first.continuous.iter().filter_map(strategy).collect(),
        keep: Keep { max_bytes: None, max_age_s, event_max_age_s: None },
        ..RecordingPlan::nothing(camera.clone(), place)
    }
}

/// How long the recordings of one tier stay. `share_bytes`: what it may use before it gives for others.
#[must_use]
pub fn chain_keep(keep: &Keep, share_bytes: u64) -> ChainKeep {
    let age = |seconds: Option<u32>| seconds.map(|s| Duration::from_secs(s.into()));
    ChainKeep {
        max_bytes: keep.max_bytes,
        share_bytes,
        max_age: age(keep.max_age_s),
        event_max_age: age(keep.event_max_age_s),
        event_clips: EventClips::Last,
    }
}

#[cfg(test)]
mod tests {
    use sightline_model::{ChannelId, PublicKey, UnixMicros};
    use sightline_recording::{
        statement::Authority,
        strategy::{Input, KeptManual},
    };

    use super::*;

    const NOW: Moment =
        Moment { monotonic_us: 5, time: UnixMicros(7), authority: Authority::System };

    const PU: RecordingPlace = RecordingPlace::Pu;

    fn camera(channel: u16) -> CameraId {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        CameraId { pu, channel: ChannelId(channel) }
    }

    fn first(tiers: &[StreamTier]) -> FirstPlan {
        FirstPlan { continuous: tiers.iter().copied().collect(), max_age: None }
    }

    fn manual() -> RecordingPlan {
        let id = "button".parse().expect("a name");
        let trigger = Trigger::Manual { limit_s: None };
        RecordingPlan {
            revision: 3,
            strategies: vec![Strategy { id, tier: StreamTier::Sub, trigger }],
            ..RecordingPlan::nothing(camera(0), RecordingPlace::Pu)
        }
    }

    #[test]
    fn a_plan_that_was_set_outlives_the_configured_one_with_what_was_started() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = PlanFile::new(dir.path(), &camera(0).pu, &camera(0), PU);
        assert_eq!(file.read(&camera(0)), None);
        let both = first(&[StreamTier::Main, StreamTier::Sub]);
        let mut engine = super::engine(&camera(0), PU, None, &both, NOW);
        assert!(engine.causes(StreamTier::Main).is_some_and(|causes| causes.continuous));
        engine.handle_input(NOW, Input::Plan(manual())).expect("newer");
        let strategy = manual().strategies[0].id.clone();
        engine.handle_input(NOW, Input::ManualStart { strategy }).expect("it is there");
        file.write(&engine.kept()).expect("written");
        let again = super::engine(&camera(0), PU, file.read(&camera(0)), &both, NOW);
        assert_eq!(again.plan(), &manual());
        assert_eq!(again.causes(StreamTier::Main), None);
        assert!(again.causes(StreamTier::Sub).is_some_and(|causes| causes.manual));
    }

    #[test]
    fn what_was_only_configured_changes_with_the_configuration() {
        let started = KeptManual { strategy: "x".parse().expect("a name"), started: None };
        let plan = first_plan(&camera(0), PU, &first(&[StreamTier::Main]));
        let kept = Kept { version: Kept::VERSION, plan, manual: vec![started] };
        let engine = engine(&camera(0), PU, Some(kept), &first(&[StreamTier::Sub]), NOW);
        assert_eq!(engine.causes(StreamTier::Main), None);
        assert!(engine.causes(StreamTier::Sub).is_some());
    }

    #[test]
    fn what_is_damaged_too_new_or_of_another_camera_is_not_used() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = PlanFile::new(dir.path(), &camera(0).pu, &camera(0), PU);
        let kept = Kept { version: Kept::VERSION, plan: manual(), manual: vec![] };
        file.write(&kept).expect("written");
        assert_eq!(file.read(&camera(0)), Some(kept.clone()));
        assert_eq!(file.read(&camera(1)), None);
        let good = std::fs::read(&file.0).expect("there");
        let long = [good.clone(), vec![b' '; 1 << 20]].concat();
        for bad in [&b""[..], b"{}", &good[..good.len() / 2], &long] {
            std::fs::write(&file.0, bad).expect("own file");
            assert_eq!(file.read(&camera(0)), None);
        }
        let newer = Kept { version: Kept::VERSION + 1, ..kept };
        let engine = engine(&camera(0), PU, Some(newer), &first(&[StreamTier::Main]), NOW);
        assert!(engine.causes(StreamTier::Main).is_some(), "nothing is recorded");
    }
}
