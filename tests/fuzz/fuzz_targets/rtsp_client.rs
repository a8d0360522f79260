//! What a hostile server sends to a viewer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::rtsp_client(data));
