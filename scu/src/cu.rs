//! The task of one CU's WebSocket: carries out what [`CuConnection`] decides.

use std::{sync::Arc, time::Instant};

use scu_session::{
    ConnId, CuPath, Input,
    cu::{CuConnection, CuInput, CuOutput},
};
use sightline_protocol::{
    Envelope, Named, Problem, ProblemKind,
    cs::{CuToScu, ScuToCu},
    decode, encode,
};
use sightline_service_kit::{
    flow,
    telemetry::{current_traceparent, message_span},
};
use tracing::{Instrument, Span};

use crate::{
    admission::Place,
    unit::{Traceparent, Unit, wall},
    wire::{Incoming, Wire},
};

/// Serves a CU until either side ends the connection.
pub(crate) async fn serve(unit: Arc<Unit>, mut wire: Wire, _place: Place) {
    let (conn, mut messages, cut) = unit.attach_cu();
    let mut machine = CuConnection::new(Instant::now());
    let shutdown = unit.lifecycle.token.clone();
    let mut span = Span::none();
    loop {
        let caused = std::mem::replace(&mut span, Span::none());
        if !carry_out(&unit, conn, &mut machine, &mut wire).instrument(caused).await {
            break;
        }
        let at = machine.poll_timeout();
        let timeout = async {
            match at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            () = cut.cancelled() => CuInput::Disconnected { clean: true },
            // The CU may take its sessions up again at another SCU: media flows without this one.
            () = shutdown.cancelled() => CuInput::Disconnected { clean: false },
            incoming = wire.next() => match incoming {
                Incoming::Message(bytes) => match decode::<CuToScu>(&bytes) {
                    Ok(Envelope { traceparent, body, .. }) => {
                        span = message_span("Cs", body.name(), traceparent.as_deref());
                        CuInput::Message(body)
                    }
                    Err(error) => CuInput::Unreadable(error.to_string()),
                },
                Incoming::Unreadable(what) => CuInput::Unreadable(what),
                Incoming::Closed { clean } => CuInput::Disconnected { clean },
            },
            Some((message, traceparent)) = messages.recv() => {
                if send(&mut wire, &message, traceparent).await { continue }
                CuInput::Disconnected { clean: false }
            }
            () = timeout => {
                machine.handle_timeout(Instant::now());
                continue;
            }
        };
        machine.handle_input(Instant::now(), wall(), input);
    }
    unit.detach(conn);
    wire.stop_reading();
    wire.close().await;
}

/// Carries out the machine's outputs; false when the connection is over.
async fn carry_out(
    unit: &Arc<Unit>,
    conn: ConnId,
    machine: &mut CuConnection,
    wire: &mut Wire,
) -> bool {
    let mut open = true;
    while let Some(output) = machine.poll_output() {
        match output {
            CuOutput::Send(message) => {
                if open && !send(wire, &message, current_traceparent()).await {
                    let input = CuInput::Disconnected { clean: false };
                    machine.handle_input(Instant::now(), wall(), input);
                }
            }
            CuOutput::Call(CuToScu::Offer { session, device, offer }) => {
                if device.domain == *unit.domain() {
                    let device = device.pu;
                    unit.drive(Input::CuOffer { conn, session, device, offer });
                } else {
                    let why = "the device belongs to another domain";
                    let problem = Problem::new(ProblemKind::NotFound, why);
                    let refused = ScuToCu::Refused { session, problem };
                    send(wire, &refused, current_traceparent()).await;
                }
            }
            CuOutput::Call(CuToScu::Candidate { session, candidate }) => {
                unit.drive(Input::CuCandidate { conn, session, candidate });
            }
            CuOutput::Call(CuToScu::End { session }) => {
                unit.drive(Input::CuEnd { conn, session });
            }
            CuOutput::Call(CuToScu::PathReport { session, path, stages, nat }) => {
                let report = Box::new(CuPath { path, stages, nat });
                unit.drive(Input::CuPath { conn, session, report });
            }
            // The machine answers it by itself.
            CuOutput::Call(CuToScu::KeepAlive { .. }) => {}
            CuOutput::Gone { until } => unit.drive(Input::CuGone { conn, until }),
            CuOutput::Close => open = false,
        }
    }
    open
}

async fn send(wire: &mut Wire, message: &ScuToCu, traceparent: Traceparent) -> bool {
    flow::sent("Cs", "SCU", "CU", message.name(), message.about().unwrap_or_default());
    wire.send(encode(message, traceparent)).await.is_ok()
}
