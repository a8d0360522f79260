//! The unit's recorders, one for each place (unit, cloud), as one for who asks.

use sightline_model::{RecordingPlace, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{RecordingReply, RecordingRequest},
};

use super::Recorder;

/// See the module. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recorders {
    /// Records on the unit's own storage.
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
            | RecordingRequest::Status => self.at(RecordingPlace::Pu)?.answer(ask).await,
        }
    }

    /// The centre says whose unit it is.
    pub fn owner_is(&self, owner: Option<&UserId>) {
        [&self.unit, &self.cloud].into_iter().flatten().for_each(|one| one.owner_is(owner));
    }

    fn at(&self, place: RecordingPlace) -> Result<&Recorder, Problem> {
        let (recorder, why) = match place {
            RecordingPlace::Pu => (&self.unit, "this device does not record"),
            RecordingPlace::Cs => (&self.cloud, "this device does not record to the cloud"),
            RecordingPlace::Nvr => (&None, "this device is no network video recorder"),
        };
        recorder.as_ref().ok_or_else(|| Problem::new(ProblemKind::NotFound, why))
    }

    async fn plans(&self, ask: RecordingRequest) -> Result<RecordingReply, Problem> {
        let mut all = Vec::new();
        for recorder in [&self.unit, &self.cloud].into_iter().flatten() {
            if let RecordingReply::Plans { plans } = recorder.answer(ask.clone()).await? {
                all.extend(plans);
            }
        }
        if all.is_empty() {
            return Err(Problem::new(ProblemKind::NotFound, "this device does not record"));
        }
        Ok(RecordingReply::Plans { plans: all })
    }
}
