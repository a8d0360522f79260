//! STUN and TURN servers as the centre names them (RFC 7064, RFC 7065).

use std::{fmt, net::SocketAddr, time::Duration};

use sightline_model::{Rung, SessionToken, UnixMicros};
use sightline_protocol::cm::IceServer;

use crate::nat64::Nat64;

/// Servers of one list that are used; more are of no use to one session.
const MAX_SERVERS: usize = 16;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(3);

/// What carries the leg between a client and its relay. Better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RelayTransport {
    /// RFC 8656 over UDP.
    Udp,
    /// Over TCP.
    Tcp,
    /// Over TLS over TCP.
    Tls,
}

impl RelayTransport {
    /// The rung of a path through such a relay.
    #[must_use]
    pub const fn rung(self) -> Rung {
        match self {
            Self::Udp => Rung::RelayUdp,
            Self::Tcp => Rung::RelayTcp,
            Self::Tls => Rung::RelayTls,
        }
    }
}

/// Name or address, and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Place {
    /// Looks the name up; IPv4 first. On a network that has IPv6 alone, addresses of IPv4 are
    /// written in the network's NAT64 prefix (RFC 6052).
    ///
    /// # Errors
    /// When the name is unknown.
    pub async fn resolve(&self, nat64: Option<Nat64>) -> std::io::Result<Vec<SocketAddr>> {
        let looking = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = tokio::time::timeout(RESOLVE, looking)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        let mut addresses: Vec<_> = found
            .map(|address| match (address, nat64) {
                (SocketAddr::V4(v4), Some(nat64)) => {
                    SocketAddr::new(nat64.synthesize(*v4.ip()).into(), v4.port())
                }
                (other, _) => other,
            })
            .collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }
}

/// A TURN server, with what opens it.
#[derive(Clone, Debug)]
pub struct RelayServer {
    /// Where.
    pub place: Place,
    /// Over what.
    pub transport: RelayTransport,
    /// Which entry of the centre's list it is of: that has an entry for each MTU, with all its ways
    /// in. Means something among servers of one list only.
    pub entry: usize,
    /// Time-limited user name.
    pub username: String,
    /// Its password.
    pub credential: SessionToken,
}

impl RelayServer {
    /// Whether that is the same server, reached in the same way; the credentials may differ.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.place == other.place && self.transport == other.transport
    }

    /// Whether both, of one list, are ways into one MTU, which go down together. Two MTUs may share an
    /// address, and one may have several.
    pub(crate) fn is_of_one_mtu(&self, other: &Self) -> bool {
        self.entry == other.entry || self.place == other.place
    }

    /// Whether both are opened by the same credential.
    pub(crate) fn has_credential_of(&self, other: &Self) -> bool {
        self.username == other.username && self.credential.expose() == other.credential.expose()
    }

    /// When the credential ends, by the centre's clock: its user name begins with that
    /// (draft-uberti-behave-turn-rest-00 section 2.2). `None` when it tells nothing.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixMicros> {
        let (seconds, _) = self.username.split_once(':')?;
        seconds.parse::<i64>().ok()?.checked_mul(1_000_000).map(UnixMicros)
    }
}

/// One URL of an [`IceServer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerUrl {
    /// Tells what it sees.
    Stun(Place),
    /// Relays.
    Turn(Place, RelayTransport),
}

impl ServerUrl {
    /// Reads a URL; `None` when it is none of these schemes, or asks for what is not spoken here.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let secure = matches!(scheme, "stuns" | "turns");
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(h, p)| (h, Some(p))),
        };
        let port = port.map_or(Some(if secure { 5_349 } else { 3_478 }), |p| p.parse().ok())?;
        if host.is_empty() || port == 0 {
            return None;
        }
        let place = Place { host: host.to_owned(), port };
        match (scheme, query) {
            ("stun", "") => Some(Self::Stun(place)),
            ("turn", "" | "transport=udp") => Some(Self::Turn(place, RelayTransport::Udp)),
            ("turn", "transport=tcp") => Some(Self::Turn(place, RelayTransport::Tcp)),
            ("turns", "" | "transport=tcp") => Some(Self::Turn(place, RelayTransport::Tls)),
            _ => None,
        }
    }
}

/// Servers of a list, told apart. Those that make no sense are left out.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    /// Those that tell what they see: every TURN server over UDP is one too (RFC 8656 section 1).
    pub stun: Vec<Place>,
    /// Those that relay, better transports first; in the order of the list otherwise.
    pub relays: Vec<RelayServer>,
}

impl Servers {
    /// Reads the centre's list.
    #[must_use]
    pub fn read(list: &[IceServer]) -> Self {
        let mut servers = Self::default();
        for (entry, server) in list.iter().enumerate() {
            for url in server.urls.iter().filter_map(|url| ServerUrl::parse(url)) {
                servers.take(url, entry, server);
            }
        }
        servers.relays.sort_by_key(|relay| relay.transport);
        servers.relays.truncate(MAX_SERVERS);
        servers.stun.truncate(MAX_SERVERS);
        servers
    }

    /// When the first of the credentials ends, by the centre's clock; `None` when none tells.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixMicros> {
        self.relays.iter().filter_map(RelayServer::expires_at).min()
    }

    fn take(&mut self, url: ServerUrl, entry: usize, server: &IceServer) {
        match url {
            ServerUrl::Stun(place) => self.take_stun(place),
            ServerUrl::Turn(place, transport) => {
                if transport == RelayTransport::Udp {
                    self.take_stun(place.clone());
                }
                let (Some(username), Some(credential)) = (&server.username, &server.credential)
                else {
                    return;
                };
                let (username, credential) = (username.clone(), credential.clone());
                self.relays.push(RelayServer { place, transport, entry, username, credential });
            }
        }
    }

    fn take_stun(&mut self, place: Place) {
        if !self.stun.contains(&place) {
            self.stun.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, port: u16) -> Place {
        Place { host: host.into(), port }
    }

    #[test]
    fn reads_server_urls() {
        let turn = |h, p, t| Some(ServerUrl::Turn(place(h, p), t));
        assert_eq!(
            ServerUrl::parse("stun:a.example"),
            Some(ServerUrl::Stun(place("a.example", 3_478)))
        );
        assert_eq!(
            ServerUrl::parse("turn:192.0.2.1:99?transport=tcp"),
            turn("192.0.2.1", 99, RelayTransport::Tcp)
        );
        assert_eq!(
            ServerUrl::parse("turns:[2001:db8::1]:443?transport=tcp"),
            turn("2001:db8::1", 443, RelayTransport::Tls)
        );
        for bad in ["", "stun:", "http://a", "stun:a:99999", "stun:[::1", "turns:a?transport=udp"] {
            assert_eq!(ServerUrl::parse(bad), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn better_transports_come_first_and_none_without_a_credential() {
        let with = |urls: &[&str], open: bool| IceServer {
            urls: urls.iter().map(ToString::to_string).collect(),
            username: open.then(|| "u".into()),
            credential: open.then(|| SessionToken::new("p".to_owned())),
        };
        let list = [
            with(&["turns:a:443", "turn:a?transport=udp", "stun:a", "nonsense"], true),
            with(&["turn:b"], false),
            with(&["turn:c"], true),
        ];
        let servers = Servers::read(&list);
        let relays: Vec<_> =
            servers.relays.iter().map(|r| (r.place.host.as_str(), r.transport)).collect();
        let expected =
            [("a", RelayTransport::Udp), ("c", RelayTransport::Udp), ("a", RelayTransport::Tls)];
        assert_eq!(relays, expected);
        assert_eq!(servers.stun.len(), 3);
    }

    #[test]
    fn an_mtu_is_told_from_another_by_its_entry_and_not_by_its_address() {
        let with = |urls: &[&str]| IceServer {
            urls: urls.iter().map(ToString::to_string).collect(),
            username: Some("u".into()),
            credential: Some(SessionToken::new("p".to_owned())),
        };
        let list = [
            with(&["turn:192.0.2.1:3478", "turn:[2001:db8::1]:3478"]),
            with(&["turn:192.0.2.1:3488"]),
            with(&["turn:192.0.2.1:3488?transport=tcp"]),
        ];
        let relays = Servers::read(&list).relays;
        let [one, one_v6, other, other_tcp] = &relays[..] else { panic!("{relays:?}") };
        assert!(one.is_of_one_mtu(one_v6));
        assert!(!one.is_of_one_mtu(other));
        // Whoever else makes such lists may give each way an entry.
        assert!(other.is_of_one_mtu(other_tcp));
    }

    #[test]
    fn credentials_tell_when_they_end() {
        let list = |names: &[&str]| -> Vec<IceServer> {
            let of = |name: &&str| IceServer {
                urls: vec!["turn:a".into()],
                username: Some((*name).to_owned()),
                credential: Some(SessionToken::new("p".to_owned())),
            };
            names.iter().map(of).collect()
        };
        let ends = |names: &[&str]| Servers::read(&list(names)).expires_at();
        let first = UnixMicros(1_700_000_000_000_000);
        assert_eq!(ends(&["1700000100:s1", "1700000000:s2"]), Some(first));
        assert_eq!(ends(&["user", "x:s1", "9223372036854775807:s1", ""]), None);
        assert_eq!(ends(&[]), None);
    }
}
