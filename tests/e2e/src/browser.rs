//! Headless Chromium, driven through the portal as a new user would (web/e2e/run.mjs).

use std::{path::Path, process::Command};

use crate::process::{chromium, root, tool};

/// The browser's run, to be started; `None` when no browser is installed.
#[must_use]
pub fn browser(portal: &str, phone: &str, claim_code: &str, sms_log: &Path) -> Option<Command> {
    let (node, _) = (tool("node")?, chromium()?);
    let mut command = Command::new(node);
    command.current_dir(root().join("web")).arg("e2e/run.mjs");
    command.args(["--portal", portal, "--phone", phone, "--claim-code", claim_code]);
    command.arg("--sms-log").arg(sms_log);
    Some(command)
}

/// Runs it to its end; returns what it measured.
///
/// # Panics
/// When the run fails.
#[must_use]
pub fn browsed(mut command: Command) -> serde_json::Value {
    let output = command.output().expect("node starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser's run failed:\n{text}\n{errors}");
    let last = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    last.unwrap_or_else(|| panic!("no JSON line:\n{text}\n{errors}"))
}
