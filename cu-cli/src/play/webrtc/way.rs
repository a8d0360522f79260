//! Which rung of the ladder the chosen pair stands on, from the candidates of both ends.

use std::{collections::HashMap, net::IpAddr};

use rtc::peer_connection::transport::RTCIceCandidateType;
use sightline_model::Rung;

/// What the PU says of its candidates beyond what the stack keeps of them: extensions of the line
/// (RFC 8839 section 5.1), by address and port.
#[derive(Debug, Default)]
pub(super) struct Remote {
    known: HashMap<String, Rung>,
    /// Whether it has told addresses of IPv4, and of IPv6, at which it may be reached directly.
    v4: bool,
    v6: bool,
}

impl Remote {
    /// Notes all candidates of an answer.
    pub fn answer(&mut self, sdp: &str) {
        for line in sdp.lines().filter_map(|line| line.strip_prefix("a=")) {
            self.candidate(line);
        }
    }

    /// Notes a `candidate:` line.
    pub fn candidate(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(ip), Some(port)) = (words.get(4), words.get(5)) else { return };
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied()
        };
        if after("typ").is_some_and(|typ| typ != "relay") {
            self.note_family(ip);
        }
        let rung = match (after("typ"), after("sl-kind"), after("sl-via")) {
            (Some("srflx"), Some("mapped"), _) => Rung::Mapped,
            (Some("relay"), _, Some("tcp")) => Rung::RelayTcp,
            (Some("relay"), _, Some("tls")) => Rung::RelayTls,
            (Some("relay"), _, Some("udp")) => Rung::RelayUdp,
            _ => return,
        };
        self.known.insert(format!("{ip}:{port}"), rung);
    }

    /// Of IPv6, only global unicast addresses count (RFC 4291 section 2.4: 2000::/3 so far).
    fn note_family(&mut self, ip: &str) {
        match ip.parse() {
            Ok(IpAddr::V4(_)) => self.v4 = true,
            Ok(IpAddr::V6(ip)) => self.v6 |= ip.segments()[0] & 0xe000 == 0x2000,
            Err(_) => {}
        }
    }

    /// Whether it can be reached by IPv4 alone.
    pub const fn has_only_v4(&self) -> bool {
        self.v4 && !self.v6
    }

    /// The rung of a pair; this stack's own relays are reached over UDP alone.
    pub fn rung(&self, local: RTCIceCandidateType, remote: RTCIceCandidateType, at: &str) -> Rung {
        use RTCIceCandidateType::{Prflx, Relay, Srflx};
        let known = self.known.get(at).copied();
        match (local, remote) {
            (Relay, _) | (_, Relay) => {
                known.filter(|rung| rung.is_relayed()).unwrap_or(Rung::RelayUdp)
            }
            _ if known == Some(Rung::Mapped) => Rung::Mapped,
            (Srflx | Prflx, _) | (_, Srflx | Prflx) => Rung::Punched,
            _ => Rung::Host,
        }
    }
}

/// Why it is none better, as far as this stack can tell. `apart`: this end has IPv6 alone, and the
/// camera IPv4, which ICE does not pair (RFC 8445 section 6.1.2.2).
pub(super) fn why_not_better(rung: Rung, apart: bool) -> Vec<String> {
    let punched = if apart {
        "This network has no IPv4 of its own, and WebRTC does not reach the camera's IPv4 address \
         through NAT64; `--via quic` does."
    } else {
        "No direct way answered."
    };
    let better = [
        (Rung::Host, "Camera and viewer are in different networks."),
        (Rung::Mapped, "The camera's router opens no port that answered (UPnP, NAT-PMP, PCP)."),
        (Rung::Punched, punched),
        (Rung::Probed, "WebRTC cannot try many ports; `--via quic` can."),
        (Rung::RelayUdp, "The camera cannot reach the relay by UDP."),
        (Rung::RelayTcp, "The camera can reach the relay only by TLS."),
    ];
    better.into_iter().filter(|(at, _)| *at < rung).map(|(_, why)| why.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use RTCIceCandidateType::{Host, Prflx, Relay, Srflx};

    use super::*;

    #[test]
    fn the_rung_follows_from_the_pair_and_from_what_the_camera_says() {
        let mut remote = Remote::default();
        remote.answer(
            "v=0\r\na=candidate:1 1 udp 5 203.0.113.9 7 typ srflx raddr 0.0.0.0 rport 0 \
             sl-kind mapped\r\na=candidate:broken\r\n",
        );
        remote.candidate("candidate:2 1 udp 5 198.51.100.1 9 typ relay sl-via tls");
        for (local, there, at, rung) in [
            (Host, Host, "192.168.1.2:1", Rung::Host),
            (Srflx, Host, "198.51.100.9:1", Rung::Punched),
            (Host, Prflx, "198.51.100.9:1", Rung::Punched),
            (Host, Srflx, "203.0.113.9:7", Rung::Mapped),
            (Relay, Srflx, "203.0.113.9:7", Rung::RelayUdp),
            (Host, Relay, "198.51.100.1:9", Rung::RelayTls),
        ] {
            assert_eq!(remote.rung(local, there, at), rung, "{local:?} {there:?} {at}");
        }
        assert!(why_not_better(Rung::Host, false).is_empty());
        assert_eq!(why_not_better(Rung::RelayUdp, false).len(), 4);
    }

    #[test]
    fn a_camera_without_ipv6_cannot_be_reached_from_behind_nat64() {
        let mut remote = Remote::default();
        assert!(!remote.has_only_v4(), "nothing is known");
        remote.candidate("candidate:1 1 udp 5 192.168.1.2 1 typ host");
        remote.candidate("candidate:2 1 udp 5 fd00::2 1 typ host");
        remote.candidate("candidate:3 1 udp 5 2001:db8::9 1 typ relay");
        assert!(remote.has_only_v4());
        let why = why_not_better(Rung::RelayUdp, remote.has_only_v4());
        assert!(why.len() == 4 && why[2].contains("NAT64"), "{why:?}");
        remote.candidate("candidate:4 1 udp 5 2001:db8::2 1 typ host");
        assert!(!remote.has_only_v4());
    }
}
