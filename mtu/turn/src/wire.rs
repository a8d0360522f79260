//! The parts of the protocol that are parsed and written by hand: how to tell messages apart, the
//! walk over attributes, and the data path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// RFC 8489 section 5.
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Bytes before the first attribute.
pub const HEADER: usize = 20;
/// Bytes before the payload of ChannelData.
pub const CHANNEL_HEADER: usize = 4;
/// Bytes that a Data indication has before its payload, at most.
pub const MAX_DATA_HEAD: usize = HEADER + 24 + 4;

/// Send indication (RFC 8656 section 18).
pub const SEND_INDICATION: u16 = 0x0016;
/// Data indication.
pub const DATA_INDICATION: u16 = 0x0017;

/// Attribute types that are read or written by hand.
pub mod attribute {
    #![expect(missing_docs, reason = "named in RFC 8489 section 18.3 and RFC 8656 section 18")]
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const DONT_FRAGMENT: u16 = 0x001a;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub const CONNECTION_ID: u16 = 0x002a;
    pub const FINGERPRINT: u16 = 0x8028;
}

const PADDING: [u8; 3] = [0; 3];

/// What makes a length a multiple of four.
#[must_use]
pub fn padding(length: usize) -> &'static [u8] {
    &PADDING[..length.wrapping_neg() & 3]
}

/// A STUN message whose header is right.
#[derive(Debug, Clone, Copy)]
pub struct Stun<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Message type: method and class.
    pub kind: u16,
    /// Transaction id.
    pub transaction: &'a [u8; 12],
}

impl<'a> Stun<'a> {
    /// RFC 8489 section 6.3: first bits, cookie, and a length that is that of the message.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let right = kind & 0xc000 == 0
            && header[4..8] == MAGIC_COOKIE
            && length.is_multiple_of(4)
            && HEADER + length == bytes.len();
        let transaction = bytes[8..].first_chunk::<12>()?;
        right.then_some(Self { bytes, kind, transaction })
    }

    /// Its attributes in order.
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes { bytes: self.bytes, at: HEADER }
    }
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: u16,
    /// Where it begins in the message.
    pub at: usize,
    /// Its value, without padding.
    pub value: &'a [u8],
}

/// An attribute that is longer than the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

/// Walks over attributes; ends after the first [`Truncated`].
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let at = self.at;
        let Some(&[a, b, c, d]) = rest.first_chunk::<4>() else {
            self.at = usize::MAX;
            return Some(Err(Truncated));
        };
        let length = usize::from(u16::from_be_bytes([c, d]));
        let Some(value) = rest.get(4..4 + length) else {
            self.at = usize::MAX;
            return Some(Err(Truncated));
        };
        self.at += 4 + length.next_multiple_of(4);
        Some(Ok(Attribute { kind: u16::from_be_bytes([a, b]), at, value }))
    }
}

/// RFC 8656 section 12.4: channel number and payload.
///
/// RFC 8656 has channels up to 0x4fff; clients of RFC 5766, such as coturn's, use the rest too.
#[must_use]
pub fn channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let &[a, b, c, d] = bytes.first_chunk::<CHANNEL_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([c, d]));
    let payload = bytes.get(CHANNEL_HEADER..CHANNEL_HEADER + length)?;
    is_channel(a).then_some((u16::from_be_bytes([a, b]), payload))
}

/// Whether this is the first byte of ChannelData.
#[must_use]
pub const fn is_channel(first: u8) -> bool {
    matches!(first, 0x40..=0x7f)
}

/// Whether a channel may have this number.
#[must_use]
pub const fn is_channel_number(number: u16) -> bool {
    matches!(number, 0x4000..=0x7ffe)
}

/// The header of ChannelData.
#[must_use]
pub fn channel_header(number: u16, length: usize) -> [u8; CHANNEL_HEADER] {
    let [a, b] = number.to_be_bytes();
    // A datagram is shorter than 65,536 bytes.
    let [c, d] = (length as u16).to_be_bytes();
    [a, b, c, d]
}

/// Writes what precedes the payload of a Data indication, and says how long it is. After the
/// payload comes its [`padding`].
pub fn data_head(
    head: &mut [u8; MAX_DATA_HEAD],
    transaction: &[u8; 12],
    peer: SocketAddr,
    length: usize,
) -> usize {
    head[..2].copy_from_slice(&DATA_INDICATION.to_be_bytes());
    head[4..8].copy_from_slice(&MAGIC_COOKIE);
    head[8..HEADER].copy_from_slice(transaction);
    let mut address = [0; 20];
    let size = write_xor(&mut address, peer, transaction);
    let at = HEADER + 4 + size;
    head[HEADER..HEADER + 2].copy_from_slice(&attribute::XOR_PEER_ADDRESS.to_be_bytes());
    head[HEADER + 2..HEADER + 4].copy_from_slice(&(size as u16).to_be_bytes());
    head[HEADER + 4..at].copy_from_slice(&address[..size]);
    head[at..at + 2].copy_from_slice(&attribute::DATA.to_be_bytes());
    head[at + 2..at + 4].copy_from_slice(&(length as u16).to_be_bytes());
    let total = at + 4 - HEADER + length.next_multiple_of(4);
    head[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    at + 4
}

/// What a Send indication says (RFC 8656 section 11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send<'a> {
    /// To whom.
    pub peer: SocketAddr,
    /// What.
    pub payload: &'a [u8],
    /// Whether it may not be fragmented.
    pub dont_fragment: bool,
}

/// Reads a Send indication; `None` is one that must be dropped.
#[must_use]
pub fn send<'a>(message: &Stun<'a>) -> Option<Send<'a>> {
    let (mut peer, mut payload, mut dont_fragment) = (None, None, false);
    for attribute in message.attributes() {
        let Attribute { kind, value, .. } = attribute.ok()?;
        match kind {
            // The first one counts (RFC 8489 section 14).
            attribute::XOR_PEER_ADDRESS if peer.is_none() => {
                peer = Some(read_xor(value, message.transaction)?);
            }
            attribute::DATA if payload.is_none() => payload = Some(value),
            attribute::DONT_FRAGMENT => dont_fragment = true,
            attribute::XOR_PEER_ADDRESS | attribute::DATA => {}
            // Integrity of indications is not defined for TURN; old clients send it.
            attribute::USERNAME | attribute::MESSAGE_INTEGRITY => {}
            attribute::MESSAGE_INTEGRITY_SHA256 => {}
            required if required < 0x8000 => return None,
            _ => {}
        }
    }
    Some(Send { peer: peer?, payload: payload?, dont_fragment })
}

/// XOR-MAPPED-ADDRESS and its kin (RFC 8489 section 14.2), read.
#[must_use]
pub fn read_xor(value: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let (&[_, family, p1, p2], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p1 ^ MAGIC_COOKIE[0], p2 ^ MAGIC_COOKIE[1]]);
    let ip = match family {
        1 => {
            let bits = u32::from_be_bytes(address.try_into().ok()?);
            IpAddr::from(Ipv4Addr::from_bits(bits ^ u32::from_be_bytes(MAGIC_COOKIE)))
        }
        2 => {
            let bits = u128::from_be_bytes(address.try_into().ok()?);
            IpAddr::from(Ipv6Addr::from_bits(bits ^ mask_v6(transaction)))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The same, written; says how long it is.
pub fn write_xor(value: &mut [u8; 20], address: SocketAddr, transaction: &[u8; 12]) -> usize {
    let [p1, p2] = address.port().to_be_bytes();
    value[0] = 0;
    value[2] = p1 ^ MAGIC_COOKIE[0];
    value[3] = p2 ^ MAGIC_COOKIE[1];
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            let bits = ip.to_bits() ^ u32::from_be_bytes(MAGIC_COOKIE);
            value[4..8].copy_from_slice(&bits.to_be_bytes());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&(ip.to_bits() ^ mask_v6(transaction)).to_be_bytes());
            20
        }
    }
}

fn mask_v6(transaction: &[u8; 12]) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(transaction);
    u128::from_be_bytes(mask)
}
