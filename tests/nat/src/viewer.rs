//! The other end: one person, with `cu` and with a browser.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{Process, bin, chromium, root, tool, wait_for};
use serde_json::Value;

use crate::{
    camera::Camera,
    centre::{Centre, PHONE},
    space::Space,
};

/// With what a person watches.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// `cu` over QUIC.
    Quic,
    /// Chromium over WebRTC.
    Webrtc,
}

impl Via {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Quic, Self::Webrtc];

    /// Its name in tables and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Webrtc => "webrtc",
        }
    }
}

/// The person: signed in once, in whatever network they are.
#[derive(Debug)]
pub struct Person {
    folder: PathBuf,
    portal: String,
    sms_log: PathBuf,
}

impl Person {
    /// Signs `cu` in from a host.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn login(centre: &Centre, from: &Space, folder: &Path) -> Self {
        let person =
            Self { folder: folder.to_owned(), portal: centre.portal(), sms_log: centre.sms_log() };
        let code_file = folder.join("code");
        let mut login = person.cu(from);
        login.args(["login", "--portal", &person.portal, "--phone", PHONE, "--ca"]);
        login.arg(centre.ca()).arg("--code-file").arg(&code_file).stdout(Stdio::null());
        let mut login = login.spawn().expect("cu starts");
        let code = wait_for("the SMS", Duration::from_secs(20), || last_code(&person.sms_log));
        fs::write(code_file, code).expect("written");
        assert!(login.wait().is_ok_and(|status| status.success()), "cu login failed");
        person
    }

    /// `cu` on a host.
    #[must_use]
    pub fn cu(&self, host: &Space) -> Command {
        let mut command = host.command(&bin("cu"));
        command.arg("--home").arg(self.folder.join("cu"));
        command
    }

    fn cu_ok(&self, host: &Space, arguments: &[&str]) -> String {
        let output = self.cu(host).args(arguments).output().expect("cu starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cu {arguments:?} failed:\n{text}\n{errors}");
        text
    }

    /// Takes possession of a camera and waits for its picture; returns the camera's id.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn bind(&self, from: &Space, camera: &Camera) -> String {
        self.cu_ok(from, &["bind", &camera.claim_code]);
        self.wait_online(from, camera)
    }

    /// Waits until the centre knows that a camera gives a picture; returns the camera's id.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn wait_online(&self, from: &Space, camera: &Camera) -> String {
        wait_for("the camera", Duration::from_secs(20), || {
            let list: Value = serde_json::from_str(&self.cu_ok(from, &["--json", "list"])).ok()?;
            let cameras = list["cameras"].as_array()?;
            let found = cameras.iter().find(|row| row["name"] == camera.name.as_str())?;
            let presence = found["presence"].as_str()?;
            let id = found["id"].as_str()?.to_owned();
            ["online", "active"].contains(&presence).then_some(id)
        })
    }

    /// Watches a camera from a host, until told to end; `None` when there is no browser.
    #[must_use]
    pub fn watch(&self, via: Via, from: &Space, camera_id: &str, log: &Path) -> Option<Process> {
        let log = fs::File::create(log).expect("a log");
        let mut command = match via {
            Via::Quic => {
                let mut command = self.cu(from);
                command.args(["--json", "play", camera_id, "--via", "quic", "--stats"]);
                let filter = std::env::var("TEST_CU_LOG").unwrap_or_else(|_| "info".into());
                command.env("SIGHTLINE_LOG", filter);
                command
            }
            Via::Webrtc => {
                let (node, _) = (tool("node")?, chromium()?);
                let mut command = from.command(&node);
                command.current_dir(root().join("web")).arg("e2e/nat.mjs");
                command.args(["--portal", &self.portal, "--phone", PHONE]);
                command.args(["--camera", camera_id, "--sms-log"]).arg(&self.sms_log);
                command.arg("--profile").arg(self.folder.join("chromium"));
                command
            }
        };
        Some(Process::start(command.stderr(log)))
    }
}

fn last_code(sms_log: &Path) -> Option<String> {
    let text = fs::read_to_string(sms_log).ok()?;
    let line = text.lines().rfind(|line| line.contains(PHONE))?;
    let mut words = line.split(PHONE).nth(1)?.split(|c: char| !c.is_ascii_digit());
    words.find(|word| word.len() == 6).map(str::to_owned)
}
