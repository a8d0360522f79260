//! Who is at the other end.

use std::net::{IpAddr, SocketAddr};

/// What carries messages between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams as they are.
    Udp,
    /// A stream, in the clear.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// Datagrams under DTLS.
    Dtls,
}

impl Transport {
    /// Whether messages follow each other in a stream of bytes.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        match self {
            Self::Tcp | Self::Tls => true,
            Self::Udp | Self::Dtls => false,
        }
    }
}

/// One client: the 5-tuple of RFC 8656.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// What lies between.
    pub transport: Transport,
    /// Where the client is, as seen from here.
    pub address: SocketAddr,
    /// Which of our addresses it uses.
    pub local: SocketAddr,
}

impl ClientId {
    /// Addresses are canonicalised: an IPv4 client of an IPv6 socket is an IPv4 client.
    #[must_use]
    pub fn new(transport: Transport, address: SocketAddr, local: SocketAddr) -> Self {
        Self { transport, address: canonical(address), local: canonical(local) }
    }

    /// Its IP address.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// Without flow label and scope, which say nothing about who somebody is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
