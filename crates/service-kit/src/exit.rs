//! How a service ends: in words for whoever started it, and with an exit code.

use std::{error::Error, process::ExitCode};

/// What `--help` says about exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  ended as it was asked to (SIGTERM, SIGINT), or the configuration is good
  1  it cannot start or go on; the last line says why
  2  the command line is wrong";

/// Ends `main`: says what went wrong, if anything did, on the standard error.
pub fn exit_code<E: AsRef<dyn Error>>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", words(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. A cause that the words before it already tell is left out:
/// libraries differ in whether an error's own words include its cause.
#[must_use]
pub fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        next = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Layer {
        words: &'static str,
        source: std::io::Error,
    }

    fn layer(words: &'static str) -> Layer {
        Layer { words, source: std::io::Error::other("port taken") }
    }

    #[test]
    fn each_cause_is_told_once() {
        assert_eq!(words(&layer("cannot listen: port taken")), "cannot listen: port taken");
        assert_eq!(words(&layer("cannot listen")), "cannot listen: port taken");
    }
}
