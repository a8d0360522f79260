//! Session descriptions: what is read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_rtsp::sdp;

fuzz_target!(|data: &[u8]| {
    let Ok(description) = sdp::parse(data) else { return };
    let stream = description.stream();
    let text = sdp::write("Yard", 1, &stream);
    assert!(sdp::parse(text.as_bytes()).is_ok(), "{text}");
});
