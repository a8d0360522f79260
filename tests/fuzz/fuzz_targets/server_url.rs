//! URLs of STUN and TURN servers, as the centre names them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::server_url(data));
