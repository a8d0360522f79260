//! One MP4 file from segments, and its proof.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use jiff::Timestamp;
use sightline_media::mp4::join::{JoinError, Joiner};
use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{Piece, Proof},
    statement::Segment,
};

use super::{Part, beside, cannot};
use crate::error::CuError;

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    pub bytes: u64,
    pub segments: usize,
    pub duration_ms: u64,
}

/// How an export is named when nobody says it.
pub(super) fn default_name(camera: &str, from: UnixMicros) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let camera: String = camera.chars().take(40).map(plain).collect();
    let at =
        Timestamp::from_microsecond(from.0).map(|at| at.strftime("%Y%m%dT%H%M%SZ").to_string());
    format!("{camera}-{}.mp4", at.unwrap_or_default()).into()
}

/// Joins them, writes the proof beside, and lets the folder go.
pub(super) async fn make(
    proof: Proof,
    parts: Vec<Part>,
    folder: &Path,
    out: &Path,
) -> Result<Made, CuError> {
    let (folder, out) = (folder.to_path_buf(), out.to_path_buf());
    let making = tokio::task::spawn_blocking(move || join(proof, &parts, &folder, &out));
    making.await.map_err(|e| CuError::other(format!("joining has failed: {e}")))?
}

fn join(mut proof: Proof, parts: &[Part], folder: &Path, out: &Path) -> Result<Made, CuError> {
    // Beside the segments: a file of that name that is there is replaced when all is well.
    let making = folder.join("export.mp4");
    let failed = |e: std::io::Error| cannot("write", &making, &e);
    let created = parts.first().map_or(UnixMicros(0), |part| part.segment.start);
    let mut joiner = Joiner::new(created).map_err(|e| unusable(&e))?;
    let mut file = File::create(&making).map_err(failed)?;
    file.write_all(joiner.head()).map_err(failed)?;
    let mut before: Option<&Segment> = None;
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let path = folder.join(&part.name);
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
    name_places(&mut proof, &places);
    let json = proof.to_json().map_err(|e| CuError::other(e.to_string()))?;
    let beside = beside(out, ".proof.json");
    fs::write(&beside, json).map_err(|e| cannot("write", &beside, &e))?;
    fs::rename(&making, out).map_err(|e| cannot("write", out, &e))?;
    fs::remove_dir_all(folder).map_err(|e| cannot("remove", folder, &e))?;
    Ok(Made { bytes, segments: parts.len(), duration_ms: joined.duration_ms })
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
