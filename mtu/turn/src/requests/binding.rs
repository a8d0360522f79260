//! Binding: what a client's address is (RFC 8489), and how its NATs behave (RFC 5780).

use std::net::SocketAddr;

use stun_rs::{
    MessageClass,
    attributes::{
        discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress, ResponseOrigin},
        stun::XorMappedAddress,
    },
};

use super::{Outcome, malformed, unknown};
use crate::{
    answer::Answer,
    client::{ClientId, Transport},
    driver::Driver,
    request::{Bad, Request},
    server::{Now, Server},
    settings::Listening,
};

/// CHANGE-REQUEST (RFC 5780 section 7.2).
const CHANGE_REQUEST: u16 = 0x0003;

impl Server {
    pub(crate) fn handle_binding(
        &mut self,
        client: &ClientId,
        request: &Request<'_>,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let (since, limits) = (self.since_start(now.instant), &self.settings.limits);
        if !self.bindings.admit(client.ip(), limits.bindings_per_s, since) {
            self.counters.limited += 1;
            return;
        }
        let mut from = *client;
        let outcome = self.bind(&mut from, request);
        let (method, transaction) = (request.method, request.transaction);
        let answer = match outcome {
            Ok(attributes) => {
                self.counters.bindings += 1;
                let answer = Answer::new(method, MessageClass::SuccessResponse, transaction);
                Answer { attributes, ..answer }
            }
            Err(refusal) => {
                from = *client;
                refusal.answer(method, transaction)
            }
        };
        if let Some(message) = answer.encode(None, request.fingerprint) {
            driver.send_to_client(&from, &message, &[], &[]);
        }
    }

    /// Changes the local address of `from` to that from which the answer goes.
    fn bind(&self, from: &mut ClientId, request: &Request<'_>) -> Outcome {
        if !request.unknown.is_empty() {
            return Err(unknown(&request.unknown));
        }
        let attributes = request.decode().map_err(|_: Bad| malformed())?;
        let listening = &self.settings.listening[..];
        if let Some(change) = attributes.get::<ChangeRequest>() {
            let flags = change.as_change_request().map_err(|_| malformed())?.flags();
            let ip = flags.contains(ChangeRequestFlags::ChangeIp);
            let port = flags.contains(ChangeRequestFlags::ChangePort);
            let other = another(listening, from.local, ip, port)
                .filter(|_| from.transport == Transport::Udp);
            match other {
                Some(other) => from.local = other.local,
                None if !ip && !port => {}
                // RFC 5780 section 6.1: who cannot says so.
                None => return Err(unknown(&[CHANGE_REQUEST])),
            }
        }
        let mut answer = vec![XorMappedAddress::from(from.address).into()];
        if let Some(origin) = listening.iter().find(|at| at.local == from.local) {
            answer.push(ResponseOrigin::from(origin.announced).into());
        }
        if let Some(other) = other_address(listening, from.local) {
            answer.push(OtherAddress::from(other).into());
        }
        Ok(answer)
    }
}

/// Both another address and another port, or at least another port. RFC 5780 section 7.4 wants the
/// attribute only where there is a second address; without one, units learn the second port here,
/// and by that what one address can tell of their NATs.
fn other_address(listening: &[Listening], local: SocketAddr) -> Option<SocketAddr> {
    another(listening, local, true, true)
        .or_else(|| another(listening, local, false, true))
        .map(|other| other.announced)
}

/// Where we listen with another address, or another port, or both.
fn another(listening: &[Listening], local: SocketAddr, ip: bool, port: bool) -> Option<Listening> {
    let found = listening.iter().find(|at| {
        at.local.is_ipv4() == local.is_ipv4()
            && (at.local.ip() != local.ip()) == ip
            && (at.local.port() != local.port()) == port
    });
    found.copied().filter(|_| ip || port)
}
