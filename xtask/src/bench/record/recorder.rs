//! The recorders, each started afresh for every measurement, on the one core that is theirs.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{
    super::{
        bed::{our_version, peer_version, with_log},
        process::{Process, free_port, signal, wait_for_port},
    },
    bed::{Bed, camera_path},
};
use crate::run::{command, output};

/// How long segments are, of every recorder: as long as ours.
pub const SEGMENT: Duration = Duration::from_secs(4);
/// How long one that is traced may take to say its number.
const START: Duration = Duration::from_secs(20);
/// How long a recorder may take to close its files.
const FAREWELL: Duration = Duration::from_secs(10);

/// Who records.
pub struct Recorder {
    pub name: &'static str,
    pub version: String,
    pub kind: Kind,
}

pub enum Kind {
    /// Our NVR, with cameras of its own.
    Ours,
    /// A process for each camera, so that one that fails stops no other: as NVRs around ffmpeg run it.
    Ffmpeg,
    /// One process.
    MediaMtx(PathBuf),
}

/// A recorder that runs; it ends with this value.
pub struct Running {
    pub processes: Vec<Process>,
    /// What their strace has written, and whom it traces.
    pub traces: Vec<(PathBuf, u32)>,
    /// Where MediaMTX gives recordings back.
    pub playback: Option<u16>,
}

impl Recorder {
    pub fn ours() -> Self {
        Self { name: "sightline", version: our_version(), kind: Kind::Ours }
    }

    pub fn ffmpeg() -> anyhow::Result<Self> {
        let said = output(command("ffmpeg").arg("-version"))?;
        let version = said.split_whitespace().nth(2).unwrap_or("?");
        let version = format!("{version}, `-c copy -f segment`, a process for each camera");
        Ok(Self { name: "ffmpeg", version, kind: Kind::Ffmpeg })
    }

    pub fn mediamtx(path: PathBuf) -> Self {
        let version = format!("{}, `record: yes`", peer_version(&path));
        Self { name: "mediamtx", version, kind: Kind::MediaMtx(path) }
    }

    /// Where its recordings lie.
    pub fn folder(&self, bed: &Bed) -> PathBuf {
        bed.disk.join(self.name)
    }

    /// Starts it; `traced`: under strace, which notes every call that makes something durable.
    pub fn start(&self, bed: &Bed, traced: bool) -> anyhow::Result<Running> {
        let mut running = Running { processes: vec![], traces: vec![], playback: None };
        let folder = self.folder(bed);
        match &self.kind {
            Kind::Ours => {
                let config = bed.data.join("nvr.toml");
                let words = [bed.binary("nvr"), "run".into(), "--config".into(), config];
                running.launch(bed, "nvr", &words.map(PathBuf::into_os_string), traced)?;
                wait_for_port("the NVR", bed.nvr.rtsp)?;
            }
            Kind::Ffmpeg => {
                // Its names begin anew each time: what is there of the last time goes.
                let _ = fs::remove_dir_all(&folder);
                for number in bed.numbers() {
                    let folder = folder.join(camera_path(number));
                    fs::create_dir_all(&folder)?;
                    let words = ffmpeg_words(&bed.camera_url(number), &folder);
                    running.launch(bed, &format!("ffmpeg-{number}"), &words, traced)?;
                }
            }
            Kind::MediaMtx(path) => {
                let playback = free_port()?;
                let file = bed.data.join("mediamtx.yml");
                fs::write(&file, mediamtx_configuration(bed, &folder, playback))?;
                let words = [path.clone().into_os_string(), file.into_os_string()];
                running.launch(bed, "mediamtx", &words, traced)?;
                wait_for_port("mediamtx", playback)?;
                running.playback = Some(playback);
            }
        }
        Ok(running)
    }
}

impl Running {
    fn launch(
        &mut self,
        bed: &Bed,
        name: &str,
        words: &[OsString],
        traced: bool,
    ) -> anyhow::Result<()> {
        let core = bed.core.to_string();
        if !traced {
            let mut pinned = command("taskset");
            pinned.args(["-c", &core]).args(words);
            self.processes.push(with_log(pinned, &bed.data, name)?);
            return Ok(());
        }
        let trace = bed.data.join(format!("{name}.trace"));
        let mut strace = command("strace");
        // With a filter in the kernel only the calls that are noted cost more.
        strace.args(["-f", "--seccomp-bpf", "-qq", "-ttt", "-e", "signal=none", "-e"]);
        strace.arg(format!("trace={}", super::count::CALLS.join(","))).arg("-o").arg(&trace);
        // It says its own number, so that it can be asked to end: strace itself must outlive it.
        strace.args(["sh", "-c", "echo \"pid $$\"; exec \"$@\"", "sh", "taskset", "-c", &core]);
        strace.args(words);
        let process = with_log(strace, &bed.data, name)?;
        let pid = process.line(START, |line| line.strip_prefix("pid ")?.parse::<u32>().ok());
        self.processes.push(process);
        self.traces.push((trace, pid.with_context(|| format!("{name} under strace"))?));
        Ok(())
    }

    /// Whether all of it still runs.
    pub fn check(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if process.wait(Duration::ZERO).is_ok() {
                bail!("it has ended");
            }
        }
        Ok(())
    }

    /// Asks it to end, all of it at once, and waits for that.
    pub fn end(&mut self) {
        if self.traces.is_empty() {
            self.processes.iter().for_each(|process| process.signal("TERM"));
        }
        self.traces.iter().for_each(|(_, pid)| signal(*pid, "TERM"));
        for (place, process) in self.processes.iter_mut().enumerate() {
            if process.wait(FAREWELL).is_err()
                && let Some((_, pid)) = self.traces.get(place)
            {
                signal(*pid, "KILL");
                let _ = process.wait(FAREWELL);
            }
        }
        // Whoever runs all the same is ended with its value.
        self.processes.clear();
        self.traces.clear();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn ffmpeg_words(url: &str, folder: &Path) -> Vec<OsString> {
    let seconds = SEGMENT.as_secs().to_string();
    let words = ["ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", url];
    let out = ["-c", "copy", "-f", "segment", "-segment_time", &seconds, "-reset_timestamps", "1"];
    let words = words.into_iter().chain(out).map(OsString::from);
    words.chain([folder.join("%06d.mp4").into_os_string()]).collect()
}

/// What it has beside recording and playback is switched off, so that it costs nothing.
fn mediamtx_configuration(bed: &Bed, folder: &Path, playback: u16) -> String {
    let (folder, seconds) = (folder.display(), SEGMENT.as_secs());
    let path = |number| {
        let (name, url) = (camera_path(number), bed.camera_url(number));
        format!("  {name}:\n    source: {url}\n    rtspTransport: tcp\n")
    };
    let paths: Vec<String> = bed.numbers().map(path).collect();
    format!(
        "logLevel: warn\nrtsp: no\nrtmp: no\nhls: no\nwebrtc: no\nsrt: no\nmoq: no\n\
         playback: yes\nplaybackAddress: 127.0.0.1:{playback}\n\
         pathDefaults:\n  record: yes\n  recordFormat: fmp4\n\
         \x20 recordPath: {folder}/%path/%Y-%m-%d_%H-%M-%S-%f\n\
         \x20 recordSegmentDuration: {seconds}s\n  recordDeleteAfter: 0s\npaths:\n{}",
        paths.concat()
    )
}
