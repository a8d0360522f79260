//! Other people's programs that are run to their end: RTSP players, readers of files.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// What a program said, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    /// Whether it ended with code 0.
    pub ok: bool,
    /// Standard output and standard error, one after the other.
    pub text: String,
}

/// Runs a program to its end.
///
/// # Panics
/// When it does not end in time.
#[must_use]
pub fn run(program: &Path, arguments: &[&str], limit: Duration) -> Said {
    let limit_s = limit.as_secs().to_string();
    let mut command = Command::new("timeout");
    command.args(["--kill-after", "2", &limit_s]).arg(program).args(arguments);
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{} cannot be run: {e}", program.display()));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let in_time = !matches!(output.status.code(), Some(124 | 137) | None);
    assert!(in_time, "{} {arguments:?} has not ended after {limit:?}: {text}", program.display());
    Said { ok: output.status.success(), text }
}
