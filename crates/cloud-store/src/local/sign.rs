//! Signed addresses: what exactly may be done, and until when.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sightline_cloud::object::ObjectKey;
use sightline_model::{Secret, UnixMicros};

/// No other use of the secret can be taken for one of these.
const DOMAIN: &str = "sightline-cs-v1";

/// What is asked for, all of which is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub key: &'a ObjectKey,
    /// Seconds since 1970.
    pub expires_s: i64,
    /// What is to be stored; none: it is to be read.
    put: Option<Put<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Put<'a> {
    len: u64,
    hash: &'a str,
    entry: &'a str,
    time: &'a str,
}

impl<'a> Asked<'a> {
    pub const fn get(key: &'a ObjectKey, expires_at: UnixMicros) -> Self {
        Self { key, expires_s: expires_at.as_secs(), put: None }
    }

    pub const fn put(
        key: &'a ObjectKey,
        expires_at: UnixMicros,
        len: u64,
        hash: &'a str,
        (entry, time): (&'a str, &'a str),
    ) -> Self {
        let put = Some(Put { len, hash, entry, time });
        Self { key, expires_s: expires_at.as_secs(), put }
    }

    /// None of the parts has a line end.
    fn text(&self) -> String {
        let Self { key, expires_s, put } = self;
        match put {
            None => format!("{DOMAIN}\nGET\n{key}\n{expires_s}"),
            Some(Put { len, hash, entry, time }) => {
                format!("{DOMAIN}\nPUT\n{key}\n{expires_s}\n{len}\n{hash}\n{entry}\n{time}")
            }
        }
    }
}

/// Signs and checks.
pub(super) struct Signer(Secret<[u8; 32]>);

impl Signer {
    pub const fn new(secret: Secret<[u8; 32]>) -> Self {
        Self(secret)
    }

    fn mac(&self, asked: &Asked<'_>) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.expose());
        let mut mac = mac.expect("a key of any length will do");
        mac.update(asked.text().as_bytes());
        mac
    }

    pub fn sign(&self, asked: &Asked<'_>) -> String {
        BASE64URL_NOPAD.encode(&self.mac(asked).finalize().into_bytes())
    }

    /// In constant time.
    pub fn is_signed(&self, asked: &Asked<'_>, signature: &str) -> bool {
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
        signature.is_ok_and(|signature| self.mac(asked).verify_slice(&signature).is_ok())
    }
}
