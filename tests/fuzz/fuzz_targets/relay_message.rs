//! What a relay sends to its client over TCP, cut into messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::relay_message(data));
