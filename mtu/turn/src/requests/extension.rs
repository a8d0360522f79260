//! Requests that the driver may know: RFC 6062.

use stun_rs::MessageClass;

use super::{Caller, Outcome, malformed, refuse};
use crate::{
    answer::{Answer, Seal},
    driver::{Driver, Extension, ExtensionRequest, RelayId, RelayProtocol, Ticket},
    request::Request,
    server::{Now, Server},
};

impl Server {
    /// `None`: the answer was given, or comes later.
    pub(crate) fn extension(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        seal: &Seal,
        now: Now,
        driver: &mut impl Driver,
    ) -> Option<Outcome> {
        let ticket = Ticket {
            client: *caller.client,
            method: request.method,
            transaction: request.transaction,
            seal: seal.clone(),
        };
        let index = self.by_client.get(caller.client).copied();
        let relay = match index {
            Some(index) => {
                if let Err(refusal) = self.allocation_of(caller) {
                    return Some(Err(refusal));
                }
                let allocation = &self.allocations[index];
                let mut relayed = allocation.all_relayed();
                let relayed = relayed.next().filter(|_| allocation.protocol == RelayProtocol::Tcp);
                relayed.map(|(family, address)| (RelayId::new(index, family), address))
            }
            None => None,
        };
        let peer = request.peers.first().copied();
        if let (Some(index), Some(peer)) = (index, peer)
            && let Err(refusal) = self.check_connection(caller, index, peer, now, driver)
        {
            return Some(Err(refusal));
        }
        let outcome = driver.extend(&ExtensionRequest {
            method: request.method,
            client: caller.client,
            user: caller.user,
            relay,
            // Without a relay nobody checked it.
            peer: peer.filter(|_| index.is_some()),
            connection: request.connection,
            ticket: &ticket,
        });
        match outcome {
            Extension::Unknown => Some(Err(malformed())),
            Extension::Refused(code, reason) => Some(Err(refuse(code, reason))),
            Extension::Later => None,
            Extension::Done(raw) => {
                let class = MessageClass::SuccessResponse;
                let answer = Answer::new(request.method, class, request.transaction);
                let message = Answer { raw, ..answer }.encode(Some(seal), request.fingerprint);
                if let Some(message) = message {
                    driver.send_to_client(caller.client, &message, &[], &[]);
                }
                None
            }
        }
    }
}
