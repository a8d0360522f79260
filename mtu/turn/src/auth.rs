//! Long-term credentials (RFC 8489 section 9.2) whose user names end by themselves
//! (draft-uberti-behave-turn-rest-00).
//!
//! The user name is `expiry:session`, the password the base64 of its HMAC-SHA1 under a secret that
//! SCUs and MTUs share. Several secrets are good at a time, so that they can be changed without a
//! gap. Who somebody is, for quotas and for 441, is the part after the expiry: a client may renew
//! its credentials while its allocation stands.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sightline_model::Secret;
use stun_rs::{Algorithm, AlgorithmId, HMACKey, attributes::stun::Realm};

use crate::{
    answer::{Integrity, Seal},
    request::Signed,
};

/// How the password becomes a key (RFC 8489 section 18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    /// What clients of RFC 5389 know.
    Md5,
    /// What RFC 8489 adds.
    Sha256,
}

impl PasswordAlgorithm {
    /// In the order in which we would rather have them.
    pub(crate) const OFFERED: [Self; 2] = [Self::Sha256, Self::Md5];

    pub(crate) fn id(self) -> AlgorithmId {
        match self {
            Self::Md5 => AlgorithmId::MD5,
            Self::Sha256 => AlgorithmId::SHA256,
        }
    }
}

/// Realm and secrets.
#[derive(Debug, Clone)]
pub struct Credentials {
    realm: String,
    secrets: Vec<Secret<String>>,
}

/// These credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// The realm cannot be written into a message.
    #[error("realm must have 1 to 127 characters, no quote and no colon")]
    Realm,
    /// There is none.
    #[error("no secret is given")]
    NoSecret,
}

impl Credentials {
    /// Takes them if they can work.
    ///
    /// # Errors
    /// `BadCredentials`.
    pub fn new(realm: &str, secrets: Vec<Secret<String>>) -> Result<Self, BadCredentials> {
        let fits = (1..=127).contains(&realm.len()) && !realm.contains(['"', ':', '\\']);
        if !fits || Realm::new(realm).is_err() {
            return Err(BadCredentials::Realm);
        }
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().is_empty()) {
            return Err(BadCredentials::NoSecret);
        }
        Ok(Self { realm: realm.to_owned(), secrets })
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The password that belongs to a user name under a secret.
    #[must_use]
    pub fn password(secret: &Secret<String>, user_name: &str) -> Secret<String> {
        let secret = secret.expose().as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        Secret::new(BASE64_STANDARD.encode(hmac::sign(&key, user_name.as_bytes())))
    }

    /// With what to sign answers, if the message was signed with the password of this name.
    ///
    /// The key is always made with our own realm: what the client names proves nothing.
    pub(crate) fn verify(
        &self,
        user_name: &str,
        algorithm: PasswordAlgorithm,
        signed: &Signed<'_>,
    ) -> Option<Seal> {
        self.secrets.iter().find_map(|secret| {
            let password = Self::password(secret, user_name);
            let algorithm = Algorithm::from(algorithm.id());
            let key = HMACKey::new_long_term(user_name, &self.realm, password.expose(), algorithm)
                .ok()?;
            let good = {
                let expected = mac(signed.integrity, key.as_bytes(), signed.head, signed.text);
                // As long as the client made it (RFC 8489 section 14.6).
                let expected = expected.as_ref().get(..signed.mac.len())?;
                constant_time::verify_slices_are_equal(expected, signed.mac).is_ok()
            };
            good.then_some(Seal { key, integrity: signed.integrity })
        })
    }
}

/// HMAC over a header and what follows it.
pub(crate) fn mac(integrity: Integrity, key: &[u8], head: [u8; 4], text: &[u8]) -> hmac::Tag {
    let algorithm = match integrity {
        Integrity::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Integrity::Sha256 => hmac::HMAC_SHA256,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    context.update(&head);
    context.update(text);
    context.sign()
}

/// A user name in its two parts: until when it is good, in seconds since 1970, and who it is.
pub(crate) fn parts(user_name: &str) -> Option<(u64, &str)> {
    let (expiry, user) = user_name.split_once(':')?;
    let digits = !expiry.is_empty() && expiry.bytes().all(|b| b.is_ascii_digit());
    (digits && !user.is_empty()).then_some(())?;
    Some((expiry.parse().ok()?, user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_an_expiry_are_names() {
        assert_eq!(parts("1000:call"), Some((1_000, "call")));
        assert_eq!(parts("1000:a:b"), Some((1_000, "a:b")));
        for bad in ["", "call", ":call", "-1:call", "+1:call", "1e9:call", "1000:", "1000"] {
            assert_eq!(parts(bad), None, "{bad:?} was taken");
        }
        assert_eq!(parts("99999999999999999999:call"), None);
    }

    #[test]
    fn credentials_that_cannot_work_are_refused() {
        let secret = || vec![Secret::new("s".to_owned())];
        assert!(Credentials::new("sightline", secret()).is_ok());
        for realm in ["", "a\"b", "a:b", &"x".repeat(128), "a\\b"] {
            assert_eq!(Credentials::new(realm, secret()).err(), Some(BadCredentials::Realm));
        }
        assert_eq!(Credentials::new("r", vec![]).err(), Some(BadCredentials::NoSecret));
    }
}
