//! The text of a viewer's offer, before the WebRTC library parses it.

use std::net::{IpAddr, SocketAddr};

use sightline_p2p_net::p2p::is_usable;

/// The offer without candidates that name a host (mDNS), which nobody here can resolve, and without
/// those that nothing may be sent to.
pub(super) fn clean(sdp: &str) -> String {
    let useless = |line: &str| {
        line.strip_prefix("a=candidate:").is_some_and(|rest| !target(rest).is_some_and(is_usable))
    };
    let mut out = String::with_capacity(sdp.len() + 64);
    for line in sdp.lines().map(str::trim_end).filter(|line| !line.is_empty() && !useless(line)) {
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

/// Where a candidate is, of what follows `candidate:`.
fn target(candidate: &str) -> Option<SocketAddr> {
    let mut words = candidate.split_ascii_whitespace().skip(4);
    let ip: IpAddr = words.next()?.parse().ok()?;
    Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
}

/// The name of the ICE that an offer begins or goes on with (RFC 8839 section 5.4).
pub(super) fn ufrag(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.trim_end().strip_prefix("a=ice-ufrag:"))
}

#[cfg(test)]
mod tests {
    use super::{clean, ufrag};

    #[test]
    fn addresses_that_nothing_may_be_sent_to_go() {
        let line = |at: &str| format!("a=candidate:2 1 udp 2113937151 {at} typ host\r\n");
        for at in ["0.0.0.0 9", "::1%1 9", "239.1.2.3 9", "ff02::1 9", "169.254.169.254 80"] {
            assert_eq!(clean(&line(at)), "", "{at}");
        }
        for at in ["255.255.255.255 9", "fe80::1 9", "192.0.2.1 0", "192.0.2.1"] {
            assert_eq!(clean(&line(at)), "", "{at}");
        }
        assert_eq!(clean(&line("192.0.2.1 9")), line("192.0.2.1 9"));
        let sdp = "v=0\r\nm=video 9 X 1\r\na=ice-ufrag:aB3/\r\nm=x\r\na=ice-ufrag:other\r\n";
        assert_eq!((ufrag(sdp), ufrag("v=0\r\n")), (Some("aB3/"), None));
    }

    #[test]
    fn named_candidates_go_and_line_ends_are_mended() {
        let sdp = "v=0\na=candidate:1 1 udp 2113937151 0b1c.local 50000 typ host\n\
                   a=candidate:2 1 udp 2113937151 192.0.2.1 50000 typ host\r\n";
        assert_eq!(
            clean(sdp),
            "v=0\r\na=candidate:2 1 udp 2113937151 192.0.2.1 50000 typ host\r\n"
        );
    }
}
