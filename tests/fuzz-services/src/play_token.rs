//! Play tokens, as whoever dials a premises unit shows them.

use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use sightline_model::{PuId, PublicKey, SessionToken, UnixMicros};
use sightline_protocol::ps::{TokenBearer, TokenKey};

use crate::token::{Authority, verify};

/// When the tokens among the seeds end, in seconds since 1970.
const EXPIRY: i64 = 2_000_000_000;

/// The unit, and who may sign for it. The seeds were signed with the key made of ones.
static UNIT: LazyLock<(PuId, Authority)> = LazyLock::new(|| {
    let public_key = SigningKey::from_bytes(&[1; 32]).verifying_key().into();
    let kid = "k1".parse().expect("a valid id");
    let token_keys = vec![TokenKey { kid, public_key }];
    let authority = Authority { domain: "d".parse().expect("a valid name"), token_keys };
    (PuId::from_public_key(&PublicKey::from_bytes([9; 32])), authority)
});

/// The first byte says who shows the token and when, the rest is the token: none is good that the
/// centre has not signed, for this unit, this time and this bearer.
///
/// # Panics
/// When a token is good that was not signed so.
pub fn play_token(data: &[u8]) {
    let Some((flags, token)) = data.split_first() else { return };
    let Ok(token) = std::str::from_utf8(token) else { return };
    let client = PublicKey::from_bytes([7; 32]);
    let bearer = match flags & 1 {
        0 => TokenBearer::Address { ip: [192, 0, 2, 7].into() },
        _ => TokenBearer::Key { client },
    };
    let late = flags & 2 != 0;
    let now = UnixMicros((EXPIRY - i64::from(!late)) * 1_000_000);
    let (unit, authority) = &*UNIT;
    match verify(&SessionToken::new(token.to_owned()), &bearer, authority, unit, now) {
        Ok(claims) => {
            assert_eq!((&claims.iss, &claims.aud), (&authority.domain, unit));
            assert!(!late && claims.exp == EXPIRY, "over: {claims:?}");
            let bound_to = claims.cnf;
            assert!(bound_to.is_none_or(|key| key == client && flags & 1 == 1), "another bearer");
            assert_eq!(claims.sub.as_str(), "anna", "nobody has signed this");
        }
        Err(problem) => assert!(problem.detail.len() > 10, "{problem:?}"),
    }
}
