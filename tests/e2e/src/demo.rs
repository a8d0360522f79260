//! The demo, as a new user starts it.

use std::{path::PathBuf, process::Command, time::Duration};

use serde::Deserialize;

use crate::process::{Process, bin, chromium, root, tool};

/// The JSON line of `sightline demo --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct DemoInfo {
    /// Where the portal is.
    pub portal: String,
    /// A mobile number to sign up with.
    pub phone: String,
    /// The camera's claim code.
    pub claim_code: String,
    /// The demo's premises unit.
    pub pu_id: String,
    /// Where SMS go.
    pub sms_log: PathBuf,
    /// The portal over HTTPS, at each of this machine's addresses.
    pub portal_lan: Vec<String>,
    /// The authority of its certificate.
    pub ca: PathBuf,
}

/// A running demo with a data folder of its own.
#[derive(Debug)]
pub struct Demo {
    /// What it printed.
    pub info: DemoInfo,
    /// The process.
    pub process: Process,
    /// Its data folder, removed with it.
    pub data: tempfile::TempDir,
}

impl Demo {
    /// Starts `sightline demo --json` on free ports.
    ///
    /// # Panics
    /// When it does not come up within 20 s.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(bin("sightline"));
        command.args(["demo", "--json", "--free-ports", "--data"]).arg(data.path());
        let mut process = Process::start(command.args(arguments));
        let info = process.line(Duration::from_secs(20), |line| serde_json::from_str(line).ok());
        Self { info, process, data }
    }

    /// The headless browser's run, to be started; `None` when no browser is installed.
    #[must_use]
    pub fn browser(&self, arguments: &[&str]) -> Option<Command> {
        let (node, _) = (tool("node")?, chromium()?);
        let mut command = Command::new(node);
        command.current_dir(root().join("web")).arg("e2e/run.mjs");
        command.args(["--portal", &self.info.portal, "--phone", &self.info.phone]);
        command.args(["--claim-code", &self.info.claim_code, "--sms-log"]).arg(&self.info.sms_log);
        command.args(arguments);
        Some(command)
    }

    /// Drives the portal as a new user would, in headless Chromium; returns what it measured.
    /// `None` when no browser is installed.
    ///
    /// # Panics
    /// When the browser's run fails.
    #[must_use]
    pub fn browse(&self, arguments: &[&str]) -> Option<serde_json::Value> {
        let output = self.browser(arguments)?.output().expect("node starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the browser's run failed:\n{text}\n{errors}");
        let last = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        Some(last.unwrap_or_else(|| panic!("no JSON line:\n{text}\n{errors}")))
    }
}
