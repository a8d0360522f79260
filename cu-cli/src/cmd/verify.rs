//! `verify`: a recording and its proof, checked offline (decision 0091).

mod export;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sightline_model::PuId;
use sightline_recording::{
    chain::{
        ChainProof, Expected, FileState, Finding, MAX_PROOF_LEN, Proof, ProvenEntry, Report, Span,
        StatedTime, rebuild, time_text,
    },
    statement::{Digest, Segment, Sequence},
};

use crate::{
    cli::Verify,
    error::{CuError, Exit},
    output,
};
use export::Export;

/// What is behind an export's name in the name of its proof.
const PROOF_SUFFIX: &str = ".proof.json";
/// The proof in a folder of segments.
const PROOF_FILE: &str = "proof.json";

pub(super) fn run(json: bool, options: &Verify) -> Result<(), CuError> {
    let place = Place::find(&options.path, options.proof.as_deref());
    let proof = place.proof()?;
    if let Some(dir) = &options.rebuild {
        std::fs::create_dir_all(dir).map_err(|e| cannot("make the folder", dir, &e))?;
    }
    let mut export = place.export.as_deref().map(Export::open).transpose()?;
    let mut problems = 0;
    for (number, chain) in (1..).zip(&proof.chains) {
        let recorder = PuId::from_public_key(&chain.recorder_key);
        let expected = options.recorder.clone().unwrap_or_else(|| recorder.clone());
        let rebuilt = options.rebuild.as_ref().map(|dir| dir.join(format!("{recorder}-{number}")));
        let report = walk(chain, expected, &place, export.as_mut(), rebuilt.as_deref())?;
        problems += report.findings.len() as u64 + report.more_findings;
        let known = options.recorder.is_some();
        if json {
            output::json(&in_json(&report, &recorder, known));
        } else {
            in_words(&report, &recorder, known);
        }
    }
    if let Some(export) = &mut export {
        let found = export.problems(&proof)?;
        problems += found.len() as u64;
        for problem in &found {
            if json {
                let file = place.export.as_deref().map(output::path);
                output::json(&json!({"export": file, "problem": problem}));
            } else {
                output::line(&format!("EXPORT: {problem}"));
            }
        }
    }
    if problems > 0 {
        let words = format!("{problems} findings: this is not the recording as it was made");
        return Err(CuError::new(Exit::Security, words));
    }
    Ok(())
}

/// Where proof, export and segments lie.
struct Place {
    proof: PathBuf,
    folder: PathBuf,
    export: Option<PathBuf>,
}

impl Place {
    fn find(path: &Path, proof: Option<&Path>) -> Self {
        let folder = |file: &Path| file.parent().map(Path::to_path_buf).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if path.is_dir() {
            let proof = proof.map_or_else(|| path.join(PROOF_FILE), Path::to_path_buf);
            return Self { proof, folder: path.to_path_buf(), export: None };
        }
        if let Some(export) = name.strip_suffix(PROOF_SUFFIX) {
            let export = Some(path.with_file_name(export)).filter(|export| export.exists());
            return Self { proof: path.to_path_buf(), folder: folder(path), export };
        }
        if name.ends_with(".json") {
            return Self { proof: path.to_path_buf(), folder: folder(path), export: None };
        }
        let beside = path.with_file_name(format!("{name}{PROOF_SUFFIX}"));
        let proof = proof.map_or(beside, Path::to_path_buf);
        Self { folder: folder(&proof), proof, export: Some(path.to_path_buf()) }
    }

    fn proof(&self) -> Result<Proof, CuError> {
        let file =
            File::open(&self.proof).map_err(|e| cannot("read the proof", &self.proof, &e))?;
        let mut json = Vec::new();
        // One byte more than there may be, so that too much is seen.
        let most = MAX_PROOF_LEN as u64 + 1;
        file.take(most)
            .read_to_end(&mut json)
            .map_err(|e| cannot("read the proof", &self.proof, &e))?;
        Proof::parse(&json).map_err(|e| CuError::other(format!("{}: {e}", self.proof.display())))
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CuError {
    CuError::other(format!("cannot {what} {}: {error}", path.display()))
}

/// Checks the entries of one chain, and the bytes of every segment. `rebuilt` is what the names of the
/// segments that are rebuilt begin with.
fn walk(
    chain: &ChainProof,
    recorder: PuId,
    place: &Place,
    mut export: Option<&mut Export>,
    rebuilt: Option<&Path>,
) -> Result<Report, CuError> {
    let bar = output::progress("checking the entries");
    let mut verifier = chain.verifier(Expected::of(recorder));
    for entry in &chain.entries {
        let Some((sequence, segment)) = verifier.push(&entry.entry()) else { continue };
        bar.set_message(format!("checking {}", time_text(segment.start)));
        let target = rebuilt.map(|prefix| Rebuilt::new(prefix, sequence));
        let state = look(entry, &segment, place, export.as_deref_mut(), target)?;
        verifier.file(sequence, &segment, state);
    }
    bar.finish_and_clear();
    Ok(verifier.finish())
}

/// The bytes of a segment: in a file of its own, or put together from the export.
fn look(
    entry: &ProvenEntry,
    segment: &Segment,
    place: &Place,
    export: Option<&mut Export>,
    target: Option<Rebuilt>,
) -> Result<FileState, CuError> {
    let mut sink = target.map(Rebuilt::open).transpose()?;
    let mut write = |bytes: &[u8]| {
        if let Some(sink) = &mut sink {
            sink.write(bytes);
        }
    };
    let state = match (&entry.file, export) {
        (Some(name), _) => {
            let path = place.folder.join(name);
            match hash_file(&path, &mut write) {
                Ok(state) => state,
                Err(e) if e.kind() == io::ErrorKind::NotFound => FileState::Absent,
                Err(e) => return Err(cannot("read", &path, &e)),
            }
        }
        (None, Some(export)) if !entry.pieces.is_empty() => {
            rebuild(segment, &entry.pieces, |at, len, out| export.read(at, len, out), &mut write)?
        }
        (None, _) => FileState::Absent,
    };
    if let Some(sink) = sink {
        let whole = FileState::Hashed { len: segment.len, content: segment.content };
        sink.finish(state == whole)?;
    }
    Ok(state)
}

fn hash_file(path: &Path, out: &mut impl FnMut(&[u8])) -> io::Result<FileState> {
    let mut file = File::open(path)?;
    let (mut hasher, mut len) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(FileState::Hashed { len, content: Digest(hasher.finalize().into()) });
        }
        hasher.update(&buffer[..read]);
        out(&buffer[..read]);
        len += read as u64;
    }
}

/// A segment that is written as it was recorded; it gets its name when it is proven.
struct Rebuilt {
    path: PathBuf,
}

struct Sink {
    path: PathBuf,
    part: PathBuf,
    file: File,
    failed: Option<io::Error>,
}

impl Rebuilt {
    fn new(prefix: &Path, sequence: Sequence) -> Self {
        let mut path = prefix.as_os_str().to_owned();
        path.push(format!("-{:08}.mp4", sequence.0));
        Self { path: path.into() }
    }

    fn open(self) -> Result<Sink, CuError> {
        let part = self.path.with_extension("mp4.part");
        let file = File::create(&part).map_err(|e| cannot("write", &part, &e))?;
        Ok(Sink { path: self.path, part, file, failed: None })
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(bytes).err();
        }
    }

    fn finish(self, proven: bool) -> Result<(), CuError> {
        let Self { path, part, file: _, failed } = self;
        let done = match failed {
            Some(error) => Err(error),
            None if proven => std::fs::rename(&part, &path),
            None => std::fs::remove_file(&part),
        };
        done.map_err(|e| cannot("write", &path, &e))
    }
}

fn in_words(report: &Report, recorder: &PuId, known: bool) {
    let compared = if known { "" } else { " (not compared with a known id: see --recorder)" };
    output::line(&format!("Recorder {recorder}{compared}"));
    if let Some(subject) = &report.subject {
        let tier = format!("{:?}", subject.tier).to_lowercase();
        output::line(&format!("Camera {}, {tier} stream", subject.camera));
    }
    let seconds = report.recorded_us / 1_000_000;
    let (segments, hashed) = (report.segments, report.files_hashed);
    output::line(&format!(
        "{segments} segments, {seconds} s, {}; the bytes of {hashed} were checked",
        report.span
    ));
    for absence in &report.absences {
        output::line(&format!("Expired: {absence}"));
    }
    for finding in &report.findings {
        output::line(&finding.to_string());
    }
    for remark in &report.remarks {
        output::line(&format!("Note: {remark}"));
    }
    if report.more_findings > 0 {
        output::line(&format!("and {} more", report.more_findings));
    }
    if report.is_sound() {
        output::line("Nothing of this span is missing, nothing is altered.");
    }
}

fn in_json(report: &Report, recorder: &PuId, known: bool) -> Value {
    let time = |time: Option<StatedTime>| time.map(|time| time_text(time.at));
    let span = |span: Span| json!({"from": time(span.from), "to": time(span.to)});
    let told = |findings: &[Finding]| -> Vec<Value> {
        let one = |f: &Finding| json!({"first": f.first, "last": f.last, "span": span(f.span), "words": f.to_string()});
        findings.iter().map(one).collect()
    };
    let expired: Vec<Value> = report
        .absences
        .iter()
        .map(|a| json!({"first": a.first, "last": a.last, "span": span(a.span)}))
        .collect();
    json!({
        "recorder": recorder,
        "recorder_compared": known,
        "chain": report.chain.map(|chain| chain.to_string()),
        "camera": report.subject.as_ref().map(|subject| &subject.camera),
        "tier": report.subject.as_ref().map(|subject| subject.tier),
        "sound": report.is_sound(),
        "segments": report.segments,
        "segments_hashed": report.files_hashed,
        "recorded_us": report.recorded_us,
        "span": span(report.span),
        "findings": told(&report.findings),
        "remarks": told(&report.remarks),
        "more_findings": report.more_findings,
        "expired": expired,
    })
}
