//! The address that a STUN server sees (RFC 8489): one request, one answer, nothing else.
//!
//! A client of four message fields, and what a check of ICE shows of its sender's choice. ICE's own
//! STUN is in the WebRTC library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;
const COOKIE: u32 = 0x2112_a442;

/// A Binding request with this transaction id.
pub(super) fn request(transaction: [u8; 12]) -> [u8; 20] {
    let mut out = [0; 20];
    out[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
    out[4..8].copy_from_slice(&COOKIE.to_be_bytes());
    out[8..].copy_from_slice(&transaction);
    out
}

/// Transaction id and mapped address of a Binding success response.
pub(super) fn response(bytes: &[u8]) -> Option<([u8; 12], SocketAddr)> {
    let header = bytes.get(..20)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    if kind != BINDING_SUCCESS || header[4..8] != COOKIE.to_be_bytes() {
        return None;
    }
    let transaction: [u8; 12] = header[8..20].try_into().ok()?;
    let mut rest = bytes.get(20..)?;
    while let Some(head) = rest.get(..4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(4..4 + length)?;
        if u16::from_be_bytes([head[0], head[1]]) == XOR_MAPPED_ADDRESS {
            return Some((transaction, unmask(value, transaction)?));
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    None
}

/// Whether a Binding request nominates its pair (RFC 8445 section 7.1.2). Says nothing of who sent it.
pub(super) fn nominates(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..20) else { return false };
    if u16::from_be_bytes([header[0], header[1]]) != BINDING_REQUEST {
        return false;
    }
    let mut rest = bytes.get(20..).unwrap_or_default();
    while let Some(head) = rest.get(..4) {
        if u16::from_be_bytes([head[0], head[1]]) == USE_CANDIDATE {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn unmask(value: &[u8], transaction: [u8; 12]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ (COOKIE >> 16) as u16;
    let ip: IpAddr = match (value[1], value.len()) {
        (1, 8) => {
            let bits = u32::from_be_bytes(value[4..8].try_into().ok()?);
            Ipv4Addr::from_bits(bits ^ COOKIE).into()
        }
        (2, 20) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(&transaction);
            let bits = u128::from_be_bytes(value[4..20].try_into().ok()?);
            Ipv6Addr::from_bits(bits ^ u128::from_be_bytes(mask)).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_ipv4_response_of_rfc_5769() {
        // RFC 5769 section 2.2.
        let bytes = [
            0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
            0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
            0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
            0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
        ];
        let (_, mapped) = response(&bytes).expect("a response");
        assert_eq!(mapped, "192.0.2.1:32853".parse().expect("an address"));
        for length in 0..bytes.len() {
            assert!(response(&bytes[..length]).is_none(), "cut at {length}");
        }
    }

    #[test]
    fn finds_a_nomination_among_attributes() {
        let mut bytes = request([7; 12]).to_vec();
        assert!(!nominates(&bytes));
        // PRIORITY, USERNAME of five bytes with padding, USE-CANDIDATE.
        bytes
            .extend([0, 0x24, 0, 4, 1, 2, 3, 4, 0, 6, 0, 5, b'a', b':', b'b', b'c', b'd', 0, 0, 0]);
        assert!(!nominates(&bytes));
        bytes.extend([0, 0x25, 0, 0]);
        assert!(nominates(&bytes));
        for length in 0..bytes.len() {
            assert!(!nominates(&bytes[..length]), "cut at {length}");
        }
        bytes[1] = 0x11;
        assert!(!nominates(&bytes), "an indication");
    }
}
