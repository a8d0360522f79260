//! Configuration files of every service, as whatever text there is.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use sightline_service_kit::config::parse;

use crate::centre;

/// Stands for a file with a good secret.
const SECRET: &str = "@secret@";
/// Stands for a file with an SMPP password.
const PASSWORD: &str = "@password@";

/// The first byte chooses the service, the rest is the file: it gives a configuration that was
/// checked, or an error in words.
///
/// # Panics
/// When an error says nothing.
pub fn config(data: &[u8]) {
    if let Some(problem) = problem(data) {
        assert!(problem.len() > 10, "{problem:?}");
    }
}

/// What is wrong with this file, in words; `None` when nothing is, or when it is no text.
#[must_use]
pub fn problem(data: &[u8]) -> Option<String> {
    let (service, text) = data.split_first()?;
    let text = std::str::from_utf8(text).ok()?;
    // Whoever names a device that never ends as a password's file waits for ever.
    if text.contains("/dev") || text.contains("/proc") {
        return None;
    }
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/");
    let text = text
        .replace(SECRET, &format!("{place}secret"))
        .replace(PASSWORD, &format!("{place}password"));
    match service % 5 {
        0 => judge(&text, pu_agent::config::Config::check),
        1 => judge(&text, cmu::Config::check),
        2 => judge(&text, scu::Config::check),
        3 => judge(&text, mtu::Config::check),
        _ => judge(&text, centre::Config::check),
    }
}

fn judge<T: DeserializeOwned, E: Display>(
    text: &str,
    check: impl Fn(&T) -> Result<(), E>,
) -> Option<String> {
    match parse::<T>(text) {
        Ok(config) => check(&config).err().map(|error| format!("{error:#}")),
        Err(error) => Some(error.to_string()),
    }
}
