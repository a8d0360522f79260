//! Candidates: addresses at which an end may be reached, as lines of SDP (RFC 8839 section 5.1).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;

/// Longest candidate line that is read.
pub const MAX_CANDIDATE_BYTES: usize = 400;

/// How the client of a relay talks to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Leg {
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Where a candidate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateKind {
    /// An address of the end itself.
    Host,
    /// The outside of a port that the home gateway maps (`typ srflx` with `sl-kind mapped`).
    Mapped,
    /// What a STUN server saw.
    ServerReflexive,
    /// What the other end saw; never signalled.
    PeerReflexive,
    /// Given by a relay whose client reaches it over this leg (`sl-leg`).
    Relayed(Leg),
}

impl CandidateKind {
    /// Whether a relay is in between.
    #[must_use]
    pub const fn is_relayed(self) -> bool {
        matches!(self, Self::Relayed(_))
    }

    /// The type preference of RFC 8445 section 5.1.2.2.
    const fn preference(self) -> u32 {
        match self {
            Self::Host => 126,
            Self::Mapped => 120,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed(Leg::Udp) => 3,
            Self::Relayed(Leg::Tcp) => 2,
            Self::Relayed(Leg::Tls) => 1,
        }
    }

    /// For foundations.
    pub(crate) const fn code(self) -> u32 {
        self.preference()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Mapped | Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed(_) => "relay",
        }
    }
}

/// The priority of RFC 8445 section 5.1.2.1, for the one component that there is.
///
/// The local preference is the generation of the socket (which replaced which, modulo 256) and,
/// below it, the address family: so the other end sees in any check which socket is the newest.
#[must_use]
pub fn priority(kind: CandidateKind, generation: u8, address: IpAddr) -> u32 {
    let family = if address.is_ipv6() { 200 } else { 100 };
    (kind.preference() << 24) | (u32::from(generation) << 16) | (family << 8) | 255
}

/// The generation that a priority carries.
#[must_use]
pub(crate) const fn generation(priority: u32) -> u8 {
    (priority >> 16) as u8
}

/// One candidate as the other end is told it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Equal for candidates of one kind from one base (RFC 8445 section 5.1.1.3).
    pub foundation: String,
    /// Higher is tried earlier.
    pub priority: u32,
    /// Where to send.
    pub address: SocketAddr,
    /// Where it comes from.
    pub kind: CandidateKind,
}

/// Why a candidate line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CandidateError {
    /// Longer than [`MAX_CANDIDATE_BYTES`].
    #[error("the candidate is too long")]
    TooLong,
    /// Not the grammar of RFC 8839, or a value out of range.
    #[error("not a candidate: {0}")]
    Syntax(&'static str),
    /// Another component or transport than the one UDP component that there is.
    #[error("only UDP candidates of component 1 are of use")]
    Unsupported,
    /// An address that nobody can send to: unspecified, multicast, broadcast, link-local, port 0,
    /// a name.
    #[error("nothing can be sent to the candidate's address")]
    Unreachable,
}

/// Whether a datagram to this address may ever go out on a candidate's word.
#[must_use]
pub fn is_usable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let wrong = match ip {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_link_local() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !wrong
}

impl FromStr for Candidate {
    type Err = CandidateError;

    /// Reads `candidate:…`, with or without `a=` before it.
    fn from_str(line: &str) -> Result<Self, CandidateError> {
        use CandidateError::{Syntax, TooLong, Unreachable, Unsupported};
        if line.len() > MAX_CANDIDATE_BYTES {
            return Err(TooLong);
        }
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").ok_or(Syntax("no prefix"))?;
        let mut words = line.split_ascii_whitespace();
        let mut next = |what| words.next().ok_or(Syntax(what));
        let foundation = next("foundation")?;
        let is_ice_char = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        if foundation.len() > 32 || !foundation.chars().all(is_ice_char) {
            return Err(Syntax("foundation"));
        }
        let (component, transport) = (next("component")?, next("transport")?);
        let priority: u32 = next("priority")?.parse().map_err(|_| Syntax("priority"))?;
        let host = next("address")?;
        let port: u16 = next("port")?.parse().map_err(|_| Syntax("port"))?;
        if next("typ")? != "typ" {
            return Err(Syntax("typ"));
        }
        let name = next("type")?;
        if component != "1" || !transport.eq_ignore_ascii_case("udp") {
            return Err(Unsupported);
        }
        // A name (mDNS) is refused: nobody here resolves it.
        let ip: IpAddr = host.parse().map_err(|_| Unreachable)?;
        let address = SocketAddr::new(ip.to_canonical(), port);
        if !is_usable(address) {
            return Err(Unreachable);
        }
        let kind = kind_of(name, words).ok_or(Syntax("type"))?;
        Ok(Self { foundation: foundation.to_owned(), priority, address, kind })
    }
}

/// The kind that a type has with its extensions: pairs of a name and a value, of which unknown ones
/// are ignored.
fn kind_of<'a>(name: &str, mut words: impl Iterator<Item = &'a str>) -> Option<CandidateKind> {
    let (mut mapped, mut leg) = (false, Leg::Udp);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match (name, value) {
            ("sl-kind", "mapped") => mapped = true,
            ("sl-leg", "tcp") => leg = Leg::Tcp,
            ("sl-leg", "tls") => leg = Leg::Tls,
            _ => {}
        }
    }
    match name {
        "host" => Some(CandidateKind::Host),
        "srflx" if mapped => Some(CandidateKind::Mapped),
        "srflx" => Some(CandidateKind::ServerReflexive),
        "prflx" => Some(CandidateKind::PeerReflexive),
        "relay" => Some(CandidateKind::Relayed(leg)),
        _ => None,
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, priority, address, kind } = self;
        let (ip, port, name) = (address.ip(), address.port(), kind.name());
        write!(f, "candidate:{foundation} 1 udp {priority} {ip} {port} typ {name}")?;
        if *kind != CandidateKind::Host {
            // Where it is bound is nobody's business (RFC 8839 section 5.1 allows this).
            let any = if ip.is_ipv6() { "::" } else { "0.0.0.0" };
            write!(f, " raddr {any} rport 9")?;
        }
        match kind {
            CandidateKind::Mapped => f.write_str(" sl-kind mapped"),
            CandidateKind::Relayed(leg) => write!(f, " sl-leg {}", leg.name()),
            CandidateKind::Host | CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => {
                Ok(())
            }
        }
    }
}

/// Whether an address belongs to one machine or a local network only, so that a relay on the
/// Internet refuses it, and its ports are not tried on anybody's word.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let local = v4.is_private() || v4.is_loopback() || v4.is_link_local();
            // 100.64.0.0/10 is between a carrier and its customers (RFC 6598).
            local || in_net(v4, [100, 64, 0, 0], 10)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn in_net(ip: Ipv4Addr, net: [u8; 4], bits: u32) -> bool {
    (ip.to_bits() ^ u32::from_be_bytes(net)).leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Candidate, CandidateError> {
        line.parse()
    }

    #[test]
    fn every_kind_survives_its_text() {
        let kinds = [
            CandidateKind::Host,
            CandidateKind::Mapped,
            CandidateKind::ServerReflexive,
            CandidateKind::Relayed(Leg::Udp),
            CandidateKind::Relayed(Leg::Tcp),
            CandidateKind::Relayed(Leg::Tls),
        ];
        for kind in kinds {
            for address in ["192.0.2.7:4000", "[2001:db8::1]:9"] {
                let address: SocketAddr = address.parse().expect("an address");
                let priority = priority(kind, 3, address.ip());
                let candidate = Candidate { foundation: "a1".into(), priority, address, kind };
                assert_eq!(parse(&candidate.to_string()), Ok(candidate.clone()));
                assert_eq!(generation(candidate.priority), 3);
            }
        }
    }

    #[test]
    fn private_is_what_means_another_machine_elsewhere() {
        let private = |ip: &str| is_private(ip.parse().expect("an address"));
        for ip in [
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.20",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:100.64.0.1",
        ] {
            assert!(private(ip), "{ip}");
        }
        for ip in ["203.0.113.1", "198.51.100.1", "11.0.0.9", "100.63.0.1", "100.128.0.1"] {
            assert!(!private(ip), "{ip}");
        }
        assert!(!private("2001:db8::1") && !private("::ffff:203.0.113.1"));
    }

    #[test]
    fn a_browsers_line_is_read() {
        let line = "a=candidate:842163049 1 udp 1677729535 198.51.100.4 46154 typ srflx raddr \
                    10.0.0.17 rport 46154 generation 0 network-cost 999";
        let read = parse(line).expect("a candidate");
        assert_eq!(read.kind, CandidateKind::ServerReflexive);
        assert_eq!(read.address, "198.51.100.4:46154".parse().expect("an address"));
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused() {
        use CandidateError::{TooLong, Unreachable, Unsupported};
        let line = |rest: &str| parse(&format!("candidate:1 1 udp 1 {rest}"));
        for bad in ["0.0.0.0 1", "224.0.0.1 1", "10.0.0.1 0", "::ffff:0.0.0.0 1", "fe80::1 1"] {
            assert_eq!(line(&format!("{bad} typ host")), Err(Unreachable), "{bad}");
        }
        assert_eq!(line("3d4c.local 5 typ host"), Err(Unreachable));
        assert_eq!(parse("candidate:1 2 udp 1 10.0.0.1 5 typ host"), Err(Unsupported));
        assert_eq!(parse("candidate:1 1 tcp 1 10.0.0.1 5 typ host"), Err(Unsupported));
        assert_eq!(parse(&format!("candidate:{}", "x".repeat(500))), Err(TooLong));
        for bad in ["", "candidate:", "candidate:1 1 udp -1 10.0.0.1 5 typ host"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
