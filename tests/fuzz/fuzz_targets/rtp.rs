//! RTP and RTCP packets, as they come and as they are made.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::rtp(data));
