//! What peers send to a relayed address, and ICMP errors about them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::relay_peer(data));
