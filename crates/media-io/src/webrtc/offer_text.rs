//! The text of a viewer's offer, before the WebRTC library parses it.

/// The offer without candidates that name a host (mDNS): nobody here can resolve them, and the
/// parser knows addresses only.
pub(super) fn clean(sdp: &str) -> String {
    let named = |line: &str| {
        line.strip_prefix("a=candidate:")
            .and_then(|rest| rest.split_ascii_whitespace().nth(4))
            .is_some_and(|address| address.parse::<std::net::IpAddr>().is_err())
    };
    let mut out = String::with_capacity(sdp.len() + 64);
    for line in sdp.lines().map(str::trim_end).filter(|line| !line.is_empty() && !named(line)) {
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::clean;

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
