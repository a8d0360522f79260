//! The offer without what nobody here can resolve: cleaning twice changes nothing more.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::offer_text(data));
