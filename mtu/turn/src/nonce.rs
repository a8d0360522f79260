//! Nonces that are computed, not stored (RFC 8489 section 9.2).
//!
//! A nonce is the nonce cookie with the security features, the time of its end, and an HMAC of
//! that time and of the client under a key that nobody outside this process knows. So it is good
//! for one client for some time, and costs no memory.

use std::net::IpAddr;

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{ClientId, Transport};

/// RFC 8489 section 9.2: the cookie, then 24 bits in base64, of which the first says that
/// PASSWORD-ALGORITHMS is understood (section 18.1).
const COOKIE: &str = "obMatJos2gAAA";
const MAC: usize = 16;

/// Issues and checks.
#[derive(Debug)]
pub(crate) struct Nonces(hmac::Key);

impl Nonces {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(crate) fn issue(&self, client: &ClientId, ends_s: u64) -> String {
        let mut token = [0; 8 + MAC];
        token[..8].copy_from_slice(&ends_s.to_be_bytes());
        token[8..].copy_from_slice(&self.mac(client, ends_s));
        let mut nonce = String::with_capacity(64);
        nonce.push_str(COOKIE);
        BASE64_URL_SAFE_NO_PAD.encode_string(token, &mut nonce);
        nonce
    }

    /// Whether we gave this nonce to this client, and it has not ended.
    pub(crate) fn is_good(&self, nonce: &str, client: &ClientId, now_s: u64) -> bool {
        let mut token = [0; 8 + MAC];
        let Some(text) = nonce.strip_prefix(COOKIE) else { return false };
        if BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut token) != Ok(token.len()) {
            return false;
        }
        let Some((ends, mac)) = token.split_first_chunk::<8>() else { return false };
        let ends_s = u64::from_be_bytes(*ends);
        now_s < ends_s
            && constant_time::verify_slices_are_equal(mac, &self.mac(client, ends_s)).is_ok()
    }

    fn mac(&self, client: &ClientId, ends_s: u64) -> [u8; MAC] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&ends_s.to_be_bytes());
        let transport = match client.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Dtls => 3,
        };
        context.update(&[transport]);
        match client.address.ip() {
            IpAddr::V4(ip) => context.update(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.address.port().to_be_bytes());
        let mut mac = [0; MAC];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, transport: Transport) -> ClientId {
        let local = "192.0.2.1:3478".parse().expect("an address");
        ClientId::new(transport, address.parse().expect("an address"), local)
    }

    #[test]
    fn a_nonce_is_good_for_one_client_until_it_ends() {
        let nonces = Nonces::new(&[7; 32]);
        let a = client("198.51.100.1:5000", Transport::Udp);
        let nonce = nonces.issue(&a, 1_000);
        assert!(nonces.is_good(&nonce, &a, 999));
        assert!(!nonces.is_good(&nonce, &a, 1_000), "good after its end");
        for other in [
            client("198.51.100.2:5000", Transport::Udp),
            client("198.51.100.1:5001", Transport::Udp),
            client("198.51.100.1:5000", Transport::Tcp),
            client("[2001:db8::1]:5000", Transport::Udp),
        ] {
            assert!(!nonces.is_good(&nonce, &other, 0), "{other:?} may use it");
        }
        assert!(!Nonces::new(&[8; 32]).is_good(&nonce, &a, 0), "good under another key");
    }

    #[test]
    fn every_changed_byte_spoils_it() {
        let nonces = Nonces::new(&[7; 32]);
        let a = client("198.51.100.1:5000", Transport::Udp);
        let nonce = nonces.issue(&a, 1_000);
        for at in 0..nonce.len() {
            let mut bytes = nonce.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(!nonces.is_good(&changed, &a, 0), "byte {at} says nothing");
        }
        for bad in ["", "obMatJos2gAAA", "f//499k954d6OL34oL9FSTvy64sA", &format!("{nonce}A")] {
            assert!(!nonces.is_good(bad, &a, 0), "{bad:?} was taken");
        }
    }
}
