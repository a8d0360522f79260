//! Session descriptions: what is read can be written and read again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::sdp(data));
