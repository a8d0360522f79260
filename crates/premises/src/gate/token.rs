//! What the unit itself can tell of a play token, without asking anybody (A8.4 step 4).

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use sightline_model::{DomainName, PuId, SessionToken, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{PlayClaims, TokenBearer, TokenKey},
};

use crate::uplink::Lease;

/// Who may sign play tokens for this unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The domain that the unit belongs to.
    pub domain: DomainName,
    /// Its keys.
    pub token_keys: Vec<TokenKey>,
}

impl From<&Lease> for Authority {
    fn from(lease: &Lease) -> Self {
        Self { domain: lease.domain.clone(), token_keys: lease.token_keys.clone() }
    }
}

/// Longest token that is looked at; a real one has about 700 characters.
const MAX_TOKEN_LEN: usize = 4_096;

/// Checks form, signature, issuer, device, expiry and bearer.
///
/// # Errors
/// [`ProblemKind::InvalidToken`], [`ProblemKind::TokenExpired`], [`ProblemKind::TokenInUse`] when
/// the token names another key than the bearer's.
pub fn verify(
    token: &SessionToken,
    bearer: &TokenBearer,
    authority: &Authority,
    pu: &PuId,
    now: UnixMicros,
) -> Result<PlayClaims, Problem> {
    let claims = signed_claims(token, authority)?;
    if claims.iss != authority.domain {
        return Err(invalid("the play token was made by another domain"));
    }
    if claims.aud != *pu {
        return Err(invalid("the play token is for another device"));
    }
    if claims.exp <= now.as_secs() {
        let why = "the play token's time is over; ask for a new one";
        return Err(Problem::new(ProblemKind::TokenExpired, why));
    }
    let held = match bearer {
        TokenBearer::Key { client } => Some(client),
        TokenBearer::Address { .. } => None,
    };
    if claims.cnf.is_some() && claims.cnf.as_ref() != held {
        let why = "the play token belongs to another client";
        return Err(Problem::new(ProblemKind::TokenInUse, why));
    }
    Ok(claims)
}

fn signed_claims(token: &SessionToken, authority: &Authority) -> Result<PlayClaims, Problem> {
    let token = token.expose();
    if token.is_empty() {
        return Err(invalid("a play token is needed; ask the centre for one"));
    }
    let malformed = || invalid("the play token is malformed");
    if token.len() > MAX_TOKEN_LEN {
        return Err(malformed());
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| malformed())?;
    let kid = header.kid.ok_or_else(malformed)?;
    let key = authority.token_keys.iter().find(|key| key.kid.as_str() == kid);
    let key = key.ok_or_else(|| invalid("the play token was signed with an unknown key"))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Expiry is judged by the centre's clock, audience by its own type.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_ed_der(key.public_key.as_bytes());
    jsonwebtoken::decode::<PlayClaims>(token, &key, &validation)
        .map(|data| data.claims)
        .map_err(|_| invalid("the play token is forged or damaged"))
}

fn invalid(detail: &str) -> Problem {
    Problem::new(ProblemKind::InvalidToken, detail)
}
