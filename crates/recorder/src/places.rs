//! A device's recorders, one for each place (its own storage, the cloud storage), as one for who asks.

use sightline_model::{RecordingPlace, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{RecordingReply, RecordingRequest},
};

use super::Recorder;

/// See the module. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recorders {
    /// Records on the device's own storage.
    pub unit: Option<Recorder>,
    /// Records for the cloud storage.
    pub cloud: Option<Recorder>,
}

impl Recorders {
    /// Answers the centre.
    ///
    /// # Errors
    /// [`Problem`], in words for the person.
    pub async fn answer(&self, ask: RecordingRequest) -> Result<RecordingReply, Problem> {
        match &ask {
            RecordingRequest::ReadPlans { .. } => self.plans(ask).await,
            RecordingRequest::SetPlan { plan } => self.at(plan.place)?.answer(ask).await,
            RecordingRequest::Manual { place, .. } => self.at(*place)?.answer(ask).await,
            RecordingRequest::List(_)
            | RecordingRequest::Days { .. }
            | RecordingRequest::Lock(_)
            | RecordingRequest::Status
            | RecordingRequest::Relate { .. } => self.at(RecordingPlace::Pu)?.answer(ask).await,
        }
    }

    /// The centre says whose unit it is.
    pub fn owner_is(&self, owner: Option<&UserId>) {
        [&self.unit, &self.cloud].into_iter().flatten().for_each(|one| one.owner_is(owner));
    }

    /// Whoever records there. On its own storage an NVR has its own cameras (`pu`) and others (`nvr`).
    fn at(&self, place: RecordingPlace) -> Result<&Recorder, Problem> {
        let (recorder, why) = match place {
            RecordingPlace::Pu | RecordingPlace::Nvr => (&self.unit, "this device does not record"),
            RecordingPlace::Cs => (&self.cloud, "this device does not record to the cloud"),
        };
        recorder.as_ref().ok_or_else(|| Problem::new(ProblemKind::NotFound, why))
    }

    async fn plans(&self, ask: RecordingRequest) -> Result<RecordingReply, Problem> {
        let mut all = Vec::new();
        let mut refused = None;
        for recorder in [&self.unit, &self.cloud].into_iter().flatten() {
            match recorder.answer(ask.clone()).await {
                Ok(RecordingReply::Plans { plans }) => all.extend(plans),
                Ok(_) => {}
                // An NVR records cameras of other devices that it sends nothing of to the cloud.
                Err(problem) if problem.kind == ProblemKind::NotFound => refused = Some(problem),
                Err(problem) => return Err(problem),
            }
        }
        if all.is_empty() {
            let why = "this device does not record";
            return Err(refused.unwrap_or_else(|| Problem::new(ProblemKind::NotFound, why)));
        }
        Ok(RecordingReply::Plans { plans: all })
    }
}
