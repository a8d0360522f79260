use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of all message types in this crate.
pub const VERSION: u16 = 1;

/// Longest encoded message, in bytes. An SDP offer of a browser is about 8 kB.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;

/// What every message travels in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<B> {
    /// [`VERSION`] of the sender.
    pub v: u16,
    /// W3C `traceparent`, so that one trace spans every unit a request passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The message.
    pub body: B,
}

/// Why bytes are not a message. Always the peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More than [`MAX_MESSAGE_BYTES`].
    #[error("the message has {0} bytes, more than the allowed {MAX_MESSAGE_BYTES}")]
    TooLong(usize),
    /// A version that this build does not speak.
    #[error("the message has version {0}; this side speaks version {VERSION}")]
    Version(u16),
    /// Not JSON, or not the JSON of this message.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Writes a message as JSON.
#[must_use]
pub fn encode<B: Serialize>(body: &B, traceparent: Option<String>) -> Vec<u8> {
    serde_json::to_vec(&Envelope { v: VERSION, traceparent, body })
        .expect("messages have string keys and no failing serializer")
}

/// Reads a message, checking length and version before the body is looked at.
///
/// # Errors
/// [`DecodeError`], always the peer's fault.
pub fn decode<B: DeserializeOwned>(bytes: &[u8]) -> Result<Envelope<B>, DecodeError> {
    #[derive(Deserialize)]
    struct Version {
        v: u16,
    }
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let Version { v } = serde_json::from_slice(bytes)?;
    if v != VERSION {
        return Err(DecodeError::Version(v));
    }
    Ok(serde_json::from_slice(bytes)?)
}
