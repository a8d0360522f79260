//! `record export`: the segments of a span as they were recorded, joined to one MP4 file, with the
//! proof beside it (decision 0095).
//!
//! Segments are kept in a folder beside the file until all of them are there, so that a download that
//! broke goes on where it was, also when it is started anew. None is taken whose bytes are not those
//! that the recorder has signed.

mod checked;
mod cloud;
mod download;
mod fetch;
mod file;
mod folder;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use sightline_model::{Right, StreamTier, UnixMicros};
use sightline_protocol::{ProblemKind, cm::Camera};
use sightline_recording::{chain::time_text, replay::Way};

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
    play::{
        place::{self, Held},
        survey::{Leg, Surveyor},
    },
    silent,
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
    let RecordExport { from, to, out, tier, force, require_pin, on, .. } = options;
    let tier = tier.map_or(StreamTier::Main, StreamTier::from);
    let source = match on {
        Some(on) => Source::only(place::named(&api, &camera, on).await?),
        None => Source::find(&api, &camera, (tier, from..to)).await?,
    };
    let at_home = source.held != Held::InCloud;
    let recorder = source.held.clone().recorder();
    let asked = Asked { camera, tier, span: from..to, require_pin, recorder };
    let out = out.unwrap_or_else(|| file::default_name(&asked.camera, tier, &asked.span));
    file::refuse_existing(&out, force)?;
    bar.set_message("checking what is here already");
    let kept = beside(&out, ".part");
    let folder = blocking(move || Folder::find(kept)).await?;
    let (folder, fetched) = match at_home {
        true => Download::new(&api, home, &asked, &bar, folder).run().await,
        false => cloud::run((&api, home), &asked, &bar, folder).await,
    };
    // Who names no place wants it from wherever it is.
    let (folder, fetched, beyond) = match fetched {
        Err(error) if at_home && on.is_none() && is_away(&error) => {
            output::note(&format!("note: {error}; trying the cloud"));
            let (folder, fetched) = cloud::run((&api, home), &asked, &bar, folder).await;
            (folder, fetched, Vec::new())
        }
        fetched => (folder, fetched, source.beyond),
    };
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
    beyond.iter().for_each(|leg| output::note(&elsewhere(leg)));
    Ok(())
}

/// Who is asked. An export is of one recorder: its proof is of that recorder's chain, and whoever checks it
/// names the one that they trust.
struct Source {
    held: Held,
    /// What others have beside.
    beyond: Vec<Leg>,
}

impl Source {
    const fn only(held: Held) -> Self {
        Self { held, beyond: Vec::new() }
    }

    /// Who has the most of it.
    async fn find(
        api: &SignedInApi,
        camera: &Camera,
        (tier, span): (StreamTier, Range<UnixMicros>),
    ) -> Result<Self, CuError> {
        let (camera, way) = (&camera.id, Way::Forwards);
        let mut survey =
            Surveyor { api, camera, tier, only: true, way }.survey(span.clone()).await?;
        survey.keep(&span);
        for one in &survey.silent {
            let words = silent::words(one);
            output::note(&format!("note: {words}; what nobody else has will be missing"));
        }
        // Where nobody has anything, the unit says why.
        let held = survey.most().unwrap_or(Held::ByUnit);
        let beyond = survey.beyond(&held);
        Ok(Self { held, beyond })
    }
}

/// What is not in the file, and could be had.
fn elsewhere(leg: &Leg) -> String {
    let (from, to) = (time_text(leg.span.start), time_text(leg.span.end));
    let (who, option) = (leg.held.words(), leg.held.option());
    format!("Not in the file: {from} to {to}, which {who} has; --on {option} exports it.")
}

/// Whether what lies at home cannot be had now.
fn is_away(error: &CuError) -> bool {
    use ProblemKind::{CameraOffline, DeviceOffline, StorageAway};
    let away = matches!(error.problem, Some(CameraOffline | DeviceOffline | StorageAway));
    away || matches!(error.exit, Exit::Unreachable | Exit::Timeout)
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
