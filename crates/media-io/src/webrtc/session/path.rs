//! Which way the media takes, in words.

use std::{
    borrow::Cow,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sightline_model::{NatDependence, NatReport, Rung};
use sightline_p2p_net::Nat64;
use sightline_protocol::pc::{MediaTransport, PathReport};
use str0m::CandidateKind;

use super::follow::Pair;

/// What is known of the network around the unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::webrtc) struct Around {
    /// Addresses that gateways map to the sockets.
    pub(in crate::webrtc) mapped: Vec<SocketAddr>,
    pub(in crate::webrtc) nat: NatReport,
    pub(in crate::webrtc) nat64: Option<Nat64>,
}

/// Marks a candidate that a gateway maps; unknown extensions are ignored (RFC 8839 section 5.1).
pub(in crate::webrtc) const MAPPED: &str = " sl-kind mapped";

/// Says how the unit reaches its own relay.
pub(in crate::webrtc) const fn via(rung: Rung) -> &'static str {
    match rung {
        Rung::RelayTcp => " sl-via tcp",
        Rung::RelayTls => " sl-via tls",
        Rung::Host | Rung::Mapped | Rung::Punched | Rung::Probed | Rung::RelayUdp => " sl-via udp",
    }
}

/// The line of a server-reflexive candidate that the library does not make.
pub(super) fn translated(address: SocketAddr, ufrag: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    let priority = REFLEXIVE << 24 | 0x7fff << 8 | 0xff;
    format!(
        "candidate:nat64 1 udp {priority} {ip} {port} typ srflx raddr 0.0.0.0 rport 0 ufrag {ufrag}"
    )
}

/// What an answer tells of the session itself.
pub(super) struct Own<'a> {
    /// Which offer it answers: one that comes late must not be taken for that of a later offer.
    pub(super) offered_ufrag: &'a str,
    /// How long a router has mapped the sockets.
    pub(super) mapped_for: Option<Duration>,
    pub(super) relays: &'a HashMap<SocketAddr, Rung>,
    /// How often ICE has started over.
    pub(super) restarts: u32,
}

/// Type preference of server-reflexive candidates (RFC 8445 section 5.1.2.2).
const REFLEXIVE: u32 = 100;
/// Local preferences of one start of ICE.
const PREFERENCES: u32 = 16;
/// Starts until they are used up, and begin anew.
const STARTS: u32 = 0x8000 / PREFERENCES;

/// The line of a candidate as the viewer is told it. Of two pairs that work browsers stay with the
/// one of higher priority (RFC 8445 section 5.1.2.1), so an address seen from outside gets more of it
/// with every start of ICE; the library gives less. Otherwise a viewer would keep a mapping until
/// it dies, though a younger one is there.
pub(super) fn told(line: &str, restarts: u32) -> Cow<'_, str> {
    let mut words: Vec<&str> = line.split(' ').collect();
    let Some(given) = words.get(3).and_then(|word| word.parse::<u32>().ok()) else {
        return Cow::Borrowed(line);
    };
    if !line.contains(" typ srflx") {
        return Cow::Borrowed(line);
    }
    let among = (given >> 8) % PREFERENCES;
    let preference = 0x8000 + restarts % STARTS * PREFERENCES + among;
    let priority = (REFLEXIVE << 24 | preference << 8 | given & 0xff).to_string();
    words[3] = &priority;
    Cow::Owned(words.join(" "))
}

/// An answer with what the viewer cannot learn from its candidates alone, and without those that
/// are not told (RFC 8445 section 7.2.5.3.1: peer-reflexive ones).
pub(super) fn annotate(sdp: &str, around: &Around, own: &Own<'_>) -> String {
    let mut out = String::with_capacity(sdp.len() + 128);
    for line in sdp.split_inclusive('\n') {
        let text = line.trim_end();
        let address = address_of(text);
        if address.is_some() && text.contains(" typ prflx") {
            continue;
        }
        // The first media section ends the description of the session (RFC 8866 section 5).
        if text.starts_with("m=") && !out.contains("\nm=") {
            out.extend(nat_line(&around.nat));
            out.extend(own.mapped_for.map(|age| format!("a=x-mapped-for:{}\r\n", age.as_millis())));
            if !own.offered_ufrag.is_empty() {
                out.extend(["a=x-offer:", own.offered_ufrag, "\r\n"]);
            }
        }
        match address {
            Some(_) => out.push_str(&told(text, own.restarts)),
            None => out.push_str(text),
        }
        if let Some(address) = address {
            if around.mapped.contains(&address) {
                out.push_str(MAPPED);
            } else if let Some(rung) = own.relays.get(&address) {
                out.push_str(via(*rung));
            }
        }
        out.push_str("\r\n");
    }
    out
}

/// Address and port of an `a=candidate:` line.
fn address_of(line: &str) -> Option<SocketAddr> {
    let mut words = line.strip_prefix("a=candidate:")?.split(' ').skip(4);
    let ip: IpAddr = words.next()?.parse().ok()?;
    Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
}

fn nat_line(nat: &NatReport) -> Option<String> {
    let yes = |value: bool| if value { "yes" } else { "no" };
    let words = [
        nat.udp.map(|udp| format!("udp={}", yes(udp))),
        nat.translated.map(|translated| format!("translated={}", yes(translated))),
        nat.mapping.map(|on| format!("mapping={}", dependence(on))),
        nat.filtering.map(|on| format!("filtering={}", dependence(on))),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| format!("a=x-nat:{}\r\n", words.join(",")))
}

const fn dependence(on: NatDependence) -> &'static str {
    match on {
        NatDependence::EndpointIndependent => "endpoint_independent",
        NatDependence::AddressDependent => "address_dependent",
        NatDependence::AddressAndPortDependent => "address_and_port_dependent",
    }
}

/// The report of a pair, as far as this end can tell; the viewer may know better.
pub(super) fn report(
    (from, to): Pair,
    kind: Option<CandidateKind>,
    relays: &HashMap<SocketAddr, Rung>,
    around: &Around,
) -> PathReport {
    let rung = rung_of(from, to, kind, relays, around);
    PathReport::on(MediaTransport::Webrtc, rung, reason(rung)).not_better(why(rung, around))
}

fn rung_of(
    from: SocketAddr,
    to: SocketAddr,
    kind: Option<CandidateKind>,
    relays: &HashMap<SocketAddr, Rung>,
    around: &Around,
) -> Rung {
    if let Some(rung) = relays.get(&from) {
        return *rung;
    }
    if kind == Some(CandidateKind::Relayed) {
        return Rung::RelayUdp;
    }
    if is_local(to.ip()) {
        return Rung::Host;
    }
    let translated = around.nat.translated.unwrap_or_else(|| is_local(from.ip()));
    match kind {
        Some(CandidateKind::Host) if !translated => Rung::Host,
        _ if translated && !around.mapped.is_empty() => Rung::Mapped,
        Some(_) | None => Rung::Punched,
    }
}

fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

const fn reason(rung: Rung) -> &'static str {
    match rung {
        Rung::Host => "direct, between the addresses of camera and viewer",
        Rung::Mapped => "direct, through a port that the camera's router opens for it",
        Rung::Punched => "direct, through the routers, opened from inside",
        Rung::Probed => "direct, through a port found by trying many",
        Rung::RelayUdp => "over a relay, by UDP",
        Rung::RelayTcp => "over a relay, by TCP",
        Rung::RelayTls => "over a relay, by TLS",
    }
}

fn why(rung: Rung, around: &Around) -> Vec<String> {
    let symmetric = matches!(
        around.nat.mapping,
        Some(NatDependence::AddressDependent | NatDependence::AddressAndPortDependent)
    );
    let punching = match around.nat.udp {
        Some(false) => "UDP is blocked on the camera's network.",
        _ if symmetric => {
            "The camera's router uses another port for every destination (symmetric)."
        }
        Some(true) | None => "No direct way answered.",
    };
    let mapping = if around.mapped.is_empty() {
        "The camera's router opens no port (UPnP, NAT-PMP, PCP)."
    } else {
        "The port that the camera's router opens did not answer."
    };
    let better = [
        (Rung::Host, "Camera and viewer are in different networks."),
        (Rung::Mapped, mapping),
        (Rung::Punched, punching),
        (Rung::RelayUdp, "The relay cannot be reached by UDP."),
        (Rung::RelayTcp, "The relay cannot be reached by TCP without TLS."),
    ];
    better.into_iter().filter(|(at, _)| *at < rung).map(|(_, why)| why.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_rung_follows_from_both_ends() {
        let relays = HashMap::from([(address("198.51.100.1:9"), Rung::RelayTls)]);
        let (home, public) = (address("192.168.1.7:5"), address("203.0.113.9:7"));
        let bare = Around::default();
        let rung = |from, to, kind| rung_of(from, to, kind, &relays, &bare);
        assert_eq!(rung(home, address("192.168.1.9:6"), None), Rung::Host);
        assert_eq!(rung(home, public, Some(CandidateKind::Host)), Rung::Punched);
        assert_eq!(rung(public, address("198.51.100.7:1"), Some(CandidateKind::Host)), Rung::Host);
        assert_eq!(rung(home, public, Some(CandidateKind::Relayed)), Rung::RelayUdp);
        assert_eq!(rung(address("198.51.100.1:9"), public, None), Rung::RelayTls);
        let mapped = Around { mapped: vec![public], ..Around::default() };
        let kind = Some(CandidateKind::ServerReflexive);
        assert_eq!(rung_of(home, address("198.51.100.7:1"), kind, &relays, &mapped), Rung::Mapped);
        let blocked = Around {
            nat: NatReport { udp: Some(false), ..NatReport::default() },
            ..Around::default()
        };
        let why = why(Rung::RelayTls, &blocked);
        assert!(why.iter().any(|line| line.contains("UDP is blocked")), "{why:?}");
        assert_eq!(why.len(), 5);
    }

    #[test]
    fn an_answer_is_annotated_once_and_otherwise_left_alone() {
        let sdp = "v=0\r\ns=-\r\nm=video 9 X 1\r\n\
                   a=candidate:1 1 udp 5 203.0.113.9 7 typ srflx raddr 0.0.0.0 rport 0\r\n\
                   a=candidate:3 1 udp 5 203.0.113.9 8 typ prflx\r\n\
                   a=candidate:2 1 udp 5 198.51.100.1 9 typ relay\r\nm=application 9 Y 2\r\n";
        let around = Around {
            mapped: vec![address("203.0.113.9:7")],
            nat: NatReport {
                udp: Some(true),
                mapping: Some(NatDependence::EndpointIndependent),
                ..NatReport::default()
            },
            nat64: None,
        };
        let relays = HashMap::from([(address("198.51.100.1:9"), Rung::RelayTcp)]);
        let own = Own {
            offered_ufrag: "aB3/",
            mapped_for: Some(Duration::from_secs(7)),
            relays: &relays,
            restarts: 0,
        };
        let out = annotate(sdp, &around, &own);
        assert_eq!(
            out.matches("a=x-nat:udp=yes,mapping=endpoint_independent\r\na=x-mapped").count(),
            1
        );
        assert!(out.contains("\na=x-mapped-for:7000\r\na=x-offer:aB3/\r\nm=video"), "{out}");
        assert!(!out.contains("prflx"), "{out}");
        assert!(out.contains("rport 0 sl-kind mapped\r\n"), "{out}");
        assert!(out.contains("typ relay sl-via tcp\r\n"), "{out}");
        let relays = HashMap::new();
        let nothing = Own { offered_ufrag: "", mapped_for: None, relays: &relays, restarts: 0 };
        let host = sdp.replace("srflx", "host");
        let told = host.replace("a=candidate:3 1 udp 5 203.0.113.9 8 typ prflx\r\n", "");
        assert_eq!(annotate(&host, &Around::default(), &nothing), told);
    }

    #[test]
    fn where_a_nat64_shows_a_socket_is_told_as_a_candidate() {
        let line = translated(address("198.51.100.7:4000"), "aB3/");
        let read = str0m::Candidate::from_sdp_string(&line).expect("a candidate");
        assert_eq!(read.addr(), address("198.51.100.7:4000"));
        assert_eq!(read.kind(), CandidateKind::ServerReflexive);
        assert_eq!(read.ufrag(), Some("aB3/"));
        let later = translated(address("198.51.100.7:4001"), "aB3/");
        let later = str0m::Candidate::from_sdp_string(&told(&later, 1)).expect("a candidate");
        assert!(later.prio() > read.prio());
    }

    #[test]
    fn a_mapping_is_told_as_better_than_the_one_before() {
        let line = "candidate:2 1 udp 1686109951 203.0.113.9 7 typ srflx raddr 0.0.0.0 rport 0";
        let priority = |line: &str| -> u32 {
            line.split(' ').nth(3).and_then(|word| word.parse().ok()).expect("a priority")
        };
        let mut before = 0;
        for restarts in 0..500 {
            // As the library has it: less with every address.
            let given = 1_686_109_951 - ((restarts * 2) << 8);
            let line = line.replace("1686109951", &given.to_string());
            let now = priority(&told(&line, restarts));
            assert!(now > before, "{now} after {before}");
            assert!(now > 100 << 24 && now < 101 << 24, "{now} is of its kind");
            before = now;
        }
        assert!(told(line, u32::MAX).ends_with("203.0.113.9 7 typ srflx raddr 0.0.0.0 rport 0"));
        let host = "candidate:1 1 udp 2130706175 192.168.1.7 8 typ host ufrag x";
        assert_eq!(told(host, 7), host);
        assert_eq!(told("", 7), "");
    }
}
