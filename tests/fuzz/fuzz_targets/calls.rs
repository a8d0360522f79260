//! The SCU's table of calls, with more of them than it holds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::calls(data));
