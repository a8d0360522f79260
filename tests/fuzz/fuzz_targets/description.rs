//! Descriptions of the other end of a ladder: read as they are written, and bounded.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::description(data));
