//! CreatePermission and ChannelBind (RFC 8656 sections 10.2 and 12.2).

use std::net::SocketAddr;

use stun_rs::attributes::turn::ChannelNumber;

use super::{Caller, Outcome, Refusal, malformed, refuse};
use crate::{
    allocation::NoChannel,
    driver::{Driver, Family, RefusedPeer, RelayProtocol},
    request::{Attributes, Request},
    server::{Now, Server},
    wire::is_channel_number,
};

/// How many refused peers each worker tells per second: of one subscriber (address or /64), and at
/// all. The clients of one subscriber may be with several workers. Who names an inner address need
/// not attack: agents of ICE do so with those of each other's LANs. So the log is for the trail, and
/// the counter for the number.
const TOLD_OF_ONE_PER_S: u32 = 1;
const TOLD_PER_S: u64 = 10;

impl Server {
    pub(crate) fn create_permission(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        now: Now,
        driver: &mut impl Driver,
    ) -> Outcome {
        let index = self.allocation_of(caller)?;
        // All of them or none.
        if request.peers.is_empty() {
            return Err(malformed());
        }
        for &peer in &request.peers {
            self.check_peer(caller, index, peer, now, driver)?;
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
        driver: &mut impl Driver,
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
        self.check_peer(caller, index, peer, now, driver)?;
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
        caller: &Caller<'_>,
        index: usize,
        peer: SocketAddr,
        now: Now,
        driver: &mut impl Driver,
    ) -> Result<(), Refusal> {
        if !self.settings.peers.allows_connection(peer.ip()) {
            return Err(self.forbid(caller, peer, now, driver));
        }
        self.check_peer(caller, index, peer, now, driver)
    }

    /// Whether there may be a permission for this peer here.
    fn check_peer(
        &mut self,
        caller: &Caller<'_>,
        index: usize,
        peer: SocketAddr,
        now: Now,
        driver: &mut impl Driver,
    ) -> Result<(), Refusal> {
        if !self.settings.peers.allows_ip(&self.shared.live, peer.ip()) {
            return Err(self.forbid(caller, peer, now, driver));
        }
        match self.allocations[index].relayed(Family::of(peer.ip())) {
            Some(_) => Ok(()),
            None => Err(refuse(443, "Peer Address Family Mismatch")),
        }
    }

    /// Refuses a peer, and leaves a trail of it.
    fn forbid(
        &mut self,
        caller: &Caller<'_>,
        peer: SocketAddr,
        now: Now,
        driver: &mut impl Driver,
    ) -> Refusal {
        self.counters.denied_peers += 1;
        let since = self.since_start(now.instant);
        let (of_one, of_all) = &mut self.tellings;
        if of_one.admit(caller.client.ip(), TOLD_OF_ONE_PER_S, since)
            && of_all.admit(1, TOLD_PER_S, since)
        {
            let untold = std::mem::take(&mut self.untold);
            driver.peer_refused(&RefusedPeer { user: caller.user, peer, untold });
        } else {
            self.untold += 1;
        }
        refuse(403, "Forbidden")
    }
}

fn insufficient() -> Refusal {
    refuse(508, "Insufficient Capacity")
}
