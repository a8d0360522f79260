//! Ids and secrets from the system's CSPRNG.

use data_encoding::BASE64URL_NOPAD;

use crate::error::ApiError;

/// 128 random bits, for an id.
///
/// # Errors
/// Our own fault: the system gives no random numbers.
pub fn id_bits() -> Result<[u8; 16], ApiError> {
    let mut bits = [0; 16];
    fill(&mut bits)?;
    Ok(bits)
}

/// 64 random bits.
///
/// # Errors
/// Our own fault: the system gives no random numbers.
pub fn bits() -> Result<u64, ApiError> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// 256 random bits in text, for a refresh token.
///
/// # Errors
/// Our own fault: the system gives no random numbers.
pub fn secret() -> Result<String, ApiError> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), ApiError> {
    getrandom::fill(bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers");
        ApiError::internal()
    })
}
