//! Answers of STUN and TURN servers, as the sockets below the ladder read them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::ladder_stun(data));
