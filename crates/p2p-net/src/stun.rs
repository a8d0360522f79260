//! The little of STUN (RFC 8489) that is read here: the rest is `sightline-p2p`'s and
//! `turn-client-proto`'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ALTERNATE_SERVER: u16 = 0x8023;
/// Longer reasons are cut.
const MAX_REASON: usize = 128;

/// Whether a datagram is STUN, as RFC 9443 tells protocols on one port apart, and by the cookie.
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[0] < 4 && datagram[4..8] == MAGIC
}

/// What an answer says.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) transaction: [u8; 12],
    pub(crate) mapped: Option<SocketAddr>,
    pub(crate) alternate: Option<SocketAddr>,
    pub(crate) error: Option<(u16, String)>,
}

impl Answer {
    /// Reads a response of success or error; `None` for everything else.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let (header, mut rest) = message.split_at_checked(20)?;
        let class = header[0] & 1;
        if !is_stun(message) || class == 0 {
            return None;
        }
        let transaction = header[8..].try_into().ok()?;
        let mut answer = Self { transaction, ..Self::default() };
        while let Some((head, tail)) = rest.split_at_checked(4) {
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = tail.get(..length)?;
            match kind {
                XOR_MAPPED_ADDRESS => answer.mapped = address(value, &header[4..]),
                ALTERNATE_SERVER => answer.alternate = address(value, &[0; 16]),
                ERROR_CODE => answer.error = error(value),
                _ => {}
            }
            rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(answer)
    }
}

/// `mask` is what address and port are combined with: the cookie and the transaction.
fn address(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let mask: [u8; 16] = mask.try_into().ok()?;
    let port = [*value.get(2)? ^ mask[0], *value.get(3)? ^ mask[1]];
    let ip: IpAddr = match (*value.get(1)?, value.len()) {
        (1, 8) => Ipv4Addr::from(std::array::from_fn(|i| value[4 + i] ^ mask[i])).into(),
        (2, 20) => {
            Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| value[4 + i] ^ mask[i])).into()
        }
        _ => return None,
    };
    Some((ip, u16::from_be_bytes(port)).into())
}

fn error(value: &[u8]) -> Option<(u16, String)> {
    let code = u16::from(*value.get(2)? & 7) * 100 + u16::from(*value.get(3)?).min(99);
    let reason = &value[4..value.len().min(4 + MAX_REASON)];
    let reason: String =
        String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).collect();
    Some((code, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_errors_and_alternates_and_survives_what_is_cut() {
        let mut message = vec![0x01, 0x13, 0, 0];
        message.extend_from_slice(&MAGIC);
        message.extend_from_slice(&[9; 12]);
        message.extend_from_slice(&[0, 9, 0, 8, 0, 0, 3, 0, b'a', b'w', b'a', b'y']);
        message.extend_from_slice(&[0x80, 0x23, 0, 8, 0, 1, 0x0d, 0x96, 192, 0, 2, 7]);
        message[3] = u8::try_from(message.len() - 20).expect("short");
        let answer = Answer::parse(&message).expect("an answer");
        assert_eq!(answer.error, Some((300, "away".into())));
        assert_eq!(answer.alternate, Some("192.0.2.7:3478".parse().expect("address")));
        for length in 0..message.len() {
            let _ = Answer::parse(&message[..length]);
        }
        assert!(is_stun(&message) && !is_stun(&[0xc0; 40]));
    }
}
