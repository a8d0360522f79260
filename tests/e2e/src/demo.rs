//! The demo, as a new user starts it.

use std::{path::PathBuf, process::Command, time::Duration};

use serde::Deserialize;

use crate::{
    browser::{browsed, browser},
    process::{Process, bin},
};

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
        let info = &self.info;
        let mut command = browser(&info.portal, &info.phone, &info.claim_code, &info.sms_log)?;
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
        self.browser(arguments).map(browsed)
    }
}
