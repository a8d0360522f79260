//! Time-limited credentials (draft-uberti-behave-turn-rest-00): what an SCU gives out for a session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// How long what is given out is good for.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// User name and password of one session.
pub struct Credentials {
    /// `expiry:session`.
    pub username: String,
    /// Base64 of the user name's HMAC-SHA1.
    pub password: String,
}

impl Credentials {
    /// Signs with the secret that the server has, too.
    #[must_use]
    pub fn new(secret: &str, session: &str) -> Self {
        let expiry = SystemTime::now() + LIFETIME;
        let expiry = expiry.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let username = format!("{expiry}:{session}");
        let password = password(secret, &username);
        Self { username, password }
    }
}

/// The password of a user name, whether or not its time is over.
#[must_use]
pub fn password(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}
