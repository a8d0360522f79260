//! What a client sends to the relay: any bytes, and signed requests around any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::relay_client(data));
