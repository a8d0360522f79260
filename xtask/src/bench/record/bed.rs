//! The test bed: cameras that encode nothing, our centre, and a disk.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    super::{
        bed::{self, Centre},
        process::{Process, free_port},
    },
    Plan,
    recorder::{Recorder, SEGMENT},
    store::Store,
};
use crate::run::{command, execute, output};

/// Length of the clip that all cameras show again and again, in seconds.
const CLIP_S: u32 = 20;
/// How long something may take to come up, and to be told by our centre.
const START: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// See the module.
pub struct Bed {
    /// Configurations and logs.
    pub data: PathBuf,
    /// Recordings.
    pub disk: PathBuf,
    pub file_system: String,
    /// How many cameras.
    pub count: u16,
    /// The recorders' own.
    pub core: usize,
    /// Of one camera.
    pub bitrate_bps: f64,
    pub keyframe_s: f64,
    pub nvr: NvrPorts,
    /// Where uploads go, when there is one.
    pub store: Option<Store>,
    binaries: PathBuf,
    centre: Centre,
    address: String,
    cameras: Option<Process>,
}

/// Where our NVR listens.
pub struct NvrPorts {
    pub rtsp: u16,
    pub admin: u16,
    quic: u16,
    webrtc: u16,
}

/// What the cameras have counted so far.
#[derive(Clone, Copy)]
pub struct Sent {
    /// How many of them are watched.
    pub viewers: u64,
    /// Bytes of pictures.
    pub bytes: u64,
    /// Pictures that were not taken in time.
    pub left_out: u64,
}

impl Bed {
    pub fn start(
        binaries: &Path,
        disk: Option<&Path>,
        core: Option<usize>,
        plan: &Plan,
    ) -> anyhow::Result<Self> {
        let temporary = std::env::temp_dir();
        let own = format!("sightline-recorders-{}", std::process::id());
        let (data, disk) = (temporary.join(&own), disk.unwrap_or(&temporary).join(&own));
        let disk = disk.join("disk");
        fs::create_dir_all(&data)?;
        fs::create_dir_all(&disk).with_context(|| disk.display().to_string())?;
        let disk = fs::canonicalize(disk)?;
        let file_system = output(command("stat").args(["-f", "-c", "%T"]).arg(&disk))?;
        if file_system.trim() == "tmpfs" {
            bail!("{} lies in memory: --disk names a folder on a disk", disk.display());
        }
        let clip = data.join("clip.h264");
        make_clip(&clip)?;
        let core = pin(core)?;
        let (cameras, about) = start_cameras(binaries, &clip, plan.cameras)?;
        let store = Store::prepare(&data)?;
        let cloud = store.as_ref().map_or_else(String::new, Store::configuration);
        let centre = Centre::start(&data, binaries, &cloud)?;
        centre.sign_in(&data, binaries)?;
        let number = |name: &str| about[name].as_f64().with_context(|| name.to_owned());
        let bed = Self {
            file_system: file_system.trim().to_owned(),
            count: plan.cameras,
            core,
            bitrate_bps: number("bitrate_bps")?,
            keyframe_s: number("keyframe_s")?,
            nvr: NvrPorts::free()?,
            store,
            binaries: binaries.to_owned(),
            centre,
            address: about["listening"].as_str().context("listening")?.to_owned(),
            cameras: Some(cameras),
            data,
            disk,
        };
        bed.bind()?;
        Ok(bed)
    }

    /// What is recorded before the NVR has an owner is shown to nobody: so it has one from the beginning.
    fn bind(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.nvr_folder())?;
        fs::create_dir_all(self.spool())?;
        self.configure_nvr(false)?;
        let code = bed::claim_code(&self.data, &self.binaries, "nvr")?;
        let _running = Recorder::ours().start(self, false)?;
        self.wait_registered()?;
        output(self.ours("cu").args(["bind", &code])).map(drop)
    }

    /// Waits until the centre knows that our NVR is there.
    pub fn wait_registered(&self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        while let Err(error) = self.nvr_says("/readyz") {
            ensure!(Instant::now() < until, "the NVR does not register: {error:#}");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// What our NVR serves for whoever watches over it.
    pub fn nvr_says(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.nvr.admin))?;
        stream.set_read_timeout(Some(START))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer over HTTP")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{}", body.trim());
        Ok(body.to_owned())
    }

    /// One of our programs.
    pub fn ours(&self, name: &str) -> Command {
        bed::ours(&self.data, &self.binaries, name)
    }

    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Asks until it is answered: a camera may just be coming up.
    pub fn cu_in_time(&self, words: &[&str]) -> anyhow::Result<String> {
        let until = Instant::now() + START;
        loop {
            let answer = self.ours("cu").args(words).output()?;
            if answer.status.success() {
                return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
            }
            ensure!(Instant::now() < until, "cu {} is refused: {}", words.join(" "), answer.status);
            thread::sleep(LOOK);
        }
    }

    pub fn camera_url(&self, number: u16) -> String {
        format!("rtsp://{}/{}", self.address, camera_path(number))
    }

    /// What people call a camera of our NVR.
    pub fn camera_name(number: u16) -> String {
        format!("Camera {number:02}")
    }

    pub fn numbers(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.count
    }

    pub fn nvr_folder(&self) -> PathBuf {
        self.disk.join("sightline")
    }

    pub fn spool(&self) -> PathBuf {
        self.disk.join("spool")
    }

    /// Writes the NVR's configuration: with the spool it records to the cloud storage, too.
    pub fn configure_nvr(&self, with_spool: bool) -> anyhow::Result<()> {
        let NvrPorts { rtsp, admin, quic, webrtc } = self.nvr;
        let spool = match with_spool {
            true => format!("[cloud]\nspool_dir = \"{}\"\n", self.spool().display()),
            false => String::new(),
        };
        let camera = |number| {
            let (name, url) = (Self::camera_name(number), self.camera_url(number));
            format!("[[camera]]\nname = \"{name}\"\nsource = \"{url}\"\n")
        };
        let cameras: Vec<String> = self.numbers().map(camera).collect();
        let text = format!(
            "map_ports = false\n{}{}[recording]\ndir = \"{}\"\n{spool}\
             [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[quic]\nlisten = \"127.0.0.1:{quic}\"\n\
             [webrtc]\nlisten = \"127.0.0.1:{webrtc}\"\n[http]\nlisten = \"127.0.0.1:{admin}\"\n\
             [telemetry]\nfilter = \"warn\"\n",
            self.centre.device("nvr"),
            cameras.concat(),
            self.nvr_folder().display(),
        );
        Ok(fs::write(self.data.join("nvr.toml"), text)?)
    }

    pub fn sent(&self) -> anyhow::Result<Sent> {
        let cameras = self.cameras.as_ref().context("the cameras were taken away")?;
        cameras.tell("figures")?;
        let figures = cameras.line(START, |line| serde_json::from_str::<Value>(line).ok())?;
        let number = |name: &str| figures[name].as_u64().with_context(|| name.to_owned());
        let (viewers, bytes) = (number("viewers")?, number("bytes")?);
        Ok(Sent { viewers, bytes, left_out: number("left_out")? })
    }

    /// Waits until every camera is watched.
    pub fn wait_for_viewers(&self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            let viewers = self.sent()?.viewers;
            if viewers == u64::from(self.count) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{viewers} of {} cameras are recorded", self.count);
            thread::sleep(LOOK);
        }
    }

    /// Takes the cameras away: whoever records gets nothing any more.
    pub fn end_cameras(&mut self) {
        self.cameras = None;
    }

    /// Bytes of our index, and segments in it; read while the NVR does not run.
    pub fn index(&self) -> anyhow::Result<(u64, u64)> {
        let folder = self.nvr_folder();
        let length = |name: &str| fs::metadata(folder.join(name)).map_or(0, |about| about.len());
        let bytes = length("index.sqlite3") + length("index.sqlite3-wal");
        let mut segments = 0;
        walk(&folder.join("segments"), &mut |path, _| {
            segments += u64::from(path.extension().is_some_and(|extension| extension == "mp4"));
        })?;
        Ok((bytes, segments))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.cameras = None;
        self.store = None;
        self.centre.end();
        let _ = fs::remove_dir_all(&self.data);
        // The folder of our own name goes, whatever was given as the disk.
        let _ = self.disk.parent().map(fs::remove_dir_all);
    }
}

impl NvrPorts {
    fn free() -> anyhow::Result<Self> {
        let [rtsp, admin, quic, webrtc] = [free_port()?, free_port()?, free_port()?, free_port()?];
        Ok(Self { rtsp, admin, quic, webrtc })
    }
}

/// Where the cameras' server has a camera, and a peer its path.
pub fn camera_path(number: u16) -> String {
    format!("cam{number}")
}

/// Sees every file below a folder, with its length; a file that goes meanwhile is passed over.
pub fn walk(folder: &Path, see: &mut dyn FnMut(&Path, u64)) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    for entry in entries {
        let path = entry?.path();
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() {
            walk(&path, see)?;
        } else {
            see(&path, about.len());
        }
    }
    Ok(())
}

/// Noise makes the encoder use the bits that it may.
fn make_clip(clip: &Path) -> anyhow::Result<()> {
    let picture = format!("testsrc2=size=1920x1080:rate=25:duration={CLIP_S}");
    let mut ffmpeg = command("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &picture]);
    ffmpeg.args(["-vf", "noise=alls=12:allf=t", "-pix_fmt", "yuv420p", "-c:v", "libx264"]);
    ffmpeg.args(["-preset", "veryfast", "-profile:v", "main", "-bf", "0", "-g", "50"]);
    ffmpeg.args(["-b:v", "4M", "-maxrate", "4M", "-bufsize", "4M"]);
    ffmpeg.args(["-x264-params", "aud=1:scenecut=0", "-f", "h264"]);
    execute(ffmpeg.arg(clip))
}

fn start_cameras(binaries: &Path, clip: &Path, count: u16) -> anyhow::Result<(Process, Value)> {
    let mut cameras = command(binaries.join("load-recording"));
    cameras.arg("cameras").arg(clip).args(["--count", &count.to_string()]);
    let cameras = Process::start(&mut cameras)?;
    let about = cameras.line(START, |line| serde_json::from_str::<Value>(line).ok())?;
    let keyframe_s = about["keyframe_s"].as_f64().unwrap_or(0.0);
    let in_a_segment = SEGMENT.as_secs_f64() / keyframe_s;
    let fits = (in_a_segment - in_a_segment.round()).abs() < 1e-6;
    ensure!(fits, "segments of {SEGMENT:?} do not end at a keyframe every {keyframe_s} s");
    Ok((cameras, about))
}

/// Leaves one core to the recorders: this process goes to all others, and whatever it starts with it.
fn pin(core: Option<usize>) -> anyhow::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = cores(list.context("no Cpus_allowed_list")?)?;
    let core = core.or_else(|| cores.last().copied()).context("no core")?;
    let others: Vec<String> =
        cores.iter().filter(|one| **one != core).map(ToString::to_string).collect();
    ensure!(!others.is_empty(), "two cores are needed: one for recorders, one for all else");
    let own = std::process::id().to_string();
    // What it says is of no use to anybody.
    output(command("taskset").args(["-a", "-c", "-p", &others.join(","), &own]))?;
    Ok(core)
}

/// Numbers in a list such as `0-3,8`.
fn cores(list: &str) -> anyhow::Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<usize>().with_context(|| list.trim().to_owned());
        cores.extend(number(first)?..=number(last)?);
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(cores("\t0-1\n").ok(), Some(vec![0, 1]));
        assert_eq!(cores("0,2-4,8").ok(), Some(vec![0, 2, 3, 4, 8]));
        assert!(cores("").is_err());
        assert!(cores("a-b").is_err());
    }
}
