//! RTP, RTCP and every depacketizer: units hold nothing but whole NAL units.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::depacketize(data));
