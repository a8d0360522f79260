//! Where messages end on a QUIC stream: each lies behind its length (`u32`, big-endian).

use std::io::{Error, ErrorKind};

use bytes::Bytes;
use sightline_protocol::MAX_MESSAGE_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The next message.
///
/// # Errors
/// The stream has ended or is broken; [`ErrorKind::InvalidData`] when the message is too long.
pub(super) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, Error> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        let text = format!("a message of {length} bytes is too long");
        return Err(Error::new(ErrorKind::InvalidData, text));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message.into())
}
