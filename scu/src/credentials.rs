//! Time-limited relay credentials: the user name is `expiry:session`, the password the
//! HMAC-SHA1 of it under a secret that SCUs and MTUs share (draft-uberti-behave-turn-rest-00).

use aws_lc_rs::hmac;
use base64::Engine as _;
use sightline_model::{MediaSessionId, Secret, UnixMicros};
use sightline_protocol::{cm::IceServer, sd::MtuStatus};

/// Makes credentials.
#[derive(Debug)]
pub(crate) struct Minter {
    secret: Option<Secret<String>>,
    ttl_s: u32,
}

impl Minter {
    pub(crate) fn new(secret: Option<Secret<String>>, ttl_s: u32) -> Self {
        Self { secret, ttl_s }
    }

    /// What a PU or CU may use of this MTU in this session.
    pub(crate) fn for_session(
        &self,
        now: UnixMicros,
        mtu: Option<&MtuStatus>,
        session: &MediaSessionId,
    ) -> Vec<IceServer> {
        let Some(mtu) = mtu else { return vec![] };
        let mut servers = stun_only(Some(mtu));
        let turn = urls(mtu, &["turn:", "turns:"]);
        if let (Some(secret), false) = (&self.secret, turn.is_empty()) {
            let username = format!("{}:{session}", now.as_secs() + i64::from(self.ttl_s));
            let credential = Some(Secret::new(password(secret.expose(), &username)));
            servers.push(IceServer { urls: turn, username: Some(username), credential });
        }
        servers
    }
}

/// What a PU may use without a session: to learn its own address.
pub(crate) fn stun_only(mtu: Option<&MtuStatus>) -> Vec<IceServer> {
    let stun = mtu.map(|mtu| urls(mtu, &["stun:", "stuns:"])).unwrap_or_default();
    let server = IceServer { urls: stun, username: None, credential: None };
    if server.urls.is_empty() { vec![] } else { vec![server] }
}

fn urls(mtu: &MtuStatus, schemes: &[&str]) -> Vec<String> {
    mtu.urls.iter().filter(|u| schemes.iter().any(|s| u.starts_with(s))).cloned().collect()
}

fn password(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    base64::prelude::BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_follow_the_draft() {
        // echo -n 1700000000:call | openssl dgst -sha1 -hmac 0123456789abcdef -binary | base64
        assert_eq!(password("0123456789abcdef", "1700000000:call"), "NAt5vEXKkQZfGHzx2iezie3YFds=");
    }

    #[test]
    fn without_a_secret_only_stun_is_offered() {
        let mtu = MtuStatus {
            mtu: "m".parse().expect("valid id"),
            urls: vec!["stun:192.0.2.1:3478".to_owned(), "turn:192.0.2.1:3478".to_owned()],
            load: 0.0,
            accepting: true,
            at: UnixMicros(0),
        };
        let session = "call".parse().expect("valid id");
        let count = |secret: Option<&str>| {
            let secret = secret.map(|s| Secret::new(s.to_owned()));
            Minter::new(secret, 60).for_session(UnixMicros(0), Some(&mtu), &session).len()
        };
        assert_eq!((count(None), count(Some("0123456789abcdef"))), (1, 2));
    }
}
