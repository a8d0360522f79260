//! NAL units and their packets: what is packetized comes out the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::packetize(data));
