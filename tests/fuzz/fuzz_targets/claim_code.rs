//! Claim codes and ids as people type them: what is taken has one spelling.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::claim_code(data));
