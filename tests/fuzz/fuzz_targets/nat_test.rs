//! The measurement of NATs, with whatever servers answer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::nat_test(data));
