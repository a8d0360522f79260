//! What an end signs instead of a certificate.

use sha2::{Digest, Sha256};
use sightline_model::PublicKey;

/// SHA-256 of an end's Ed25519 key: the fingerprint in its description. The key itself is what the
/// QUIC handshake proves.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
