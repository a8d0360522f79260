//! `record export`: the segments of a span as they were recorded, joined to one MP4 file, with the
//! proof beside it (decision 0095).
//!
//! Segments are kept in a folder beside the file until all of them are there, so that a download that
//! broke goes on where it was, also when it is started anew. None is taken whose bytes are not those
//! that the recorder has signed.

mod fetch;
mod file;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indicatif::ProgressBar;
use serde_json::json;
use sightline_model::{PuId, Right, StreamTier, VideoCodec};
use sightline_protocol::cm::{Camera, Player};
use sightline_recording::{
    chain::{Expected, FileState, Proof},
    statement::Segment,
};

use self::fetch::{Fetch, Fetched};
use super::{
    Figures, quic,
    session::{Session, Wanted},
};
use crate::{
    api::SignedInApi,
    cli::RecordExport,
    cmd::find_camera,
    error::{CuError, Exit},
    home::Home,
    output,
};

/// A broken connection is made again so often without a single byte in between.
const TRIES: u32 = 5;
/// Between two of them at first; longer after each.
const PAUSE: Duration = Duration::from_secs(1);

/// A segment that the export is made of.
#[derive(Debug, Clone)]
struct Part {
    /// Its file's name in the folder.
    name: String,
    segment: Segment,
}

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
    let out = options.out.clone().unwrap_or_else(|| file::default_name(&camera.name, options.from));
    let folder = beside(&out, ".part");
    tokio::fs::create_dir_all(&folder).await.map_err(|e| cannot("make", &folder, &e))?;
    let proof = fetch_all(&api, home, &camera, &options, (&folder, &bar)).await?;
    bar.set_message("joining the segments");
    let parts = parts(&proof, &camera.id.pu)?;
    let made = file::make(proof, parts, &folder, &out).await?;
    bar.finish_and_clear();
    if json {
        let proof = beside(&out, ".proof.json");
        output::json(&json!({
            "file": out, "proof": proof, "bytes": made.bytes, "segments": made.segments,
            "duration_ms": made.duration_ms,
        }));
        return Ok(());
    }
    output::line(&format!(
        "{}: {} s from {} segments, {} bytes. Its proof lies beside it; cu verify {} checks it.",
        out.display(),
        made.duration_ms / 1_000,
        made.segments,
        made.bytes,
        out.display()
    ));
    Ok(())
}

/// Fetches all, over as many connections as it takes.
async fn fetch_all(
    api: &SignedInApi,
    home: &Home,
    camera: &Camera,
    options: &RecordExport,
    (folder, bar): (&Path, &ProgressBar),
) -> Result<Proof, CuError> {
    let (mut tries, mut pause) = (TRIES, PAUSE);
    loop {
        let progress = Fetched::default();
        let broken = match fetch_once(api, home, camera, options, (folder, bar, &progress)).await {
            Ok(proof) => return Ok(proof),
            Err(error) if error.exit == Exit::Unreachable => error,
            Err(error) => return Err(error),
        };
        if progress.bytes() > 0 {
            (tries, pause) = (TRIES, PAUSE);
        }
        tries -= 1;
        if tries == 0 {
            return Err(broken);
        }
        bar.set_message(format!("{broken}; going on in {} s", pause.as_secs()));
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn fetch_once(
    api: &SignedInApi,
    home: &Home,
    camera: &Camera,
    options: &RecordExport,
    (folder, bar, progress): (&Path, &ProgressBar, &Fetched),
) -> Result<Proof, CuError> {
    let wanted = Wanted {
        codecs: vec![VideoCodec::H264, VideoCodec::H265],
        quality: sightline_model::QualityChoice::Auto,
        require_pin: options.require_pin,
        player: Player::Client,
    };
    let session = Session::ask(api, home, camera.clone(), &wanted).await?;
    if let Some(warning) = session.warning() {
        output::note(&warning);
    }
    bar.set_message(format!("connecting to {}", session.camera.name));
    let figures = Arc::new(Figures::since(session.asked));
    let (line, _) = quic::open(&session, &figures).await?;
    let mut proof = None;
    let fetching = async {
        let mut fetch = Fetch::open(line.connection(), &session).await?;
        let tier = options.tier.map_or(StreamTier::Main, StreamTier::from);
        let found = fetch.proof(camera.id.channel, tier, options.from..options.to).await?;
        let parts = parts(&found, &camera.id.pu)?;
        let all: u64 = parts.iter().map(|part| part.segment.len).sum();
        let mut done = 0;
        for part in &parts {
            let say = |of_this: u64| {
                let (done, all) = (mega(done + of_this), mega(all));
                bar.set_message(format!("fetching: {done:.1} of {all:.1} MB"));
            };
            fetch.segment(camera.id.channel, tier, part, (folder, progress), say).await?;
            done += part.segment.len;
        }
        proof = Some(found);
        Ok(())
    };
    let result = line.until_ended(fetching).await;
    line.close().await;
    result?;
    proof.ok_or_else(|| CuError::unreachable("the centre has ended the call"))
}

/// The segments that a proof speaks of.
///
/// # Errors
/// [`Exit::Security`] when it is not the recording of the camera's own unit, or has holes.
fn parts(proof: &Proof, recorder: &PuId) -> Result<Vec<Part>, CuError> {
    let mut parts = Vec::new();
    for chain in &proof.chains {
        let mut verifier = chain.verifier(Expected::of(recorder.clone()));
        for entry in &chain.entries {
            let Some((sequence, segment)) = verifier.push(&entry.entry()) else { continue };
            let Some(name) = entry.file.clone() else {
                return Err(CuError::security("the proof names no file for a segment"));
            };
            verifier.file(sequence, &segment, FileState::Present);
            parts.push(Part { name, segment });
        }
        let report = verifier.finish();
        if let Some(finding) = report.findings.first() {
            return Err(CuError::security(format!(
                "what the camera gives is not a whole recording: {finding}"
            )));
        }
    }
    Ok(parts)
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
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
