//! Other people's cameras, as processes that can be taken away and given back.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::process::{Process, free_port, root, tool, wait_for};

/// How long a camera may take to come up.
const START: Duration = Duration::from_secs(60);

/// GStreamer's RTSP server with a ball and a tone of 440 Hz (`crates/testkit/cameras`).
#[derive(Debug)]
pub struct GstCamera {
    /// It listens here, also after [`GstCamera::give_back`].
    pub port: u16,
    arguments: Vec<String>,
    process: Process,
}

impl GstCamera {
    /// Starts it with the script's options; `None` when GStreamer is not installed.
    ///
    /// # Panics
    /// When it does not listen in time.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let process = Self::run(port, &arguments)?;
        Some(Self { port, arguments, process })
    }

    fn run(port: u16, arguments: &[String]) -> Option<Process> {
        let script = root().join("crates/testkit/cameras/gst_rtsp.py");
        // Debian's own Python has the bindings.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).args(["--port", &port.to_string()]).args(arguments);
        let mut process = Process::start(&mut command);
        let said = process.line(START, |line| {
            let known = ["READY", "MISSING", "FAILED"].iter().any(|word| line.starts_with(word));
            known.then(|| line.to_owned())
        });
        if let Some(what) = said.strip_prefix("MISSING") {
            eprintln!("SKIPPED:{what}; `cargo xtask setup` installs it");
            return None;
        }
        assert!(said.starts_with("READY"), "the camera does not start: {said}");
        Some(process)
    }

    /// Its stream; `login` is `user:password@` or empty.
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        format!("rtsp://{login}127.0.0.1:{}/main", self.port)
    }

    /// Pulls its plug.
    pub fn take_away(&mut self) {
        self.process.signal("KILL");
        self.process.wait(Duration::from_secs(10));
    }

    /// Starts it anew at the same address.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn give_back(&mut self) {
        self.process = Self::run(self.port, &self.arguments).expect("it ran before");
    }
}

/// IPyCam (PyPI `ipycam`), which shows a clip over a main and a sub stream.
#[derive(Debug)]
pub struct IpyCam {
    folder: tempfile::TempDir,
    port: u16,
    program: PathBuf,
    process: Process,
}

impl IpyCam {
    /// Starts it; `None` when it or ffmpeg is not installed.
    ///
    /// # Panics
    /// When it does not listen in time.
    #[must_use]
    pub fn start() -> Option<Self> {
        let (program, ffmpeg) = (tool("ipycam")?, tool("ffmpeg")?);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut clip = Command::new(ffmpeg);
        clip.args(["-v", "error", "-f", "lavfi"]);
        clip.args(["-i", "testsrc2=size=1280x720:rate=25:duration=4", "-pix_fmt", "yuv420p"]);
        clip.args(["-c:v", "libx264", "-preset", "ultrafast", "clip.mp4"]);
        let made = clip.current_dir(folder.path()).status();
        assert!(made.is_ok_and(|status| status.success()), "ffmpeg makes no clip");
        let (port, onvif) = (free_port(), free_port());
        let config = serde_json::json!({
            "name": "Yard", "rtsp_port": port, "onvif_port": onvif, "local_ip": "127.0.0.1",
            "main_width": 1280, "main_height": 720, "main_fps": 25,
            "sub_width": 640, "sub_height": 360, "sub_fps": 15,
        });
        std::fs::write(folder.path().join("cam.json"), config.to_string()).expect("written");
        let process = Self::run(&program, &folder, port);
        Some(Self { folder, port, program, process })
    }

    fn run(program: &PathBuf, folder: &tempfile::TempDir, port: u16) -> Process {
        let mut command = Command::new(program);
        command.args(["--config", "cam.json", "--source", "clip.mp4", "--hw", "cpu"]);
        let process = Process::start(command.current_dir(folder.path()).stderr(Stdio::null()));
        wait_for("IPyCam's RTSP port", START, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        process
    }

    /// Its streams: `video_main` or `video_sub`.
    #[must_use]
    pub fn url(&self, stream: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{stream}", self.port)
    }

    /// Pulls its plug.
    pub fn take_away(&mut self) {
        self.process.signal("TERM");
        self.process.wait(Duration::from_secs(10));
    }

    /// Starts it anew at the same address.
    pub fn give_back(&mut self) {
        self.process = Self::run(&self.program, &self.folder, self.port);
    }
}
