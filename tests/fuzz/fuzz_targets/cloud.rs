//! Names and metadata of objects in the cloud storage, and the uploader.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::cloud(data));
