//! CreatePermission and ChannelBind (RFC 8656 sections 10.2 and 12.2).

use std::net::SocketAddr;

use stun_rs::attributes::turn::ChannelNumber;

use super::{Caller, Outcome, Refusal, malformed, refuse};
use crate::{
    allocation::NoChannel,
    driver::{Family, RelayProtocol},
    request::{Attributes, Request},
    server::{Now, Server},
    wire::is_channel_number,
};

impl Server {
    pub(crate) fn create_permission(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        now: Now,
    ) -> Outcome {
        let index = self.allocation_of(caller)?;
        // All of them or none.
        if request.peers.is_empty() {
            return Err(malformed());
        }
        for &peer in &request.peers {
            self.check_peer(index, peer)?;
        }
        self.permit(index, &request.peers, now)?;
        Ok(vec![])
    }

    pub(crate) fn channel_bind(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        attributes: &Attributes,
        now: Now,
    ) -> Outcome {
        let index = self.allocation_of(caller)?;
        let number = attributes.get::<ChannelNumber>().and_then(|a| a.as_channel_number().ok());
        let number = number.map(ChannelNumber::number).filter(|number| is_channel_number(*number));
        let (Some(number), Some(&peer)) = (number, request.peers.first()) else {
            return Err(malformed());
        };
        if self.allocations[index].protocol != RelayProtocol::Udp || peer.port() == 0 {
            return Err(malformed());
        }
        self.check_peer(index, peer)?;
        let limits = &self.settings.limits;
        let allocation = &mut self.allocations[index];
        // Whoever is refused has changed nothing: neither a permission nor a channel.
        if !allocation.has_room(&[peer], limits.permissions, now.instant) {
            return Err(insufficient());
        }
        match allocation.bind(number, peer, limits.channels, now.instant) {
            Ok(()) => {}
            Err(NoChannel::Taken) => return Err(malformed()),
            Err(NoChannel::Full) => return Err(insufficient()),
        }
        allocation.permit(peer.ip(), now.instant);
        Ok(vec![])
    }

    fn permit(&mut self, index: usize, peers: &[SocketAddr], now: Now) -> Result<(), Refusal> {
        let max = self.settings.limits.permissions;
        let allocation = &mut self.allocations[index];
        if !allocation.has_room(peers, max, now.instant) {
            return Err(insufficient());
        }
        for peer in peers {
            allocation.permit(peer.ip(), now.instant);
        }
        Ok(())
    }

    /// Whether a TCP connection to this peer may be made here.
    pub(super) fn check_connection(
        &mut self,
        index: usize,
        peer: SocketAddr,
    ) -> Result<(), Refusal> {
        if !self.settings.peers.allows_connection(peer.ip()) {
            self.counters.denied_peers += 1;
            return Err(refuse(403, "Forbidden"));
        }
        self.check_peer(index, peer)
    }

    /// Whether there may be a permission for this peer here.
    pub(super) fn check_peer(&mut self, index: usize, peer: SocketAddr) -> Result<(), Refusal> {
        if !self.settings.peers.allows_ip(&self.shared.live, peer.ip()) {
            self.counters.denied_peers += 1;
            return Err(refuse(403, "Forbidden"));
        }
        match self.allocations[index].relayed(Family::of(peer.ip())) {
            Some(_) => Ok(()),
            None => Err(refuse(443, "Peer Address Family Mismatch")),
        }
    }
}

fn insufficient() -> Refusal {
    refuse(508, "Insufficient Capacity")
}
