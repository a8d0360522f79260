//! What people type into the portal's forms: codes, numbers, names.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::rest_fields(data));
