//! Configuration files: a good one or an error in words.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_services::config(data));
