//! Two ladders with a network between them that does whatever the bytes say.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::ladder(data));
