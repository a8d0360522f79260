//! Answers of a STUN server, read by the PU's parser and by the CU's.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::stun_answer(data));
