//! Which rung of the ladder the chosen pair stands on, from the candidates of both ends.

use std::collections::HashMap;

use rtc::peer_connection::transport::RTCIceCandidateType;
use sightline_model::Rung;

/// What the PU says of its candidates beyond what the stack keeps of them: extensions of the line
/// (RFC 8839 section 5.1), by address and port.
#[derive(Debug, Default)]
pub(super) struct Remote {
    known: HashMap<String, Rung>,
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
        let rung = match (after("typ"), after("sl-kind"), after("sl-via")) {
            (Some("srflx"), Some("mapped"), _) => Rung::Mapped,
            (Some("relay"), _, Some("tcp")) => Rung::RelayTcp,
            (Some("relay"), _, Some("tls")) => Rung::RelayTls,
            (Some("relay"), _, Some("udp")) => Rung::RelayUdp,
            _ => return,
        };
        self.known.insert(format!("{ip}:{port}"), rung);
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

/// Why it is none better, as far as this stack can tell.
pub(super) fn why_not_better(rung: Rung) -> Vec<String> {
    let better = [
        (Rung::Host, "Camera and viewer are in different networks."),
        (Rung::Mapped, "The camera's router opens no port that answered (UPnP, NAT-PMP, PCP)."),
        (Rung::Punched, "No direct way answered."),
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
        assert!(why_not_better(Rung::Host).is_empty());
        assert_eq!(why_not_better(Rung::RelayUdp).len(), 4);
    }
}
