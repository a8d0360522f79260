//! What a viewer says on the data channel: nothing that is taken is out of bounds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::control(data));
