//! What cameras answer to the probe.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::onvif_answer(data));
