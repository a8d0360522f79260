//! Connectivity checks on the wire: STUN Binding as RFC 8445 section 7 has it.
//!
//! Messages are written and read by `stun-rs`; the MAC is compared here, in constant time. Every
//! check is a transaction of its own, whose id begins with a counter: a check that was seen once is
//! never believed again, wherever it comes from (see [`ReplayWindow`]).

use std::net::SocketAddr;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use stun_rs::{
    HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessage,
    StunMessageBuilder, TransactionId,
    attributes::{
        ice::{IceControlled, IceControlling, Priority, UseCandidate},
        stun::{Fingerprint, MessageIntegrity, UserName, XorMappedAddress},
    },
    get_input_text,
    methods::BINDING,
};

use crate::description::Credentials;

/// No check of ours, nor an answer, is longer.
const MAX_CHECK_BYTES: usize = 300;
const HEADER_BYTES: usize = 20;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MAC_BYTES: usize = 20;

/// A transaction's id, as it is on the wire.
pub(crate) type Transaction = [u8; 12];

/// Which end decides (RFC 8445 section 6.1.1). Fixed by the signalling: the viewer controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The CU: it chooses the path.
    Controlling,
    /// The PU or NVR: it follows.
    Controlled,
}

/// Whether bytes look like STUN: first two bits, cookie, length (RFC 8489 section 6.3, RFC 9443).
#[must_use]
pub fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES
        && bytes[0] < 4
        && bytes[4..8] == [0x21, 0x12, 0xa4, 0x42]
        && usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) + HEADER_BYTES == bytes.len()
}

/// The `ice-ufrag` that a check is for, by which a socket that many sessions share finds the
/// session. Nothing is proven by it. `None` for answers and for what is no check.
#[must_use]
pub fn addressee(bytes: &[u8]) -> Option<&str> {
    if !is_stun(bytes) || bytes.len() > MAX_CHECK_BYTES || bytes[..2] != [0, 1] {
        return None;
    }
    let username = attributes(bytes).find(|(_, kind, _)| *kind == 0x0006)?.2;
    Some(std::str::from_utf8(username).ok()?.split_once(':')?.0)
}

/// A check that is sent.
pub(crate) struct Check<'a> {
    pub transaction: Transaction,
    pub role: Role,
    pub tie_breaker: u64,
    pub priority: u32,
    pub nominate: bool,
    pub local: &'a Credentials,
    pub remote: &'a Credentials,
}

impl Check<'_> {
    /// `None` never happens with credentials that were checked.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        let name = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let mut message = StunMessageBuilder::new(BINDING, MessageClass::Request)
            .with_transaction_id(TransactionId::from(self.transaction))
            .with_attribute(UserName::new(name).ok()?)
            .with_attribute(Priority::from(self.priority));
        message = match self.role {
            Role::Controlling => message.with_attribute(IceControlling::from(self.tie_breaker)),
            Role::Controlled => message.with_attribute(IceControlled::from(self.tie_breaker)),
        };
        if self.nominate {
            message = message.with_attribute(UseCandidate::default());
        }
        seal(message, self.remote)
    }
}

/// The answer to a check, shorter than the check.
pub(crate) fn encode_answer(
    transaction: Transaction,
    seen: SocketAddr,
    local: &Credentials,
) -> Option<Bytes> {
    let message = StunMessageBuilder::new(BINDING, MessageClass::SuccessResponse)
        .with_transaction_id(TransactionId::from(transaction))
        .with_attribute(XorMappedAddress::from(seen));
    seal(message, local)
}

fn seal(message: StunMessageBuilder, receiver: &Credentials) -> Option<Bytes> {
    let key = HMACKey::new_short_term(receiver.password.expose()).ok()?;
    let message = message
        .with_attribute(MessageIntegrity::new(key))
        .with_attribute(Fingerprint::default())
        .build();
    let mut buffer = [0; MAX_CHECK_BYTES];
    let length = MessageEncoderBuilder::default().build().encode(&mut buffer, &message).ok()?;
    Some(Bytes::copy_from_slice(&buffer[..length]))
}

/// What a datagram says, once its MAC has been found right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Check {
        transaction: Transaction,
        role: Role,
        priority: u32,
        nominated: bool,
    },
    Answer {
        transaction: Transaction,
        seen: SocketAddr,
    },
    /// The other end refuses.
    Refusal {
        transaction: Transaction,
    },
}

/// A message whose MAC nobody has looked at yet: only good for finding out whose it is.
pub(crate) struct Unproven<'a> {
    bytes: &'a [u8],
    message: StunMessage,
}

impl<'a> Unproven<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        if !is_stun(bytes) || bytes.len() > MAX_CHECK_BYTES {
            return None;
        }
        let (message, _) = MessageDecoderBuilder::default().build().decode(bytes).ok()?;
        (message.method() == BINDING).then_some(Self { bytes, message })
    }

    pub(crate) fn transaction(&self) -> Transaction {
        *self.message.transaction_id().as_bytes()
    }

    pub(crate) fn is_check(&self) -> bool {
        self.message.class() == MessageClass::Request
    }

    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.message.class(), MessageClass::SuccessResponse | MessageClass::ErrorResponse)
    }

    /// The two names of a check: the addressee's and the sender's.
    pub(crate) fn names(&self) -> Option<(&str, &str)> {
        self.message.get::<UserName>()?.as_user_name().ok()?.as_str().split_once(':')
    }

    /// Believes the message if its MAC is that of this password and its FINGERPRINT stands.
    pub(crate) fn prove(&self, password: &str) -> Option<Heard> {
        let fingerprint = self.message.get::<Fingerprint>()?.as_fingerprint().ok()?;
        if !fingerprint.validate(&get_input_text::<Fingerprint>(self.bytes)?) {
            return None;
        }
        mac_is_right(self.bytes, password).then(|| self.content()).flatten()
    }

    fn content(&self) -> Option<Heard> {
        let transaction = self.transaction();
        match self.message.class() {
            MessageClass::Request => {
                let controlling = self.message.get::<IceControlling>().is_some();
                let controlled = self.message.get::<IceControlled>().is_some();
                let role = match (controlling, controlled) {
                    (true, false) => Role::Controlling,
                    (false, true) => Role::Controlled,
                    (true, true) | (false, false) => return None,
                };
                let priority = *self.message.get::<Priority>()?.as_priority().ok()?.as_ref();
                let nominated = self.message.get::<UseCandidate>().is_some();
                Some(Heard::Check { transaction, role, priority, nominated })
            }
            MessageClass::SuccessResponse => {
                let seen = self.message.get::<XorMappedAddress>()?;
                let seen = *seen.as_xor_mapped_address().ok()?.socket_address();
                let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
                Some(Heard::Answer { transaction, seen })
            }
            MessageClass::ErrorResponse => Some(Heard::Refusal { transaction }),
            MessageClass::Indication => None,
        }
    }
}

/// Offset, type and value of each attribute.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (usize, u16, &[u8])> {
    let mut at = HEADER_BYTES;
    std::iter::from_fn(move || {
        let head = bytes.get(at..at + 4)?;
        let (kind, length) =
            (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let value = bytes.get(at + 4..at + 4 + usize::from(length))?;
        let start = at;
        at += 4 + usize::from(length).next_multiple_of(4);
        Some((start, kind, value))
    })
}

/// MESSAGE-INTEGRITY over what stands before it, with the length that ends with it
/// (RFC 8489 section 14.5), compared in constant time.
fn mac_is_right(bytes: &[u8], password: &str) -> bool {
    let found = attributes(bytes).find(|(_, kind, _)| *kind == MESSAGE_INTEGRITY);
    let Some((at, _, value)) = found else { return false };
    let length = (at + 4 + MAC_BYTES - HEADER_BYTES) as u16;
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(password.as_bytes()) else { return false };
    mac.update(&bytes[..2]);
    mac.update(&length.to_be_bytes());
    mac.update(&bytes[4..at]);
    mac.verify_slice(value).is_ok()
}

/// Which checks have been seen: the counters at the head of their transaction ids, in a window
/// that moves with the highest. What is in it twice, or older than it, is a replay.
#[derive(Debug)]
pub(crate) struct ReplayWindow {
    highest: u32,
    seen: [u64; Self::WORDS],
}

impl ReplayWindow {
    const WORDS: usize = 64;
    const SIZE: u32 = 64 * Self::WORDS as u32;

    pub(crate) const fn new() -> Self {
        Self { highest: 0, seen: [0; Self::WORDS] }
    }

    /// Takes a counter; false when it is not new.
    pub(crate) fn take(&mut self, counter: u32) -> bool {
        if counter > self.highest {
            let steps = (counter - self.highest).min(Self::SIZE);
            for step in 0..steps {
                let (word, bit) = Self::place(counter - step);
                self.seen[word] &= !bit;
            }
            self.highest = counter;
        } else if self.highest - counter >= Self::SIZE {
            return false;
        }
        let (word, bit) = Self::place(counter);
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }

    const fn place(counter: u32) -> (usize, u64) {
        let index = counter % Self::SIZE;
        ((index / 64) as usize, 1 << (index % 64))
    }
}

/// The counter in a transaction's id.
pub(crate) fn counter(transaction: Transaction) -> u32 {
    let [a, b, c, d, ..] = transaction;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn ends() -> (Credentials, Credentials) {
        let mut rng = StdRng::from_seed([7; 32]);
        (Credentials::generate(&mut rng), Credentials::generate(&mut rng))
    }

    fn check(local: &Credentials, remote: &Credentials) -> Bytes {
        let check = Check {
            transaction: [9; 12],
            role: Role::Controlling,
            tie_breaker: 5,
            priority: 77,
            nominate: true,
            local,
            remote,
        };
        check.encode().expect("credentials are right")
    }

    #[test]
    fn a_check_is_believed_with_the_right_password_only() {
        let (a, b) = ends();
        let bytes = check(&a, &b);
        assert_eq!(addressee(&bytes), Some(b.ufrag.as_str()));
        let read = Unproven::decode(&bytes).expect("STUN");
        assert_eq!(read.names(), Some((b.ufrag.as_str(), a.ufrag.as_str())));
        let heard = Heard::Check {
            transaction: [9; 12],
            role: Role::Controlling,
            priority: 77,
            nominated: true,
        };
        assert_eq!(read.prove(b.password.expose()), Some(heard));
        assert_eq!(read.prove(a.password.expose()), None);
    }

    #[test]
    fn any_changed_bit_is_refused() {
        let (a, b) = ends();
        let bytes = check(&a, &b);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read = Unproven::decode(&changed);
            assert_eq!(read.and_then(|read| read.prove(b.password.expose())), None, "bit {bit}");
        }
    }

    #[test]
    fn the_answer_is_shorter_than_the_check() {
        let (a, b) = ends();
        for seen in ["192.0.2.1:5", "[2001:db8::1]:5"] {
            let seen = seen.parse().expect("an address");
            let answer = encode_answer([9; 12], seen, &b).expect("encodes");
            assert!(answer.len() < check(&a, &b).len());
            let read = Unproven::decode(&answer).expect("STUN");
            let heard = Heard::Answer { transaction: [9; 12], seen };
            assert_eq!(read.prove(b.password.expose()), Some(heard));
        }
    }

    /// RFC 5769 section 2.1: a request with a username and the short-term password of section 2.
    #[test]
    fn the_mac_of_rfc_5769() {
        let mut request = vec![0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42];
        request.extend([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);
        request.extend([0x80, 0x22, 0x00, 0x10]);
        request.extend(b"STUN test client");
        request.extend([0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff]);
        request.extend([0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36]);
        request.extend([0x00, 0x06, 0x00, 0x09]);
        request.extend(b"evtj:h6vY   ");
        request.extend([0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56]);
        request.extend([0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2]);
        request.extend([0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf]);
        assert_eq!(addressee(&request), Some("evtj"));
        let read = Unproven::decode(&request).expect("STUN");
        let heard = read.prove("VOkJxbRl1RmTxUk/WvJxBt");
        let (role, priority) = (Role::Controlled, 0x6e00_01ff);
        let transaction = read.transaction();
        assert_eq!(heard, Some(Heard::Check { transaction, role, priority, nominated: false }));
        assert_eq!(read.prove("VOkJxbRl1RmTxUk/WvJxBu"), None);
    }

    #[test]
    fn a_counter_is_taken_once() {
        let mut window = ReplayWindow::new();
        assert!(window.take(5) && !window.take(5) && window.take(3) && !window.take(3));
        assert!(window.take(100_000));
        assert!(!window.take(5), "older than the window");
        assert!(window.take(99_000) && !window.take(99_000) && !window.take(100_000));
        assert!(window.take(u32::MAX) && window.take(u32::MAX - 1) && !window.take(u32::MAX));
    }
}
