//! What every handler and job shares.

use std::sync::Arc;

use bytes::Bytes;
use cmu_domain::{limit::Limit, registration::Policy};
use cmu_storage::{Database, NewEntry};
use sightline_bus::{Bus, BusError};
use sightline_model::{PuId, Secret, UnixMicros, UserId};
use sightline_protocol::{
    Named, Problem, ProblemKind,
    cm::Notice,
    decode, encode,
    sm::{SmOrder, SmReply, SmRequest},
    subject,
};
use sightline_service_kit::{flow, lifecycle::Lifecycle, telemetry::current_traceparent};
use tokio::sync::broadcast;

use crate::{
    clock::Clock, cloud::CloudStore, config::Config, error::ApiError, keys::Keys, mtus::Mtus,
    random, sms::SmsGateway,
};

/// Shared handle.
pub type AppState = Arc<App>;

/// Notices that one event stream may lag behind before it is told to fetch everything anew.
pub const NOTICE_QUEUE_LEN: usize = 256;

/// Everything that handlers and jobs work with.
#[derive(Debug)]
pub struct App {
    /// As it was started.
    pub config: Config,
    /// Who may register.
    pub policy: Policy,
    /// The database.
    pub db: Database,
    /// The way to SCUs and to the other CMUs.
    pub bus: Bus,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Keys that sign tokens.
    pub keys: Keys,
    /// The way to telephones.
    pub sms: Arc<dyn SmsGateway>,
    /// Where recordings in the cloud lie, where there is such a place.
    pub cloud: Option<CloudStore>,
    /// The MTUs that this CMU hears.
    pub mtus: Mtus,
    /// Notices of every CMU of the domain, this one's own included.
    pub notices: broadcast::Sender<Notice>,
    /// The owner of this CMU's tasks.
    pub lifecycle: Lifecycle,
}

impl App {
    /// Now.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.clock.now()
    }

    /// Tells every CMU of the domain that something has changed.
    pub async fn notify(&self, notice: &Notice) {
        let subject = subject::notices(self.db.domain());
        let payload = Bytes::from(encode(notice, current_traceparent()));
        if let Err(error) = self.bus.publish(&subject, payload).await {
            tracing::warn!(%error, "a change could not be announced; event streams may lag");
        }
    }

    /// Writes to the audit log. A log that cannot be written stops nobody, but is an error.
    pub async fn audit(&self, user: Option<&UserId>, action: &str, target: &str, outcome: &str) {
        self.write_audit(true, user, action, target, outcome).await;
    }

    /// The same about something that has itself been written quickly: a power cut within the second
    /// after it may undo both.
    pub async fn audit_quick(
        &self,
        user: Option<&UserId>,
        action: &str,
        target: &str,
        outcome: &str,
    ) {
        self.write_audit(false, user, action, target, outcome).await;
    }

    async fn write_audit(
        &self,
        durable: bool,
        user: Option<&UserId>,
        action: &str,
        target: &str,
        outcome: &str,
    ) {
        let labels = [("action", action.to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!("sightline_cmu_actions_total", &labels).increment(1);
        let Ok(id) = random::bits() else { return };
        let now = self.now();
        // The time first, so that entries of one microsecond keep apart and ids stay short.
        let id = format!("{:016x}{id:016x}", now.0);
        let entry = NewEntry { id: &id, at: now, user, action, target, outcome };
        let log = self.db.audit();
        let written =
            if durable { log.insert(&entry).await } else { log.insert_quick(&entry).await };
        if let Err(error) = written {
            tracing::error!(%error, action, outcome, "the audit log cannot be written");
        }
    }

    /// Writes the outcome of `result` to the audit log and hands it on.
    ///
    /// # Errors
    /// That of `result`.
    pub async fn audited<T>(
        &self,
        user: Option<&UserId>,
        action: &str,
        target: &str,
        result: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        match &result {
            Ok(_) => self.audit(user, action, target, "ok").await,
            Err(error) => self.audit(user, action, target, &error.word()).await,
        }
        result
    }

    /// Takes one use of a budget.
    ///
    /// # Errors
    /// [`ProblemKind::RateLimited`].
    pub async fn limit(&self, limit: Limit, key: &str) -> Result<(), ApiError> {
        let now = self.now();
        if limit.count == 0 {
            return Err(ApiError::rate_limited(limit.per_s));
        }
        let budget = self.db.rate_limits();
        match budget.take(key, limit.cost_us(), limit.tolerance_us(), now).await? {
            None => Ok(()),
            Some(stored) => Err(ApiError::rate_limited(limit.retry_after_s(stored.0, now))),
        }
    }

    /// Refuses when a budget is used up, without taking from it.
    ///
    /// # Errors
    /// [`ProblemKind::RateLimited`].
    pub async fn limit_left(&self, limit: Limit, key: &str) -> Result<(), ApiError> {
        let stored = self.db.rate_limits().peek(key).await?;
        match limit.check(stored, self.now()) {
            cmu_domain::limit::Verdict::Allowed { .. } => Ok(()),
            cmu_domain::limit::Verdict::Refused { retry_after_s } => {
                Err(ApiError::rate_limited(retry_after_s))
            }
        }
    }

    /// Asks the SCU that holds the device's lease.
    ///
    /// # Errors
    /// The SCU's refusal, or that no SCU answers.
    pub async fn ask_scu(&self, pu: &PuId, request: &SmRequest) -> Result<SmReply, Problem> {
        let subject = subject::device(self.db.domain(), pu);
        let payload = Bytes::from(encode(request, current_traceparent()));
        flow::sent("Sm", "CMU", "SCU", request.name(), pu.as_str());
        let offline = Problem::new(ProblemKind::DeviceOffline, "The camera is not connected now.");
        let late = "The camera did not answer in time.";
        self.ask(&subject, payload, offline, late).await
    }

    /// Gives an order to whichever SCU takes it.
    ///
    /// # Errors
    /// The SCU's refusal, or that no SCU answers.
    pub async fn order(&self, order: &SmOrder) -> Result<SmReply, Problem> {
        let subject = subject::scu(self.db.domain());
        let payload = Bytes::from(encode(order, current_traceparent()));
        let none = Problem::new(ProblemKind::Timeout, "No service control unit is running.");
        self.ask(&subject, payload, none, "No service control unit answered in time.").await
    }

    async fn ask(
        &self,
        subject: &str,
        payload: Bytes,
        nobody: Problem,
        late: &str,
    ) -> Result<SmReply, Problem> {
        let reply = self.bus.request(subject, payload, self.config.scu_timeout()).await;
        let bytes = reply.map_err(|error| match error {
            BusError::NoResponder(_) => nobody,
            BusError::Timeout(..) => Problem::new(ProblemKind::Timeout, late),
            BusError::Closed | BusError::Transport(_) => {
                tracing::error!(%error, "the bus fails");
                Problem::new(ProblemKind::Internal, "Something failed on our side.")
            }
        })?;
        match decode::<SmReply>(&bytes) {
            Ok(envelope) => match envelope.body {
                SmReply::Refused { problem } => Err(problem),
                reply @ (SmReply::Prepared { .. } | SmReply::Done | SmReply::Recorded { .. }) => {
                    Ok(reply)
                }
            },
            Err(error) => {
                tracing::error!(%error, "an SCU sent what cannot be read");
                Err(Problem::new(ProblemKind::Internal, "Something failed on our side."))
            }
        }
    }
}

/// A number in the form in which limits know it: hashed, so that the table holds no numbers.
#[must_use]
pub fn phone_key(phone: &str) -> String {
    Secret::new(phone.to_owned()).hash().as_str()[..32].to_owned()
}
