//! Where the sockets can be reached: own interfaces, mapped addresses, and what STUN servers see.

use std::{net::SocketAddr, time::Duration};

use str0m::{Candidate, CandidateKind, net::Protocol};

use super::{
    super::{LocalCandidates, session::Now, sockets::Socket, stun},
    Task, guarded,
};

/// How often the address seen from outside is asked for: it also keeps the router's mapping.
const STUN_INTERVAL: Duration = Duration::from_secs(15);
/// Asked again soon while nothing is known.
const STUN_RETRY: Duration = Duration::from_secs(1);

impl Task {
    pub(super) fn set_local(&mut self, local: LocalCandidates, now: Now) {
        self.next_stun = now.instant;
        self.stun_asked.clear();
        self.local = local;
        let mut addresses = self.local.host.clone();
        for address in &mut addresses {
            let bound = self.sockets.iter().map(|s| s.local);
            let port = bound.clone().find(|b| b.is_ipv4() == address.is_ipv4()).map(|b| b.port());
            if address.port() == 0 {
                address.set_port(port.unwrap_or(0));
            }
        }
        if addresses.is_empty() {
            addresses.extend(
                self.sockets.iter().map(|s| s.local).filter(|local| !local.ip().is_unspecified()),
            );
        }
        // A socket can serve only addresses of its own family.
        addresses.retain(|a| self.sockets.iter().any(|s| s.local.is_ipv4() == a.is_ipv4()));
        for address in addresses {
            self.add_candidate(Candidate::host(address, Protocol::Udp), now);
        }
        for mapped in self.local.mapped.clone() {
            self.add_reflexive(mapped, now);
        }
    }

    fn add_reflexive(&mut self, mapped: SocketAddr, now: Now) {
        let base = self
            .candidates
            .iter()
            .find(|c| c.kind() == CandidateKind::Host && c.addr().is_ipv4() == mapped.is_ipv4())
            .map(Candidate::addr);
        if let Some(base) = base {
            self.add_candidate(Candidate::server_reflexive(mapped, base, Protocol::Udp), now);
        }
    }

    fn add_candidate<E: std::fmt::Display>(&mut self, made: Result<Candidate, E>, now: Now) {
        let candidate = match made {
            Ok(candidate) => candidate,
            Err(error) => return tracing::warn!(%error, "own address not usable"),
        };
        if self.candidates.contains(&candidate) {
            return;
        }
        for seat in self.seats.values_mut() {
            guarded(seat, &mut self.stats, |session| {
                session.local_candidate(&candidate, now, &mut self.feeds);
            });
        }
        self.candidates.push(candidate);
    }

    pub(super) fn ask_stun(&mut self, now: Now) {
        if now.instant < self.next_stun {
            return;
        }
        let wait = if self.stun_asked.is_empty() { STUN_INTERVAL } else { STUN_RETRY };
        self.stun_asked.clear();
        self.next_stun = now.instant + wait;
        for server in self.local.stun_servers.clone() {
            let family = |socket: &Socket| socket.local.is_ipv4() == server.is_ipv4();
            let Some(index) = self.sockets.iter().position(family) else { continue };
            let mut transaction = [0; 12];
            if getrandom::fill(&mut transaction).is_err() {
                return;
            }
            self.stun_asked.push((transaction, index));
            let request = stun::request(transaction);
            self.sockets[index].push(None, server, &request, &mut self.counts);
            self.next_stun = now.instant + STUN_RETRY;
        }
    }

    /// Whether the datagram answers a question of ours.
    pub(super) fn stun_answer(&mut self, socket: usize, bytes: &[u8], now: Now) -> bool {
        if self.stun_asked.is_empty() {
            return false;
        }
        let Some((transaction, mapped)) = stun::response(bytes) else { return false };
        let asked = self.stun_asked.iter().position(|asked| *asked == (transaction, socket));
        let Some(asked) = asked else { return false };
        self.stun_asked.swap_remove(asked);
        if self.stun_asked.is_empty() {
            self.next_stun = now.instant + STUN_INTERVAL;
        }
        self.add_reflexive(mapped, now);
        true
    }
}
