//! What a segment file says of itself behind its head, so that a file found unfinished at a start
//! can be stated in the chain by its bytes alone.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use sightline_media::mp4::read::{self, ReadError};

use super::{Opening, SegmentDraft, micros_between};
use crate::statement::Digest;

/// The box's kind (ISO/IEC 14496-12, 11.1): players pass over what they do not know.
const BOX: [u8; 4] = *b"uuid";
/// Drawn at random.
const OURS: [u8; 16] = [
    0x5d, 0x1f, 0x0b, 0xc4, 0x3a, 0x92, 0x4e, 0x67, 0x9c, 0x28, 0xe1, 0x7b, 0x46, 0xd0, 0x8f, 0x35,
];

/// A segment file that was found unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// The file is to be cut to this length, in bytes.
    pub len: u64,
    /// What is to be stated of it then.
    pub draft: SegmentDraft,
}

/// The box, as a whole.
pub fn encode(opening: &Opening) -> Bytes {
    // Numbers and flags alone: there is nothing that could not be encoded.
    let body = postcard::to_allocvec(opening).unwrap_or_default();
    let len = 8 + OURS.len() + body.len();
    let mut out = BytesMut::with_capacity(len);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.put_slice(&BOX);
    out.put_slice(&OURS);
    out.put_slice(&body);
    out.freeze()
}

/// What is left of a segment file that was being written: `None` when it has no whole fragment, or
/// does not say when it began.
///
/// # Errors
/// [`ReadError`] when it is damaged before its end.
pub fn recover(file: &Bytes) -> Result<Option<Recovered>, ReadError> {
    let whole = read::whole_fragments_len(file);
    if whole == 0 {
        return Ok(None);
    }
    let file = file.slice(..whole);
    let body = read::body_behind_head(&file, &BOX).and_then(|body| body.strip_prefix(&OURS));
    let Some(opening) = body.and_then(|body| postcard::from_bytes::<Opening>(body).ok()) else {
        return Ok(None);
    };
    let contents = read::read(&file, opening.start)?;
    let draft = SegmentDraft {
        opening,
        duration_us: micros_between(opening.position_90k, contents.end_90k),
        len: whole as u64,
        head_len: u32::try_from(contents.head_len).unwrap_or(u32::MAX),
        content: Digest(Sha256::digest(&file).into()),
        pictures: contents.pictures,
    };
    Ok(Some(Recovered { len: whole as u64, draft }))
}
