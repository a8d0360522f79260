//! Packets in any order: they come out in order, each once.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::reorder(data));
