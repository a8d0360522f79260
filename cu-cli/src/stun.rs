//! The least of STUN (RFC 8489) that tells whether UDP gets through and how this side looks from
//! outside: a Binding request and its answer. Sans-IO.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Number of a request, drawn at random.
pub type Transaction = [u8; 12];

/// A Binding request.
#[must_use]
pub fn request(transaction: &Transaction) -> [u8; 20] {
    let mut out = [0; 20];
    out[1] = 0x01;
    out[4..8].copy_from_slice(&MAGIC);
    out[8..].copy_from_slice(transaction);
    out
}

/// The address in a success response to `transaction`; `None` for anything else.
#[must_use]
pub fn mapped_address(message: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let (header, mut rest) = message.split_at_checked(20)?;
    if header[..2] != [0x01, 0x01] || header[4..8] != MAGIC || header[8..] != *transaction {
        return None;
    }
    while let Some((head, tail)) = rest.split_at_checked(4) {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = tail.get(..length)?;
        if kind == 0x0020 {
            return xor_address(value, transaction);
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn xor_address(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ 0x2112;
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC);
    mask[4..].copy_from_slice(transaction);
    let ip: IpAddr = match (*value.get(1)?, value.len()) {
        (1, 8) => Ipv4Addr::from(std::array::from_fn(|i| value[4 + i] ^ mask[i])).into(),
        (2, 20) => {
            Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| value[4 + i] ^ mask[i])).into()
        }
        _ => return None,
    };
    Some((ip, port).into())
}

/// A STUN or TURN server as its URL names it (RFC 7064, RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port, the default of the scheme when absent.
    pub port: u16,
    /// Whether it is asked over TCP or TLS rather than UDP.
    pub tcp: bool,
}

impl Server {
    /// Reads a URL; `None` when it is none of these schemes.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let (secure, rest) = match scheme {
            "stun" | "turn" => (false, rest),
            "stuns" | "turns" => (true, rest),
            _ => return None,
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(h, p)| (h, Some(p))),
        };
        let default = if secure { 5_349 } else { 3_478 };
        let port = port.map_or(Some(default), |p| p.parse().ok())?;
        let tcp = secure || query == "transport=tcp";
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port, tcp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5769 section 2.2 and 2.3.
    const TRANSACTION: Transaction =
        [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn response(attributes: &[u8]) -> Vec<u8> {
        let mut out = vec![0x01, 0x01, 0, u8::try_from(attributes.len()).expect("short")];
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&TRANSACTION);
        out.extend_from_slice(attributes);
        out
    }

    #[test]
    fn reads_the_vectors_of_rfc_5769() {
        let software = b"\x80\x22\x00\x0btest vector\x20";
        let v4 =
            [&software[..], &[0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]].concat();
        let address = mapped_address(&response(&v4), &TRANSACTION);
        assert_eq!(address, Some("192.0.2.1:32853".parse().expect("address")));
        let v6 = [
            &software[..],
            &[
                0, 0x20, 0, 0x14, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79,
                0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
            ],
        ]
        .concat();
        let address = mapped_address(&response(&v6), &TRANSACTION);
        assert_eq!(
            address,
            Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().expect("address"))
        );
    }

    #[test]
    fn takes_no_foreign_and_no_broken_answer() {
        let good = response(&[0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        for length in 0..good.len() {
            assert_eq!(mapped_address(&good[..length], &TRANSACTION), None);
        }
        assert_eq!(mapped_address(&good, &[0; 12]), None);
        let lying = response(&[0, 0x20, 0xff, 0xff, 0, 1]);
        assert_eq!(mapped_address(&lying, &TRANSACTION), None);
        assert_eq!(mapped_address(&request(&TRANSACTION), &TRANSACTION), None);
    }

    #[test]
    fn reads_server_urls() {
        let server = |host: &str, port, tcp| Some(Server { host: host.into(), port, tcp });
        assert_eq!(Server::parse("stun:a.example"), server("a.example", 3_478, false));
        assert_eq!(Server::parse("turn:192.0.2.1:99?transport=tcp"), server("192.0.2.1", 99, true));
        assert_eq!(Server::parse("turns:[2001:db8::1]:443"), server("2001:db8::1", 443, true));
        for bad in ["", "stun:", "http://a", "stun:a:99999", "stun:[::1"] {
            assert_eq!(Server::parse(bad), None, "{bad:?} was taken");
        }
    }
}
