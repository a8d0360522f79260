//! Interface Dm: the MTUs that this CMU hears, and the usage that they report.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use sightline_bus::{Message, Subscription};
use sightline_model::{MediaSessionId, MtuId, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind, decode, encode,
    sd::{MAX_USAGE_ENTRIES, MtuStatus, MtuUsage, UsageReply},
};
use sightline_service_kit::telemetry::message_span;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::state::{App, AppState};

/// An MTU that has been silent for longer is no longer listed.
const LISTED: Duration = Duration::from_secs(60);
/// Most MTUs that are remembered; whoever speaks on the bus is a unit of the operator.
const MAX_MTUS: usize = 1_024;
/// Reports worked on at once; more wait in the bounded queue of the bus.
const MAX_AT_ONCE: usize = 8;
/// Longest name of a run of an MTU.
const MAX_RUN: usize = 64;

/// The MTUs that were heard of.
#[derive(Debug, Default)]
pub struct Mtus {
    heard: Mutex<BTreeMap<MtuId, (MtuStatus, UnixMicros)>>,
}

impl Mtus {
    /// Those that were heard within the last minute, and when.
    #[must_use]
    pub fn list(&self, now: UnixMicros) -> Vec<(MtuStatus, UnixMicros)> {
        let heard = self.heard.lock();
        heard.values().filter(|(_, at)| at.plus(LISTED) > now).cloned().collect()
    }

    fn heard(&self, status: MtuStatus, now: UnixMicros) {
        let mut heard = self.heard.lock();
        heard.retain(|_, (_, at)| at.plus(LISTED) > now);
        if heard.len() < MAX_MTUS || heard.contains_key(&status.mtu) {
            heard.insert(status.mtu.clone(), (status, now));
        }
    }
}

/// Takes announcements until the bus ends.
pub async fn listen(app: AppState, mut announcements: Subscription) {
    while let Some(message) = announcements.next().await {
        match decode::<MtuStatus>(&message.payload) {
            Ok(status) => app.mtus.heard(status.body, app.now()),
            Err(error) => tracing::warn!(%error, "an MTU's announcement cannot be read"),
        }
    }
}

/// Takes usage until the bus or the service ends.
pub async fn account(app: AppState, mut reports: Subscription) {
    let permits = Arc::new(Semaphore::new(MAX_AT_ONCE));
    while let Some(message) = reports.next().await {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let app = app.clone();
        app.clone().lifecycle.spawn(async move {
            answer(&app, message).await;
            drop(permit);
        });
    }
}

async fn answer(app: &App, Message { payload, reply, .. }: Message) {
    let answer = match decode::<MtuUsage>(&payload) {
        Ok(usage) => {
            let span = message_span("Dm", "usage", usage.traceparent.as_deref());
            store(app, &usage.body).instrument(span).await
        }
        Err(error) => refused(ProblemKind::InvalidRequest, error.to_string()),
    };
    if let Some(to) = reply {
        to.send(Bytes::from(encode(&answer, None))).await;
    }
}

fn refused(kind: ProblemKind, detail: impl Into<String>) -> UsageReply {
    UsageReply::Refused { problem: Problem::new(kind, detail) }
}

/// Stores a report. What cannot be told from its session is left out: a relay's user without a
/// session is a test of the operator's own.
pub async fn store(app: &App, usage: &MtuUsage) -> UsageReply {
    if usage.entries.len() > MAX_USAGE_ENTRIES || usage.run.len() > MAX_RUN {
        return refused(ProblemKind::InvalidRequest, "the report is too long");
    }
    for entry in &usage.entries {
        let Ok(session) = entry.user.parse::<MediaSessionId>() else {
            tracing::warn!(mtu = %usage.mtu, "usage without a session is left out");
            continue;
        };
        let stored = app.db.relay_usages().store(&usage.mtu, &usage.run, &session, entry).await;
        if let Err(error) = stored {
            tracing::error!(%error, "usage of a relay cannot be stored");
            return refused(ProblemKind::Internal, "The CMU failed; try again.");
        }
    }
    UsageReply::Stored
}
