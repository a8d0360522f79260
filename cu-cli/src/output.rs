//! What people and scripts see. Results go to the standard output, everything else to the standard
//! error, so that a pipe carries results only.

use std::{
    io::{IsTerminal, Write},
    path::Path,
};

use indicatif::{ProgressBar, ProgressStyle};

/// One line of JSON.
pub fn json(value: &serde_json::Value) {
    line(&value.to_string());
}

/// A path for JSON, whose texts are Unicode: what is none of it is replaced.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A line of the result. A reader that has gone, as in `cu list | head -1`, is no fault.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A remark that is no result.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Why the command failed.
pub fn complain(text: &str) {
    note(&format!("cu: {text}"));
}

/// Whether a person watches.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A moving sign that something goes on; invisible unless a person watches.
pub fn progress(text: impl Into<String>) -> ProgressBar {
    let bar = if is_watched() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(text.into());
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn every_path_goes_into_json() {
        let odd = Path::new(OsStr::from_bytes(b"garden-\xff.mp4"));
        assert!(serde_json::to_value(odd).is_err(), "it is no text");
        assert_eq!(path(odd), "garden-\u{fffd}.mp4");
    }
}
