//! Networks that have IPv6 alone and translate to IPv4 at their border (RFC 6146): the prefix in
//! which they write addresses of IPv4 is found by asking for a name that has none of IPv6
//! (RFC 7050), so that literal addresses of IPv4 can be reached too.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use sightline_p2p::Nat64Prefix;
use tokio::sync::watch;

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

    /// That of `64:ff9b::/96`.
    #[cfg(test)]
    pub(crate) const WELL_KNOWN: Self = Self(Nat64Prefix::WELL_KNOWN);

    pub(crate) const fn prefix(self) -> Nat64Prefix {
        self.0
    }

    /// The address of IPv4 that this network writes as `v6`, if it is one.
    #[must_use]
    pub fn extract(self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        self.0.extract(v6)
    }
}

/// What is known of a network's NAT64, by those who need it to send anything and those who do not.
#[derive(Clone, Debug)]
pub(crate) struct Translation(watch::Receiver<Option<Option<Nat64>>>);

impl Translation {
    /// It has been looked for, or need not be.
    pub(crate) fn known(found: Option<Nat64>) -> Self {
        Self(watch::channel(Some(found)).1)
    }

    /// It is being looked for; the sender tells.
    pub(crate) fn unknown() -> (watch::Sender<Option<Option<Nat64>>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// How to reach that host. Only a literal address of IPv4 has to wait until it is known: a name
    /// has addresses of IPv6 where there is NAT64 (DNS64, RFC 6147).
    pub(crate) async fn towards(&mut self, host: &str) -> Option<Nat64> {
        if host.parse::<Ipv4Addr>().is_err() {
            return self.0.borrow().flatten();
        }
        self.answer().await
    }

    /// Waits until it is known.
    pub(crate) async fn answer(&mut self) -> Option<Nat64> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|found| found.flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_literal_addresses_of_ipv4_wait_for_the_prefix() {
        let (sender, mut translation) = Translation::unknown();
        for host in ["relay.example", "2001:db8::1"] {
            assert_eq!(translation.towards(host).await, None, "{host}");
        }
        let mut other = translation.clone();
        let waiting = tokio::spawn(async move { other.towards("192.0.2.1").await });
        let found = Some(Nat64(Nat64Prefix::WELL_KNOWN));
        sender.send_replace(Some(found));
        assert_eq!(waiting.await.expect("it ends"), found);
        assert_eq!(translation.towards("relay.example").await, found);
        // Whoever looked has ended without a word: there is none.
        let (sender, mut translation) = Translation::unknown();
        drop(sender);
        assert_eq!(translation.towards("192.0.2.1").await, None);
    }
}
