//! Entries of a chain, proofs of exports, and walks over signed chains.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::recording_proof(data));
