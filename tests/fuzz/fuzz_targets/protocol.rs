//! Every message that comes from another unit; what is read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use sightline_protocol::{Problem, cs, decode, encode, pc, ps, sc};

fn round_trip<M: Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok(envelope) = decode::<M>(data) {
        let bytes = encode(&envelope.body, envelope.traceparent);
        if bytes.len() <= sightline_protocol::MAX_MESSAGE_BYTES {
            assert!(decode::<M>(&bytes).is_ok());
        }
    }
}

fuzz_target!(|data: &[u8]| {
    round_trip::<ps::ScuToPu>(data);
    round_trip::<ps::PuToScu>(data);
    round_trip::<cs::CuToScu>(data);
    round_trip::<cs::ScuToCu>(data);
    round_trip::<sc::ScRequest>(data);
    round_trip::<sc::ScReply>(data);
    round_trip::<pc::CuToPu>(data);
    round_trip::<pc::PuToCu>(data);
    round_trip::<Problem>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ps::dtls_fingerprint(text);
    }
});
