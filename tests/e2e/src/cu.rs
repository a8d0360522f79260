//! The command line client, signed in as a person.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use sightline_model::{Timeline, UnixMicros};

use crate::{
    process::{bin, wait_for},
    recordings::time_text,
    rtsp::RtspUrl,
    trace::{self, Sent},
};

/// One person's `cu`, with a home of its own.
#[derive(Debug)]
pub struct Cu {
    home: tempfile::TempDir,
}

impl Cu {
    /// Signs in as a new user would: asks for a code, reads it from the SMS log.
    ///
    /// # Panics
    /// When any of it fails.
    #[must_use]
    pub fn login(portal: &str, phone: &str, sms_log: &Path, ca: Option<&Path>) -> Self {
        let cu = Self { home: tempfile::tempdir().expect("a temporary folder") };
        let before = codes(sms_log, phone);
        let code_file: PathBuf = cu.home.path().join("code");
        let mut command = cu.command();
        command.args(["login", "--portal", portal, "--phone", phone, "--code-file"]);
        command.arg(&code_file);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        let mut login = command.spawn().expect("cu starts");
        let code = wait_for("the SMS", Duration::from_secs(10), || {
            let now = codes(sms_log, phone);
            (now.len() > before.len()).then(|| now.last().cloned()).flatten()
        });
        fs::write(&code_file, code).expect("written");
        assert!(login.wait().is_ok_and(|status| status.success()), "cu login failed");
        cu
    }

    /// A `cu` command of this person.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(bin("cu"));
        command.arg("--home").arg(self.home.path());
        command
    }

    /// Runs a `cu` command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("cu starts")
    }

    /// Runs a `cu` command with its log of messages; `--json` is added.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn traced(&self, arguments: &[&str]) -> (Output, Vec<Sent>) {
        let mut command = self.command();
        command.arg("--json").args(arguments).env("SIGHTLINE_LOG", "sightline::flow=debug");
        let output = command.output().expect("cu starts");
        let sent = trace::read(&String::from_utf8_lossy(&output.stderr));
        (output, sent)
    }

    /// Waits until a camera gives a picture.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn wait_for_camera(&self, name: &str) {
        let mut last = String::new();
        let limit = std::time::Instant::now() + Duration::from_secs(30);
        while std::time::Instant::now() < limit {
            last = self.ok(&["list", "--json"]);
            let line = last.lines().find(|line| line.contains(&format!("\"{name}\"")));
            if line.is_some_and(|l| ["\"online\"", "\"active\""].iter().any(|s| l.contains(s))) {
                return;
            }
        }
        panic!("{name} gives no picture:\n{last}");
    }

    /// What is recorded of a camera since then, as everybody who has a recording of it tells; none: nobody
    /// answers now.
    ///
    /// # Panics
    /// When `cu` cannot be started.
    #[must_use]
    pub fn timeline(&self, camera: &str, from: UnixMicros) -> Option<Timeline> {
        let from = time_text(from);
        let output = self.run(&["record", "list", camera, "--from", &from, "--json"]);
        let mut list: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        serde_json::from_value(list["timeline"].take()).ok()
    }

    /// The access token of this sign-in, for requests by hand.
    ///
    /// # Panics
    /// When nobody is signed in.
    #[must_use]
    pub fn access_token(&self) -> String {
        let text = fs::read_to_string(self.home.path().join("tokens.json")).expect("signed in");
        let tokens: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        tokens["access"].as_str().expect("a token").to_owned()
    }

    /// The same sign-in on another machine: everything but the client's key, which is new.
    ///
    /// # Panics
    /// When nobody is signed in.
    #[must_use]
    pub fn stolen(&self) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        for name in ["portal.json", "tokens.json"] {
            fs::copy(self.home.path().join(name), home.path().join(name)).expect("copied");
        }
        Self { home }
    }

    /// RTSP URLs with a play token for any player.
    #[must_use]
    pub fn rtsp_url(&self, camera: &str) -> RtspUrl {
        RtspUrl::new(self.ok(&["play", camera, "--print-url"]).lines().next().unwrap_or_default())
    }

    /// Runs a `cu` command that must succeed; returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "cu {arguments:?} failed:\n{text}\n{errors}");
        text.into_owned()
    }
}

/// The one-time codes that were sent to a number so far.
fn codes(sms_log: &Path, phone: &str) -> Vec<String> {
    let text = fs::read_to_string(sms_log).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains(phone));
    lines.filter_map(|line| six_digits(line.split(phone).nth(1)?)).collect()
}

fn six_digits(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| !c.is_ascii_digit());
    words.find(|word| word.len() == 6).map(str::to_owned)
}
