//! Claim codes and ids as people type them: what is taken has one spelling.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_model::{CameraId, ClaimCode, PhoneNumber, PuId, PublicKey, Signature, UserId};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(code) = text.parse::<ClaimCode>() {
        let again: ClaimCode = code.to_string().parse().expect("its own spelling");
        assert_eq!(again.pu_id(), code.pu_id());
    }
    if let Ok(id) = text.parse::<CameraId>() {
        assert_eq!(id.to_string().parse::<CameraId>().expect("its own spelling"), id);
    }
    if let Ok(id) = text.parse::<PuId>() {
        assert_eq!(id.to_string(), text);
    }
    let _ = text.parse::<UserId>();
    let _ = text.parse::<PublicKey>();
    let _ = text.parse::<Signature>();
    if let Ok(number) = text.parse::<PhoneNumber>() {
        assert!(!number.masked().is_empty());
    }
});
