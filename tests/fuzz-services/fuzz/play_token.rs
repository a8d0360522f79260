//! Play tokens, as strangers show them: none is good that the centre has not signed.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_services::play_token(data));
