//! Identifiers as distinct types, so that none is taken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{InvalidValue, PublicKey};

/// Longest accepted id, in bytes.
const MAX_ID_LEN: usize = 64;

pub(crate) fn base32() -> &'static data_encoding::Encoding {
    static ENCODING: std::sync::OnceLock<data_encoding::Encoding> = std::sync::OnceLock::new();
    ENCODING.get_or_init(|| {
        let mut spec = data_encoding::Specification::new();
        spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        spec.encoding().expect("the RFC 4648 alphabet in lower case is a valid specification")
    })
}

fn check_id(what: &'static str, text: &str) -> Result<(), InvalidValue> {
    if text.is_empty() || text.len() > MAX_ID_LEN {
        return Err(InvalidValue::new(what, "must have 1 to 64 characters"));
    }
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.chars().all(ok) {
        return Err(InvalidValue::new(what, "may hold letters, digits, '-', '_' and '.' only"));
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$"))]
        pub struct $name(Box<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Makes an id from 128 random bits that the caller drew from a CSPRNG.
            #[must_use]
            pub fn from_random(bits: [u8; 16]) -> Self {
                Self(base32().encode(&bits).into())
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check_id($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id!(
    /// A person's account.
    UserId, "user id");
text_id!(
    /// One app or browser of a user: the holder of a client key.
    ClientId, "client id");
text_id!(
    /// One refresh-token family: what "signed in on this device" means.
    RefreshId, "sign-in id");
text_id!(
    /// A device bound to a user.
    BindingId, "binding id");
text_id!(
    /// One viewing of one camera by one client: the call whose legs the SCU keeps.
    MediaSessionId, "media session id");
text_id!(
    /// The `jti` of a play token.
    TokenId, "token id");
text_id!(
    /// A service control unit.
    ScuId, "SCU id");
text_id!(
    /// A media transmission unit.
    MtuId, "MTU id");
text_id!(
    /// The `kid` of a signing key.
    KeyId, "key id");
text_id!(
    /// The home domain of a device or user: one operator's installation.
    DomainName, "domain name");

/// The domain of units whose configuration names none. The bus's subjects carry the domain, so
/// units that differ in it never hear of each other: there is one default for all of them.
impl Default for DomainName {
    fn default() -> Self {
        Self("sightline.local".into())
    }
}

/// A premises unit: the first 128 bits of SHA-256 over its Ed25519 public key, in base32
/// (26 characters).
///
/// The id *is* the key's fingerprint, so knowing an id never suffices to register with it, and
/// whoever holds the id (from the QR code) can pin the key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z2-7]{26}$"))]
pub struct PuId(Box<str>);

impl PuId {
    /// Characters in the text form.
    pub const LEN: usize = 26;

    /// Derives the id from the unit's public key.
    #[must_use]
    pub fn from_public_key(key: &PublicKey) -> Self {
        let digest = Sha256::digest(key.as_bytes());
        Self(base32().encode(&digest[..16]).into())
    }

    /// Whether `key` is the key this id was derived from.
    #[must_use]
    pub fn matches(&self, key: &PublicKey) -> bool {
        *self == Self::from_public_key(key)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PuId {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = InvalidValue::new("device id", "must be 26 characters of a-z and 2-7");
        if text.len() != Self::LEN {
            return Err(wrong);
        }
        // Trailing bits must be zero, so every id has exactly one spelling.
        base32().decode(text.as_bytes()).map_err(|_| wrong)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for PuId {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PuId> for String {
    fn from(id: PuId) -> String {
        id.0.into()
    }
}

impl fmt::Display for PuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PuId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pu_id_has_26_characters_and_follows_the_key() {
        let id = PuId::from_public_key(&PublicKey::from_bytes([3; 32]));
        assert_eq!(id.as_str().len(), PuId::LEN);
        assert!(id.matches(&PublicKey::from_bytes([3; 32])));
        assert!(!id.matches(&PublicKey::from_bytes([4; 32])));
        assert_eq!(id.to_string().parse::<PuId>(), Ok(id));
    }

    #[test]
    fn ids_refuse_what_could_leave_their_place() {
        for bad in ["", "a b", "../x", "a/b", "a\r\nb", "a;b", "$(x)", &"x".repeat(65)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?} was taken");
            assert!(bad.parse::<PuId>().is_err(), "{bad:?} was taken");
        }
    }
}
