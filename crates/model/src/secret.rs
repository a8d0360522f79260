//! Values that never show themselves in logs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::InvalidValue;

/// Any value whose `Debug` is redacted. It serializes as the value itself: use it where the value
/// has to travel.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value; the caller answers for where it goes.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// A bearer token: access, refresh or play token.
pub type SessionToken = Secret<String>;

impl SessionToken {
    /// The hash by which the centre knows the token (A8.4: "the token is checked by its hash").
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(data_encoding::HEXLOWER.encode(&Sha256::digest(self.0.as_bytes())).into())
    }
}

/// SHA-256 of a bearer token, in hex (64 characters).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(Box<str>);

impl TokenHash {
    /// The hash in hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}…)", self.0.get(..8).unwrap_or_default())
    }
}

/// A mobile number in E.164 form (`+` and 7 to 15 digits). Shown only by [`PhoneNumber::expose`].
///
/// Whether the number exists in its country's plan is the CMU's check, not this type's.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[+][1-9][0-9]{6,14}$"))]
pub struct PhoneNumber(Box<str>);

impl PhoneNumber {
    /// The number; the caller answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The number with all but its last two digits hidden, for screens.
    #[must_use]
    pub fn masked(&self) -> String {
        let keep = self.0.len() - 2;
        self.0.char_indices().map(|(i, c)| if i == 0 || i >= keep { c } else { '•' }).collect()
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(redacted)")
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = InvalidValue::new(
            "mobile number",
            "must be in international form: '+', country code, number; for example +8613800138000",
        );
        let digits = text.strip_prefix('+').ok_or_else(|| wrong.clone())?;
        let plausible = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if plausible { Ok(Self(text.into())) } else { Err(wrong) }
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> String {
        number.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let phone: PhoneNumber = "+8613800138000".parse().expect("valid");
        let token = SessionToken::new("opensesame".to_owned());
        let shown = format!("{phone:?} {token:?} {:?}", token.hash());
        assert!(!shown.contains("138") && !shown.contains("sesame"), "{shown}");
        assert_eq!(phone.masked(), "+•••••••••••00");
    }

    #[test]
    fn phone_numbers_are_international() {
        for bad in [
            "",
            "+",
            "13800138000",
            "+0123456789",
            "+12",
            "+86138001380001234",
            "+86 138",
            "+86;138",
        ] {
            assert!(bad.parse::<PhoneNumber>().is_err(), "{bad:?} was taken");
        }
    }
}
