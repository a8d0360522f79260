//! What CMUs ask of any SCU (Sm) that is no device's business: commands to MTUs (Sd).

use std::sync::Arc;

use scu_session::Input;
use sightline_bus::{BusError, Message};
use sightline_model::MtuId;
use sightline_protocol::{
    Problem, ProblemKind, decode, encode,
    sd::{MtuCommand, MtuReply},
    sm::{SmOrder, SmReply},
    subject,
};
use sightline_service_kit::telemetry::{current_traceparent, message_span};
use tracing::Instrument;

use crate::unit::{BUS_TIMEOUT, Unit};

/// Queue group: each order reaches one SCU.
const QUEUE_GROUP: &str = "scu";

pub(crate) async fn start(unit: &Arc<Unit>) -> Result<(), BusError> {
    let subject = subject::scu(unit.domain());
    let mut orders = unit.bus.subscribe(&subject, Some(QUEUE_GROUP)).await?;
    let unit = unit.clone();
    unit.lifecycle.clone().spawn(async move {
        // Orders are an operator's: few, and one after the other.
        while let Some(order) = orders.next().await {
            take(&unit, order).await;
        }
    });
    Ok(())
}

async fn take(unit: &Arc<Unit>, Message { payload, reply, .. }: Message) {
    let answer = match decode::<SmOrder>(&payload) {
        Ok(order) => {
            let SmOrder::DrainMtu { mtu, drain } = order.body;
            let span = message_span("Sm", "drain_mtu", order.traceparent.as_deref());
            drain_mtu(unit, &mtu, drain).instrument(span).await
        }
        Err(error) => SmReply::Refused {
            problem: Problem::new(ProblemKind::InvalidRequest, error.to_string()),
        },
    };
    if let Some(reply) = reply {
        reply.send(encode(&answer, current_traceparent()).into()).await;
    }
}

/// Commands the MTU, and knows at once what the MTU will announce to the other SCUs.
async fn drain_mtu(unit: &Arc<Unit>, mtu: &MtuId, drain: bool) -> SmReply {
    let command = if drain { MtuCommand::Drain } else { MtuCommand::Undrain };
    let subject = subject::mtu(unit.domain(), mtu);
    let payload = encode(&command, current_traceparent()).into();
    let problem = match unit.bus.request(&subject, payload, BUS_TIMEOUT).await {
        Ok(reply) => match decode::<MtuReply>(&reply).map(|reply| reply.body) {
            Ok(MtuReply::Done { status }) => {
                unit.drive(Input::Mtu(*status));
                return SmReply::Done;
            }
            Ok(MtuReply::Refused { problem }) => problem,
            Err(error) => {
                tracing::warn!(%error, %mtu, "an MTU gave an unreadable answer");
                Problem::new(ProblemKind::Internal, "the MTU gave a wrong answer")
            }
        },
        Err(BusError::NoResponder(_)) => {
            Problem::new(ProblemKind::NotFound, "no MTU of this name is running")
        }
        Err(error) => {
            tracing::warn!(%error, %mtu, "an MTU does not answer");
            Problem::new(ProblemKind::Timeout, "the MTU does not answer; try again")
        }
    };
    SmReply::Refused { problem }
}
