//! Messages on a QUIC stream, cut by the PU's framing and by the SCU's.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::ps_frames(data));
