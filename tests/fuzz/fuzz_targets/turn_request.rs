//! STUN and ChannelData from a TCP connection, cut into messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::turn_request(data));
