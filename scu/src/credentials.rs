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

    /// What a PU or CU may use of these MTUs in this session: first their STUN servers, then
    /// their relays, an entry for each MTU, the first choice first.
    pub(crate) fn for_session(
        &self,
        now: UnixMicros,
        mtus: &[MtuStatus],
        session: &MediaSessionId,
    ) -> Vec<IceServer> {
        let mut servers = stun_only(mtus);
        let Some(secret) = &self.secret else { return servers };
        let username = format!("{}:{session}", now.as_secs() + i64::from(self.ttl_s));
        for mtu in mtus {
            let turn = urls(mtu, &["turn:", "turns:"]);
            if !turn.is_empty() {
                let credential = Some(Secret::new(password(secret.expose(), &username)));
                let username = Some(username.clone());
                servers.push(IceServer { urls: turn, username, credential });
            }
        }
        servers
    }
}

/// What a PU may use without a session: to learn its own address, and how its NATs behave.
pub(crate) fn stun_only(mtus: &[MtuStatus]) -> Vec<IceServer> {
    let stun = mtus.iter().map(|mtu| urls(mtu, &["stun:", "stuns:"]));
    let server = |urls| IceServer { urls, username: None, credential: None };
    stun.filter(|urls| !urls.is_empty()).map(server).collect()
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
        let mtu = |mtu: &str| {
            let urls = vec!["stun:192.0.2.1:3478".to_owned(), "turn:192.0.2.1:3478".to_owned()];
            MtuStatus::new(mtu.parse().expect("valid id"), urls, 0.0, true, UnixMicros(0))
        };
        let mtus = [mtu("m1"), mtu("m2")];
        let session = "call".parse().expect("valid id");
        let count = |secret: Option<&str>| {
            let secret = secret.map(|s| Secret::new(s.to_owned()));
            Minter::new(secret, 60).for_session(UnixMicros(0), &mtus, &session).len()
        };
        assert_eq!((count(None), count(Some("0123456789abcdef"))), (2, 4));
    }
}
