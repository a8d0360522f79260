//! The headers of requests to the CMU: nobody passes for another.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::http_headers(data));
