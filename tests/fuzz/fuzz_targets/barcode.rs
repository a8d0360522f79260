//! Pictures with and without the code: nothing is read that was not written.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::barcode(data));
