//! A whole connection of a player that holds a good token, with every question answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::rtsp_server(data));
