//! What requests say about who sends them, before anything of it is believed.

use std::net::IpAddr;

use ipnet::IpNet;
use sightline_model::RefreshId;

/// Longest refresh token that is read.
const MAX_REFRESH_TOKEN: usize = 200;

/// The last address in `X-Forwarded-For` that no proxy of ours wrote about itself.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded_for: impl Iterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_ours = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_ours(&peer) {
        return peer;
    }
    let hops: Vec<&str> = forwarded_for.flat_map(|value| value.split(',')).collect();
    let mut client = peer;
    for hop in hops.iter().rev() {
        let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
        client = ip.to_canonical();
        if !is_ours(&client) {
            break;
        }
    }
    client
}

/// The value of the first cookie of this name.
pub fn cookie<'a>(mut cookies: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    cookies.find_map(|header| {
        header.split(';').find_map(|pair| {
            let (this, value) = pair.trim().split_once('=')?;
            (this == name).then_some(value)
        })
    })
}

/// The token in an `Authorization` header (RFC 6750 section 2.1).
#[must_use]
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Which sign-in a refresh token `SIGN-IN.BITS` belongs to; `None` when it cannot be one of ours.
#[must_use]
pub fn refresh_family(token: &str) -> Option<RefreshId> {
    if token.len() > MAX_REFRESH_TOKEN {
        return None;
    }
    token.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_proxies_are_believed() {
        let ours: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a network")];
        let ip = |t: &str| t.parse::<IpAddr>().expect("an address");
        let header = ["203.0.113.9, 198.51.100.7, 10.0.0.2"];
        let client = |peer| client_address(ip(peer), header.into_iter(), &ours);
        assert_eq!(client("192.0.2.1"), ip("192.0.2.1"));
        // The first entry was written by the client itself and says nothing.
        assert_eq!(client("10.0.0.1"), ip("198.51.100.7"));
        let mended = client_address(ip("10.0.0.1"), ["nonsense"].into_iter(), &ours);
        assert_eq!(mended, ip("10.0.0.1"));
    }

    #[test]
    fn credentials_are_found_where_they_belong() {
        let cookies = || ["a=1; sightline_refresh=x.y", "sightline_refresh=second"].into_iter();
        assert_eq!(cookie(cookies(), "sightline_refresh"), Some("x.y"));
        assert_eq!(cookie(cookies(), "refresh"), None);
        assert_eq!(bearer("bEaReR  t "), Some("t"));
        assert_eq!((bearer("Basic t"), bearer("Bearer")), (None, None));
        assert!(refresh_family("family.bits").is_some());
        for bad in ["", "family", "a b.c", &format!("a.{}", "x".repeat(200))] {
            assert!(refresh_family(bad).is_none(), "{bad:?} was taken");
        }
    }
}
