//! One MP4 file from segments, and its proof.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use jiff::Timestamp;
use sightline_media::mp4::join::{JoinError, Joiner};
use sightline_model::{StreamTier, UnixMicros};
use sightline_protocol::cm::Camera;
use sightline_recording::{
    chain::{Piece, Proof},
    statement::Segment,
};

use super::{beside, blocking, cannot, checked::Part, folder::Folder, word};
use crate::error::CuError;

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    pub bytes: u64,
    pub segments: usize,
    pub duration_ms: u64,
    /// Why the folder of the segments is still there.
    pub left: Option<io::Error>,
}

/// How an export is named when nobody says it.
pub(super) fn default_name(camera: &Camera, tier: StreamTier, span: &Range<UnixMicros>) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = camera.name.chars().take(40).map(plain).collect();
    let channel = match camera.id.channel.0 {
        // The only one of most units.
        0 => String::new(),
        other => format!("-ch{other}"),
    };
    let time = |at: UnixMicros| {
        let at = Timestamp::from_microsecond(at.0);
        at.map(|at| at.strftime("%Y%m%dT%H%M%SZ").to_string()).unwrap_or_default()
    };
    let (tier, from, to) = (word(tier), time(span.start), time(span.end));
    format!("{name}{channel}-{tier}-{from}-{to}.mp4").into()
}

/// Where the proof of an export lies.
pub(super) fn proof_of(out: &Path) -> PathBuf {
    beside(out, ".proof.json")
}

/// Sees to it that nothing is lost under the names of the export and its proof.
///
/// # Errors
/// When there is something that `force` does not give up.
pub(super) fn refuse_existing(out: &Path, force: bool) -> Result<(), CuError> {
    let proof = proof_of(out);
    for path in [out, proof.as_path()] {
        let Ok(stat) = fs::symlink_metadata(path) else { continue };
        if stat.is_dir() {
            return Err(CuError::usage(format!("{} is a folder", path.display())));
        }
        if !force {
            let words = format!("{} is there already; --force replaces it", path.display());
            return Err(CuError::usage(words));
        }
    }
    Ok(())
}

/// Joins them, with the proof beside, and lets the folder go.
pub(super) async fn make(
    proof: Proof,
    parts: Vec<Part>,
    folder: Folder,
    out: &Path,
    force: bool,
) -> Result<Made, CuError> {
    let out = out.to_path_buf();
    blocking(move || make_all(proof, &parts, folder, &out, force)).await
}

fn make_all(
    mut proof: Proof,
    parts: &[Part],
    folder: Folder,
    out: &Path,
    force: bool,
) -> Result<Made, CuError> {
    let (film, proof_made) = (folder.film(), folder.proof());
    let Joined { bytes, duration_ms, places } = join(parts, &folder, &film)?;
    name_places(&mut proof, &places);
    let json = proof.to_json().map_err(|e| CuError::other(e.to_string()))?;
    write(&proof_made, &json).map_err(|e| cannot("write", &proof_made, &e))?;
    // Fetching may have taken hours.
    refuse_existing(out, force)?;
    // The film last: where it lies, its proof lies beside it.
    for (made, named) in [(&proof_made, proof_of(out)), (&film, out.to_path_buf())] {
        fs::rename(made, &named).map_err(|e| cannot("write", &named, &e))?;
    }
    if let Err(error) = sync_folder_of(out) {
        // Some file systems refuse this, and the files themselves are safe.
        tracing::debug!(%error, "the export's folder was not synchronized");
    }
    let left = folder.remove().err();
    Ok(Made { bytes, segments: parts.len(), duration_ms, left })
}

/// A film, and where each segment lies in it: name, offset and length.
struct Joined<'a> {
    bytes: u64,
    duration_ms: u64,
    places: Vec<(&'a str, u64, u64)>,
}

fn join<'a>(parts: &'a [Part], folder: &Folder, film: &Path) -> Result<Joined<'a>, CuError> {
    let failed = |e: io::Error| cannot("write", film, &e);
    let created = parts.first().map_or(UnixMicros(0), |part| part.segment.start);
    let mut joiner = Joiner::new(created).map_err(|e| unusable(&e))?;
    let mut file = File::create(film).map_err(failed)?;
    file.write_all(joiner.head()).map_err(failed)?;
    let mut before: Option<&Segment> = None;
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let path = folder.segment(part.segment.content);
        let bytes = Bytes::from(fs::read(&path).map_err(|e| cannot("read", &path, &e))?);
        let goes_on = before.is_some_and(|before| follows(before, &part.segment));
        let at = joiner.push(&bytes, goes_on).map_err(|e| unusable(&e))?;
        file.write_all(&bytes).map_err(failed)?;
        places.push((part.name.as_str(), at, bytes.len() as u64));
        before = Some(&part.segment);
    }
    let joined = joiner.finish().map_err(|e| unusable(&e))?;
    for (at, bytes) in joined.patches {
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok(Joined { bytes, duration_ms: joined.duration_ms, places })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Whether `next` begins in its run where `before` ends.
fn follows(before: &Segment, next: &Segment) -> bool {
    /// A tick of the pictures' clock is 11 microseconds.
    const TICK_US: u64 = 12;
    let begins_us = |segment: &Segment| segment.position_90k.saturating_mul(100) / 9;
    let end = begins_us(before).saturating_add(before.duration_us);
    before.run == next.run && end.abs_diff(begins_us(next)) <= TICK_US
}

/// Says of each segment where it lies in the export.
fn name_places(proof: &mut Proof, places: &[(&str, u64, u64)]) {
    let mut places = places.iter();
    let entries = proof.chains.iter_mut().flat_map(|chain| &mut chain.entries);
    for entry in entries.filter(|entry| entry.file.is_some()) {
        // They were made from these entries, in this order.
        let Some((_, at, len)) = places.find(|(name, ..)| entry.file.as_deref() == Some(*name))
        else {
            continue;
        };
        entry.file = None;
        entry.pieces = vec![Piece::Export { at: *at, len: *len }];
    }
}

fn unusable(error: &JoinError) -> CuError {
    CuError::other(format!("the segments cannot be joined to one file: {error}"))
}
