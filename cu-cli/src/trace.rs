//! One W3C trace a run: whoever operates the centre can follow a `cu` command through every unit.

use std::{fmt::Write as _, sync::OnceLock};

/// The `traceparent` of this run; `None` when the system gives no random numbers.
pub(crate) fn traceparent() -> Option<String> {
    static OF_THIS_RUN: OnceLock<Option<String>> = OnceLock::new();
    OF_THIS_RUN.get_or_init(make).clone()
}

fn make() -> Option<String> {
    let mut bits = [0; 24];
    getrandom::fill(&mut bits).ok()?;
    // All zeros would mean no trace and no span.
    bits[0] |= 1;
    bits[16] |= 1;
    let hex = bits.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Some(format!("00-{}-{}-01", &hex[..32], &hex[32..]))
}
