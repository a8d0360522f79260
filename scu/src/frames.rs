//! Where messages end on a QUIC stream: each lies behind its length (`u32`, big-endian).

use sightline_protocol::MAX_MESSAGE_BYTES;
use tokio_util::codec::LengthDelimitedCodec;

/// Cuts and joins messages; one that is too long is an error of the kind `InvalidData`.
pub(crate) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE_BYTES).new_codec()
}
