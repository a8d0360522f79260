//! Time-limited credentials (draft-uberti-behave-turn-rest-00): the user name is
//! `expiry:session`, the password the HMAC-SHA1 of it under the secret that SCUs and MTUs share.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use sightline_model::Secret;
use turn::auth::{AuthHandler, generate_auth_key};

use crate::user_name::expiry;

/// Knows which credentials are good now.
#[derive(Debug)]
pub(crate) struct Credentials {
    secret: Secret<String>,
    realm: String,
}

impl Credentials {
    pub(crate) fn new(secret: Secret<String>, realm: String) -> Arc<Self> {
        Arc::new(Self { secret, realm })
    }

    /// The long-term key (RFC 8489 section 9.2.2) of this user, unless the time is over.
    pub(crate) fn key(&self, username: &str, now: SystemTime) -> Option<Vec<u8>> {
        let expiry = expiry(username)?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        if expiry < now {
            return None;
        }
        let key =
            hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret.expose().as_bytes());
        let password =
            base64::prelude::BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Some(generate_auth_key(username, &self.realm, &password))
    }
}

impl AuthHandler for Credentials {
    fn auth_handle(
        &self,
        username: &str,
        _realm: &str,
        _src_addr: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        // Always with our own realm: what the client names proves nothing.
        self.key(username, SystemTime::now()).ok_or_else(|| {
            metrics::counter!("sightline_mtu_credentials_refused_total").increment(1);
            turn::Error::ErrNoSuchUser
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn only_unexpired_names_have_a_key() {
        let credentials =
            Credentials::new(Secret::new("0123456789abcdef".to_owned()), "realm".to_owned());
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        assert!(credentials.key("1000:call", at(1_000)).is_some());
        assert!(credentials.key("1000:call", at(1_001)).is_none());
        for bad in ["", "call", ":call", "-1:call", "1e9:call", "99999999999999999999:call"] {
            assert!(credentials.key(bad, at(0)).is_none(), "{bad:?} was taken");
        }
    }
}
