//! `record export`: the segments of a span as they were recorded, joined to one MP4 file, with the
//! proof beside it (decision 0095).
//!
//! Segments are kept in a folder beside the file until all of them are there, so that a download that
//! broke goes on where it was, also when it is started anew. None is taken whose bytes are not those
//! that the recorder has signed.

mod checked;
mod download;
mod fetch;
mod file;
mod folder;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sightline_model::{Right, StreamTier};

use self::{
    checked::{Checked, Got},
    download::{Asked, Download},
    file::Made,
    folder::Folder,
};
use crate::{
    api::SignedInApi,
    cli::RecordExport,
    cmd::find_camera,
    error::{CuError, Exit},
    home::Home,
    output,
};

/// Runs `cu record export`.
///
/// # Errors
/// When the camera does not give them, or they are not what was signed.
pub async fn run(home: &Home, json: bool, options: RecordExport) -> Result<(), CuError> {
    if options.to <= options.from {
        return Err(CuError::usage("--to does not lie behind --from"));
    }
    let bar = output::progress(format!("asking for {}", options.camera));
    let api = SignedInApi::open(home)?;
    let camera = find_camera(&api, &options.camera).await?;
    if ![Right::Playback, Right::Listen].iter().all(|right| camera.rights.allows(*right)) {
        let words = format!("you may not take recordings of {} with you", camera.name);
        return Err(CuError::new(Exit::Refused, words));
    }
    let RecordExport { from, to, out, tier, force, require_pin, .. } = options;
    let tier = tier.map_or(StreamTier::Main, StreamTier::from);
    let asked = Asked { camera, tier, span: from..to, require_pin };
    let out = out.unwrap_or_else(|| file::default_name(&asked.camera, tier, &asked.span));
    file::refuse_existing(&out, force)?;
    bar.set_message("checking what is here already");
    let kept = beside(&out, ".part");
    let folder = blocking(move || Folder::find(kept)).await?;
    let (folder, fetched) = Download::new(&api, home, &asked, &bar, folder).run().await;
    let Checked { proof, parts, got } = match fetched {
        Ok(checked) => checked,
        Err(error) => {
            folder.leave();
            return Err(error);
        }
    };
    bar.set_message("joining the segments");
    let made = file::make(proof, parts, folder, &out, force).await?;
    bar.finish_and_clear();
    report(json, &out, &asked, &made, &got);
    Ok(())
}

fn report(json: bool, out: &Path, asked: &Asked, made: &Made, got: &Got) {
    if json {
        let mut told = got.json(&asked.span);
        told["file"] = output::path(out).into();
        told["proof"] = output::path(&file::proof_of(out)).into();
        told["bytes"] = made.bytes.into();
        told["segments"] = made.segments.into();
        told["duration_ms"] = made.duration_ms.into();
        output::json(&told);
    } else {
        output::line(&format!(
            "{}: {} s from {} segments, {} bytes. Its proof lies beside it; cu verify {} checks it.",
            out.display(),
            made.duration_ms / 1_000,
            made.segments,
            made.bytes,
            out.display()
        ));
        for line in got.words(&asked.span) {
            output::line(&line);
        }
    }
    if let Some(error) = &made.left {
        let folder = beside(out, ".part");
        output::note(&format!("note: {} is left: {error}", folder.display()));
    }
}

/// Does what waits for the disk, or takes long, apart from what moves bytes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CuError> + Send + 'static,
) -> Result<T, CuError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| CuError::other(format!("the work was broken off: {e}")))?
}

/// The word for a tier in paths and names.
const fn word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

/// The file's path with something behind its name.
fn beside(out: &Path, suffix: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> CuError {
    CuError::other(format!("cannot {what} {}: {error}", path.display()))
}
