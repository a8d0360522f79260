//! Any order of messages, losses and times.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::switchboard(data));
