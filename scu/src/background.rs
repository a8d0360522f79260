//! What an SCU does without being asked: listen on the bus, renew its leases, mind its timers.

use std::sync::Arc;

use scu_session::Input;
use serde::de::DeserializeOwned;
use sightline_bus::BusError;
use sightline_protocol::{
    sc::{ScReply, ScRequest},
    sd::{MtuStatus, RollCall},
    sm::LeaseGranted,
    subject,
};

use crate::unit::Unit;

/// Leases that fit into one message.
const LEASES_PER_REQUEST: usize = 1_000;

pub(crate) async fn start(unit: &Arc<Unit>) -> Result<(), BusError> {
    listen(unit, subject::lease_events(unit.domain()), |granted: LeaseGranted| {
        Input::LeaseGranted { device: granted.device, epoch: granted.epoch }
    })
    .await?;
    listen(unit, subject::mtu_status(unit.domain()), |status: MtuStatus| Input::Mtu(status))
        .await?;
    // Only now, so that no answer is missed.
    let roll_call = sightline_protocol::encode(&RollCall::default(), None);
    unit.bus.publish(&subject::mtu_roll_call(unit.domain()), roll_call.into()).await?;
    unit.lifecycle.spawn(unit.clone().run_timers());
    unit.lifecycle.spawn(renew_leases(unit.clone()));
    Ok(())
}

async fn listen<T: DeserializeOwned + 'static>(
    unit: &Arc<Unit>,
    subject: String,
    input: fn(T) -> Input<Option<sightline_bus::Reply>>,
) -> Result<(), BusError> {
    let mut messages = unit.bus.subscribe(&subject, None).await?;
    let unit = unit.clone();
    unit.lifecycle.clone().spawn(async move {
        while let Some(message) = messages.next().await {
            match sightline_protocol::decode::<T>(&message.payload) {
                Ok(message) => unit.drive(input(message.body)),
                Err(error) => tracing::warn!(%error, subject, "unreadable announcement"),
            }
        }
    });
    Ok(())
}

/// Renews at a third of the leases' life, so that two renewals may be lost.
async fn renew_leases(unit: Arc<Unit>) {
    loop {
        tokio::time::sleep(unit.lease_ttl() / 3).await;
        let leases: Vec<_> = unit.with_board(|board| {
            board.devices().leases().map(|(pu, epoch)| (pu.clone(), epoch)).collect()
        });
        for leases in leases.chunks(LEASES_PER_REQUEST) {
            let scu = unit.settings.scu.clone();
            let request = ScRequest::RenewLeases { scu, leases: leases.to_vec() };
            match unit.ask_cmu(&request).await {
                Ok(ScReply::LeasesRenewed { lost }) => {
                    if !lost.is_empty() {
                        unit.drive(Input::LeasesLost(lost));
                    }
                }
                Ok(other) => tracing::warn!(?other, "the CMU does not renew leases"),
                // Media flows without the centre: keep the PUs, and try again.
                Err(problem) => tracing::warn!(%problem, "cannot renew leases"),
            }
        }
    }
}
