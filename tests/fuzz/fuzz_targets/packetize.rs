//! NAL units and their packets: what is packetized comes out the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sightline_media::{MAX_RTP_PAYLOAD, packetize};

fuzz_target!(|data: &[u8]| {
    let data = Bytes::copy_from_slice(data);
    let total: usize = packetize::nal_units(&data).map(|n| n.len() + 4).sum();
    assert!(total <= data.len());
    for payload in packetize::h264(&data).iter().chain(&packetize::h265(&data)) {
        assert!(!payload.is_empty() && payload.len() <= MAX_RTP_PAYLOAD);
    }
});
