//! The Transport header, and URLs with tokens.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::rtsp_headers(data));
