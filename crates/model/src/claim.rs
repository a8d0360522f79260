//! The claim code: proof that somebody holds the camera in their hands.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{InvalidValue, PuId, ids::base32};

/// The random half of a claim code: 80 bits from a CSPRNG, base32 in text (16 characters).
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimSecret([u8; 10]);

impl ClaimSecret {
    /// Wraps 80 bits that the caller drew from a CSPRNG.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    /// The raw bits, for keeping them on the device.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 10] {
        &self.0
    }
}

impl fmt::Debug for ClaimSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimSecret(redacted)")
    }
}

/// What the device tells the centre about its claim secret: SHA-256 bound to the device id, hex in
/// text. The secret itself is seen by the centre only when an owner types it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimHash(Box<str>);

impl ClaimHash {
    /// The hash in hex, 64 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClaimHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimHash(redacted)")
    }
}

/// Device id and claim secret with two check characters, as printed under the QR code.
///
/// Text form: 44 base32 characters in groups of four (`abcd-efgh-…`). Case, spaces and dashes do
/// not matter when typed, and `0`, `1`, `8` are read as `o`, `l`, `b`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimCode {
    pu_id: PuId,
    secret: ClaimSecret,
}

impl ClaimCode {
    const SECRET_LEN: usize = 16;
    const CHECK_LEN: usize = 2;
    const LEN: usize = PuId::LEN + Self::SECRET_LEN + Self::CHECK_LEN;

    /// Puts a code together.
    #[must_use]
    pub const fn new(pu_id: PuId, secret: ClaimSecret) -> Self {
        Self { pu_id, secret }
    }

    /// The device that the code belongs to.
    #[must_use]
    pub const fn pu_id(&self) -> &PuId {
        &self.pu_id
    }

    /// The hash that the device registers and the CMU compares.
    #[must_use]
    pub fn hash(&self) -> ClaimHash {
        let mut hasher = Sha256::new();
        hasher.update(b"sightline-claim-v1\0");
        hasher.update(self.pu_id.as_str());
        hasher.update(self.secret.0);
        ClaimHash(data_encoding::HEXLOWER.encode(&hasher.finalize()).into())
    }

    fn plain(&self) -> String {
        let mut text = String::with_capacity(Self::LEN);
        text.push_str(self.pu_id.as_str());
        text.push_str(&base32().encode(&self.secret.0));
        let check = check_characters(&text);
        text.push_str(&check);
        text
    }
}

fn check_characters(text: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"sightline-claim-check-v1\0");
    hasher.update(text);
    base32().encode(&hasher.finalize()[..5])[..ClaimCode::CHECK_LEN].to_owned()
}

impl fmt::Display for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.plain().chars().enumerate() {
            if i > 0 && i % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimCode({}, redacted)", self.pu_id)
    }
}

impl FromStr for ClaimCode {
    type Err = InvalidValue;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| InvalidValue::new("claim code", reason);
        if typed.len() > 4 * Self::LEN {
            return Err(wrong("is too long"));
        }
        let text: String = typed
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .map(|c| match c.to_ascii_lowercase() {
                '0' => 'o',
                '1' => 'l',
                '8' => 'b',
                c => c,
            })
            .collect();
        if !text.is_ascii() {
            return Err(wrong("may hold letters and digits only"));
        }
        if text.len() != Self::LEN {
            return Err(wrong("must have 44 letters and digits, without counting the dashes"));
        }
        let (body, check) = text.split_at(Self::LEN - Self::CHECK_LEN);
        if check_characters(body) != check {
            return Err(wrong("has a typing error in it"));
        }
        let (pu_id, secret) = body.split_at(PuId::LEN);
        let secret = base32().decode(secret.as_bytes()).ok().and_then(|s| s.try_into().ok());
        let secret = secret.ok_or_else(|| wrong("has a character that does not occur in codes"))?;
        Ok(Self { pu_id: pu_id.parse()?, secret: ClaimSecret(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PublicKey;

    fn code() -> ClaimCode {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([9; 32]));
        ClaimCode::new(pu, ClaimSecret::from_bytes([5; 10]))
    }

    #[test]
    fn every_single_typing_error_is_noticed_or_changes_nothing() {
        let text = code().plain();
        for i in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[i] = if typed[i] == b'q' { b'r' } else { b'q' };
            let typed = String::from_utf8(typed).expect("ascii");
            if let Ok(other) = typed.parse::<ClaimCode>() {
                // Two check characters let one error in 1,024 through; such a code must still
                // fail at the centre.
                assert_ne!(other.hash(), code().hash());
            }
        }
    }

    #[test]
    fn refuses_short_long_and_foreign_text() {
        for bad in ["", "abcd", &"a".repeat(44), &"a".repeat(10_000), "äöü", "日本"] {
            assert!(bad.parse::<ClaimCode>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = base32().encode(code().secret.expose());
        assert!(!format!("{:?} {:?}", code(), code().hash()).contains(&secret));
    }
}
