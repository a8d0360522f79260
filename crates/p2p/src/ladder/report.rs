//! Where a session stands and why not better, in plain words.

use std::net::SocketAddr;

use sightline_model::{NatReport, Rung};

use super::{
    Ladder, Remote, Report, State,
    probe::{Outcome, is_symmetric},
};
use crate::{
    candidate::{CandidateKind, Leg},
    check::Role,
};

const DIRECT: [Rung; 4] = [Rung::Host, Rung::Mapped, Rung::Punched, Rung::Probed];
const RELAYED: [Rung; 2] = [Rung::RelayUdp, Rung::RelayTcp];

impl Ladder {
    /// Where the session stands, and why not better.
    #[must_use]
    pub fn report(&self) -> Report {
        let active = self.active.and_then(|path| Some((path, self.pairs.get(&path)?)));
        let rung = active.map(|(path, pair)| self.rung(path, pair));
        let better = DIRECT.into_iter().chain(RELAYED);
        let better = better.filter(|better| rung.is_none_or(|rung| *better < rung));
        Report {
            rung,
            remote: active.map(|(path, _)| path.remote),
            why_not_better: better.map(|better| self.why_not(better)).collect(),
            nat_local: self.nat_local.clone(),
            nat_remote: self.nat_remote.clone(),
            rtt: self.active_proof().map(|proof| proof.rtt),
            spare: self.spare_rung(),
        }
    }

    fn why_not(&self, rung: Rung) -> String {
        match rung {
            Rung::Host => self.why_not_host(),
            Rung::Mapped => self.why_not_mapped(),
            Rung::Punched => self.why_not_punched(),
            Rung::Probed => self.why_not_probed(),
            Rung::RelayUdp => self.why_not_relay(Leg::Udp),
            Rung::RelayTcp => self.why_not_relay(Leg::Tcp),
            Rung::RelayTls => self.why_not_relay(Leg::Tls),
        }
    }

    /// How many pairs of that rung were tried, and whether any of them ever worked.
    fn tried(&self, wanted: impl Fn(CandidateKind) -> bool) -> (usize, bool) {
        let direct = self.pairs.iter().filter(|(path, pair)| {
            let socket = self.sockets.iter().find(|s| s.id == path.socket);
            wanted(pair.remote) && socket.is_some_and(|s| s.leg.is_none())
        });
        direct.fold((0, false), |(count, worked), (_, pair)| {
            let tried = matches!(pair.state, State::Proven(_) | State::Unproven { tries: 1.., .. });
            (count + usize::from(tried), worked || pair.deaths > 0)
        })
    }

    fn why_not_host(&self) -> String {
        let own = self.sockets.iter().any(|s| s.leg.is_none());
        match self.tried(|kind| kind == CandidateKind::Host) {
            _ if !own => {
                format!("{} has no network of its own to send from", capital(&self.here()))
            }
            (0, _) => format!(
                "{} has told no address of its own that could be tried",
                capital(&self.there())
            ),
            (_, true) => "The path between the ends' own addresses has died".into(),
            (_, false) => format!("The ends are not in one network, and {}", self.why_no_v6()),
        }
    }

    fn why_no_v6(&self) -> String {
        let here = self.sockets.iter().filter(|s| s.leg.is_none());
        let here = here.flat_map(|s| &s.hosts).any(SocketAddr::is_ipv6);
        let told = |r: &Remote| r.address.is_ipv6() && r.kind == CandidateKind::Host;
        match (here, self.remotes.iter().any(told)) {
            (true, true) => "nothing answers between their IPv6 addresses".into(),
            (true, false) => format!("{} has no IPv6", self.there()),
            (false, true) => format!("{} has no IPv6", self.here()),
            (false, false) => "neither has IPv6".into(),
        }
    }

    fn why_not_mapped(&self) -> String {
        let ours = self.sockets.iter().any(|s| !s.mapped.is_empty());
        match self.tried(|kind| kind == CandidateKind::Mapped) {
            (0, _) if !ours => {
                "No home gateway maps a port to either end (UPnP, NAT-PMP, PCP)".into()
            }
            (_, true) => "The path through the port that the gateway maps has died".into(),
            _ => "The port that a home gateway maps was tried, and did not answer".into(),
        }
    }

    fn why_not_punched(&self) -> String {
        if let Some(why) = self.why_no_udp() {
            return why;
        }
        let symmetric = |nat: &NatReport| is_symmetric(nat) == Some(true);
        match (symmetric(&self.nat_local), symmetric(&self.nat_remote)) {
            (true, true) => {
                return "Both routers give every destination another port (symmetric)".into();
            }
            (true, false) | (false, true) => {
                let (own, other) = if symmetric(&self.nat_local) {
                    (self.here(), self.there())
                } else {
                    (self.there(), self.here())
                };
                return format!(
                    "{}'s router gives every destination another port (symmetric), and {other}'s \
                     lets in only what was sent to before",
                    capital(&own)
                );
            }
            (false, false) => {}
        }
        let reflexive =
            |kind| matches!(kind, CandidateKind::ServerReflexive | CandidateKind::PeerReflexive);
        match self.tried(reflexive) {
            (0, _) => format!("{} has told no public address", capital(&self.there())),
            (_, true) => "The path through the routers has died, and is being made again".into(),
            (count, false) => {
                let s = if count == 1 { " was" } else { "es were" };
                format!("{count} public address{s} tried through the routers, and none answered")
            }
        }
    }

    fn why_no_udp(&self) -> Option<String> {
        let blocked = |nat: &NatReport| nat.udp == Some(false);
        match (blocked(&self.nat_local), blocked(&self.nat_remote)) {
            (true, true) => Some("UDP is blocked on both ends' networks".into()),
            (true, false) => Some(format!("UDP is blocked on {}'s network", self.here())),
            (false, true) => Some(format!("UDP is blocked on {}'s network", self.there())),
            (false, false) => None,
        }
    }

    fn why_not_probed(&self) -> String {
        if let Some(why) = self.why_no_udp() {
            return format!("Ports were not probed: {}", uncapital(&why));
        }
        match self.probing.outcome {
            Outcome::NotYet => format!("Ports were not probed: {}", self.why_no_need_to_probe()),
            Outcome::Running => "Ports are being probed".into(),
            Outcome::Failed(tried) => format!("{tried} probes of ports were sent, none hit"),
            Outcome::Succeeded => "The path that probing of ports found has died".into(),
        }
    }

    fn why_no_need_to_probe(&self) -> String {
        match (is_symmetric(&self.nat_local), is_symmetric(&self.nat_remote)) {
            (Some(true), Some(true)) => "between two symmetric routers nothing would be hit".into(),
            (Some(false), Some(false)) => "neither router is symmetric".into(),
            (None, _) => format!("how {}'s router behaves is not known", self.here()),
            (_, None) => format!("how {}'s router behaves is not known", self.there()),
            (Some(true), Some(false)) | (Some(false), Some(true)) => "it is too early".into(),
        }
    }

    /// Whose leg to its relay is the worse one, if a relay is in the active path; else what became
    /// of the relays.
    fn why_not_relay(&self, leg: Leg) -> String {
        let active = self.active.and_then(|path| Some((path, self.pairs.get(&path)?)));
        let own = active.and_then(|(path, _)| self.sockets.iter().find(|s| s.id == path.socket));
        let worse = if own.and_then(|s| s.leg).is_some_and(|own| own > leg) {
            Some((self.here(), &self.nat_local))
        } else if active.is_some() {
            Some((self.there(), &self.nat_remote))
        } else {
            None
        };
        let name = match leg {
            Leg::Udp => "UDP",
            Leg::Tcp => "TCP",
            Leg::Tls => "TLS",
        };
        match worse {
            Some((who, nat)) if leg == Leg::Udp && nat.udp == Some(false) => {
                format!("UDP is blocked on {who}'s network, to relays too")
            }
            Some((who, _)) => format!("{} has reached no relay over {name}", capital(&who)),
            None => format!("No relay over {name} answers"),
        }
    }

    fn here(&self) -> String {
        name(self.role)
    }

    fn there(&self) -> String {
        match self.role {
            Role::Controlling => name(Role::Controlled),
            Role::Controlled => name(Role::Controlling),
        }
    }
}

fn name(role: Role) -> String {
    match role {
        Role::Controlling => "the viewer".into(),
        Role::Controlled => "the camera".into(),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn uncapital(text: &str) -> String {
    // Names of protocols stay as they are.
    if text.starts_with("UDP") {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
