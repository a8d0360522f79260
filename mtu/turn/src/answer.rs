//! Answers as they go out.

use std::fmt;

use stun_rs::{
    HMACKey, MessageClass, MessageEncoderBuilder, MessageMethod, StunAttribute, StunMessageBuilder,
    TransactionId,
};

use crate::{
    auth::mac,
    wire::{HEADER, attribute, padding},
};

/// Long enough for every answer of ours.
const MAX_ANSWER: usize = 1_200;

/// Which integrity attribute is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integrity {
    /// MESSAGE-INTEGRITY.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// With what an answer is signed: as the request was (RFC 8489 section 9.2.4).
#[derive(Clone)]
pub(crate) struct Seal {
    pub(crate) key: HMACKey,
    pub(crate) integrity: Integrity,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({:?}, redacted)", self.integrity)
    }
}

/// An attribute that `stun-rs` does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAttribute {
    /// Its type.
    pub kind: u16,
    /// Its value, without padding.
    pub value: Vec<u8>,
}

/// An answer or indication in the making.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) method: MessageMethod,
    pub(crate) class: MessageClass,
    pub(crate) transaction: TransactionId,
    pub(crate) attributes: Vec<StunAttribute>,
    pub(crate) raw: Vec<RawAttribute>,
}

impl Answer {
    pub(crate) fn new(
        method: MessageMethod,
        class: MessageClass,
        transaction: TransactionId,
    ) -> Self {
        Self { method, class, transaction, attributes: vec![], raw: vec![] }
    }

    pub(crate) fn with(mut self, attribute: impl Into<StunAttribute>) -> Self {
        self.attributes.push(attribute.into());
        self
    }

    /// The message; `None` would be a fault of ours.
    pub(crate) fn encode(self, seal: Option<&Seal>, fingerprint: bool) -> Option<Vec<u8>> {
        let mut builder =
            StunMessageBuilder::new(self.method, self.class).with_transaction_id(self.transaction);
        for attribute in self.attributes {
            builder = builder.with_attribute(attribute);
        }
        let mut bytes = vec![0; MAX_ANSWER];
        let encoder = MessageEncoderBuilder::default().build();
        let length = encoder.encode(&mut bytes, &builder.build()).ok()?;
        bytes.truncate(length);
        for RawAttribute { kind, value } in &self.raw {
            append(&mut bytes, *kind, value);
        }
        if let Some(Seal { key, integrity }) = seal {
            let (kind, size) = match integrity {
                Integrity::Sha1 => (attribute::MESSAGE_INTEGRITY, 20),
                Integrity::Sha256 => (attribute::MESSAGE_INTEGRITY_SHA256, 32),
            };
            let at = bytes.len();
            append(&mut bytes, kind, &[0; 32][..size]);
            let (signed, value) = bytes.split_at_mut(at);
            let (head, text) = signed.split_first_chunk::<4>()?;
            let tag = mac(*integrity, key.as_bytes(), *head, text);
            value[4..].copy_from_slice(tag.as_ref());
        }
        if fingerprint {
            let at = bytes.len();
            append(&mut bytes, attribute::FINGERPRINT, &[0; 4]);
            let sum = crc32fast::hash(&bytes[..at]) ^ 0x5354_554e;
            bytes[at + 4..].copy_from_slice(&sum.to_be_bytes());
        }
        Some(bytes)
    }
}

/// Appends an attribute and keeps the length of the message right.
fn append(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(kind.to_be_bytes());
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.extend(padding(value.len()));
    let length = ((bytes.len() - HEADER) as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
}
