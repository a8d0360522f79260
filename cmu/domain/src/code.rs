//! One-time codes sent by SMS (A6.1.1).

use std::time::Duration;

use sha2::{Digest, Sha256};
use sightline_model::{DomainName, PhoneNumber, Secret};
use subtle::ConstantTimeEq;

/// How long a code works.
pub const LIFE: Duration = Duration::from_secs(5 * 60);
/// Wrong tries that kill a code.
pub const MAX_WRONG_TRIES: i64 = 5;

/// Six digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeCode(Secret<String>);

impl OneTimeCode {
    /// Makes a code from random bits of a CSPRNG. The bias of the remainder is below 2^-44.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(Secret::new(format!("{:06}", bits % 1_000_000)))
    }

    /// Reads what a person typed; spaces and a dash do not matter. `None`: it cannot be a code.
    #[must_use]
    pub fn from_typed(typed: &str) -> Option<Self> {
        if typed.len() > 32 {
            return None;
        }
        let digits: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        let ok = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
        ok.then(|| Self(Secret::new(digits)))
    }

    /// The code; the caller answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What the centre stores in place of the code, salted with whom it was sent to.
    ///
    /// Six digits cannot be hidden from somebody who reads the database; their five minutes and
    /// five tries protect them. The hash keeps them out of backups and logs of statements.
    #[must_use]
    pub fn hash(&self, domain: &DomainName, phone: &PhoneNumber) -> CodeHash {
        let mut hasher = Sha256::new();
        hasher.update(b"sightline-sms-code-v1\0");
        hasher.update(domain.as_str());
        hasher.update(b"\0");
        hasher.update(phone.expose());
        hasher.update(b"\0");
        hasher.update(self.expose());
        CodeHash(data_encoding::HEXLOWER.encode(&hasher.finalize()))
    }
}

/// SHA-256 of a code, in hex.
#[derive(Debug, Clone)]
pub struct CodeHash(pub String);

impl CodeHash {
    /// Compares without telling by its time how much was right.
    #[must_use]
    pub fn matches(&self, stored: &str) -> bool {
        self.0.as_bytes().ct_eq(stored.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_six_digits_whatever_the_bits() {
        for bits in [0, 7, 999_999, 1_000_000, u64::MAX] {
            let code = OneTimeCode::from_random(bits);
            assert_eq!(OneTimeCode::from_typed(code.expose()), Some(code));
        }
    }

    #[test]
    fn typed_codes_may_have_spaces_and_nothing_else() {
        assert!(OneTimeCode::from_typed(" 123 456 ").is_some());
        for bad in ["", "12345", "1234567", "12345a", "１２３４５６", "' or 1=1", &"1".repeat(99)]
        {
            assert!(OneTimeCode::from_typed(bad).is_none(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_code_belongs_to_one_number() {
        let code = OneTimeCode::from_random(5);
        let domain: DomainName = "d".parse().expect("valid");
        let hash = |p: &str| code.hash(&domain, &p.parse().expect("valid")).0;
        assert_ne!(hash("+8613800138000"), hash("+8613800138001"));
    }

    #[test]
    fn debug_shows_no_code() {
        assert!(!format!("{:?}", OneTimeCode::from_random(123_456)).contains("123456"));
    }
}
