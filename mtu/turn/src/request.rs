//! Requests as they come in: what they say, and what in them is signed.

use stun_rs::{
    MessageDecoderBuilder, MessageMethod, MessageType, StunAttribute, StunAttributeType,
    StunMessage, TransactionId,
};

use crate::{
    answer::Integrity,
    wire::{Attribute, HEADER, Stun, attribute, read_xor},
};

/// Attributes that must be understood, and are. USERHASH is not: the nonce says so.
const UNDERSTOOD: &[u16] = &[
    0x0001, 0x0003, 0x0006, 0x0008, 0x0009, 0x000a, 0x000c, 0x000d, 0x0012, 0x0013, 0x0014, 0x0015,
    0x0016, 0x0017, 0x0018, 0x0019, 0x001a, 0x001c, 0x001d, 0x0020, 0x0022, 0x002a,
];

/// A request is no longer than this, so that reading it costs little.
const MAX_REQUEST: usize = 2_048;
/// Of attributes that are not understood so many are named: looking for each among all that came
/// before it would cost more than a stranger is worth.
const MAX_UNKNOWN: usize = 16;

/// The integrity attribute, and what it covers.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) integrity: Integrity,
    /// The first four bytes of the message, with the length that was signed.
    pub(crate) head: [u8; 4],
    /// The rest of what was signed.
    pub(crate) text: &'a [u8],
    pub(crate) mac: &'a [u8],
}

/// A well-formed request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: MessageMethod,
    pub(crate) transaction: TransactionId,
    pub(crate) signed: Option<Signed<'a>>,
    /// Whether it ends with a FINGERPRINT, so that the answer should too.
    pub(crate) fingerprint: bool,
    /// Types that must be understood and are not: the first of them.
    pub(crate) unknown: Vec<u16>,
    /// CONNECTION-ID (RFC 6062), which `stun-rs` does not know.
    pub(crate) connection: Option<u32>,
    /// All addresses of peers: `stun-rs` shows one that is malformed as an error, as we do.
    pub(crate) peers: Vec<std::net::SocketAddr>,
    bytes: &'a [u8],
    /// Where what counts ends: at the first integrity attribute, or the fingerprint.
    end: usize,
}

/// This is no request that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not STUN, in spite of its header.
    Garbage,
    /// STUN, but malformed (400).
    Malformed,
}

impl<'a> Request<'a> {
    pub(crate) fn parse(message: &Stun<'a>) -> Result<Self, Bad> {
        if message.bytes.len() > MAX_REQUEST {
            return Err(Bad::Garbage);
        }
        let mut request = Self {
            method: MessageType::from(message.kind).method(),
            transaction: TransactionId::from(message.transaction),
            signed: None,
            fingerprint: false,
            unknown: vec![],
            connection: None,
            peers: vec![],
            bytes: message.bytes,
            end: message.bytes.len(),
        };
        for attribute in message.attributes() {
            if request.fingerprint {
                return Err(Bad::Garbage);
            }
            request.take(attribute.map_err(|_| Bad::Garbage)?, message)?;
        }
        Ok(request)
    }

    fn take(&mut self, attribute: Attribute<'a>, message: &Stun<'a>) -> Result<(), Bad> {
        let Attribute { kind, at, value } = attribute;
        let sealed = self.signed.is_some();
        match kind {
            attribute::FINGERPRINT => {
                if !fingerprint_is_right(message.bytes, at, value) {
                    return Err(Bad::Garbage);
                }
                self.fingerprint = true;
                self.end = self.end.min(at);
            }
            attribute::MESSAGE_INTEGRITY if !sealed => {
                self.sign(Integrity::Sha1, at, value, message.bytes)?;
            }
            // Where both are present, the stronger one counts.
            attribute::MESSAGE_INTEGRITY_SHA256 => {
                let first = self.signed.as_ref().is_none_or(|s| s.integrity == Integrity::Sha1);
                if first {
                    self.sign(Integrity::Sha256, at, value, message.bytes)?;
                }
            }
            // What follows the integrity attribute is not signed and does not count.
            _ if sealed => {}
            attribute::CONNECTION_ID => {
                let id = value.try_into().map_err(|_| Bad::Malformed)?;
                self.connection.get_or_insert(u32::from_be_bytes(id));
            }
            attribute::XOR_PEER_ADDRESS => {
                let peer = read_xor(value, message.transaction).ok_or(Bad::Malformed)?;
                self.peers.push(peer);
            }
            unknown
                if unknown < 0x8000
                    && self.unknown.len() < MAX_UNKNOWN
                    && !UNDERSTOOD.contains(&unknown)
                    && !self.unknown.contains(&unknown) =>
            {
                self.unknown.push(unknown);
            }
            _ => {}
        }
        Ok(())
    }

    fn sign(
        &mut self,
        integrity: Integrity,
        at: usize,
        mac: &'a [u8],
        bytes: &'a [u8],
    ) -> Result<(), Bad> {
        let right = match integrity {
            Integrity::Sha1 => mac.len() == 20,
            // RFC 8489 section 14.6
            Integrity::Sha256 => (16..=32).contains(&mac.len()) && mac.len().is_multiple_of(4),
        };
        if !right {
            return Err(Bad::Malformed);
        }
        // RFC 8489 section 14.5: the length as if this attribute were the last one.
        let [a, b] = ((at + 4 + mac.len() - HEADER) as u16).to_be_bytes();
        self.signed =
            Some(Signed { integrity, head: [bytes[0], bytes[1], a, b], text: &bytes[4..at], mac });
        self.end = self.end.min(at);
        Ok(())
    }

    /// The attributes that count.
    pub(crate) fn decode(&self) -> Result<Attributes, Bad> {
        let mut bytes = self.bytes[..self.end].to_vec();
        let length = (self.end - HEADER) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let decoder = MessageDecoderBuilder::default().build();
        let (message, _) = decoder.decode(&bytes).map_err(|_| Bad::Malformed)?;
        Ok(Attributes(message))
    }
}

/// What a request says.
#[derive(Debug)]
pub(crate) struct Attributes(StunMessage);

impl Attributes {
    pub(crate) fn get<A: StunAttributeType>(&self) -> Option<&StunAttribute> {
        self.0.get::<A>()
    }

    pub(crate) fn has<A: StunAttributeType>(&self) -> bool {
        self.0.get::<A>().is_some()
    }
}

fn fingerprint_is_right(bytes: &[u8], at: usize, value: &[u8]) -> bool {
    // RFC 8489 section 14.7
    value
        .try_into()
        .is_ok_and(|value| u32::from_be_bytes(value) == crc32fast::hash(&bytes[..at]) ^ 0x5354_554e)
}
