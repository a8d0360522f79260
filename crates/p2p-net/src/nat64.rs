//! Networks that have IPv6 alone and translate to IPv4 at their border (RFC 6146): the prefix in
//! which they write addresses of IPv4 is found by asking for a name that has none of IPv6
//! (RFC 7050), so that literal addresses of IPv4 can be reached too.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use sightline_p2p::Nat64Prefix;

/// The name of RFC 7050 section 8.2.
const WELL_KNOWN_NAME: &str = "ipv4only.arpa";
/// How long asking may take.
const ASK: Duration = Duration::from_secs(2);

/// A network's NAT64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64(Nat64Prefix);

impl Nat64 {
    /// Asks the network's resolver; `None` where there is no NAT64.
    pub async fn discover() -> Option<Self> {
        let looking = tokio::net::lookup_host((WELL_KNOWN_NAME, 0));
        let found = tokio::time::timeout(ASK, looking).await.ok()?.ok()?;
        let mut v6 = found.filter_map(|address| match address.ip() {
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => Some(ip),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        });
        v6.find_map(Nat64Prefix::discover).map(Self)
    }

    /// How this network writes `v4` (RFC 6052 section 2.2).
    #[must_use]
    pub fn synthesize(self, v4: Ipv4Addr) -> Ipv6Addr {
        self.0.embed(v4)
    }

    /// The address of IPv4 that this network writes as `v6`, if it is one.
    #[must_use]
    pub fn extract(self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        self.0.extract(v6)
    }
}
