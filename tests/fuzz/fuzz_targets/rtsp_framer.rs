//! Messages and interleaved packets: one cut or another of the same bytes gives the same frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::rtsp_framer(data));
