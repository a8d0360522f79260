//! A stream of messages to the relay, and peers of any address.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::relay_stream(data));
