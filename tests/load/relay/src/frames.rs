//! Packets as they travel: payloads that can be told apart, and what TURN puts around them.

use std::{net::SocketAddr, ops::Range};

/// STUN (RFC 8489 section 5).
const MAGIC_COOKIE: u32 = 0x2112_a442;
const SEND_INDICATION: u16 = 0x0016;
const DATA_INDICATION: u16 = 0x0017;
const ATTR_XOR_PEER_ADDRESS: u16 = 0x0012;
const ATTR_DATA: u16 = 0x0013;

/// What every payload begins with: this, the flow's number, and when it was sent.
const MARK: u32 = 0x5e_1a_fe_ed;
const MARKED: usize = 16;

/// The smallest payload that can be told apart.
pub const SMALLEST: usize = MARKED;

/// How a payload is wrapped on its way to or from a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Not at all: peers, and the bare forwarder.
    Bare,
    /// ChannelData (RFC 8656 section 12.4).
    Channel(u16),
    /// Send or Data indication (RFC 8656 sections 11.1 and 11.3) with this peer.
    Indication(SocketAddr),
}

impl Frame {
    /// One packet with `size` bytes of payload; says where in it the payload is.
    #[must_use]
    pub fn packet(self, flow: u32, size: usize) -> (Vec<u8>, Range<usize>) {
        let mut packet = Vec::with_capacity(size + 64);
        match self {
            Self::Bare => {}
            Self::Channel(channel) => {
                packet.extend(channel.to_be_bytes());
                packet.extend((size as u16).to_be_bytes());
            }
            Self::Indication(peer) => {
                let address = xor_address(peer);
                let length = 4 + address.len() + 4 + size.next_multiple_of(4);
                packet.extend(SEND_INDICATION.to_be_bytes());
                packet.extend((length as u16).to_be_bytes());
                packet.extend(MAGIC_COOKIE.to_be_bytes());
                packet.extend([0x5a; 12]);
                packet.extend(ATTR_XOR_PEER_ADDRESS.to_be_bytes());
                packet.extend((address.len() as u16).to_be_bytes());
                packet.extend(address);
                packet.extend(ATTR_DATA.to_be_bytes());
                packet.extend((size as u16).to_be_bytes());
            }
        }
        let start = packet.len();
        packet.extend(MARK.to_be_bytes());
        packet.extend(flow.to_be_bytes());
        packet.extend([0; 8]);
        packet.resize(start + size, 0xa5);
        if let Self::Indication(_) = self {
            packet.resize(start + size.next_multiple_of(4), 0);
        }
        (packet, start..start + size)
    }

    /// The payload of a packet that came, if it is wrapped in this way.
    #[must_use]
    pub fn payload(self, packet: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Bare => Some(packet),
            Self::Channel(channel) => {
                let (header, rest) = packet.split_first_chunk::<4>()?;
                let [a, b, c, d] = *header;
                let size = usize::from(u16::from_be_bytes([c, d]));
                (u16::from_be_bytes([a, b]) == channel).then(|| rest.get(..size)).flatten()
            }
            Self::Indication(_) => {
                if packet.get(..2)? != DATA_INDICATION.to_be_bytes() {
                    return None;
                }
                let mut rest = packet.get(20..)?;
                loop {
                    let ([a, b, c, d], after) = rest.split_first_chunk::<4>()?;
                    let size = usize::from(u16::from_be_bytes([*c, *d]));
                    if u16::from_be_bytes([*a, *b]) == ATTR_DATA {
                        return after.get(..size);
                    }
                    rest = after.get(size.next_multiple_of(4)..)?;
                }
            }
        }
    }
}

/// Writes when a payload is sent, in nanoseconds of the Unix epoch.
pub fn stamp(payload: &mut [u8], now_ns: u64) {
    payload[8..MARKED].copy_from_slice(&now_ns.to_be_bytes());
}

/// Whose payload this is, and when it was sent.
#[must_use]
pub fn read(payload: &[u8]) -> Option<(u32, u64)> {
    let (mark, rest) = payload.split_first_chunk::<4>()?;
    let (flow, rest) = rest.split_first_chunk::<4>()?;
    let (sent, _) = rest.split_first_chunk::<8>()?;
    (u32::from_be_bytes(*mark) == MARK)
        .then(|| (u32::from_be_bytes(*flow), u64::from_be_bytes(*sent)))
}

/// RFC 8489 section 14.2; the benchmark has IPv4 only.
fn xor_address(address: SocketAddr) -> [u8; 8] {
    let [cookie_0, cookie_1, cookie_2, cookie_3] = MAGIC_COOKIE.to_be_bytes();
    let ip = match address {
        SocketAddr::V4(v4) => v4.ip().octets(),
        SocketAddr::V6(_) => [0; 4],
    };
    let [port_0, port_1] = address.port().to_be_bytes();
    [
        0,
        1,
        port_0 ^ cookie_0,
        port_1 ^ cookie_1,
        ip[0] ^ cookie_0,
        ip[1] ^ cookie_1,
        ip[2] ^ cookie_2,
        ip[3] ^ cookie_3,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_found_again() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
        for (frame, head) in
            [(Frame::Bare, 0), (Frame::Channel(0x4001), 4), (Frame::Indication(peer), 36)]
        {
            let (mut packet, payload) = frame.packet(7, 1_200);
            assert_eq!((payload.start, payload.len()), (head, 1_200));
            stamp(&mut packet[payload], 42);
            if let Frame::Indication(_) = frame {
                assert!(frame.payload(&packet).is_none(), "a Send indication is no Data one");
                packet[1] = 0x17;
            }
            assert_eq!(frame.payload(&packet).and_then(read), Some((7, 42)));
        }
    }

    #[test]
    fn what_is_cut_or_foreign_is_not_counted() {
        let (packet, _) = Frame::Channel(0x4001).packet(1, 100);
        assert!(Frame::Channel(0x4002).payload(&packet).is_none());
        assert!(Frame::Channel(0x4001).payload(&packet[..50]).is_none());
        assert!(read(&[0; 100]).is_none());
        let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
        for size in 0..40 {
            assert!(Frame::Indication(peer).payload(&[0; 40][..size]).is_none());
        }
    }

    #[test]
    fn addresses_are_xored() {
        // RFC 5769 section 2.2: 192.0.2.1 port 32853.
        let address = xor_address(SocketAddr::from(([192, 0, 2, 1], 32_853)));
        assert_eq!(address, [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    }
}
