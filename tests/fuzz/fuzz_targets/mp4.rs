//! A recording of whatever units come: the file's parts lie where the writer says.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::mp4(data));
