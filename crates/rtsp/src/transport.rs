//! The `Transport` header (RFC 2326 section 12.39, RFC 7826 section 18.54).
//!
//! Parsed here rather than by `rtsp-types`, whose parser panics on `mode="` and on
//! `dest_addr="\"` (decision 0020).

use std::net::{IpAddr, SocketAddr};

/// One way of transport that a client offers or a server has chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// Inside the connection rather than over UDP.
    pub tcp: bool,
    /// Explicit or by default of RFC 2326.
    pub multicast: bool,
    /// RTP with the plain audio-video profile, with or without feedback.
    pub plain_rtp: bool,
    /// Channels for RTP and RTCP inside the connection.
    pub interleaved: Option<(u8, u8)>,
    /// Ports of the client for RTP and RTCP.
    pub client_port: Option<(u16, u16)>,
    /// Ports of the server for RTP and RTCP.
    pub server_port: Option<(u16, u16)>,
    /// Where the client wants the packets, if it says so: `destination` and hosts of `dest_addr`.
    pub destinations: Vec<String>,
    /// Whether `dest_addr` was used, the form of RTSP 2.0.
    pub dest_addr: bool,
    /// Anything but playing is wanted.
    pub not_play: bool,
    /// Synchronization source of RTP.
    pub ssrc: Option<u32>,
}

/// All offers of a header, in order of preference; those that cannot be read are left out.
#[must_use]
pub fn parse(header: &str) -> Vec<Offer> {
    split_quoted(header, ',').into_iter().take(16).filter_map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<Offer> {
    let mut parts = split_quoted(text, ';').into_iter();
    let mut spec = parts.next()?.trim().split('/');
    let rtp = spec.next()?.eq_ignore_ascii_case("RTP");
    let profile = spec.next().unwrap_or_default().to_ascii_uppercase();
    let lower = spec.next().unwrap_or("UDP").to_ascii_uppercase();
    let mut offer = Offer {
        tcp: lower == "TCP",
        plain_rtp: rtp
            && matches!(profile.as_str(), "AVP" | "AVPF")
            && matches!(lower.as_str(), "TCP" | "UDP"),
        ..Offer::default()
    };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "multicast" => offer.multicast = true,
            "interleaved" => offer.interleaved = Some(pair(value, 0xff)?),
            "client_port" => offer.client_port = Some(pair(value, 0xffff)?),
            "server_port" => offer.server_port = Some(pair(value, 0xffff)?),
            "destination" => offer.destinations.push(unquote(value).to_owned()),
            "dest_addr" => dest_addr(&mut offer, value)?,
            "src_addr" => offer.server_port = Some(ports(&addresses(value)?)?),
            "ssrc" => offer.ssrc = u32::from_str_radix(value, 16).ok(),
            "mode" => offer.not_play = !unquote(value).eq_ignore_ascii_case("play"),
            _ => {}
        }
    }
    Some(offer)
}

/// `"host:port"/"host:port"`, where the host may be absent (RFC 7826 section 18.54).
fn dest_addr(offer: &mut Offer, value: &str) -> Option<()> {
    let addresses = addresses(value)?;
    offer.dest_addr = true;
    offer.client_port = Some(ports(&addresses)?);
    offer.destinations.extend(addresses.into_iter().filter_map(|(host, _)| host));
    Some(())
}

fn addresses(value: &str) -> Option<Vec<(Option<String>, u16)>> {
    split_quoted(value, '/').into_iter().take(4).map(|a| host_port(unquote(a.trim()))).collect()
}

fn ports(addresses: &[(Option<String>, u16)]) -> Option<(u16, u16)> {
    let rtp = addresses.first()?.1;
    Some((rtp, addresses.get(1).map_or(rtp.checked_add(1)?, |a| a.1)))
}

fn host_port(text: &str) -> Option<(Option<String>, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(((!host.is_empty()).then(|| host.to_owned()), port.parse().ok()?))
}

fn pair<T: TryFrom<u32>>(text: &str, most: u32) -> Option<(T, T)> {
    let (first, second) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
    let first: u32 = first.trim().parse().ok()?;
    let second = match second {
        Some(second) => second.trim().parse().ok()?,
        None => first.checked_add(1)?,
    };
    if first > most || second > most {
        return None;
    }
    Some((T::try_from(first).ok()?, T::try_from(second).ok()?))
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

/// Splits at `separator` outside of double quotes.
fn split_quoted(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

impl Offer {
    /// Whether every host that the client names is `peer`: packets go nowhere else, or the server
    /// would be a weapon (RFC 2326 section 16, RFC 7826 section 21.2.1).
    #[must_use]
    pub fn only_to(&self, peer: IpAddr) -> bool {
        let same = |host: &String| {
            host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == peer.to_canonical())
        };
        self.destinations.iter().all(same)
    }
}

/// The answer for packets inside the connection.
#[must_use]
pub fn interleaved_answer(channels: (u8, u8), ssrc: u32) -> String {
    format!(
        "RTP/AVP/TCP;unicast;interleaved={}-{};ssrc={ssrc:08X};mode=\"PLAY\"",
        channels.0, channels.1
    )
}

/// The answer for packets over UDP, in the form that the client used.
#[must_use]
pub fn udp_answer(offer: &Offer, server: (SocketAddr, u16), ssrc: u32) -> String {
    let client = offer.client_port.unwrap_or_default();
    let (rtp, rtcp_port) = server;
    if offer.dest_addr {
        let rtcp = SocketAddr::new(rtp.ip(), rtcp_port);
        return format!(
            "RTP/AVP/UDP;unicast;dest_addr=\":{}\"/\":{}\";src_addr=\"{rtp}\"/\"{rtcp}\";ssrc={ssrc:08X};mode=\"PLAY\"",
            client.0, client.1
        );
    }
    format!(
        "RTP/AVP;unicast;client_port={}-{};server_port={}-{rtcp_port};ssrc={ssrc:08X};mode=\"PLAY\"",
        client.0,
        client.1,
        rtp.port(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_players_send() {
        let ffmpeg = parse("RTP/AVP/TCP;unicast;interleaved=0-1");
        assert!(ffmpeg[0].tcp && ffmpeg[0].plain_rtp);
        assert_eq!(ffmpeg[0].interleaved, Some((0, 1)));
        let gst = parse(
            "RTP/AVP/UDP;unicast;dest_addr=\":50000\"/\":50001\",RTP/AVP/TCP;unicast;interleaved=0-1",
        );
        assert_eq!(gst.len(), 2);
        assert_eq!(gst[0].client_port, Some((50_000, 50_001)));
        assert!(gst[0].dest_addr && gst[0].destinations.is_empty());
        let one = parse("RTP/AVP;unicast;client_port=5000;mode=play");
        assert_eq!(one[0].client_port, Some((5_000, 5_001)));
        assert!(!one[0].not_play);
    }

    #[test]
    fn other_destinations_are_seen() {
        let peer = "10.0.0.1".parse().expect("valid");
        for other in [
            "RTP/AVP;unicast;destination=10.0.0.2;client_port=1-2",
            "RTP/AVP;unicast;dest_addr=\"10.0.0.2:9\"/\"10.0.0.1:10\"",
            "RTP/AVP;unicast;dest_addr=\"host.example:9\"",
        ] {
            assert!(!parse(other)[0].only_to(peer), "{other}");
        }
        assert!(parse("RTP/AVP;unicast;destination=10.0.0.1;client_port=1-2")[0].only_to(peer));
    }

    #[test]
    fn nonsense_is_left_out() {
        for bad in [
            "",
            "RTP/AVP;interleaved=256-257",
            "RTP/AVP;client_port=65536",
            "RTP/AVP;client_port=65535",
            "RTP/AVP;dest_addr=\"\\\"",
            "RTP/AVP;dest_addr=\"",
        ] {
            assert!(parse(bad).iter().all(|o| o.client_port.is_none()), "{bad}");
        }
        assert_eq!(parse("RTP/AVP;mode=\"").len(), 1);
        assert!(!parse("RAW/RAW/UDP;unicast")[0].plain_rtp);
    }
}
