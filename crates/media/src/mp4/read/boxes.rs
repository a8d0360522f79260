//! Boxes of a file that may be cut off anywhere (ISO/IEC 14496-12, 4.2).

use std::ops::Range;

use bytes::Bytes;

/// A whole box: all of it is there.
struct Found {
    kind: [u8; 4],
    range: Range<usize>,
    header_len: usize,
}

/// The box that begins at `at`; `None` when it is not whole.
fn whole_box(bytes: &[u8], at: usize) -> Option<Found> {
    let header = bytes.get(at..)?;
    let size = u32::from_be_bytes(*header.first_chunk()?);
    let kind: [u8; 4] = *header.get(4..)?.first_chunk()?;
    let (size, header_len) = match size {
        // To the end of the file: none of ours, and a file cut off would not show it.
        0 => return None,
        1 => {
            let large = u64::from_be_bytes(*header.get(8..)?.first_chunk()?);
            (usize::try_from(large).ok()?, 16)
        }
        _ => (usize::try_from(size).ok()?, 8),
    };
    let end = at.checked_add(size).filter(|end| *end <= bytes.len())?;
    (size >= header_len).then_some(Found { kind, range: at..end, header_len })
}

/// The whole boxes in `bytes` one after the other.
fn whole_boxes(bytes: &[u8], from: usize) -> impl Iterator<Item = Found> + '_ {
    let mut at = from;
    std::iter::from_fn(move || {
        let found = whole_box(bytes, at)?;
        at = found.range.end;
        Some(found)
    })
}

/// Length of the head (`ftyp` and `moov`) in bytes; `None` when there is no whole one.
#[must_use]
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    let ftyp = whole_box(bytes, 0).filter(|b| &b.kind == b"ftyp")?;
    let moov = whole_box(bytes, ftyp.range.end).filter(|b| &b.kind == b"moov")?;
    Some(moov.range.end)
}

/// Up to where a file that may be cut off anywhere holds a head and whole fragments, in bytes; 0 when
/// there is not one fragment.
#[must_use]
pub fn whole_fragments_len(bytes: &[u8]) -> usize {
    Whole::fragments(bytes).last().map_or(0, |fragment| fragment.end)
}

/// Finds whole fragments.
pub struct Whole;

impl Whole {
    /// The ranges of `moof` and `mdat` pairs behind the head.
    pub fn fragments(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut moof: Option<Range<usize>> = None;
        let from = head_len(bytes).unwrap_or(bytes.len());
        let mut boxes = whole_boxes(bytes, from);
        std::iter::from_fn(move || {
            loop {
                let found = boxes.next()?;
                match &found.kind {
                    b"moof" => moof = Some(found.range),
                    b"mdat" => {
                        if let Some(moof) = moof.take() {
                            return Some(moof.start..found.range.end);
                        }
                    }
                    // What may lie between fragments, and what we put behind the head.
                    b"uuid" | b"prft" | b"free" | b"skip" | b"styp" | b"sidx" | b"emsg" => {
                        moof = None;
                    }
                    // What we never write is the beginning of something else's bytes.
                    _ => return None,
                }
            }
        })
    }
}

/// The body of the first box of this kind behind the head.
#[must_use]
pub fn body_behind_head<'a>(bytes: &'a Bytes, kind: &[u8; 4]) -> Option<&'a [u8]> {
    let found = whole_boxes(bytes, head_len(bytes)?).find(|b| b.kind == *kind)?;
    bytes.get(found.range.start + found.header_len..found.range.end)
}

/// Refuses lists of samples that need more memory than the file they are in: each sample of ours
/// states its size and its duration.
pub fn check_runs(fragment: &[u8]) -> Result<(), &'static str> {
    const SIZE_AND_DURATION: u32 = 0x300;
    let moof = whole_box(fragment, 0).ok_or("no moof")?;
    let inside = |parent: &Found| {
        let end = parent.range.end;
        let bytes = fragment.get(..end).unwrap_or_default();
        whole_boxes(bytes, parent.range.start + parent.header_len)
    };
    for traf in inside(&moof).filter(|b| &b.kind == b"traf") {
        for trun in inside(&traf).filter(|b| &b.kind == b"trun") {
            let flags = fragment.get(trun.range.start + trun.header_len..);
            let flags =
                flags.and_then(|f| f.first_chunk()).ok_or("a list of samples is cut off")?;
            if u32::from_be_bytes(*flags) & SIZE_AND_DURATION != SIZE_AND_DURATION {
                return Err("samples do not state their size and duration");
            }
        }
    }
    Ok(())
}
