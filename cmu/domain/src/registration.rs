//! Admission of a registering device (A8.1).

use sightline_model::{PuId, ScuId};
use sightline_protocol::{
    ProblemKind,
    ps::{Addresses, ChannelStatus, Registration, registration_bytes},
};

use crate::text::is_name;

/// Most cameras on one device.
pub const MAX_CHANNELS: usize = 64;
/// Most addresses of one kind.
pub const MAX_ADDRESSES: usize = 32;

/// Which devices may register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Every device that holds its key.
    Open,
    /// Only these.
    Provisioned(std::collections::BTreeSet<PuId>),
}

/// Checks a registration: form, key, signature, policy, in this order.
///
/// The id is the hash of the key, so a device that is known by id can be re-registered only by
/// whoever holds its private key; knowing the id is worth nothing.
///
/// # Errors
/// The problem and what is wrong, in words.
pub fn admit(
    registration: &Registration,
    scu: &ScuId,
    nonce: &str,
    policy: &Policy,
) -> Result<(), (ProblemKind, &'static str)> {
    if !registration.pu.matches(&registration.public_key) {
        return Err((ProblemKind::WrongKey, "the device id was not made from this key"));
    }
    let signed = registration_bytes(scu, nonce, &registration.pu);
    if !registration.public_key.verify(&signed, &registration.signature) {
        return Err((ProblemKind::WrongKey, "the signature is not by the device's key"));
    }
    match policy {
        Policy::Open => {}
        Policy::Provisioned(known) if known.contains(&registration.pu) => {}
        Policy::Provisioned(_) => {
            return Err((ProblemKind::UnknownDevice, "this domain does not know the device"));
        }
    }
    check_form(registration)
}

fn check_form(registration: &Registration) -> Result<(), (ProblemKind, &'static str)> {
    let wrong = |what| (ProblemKind::InvalidRequest, what);
    if !is_name(&registration.agent, 200) {
        return Err(wrong("agent: must have 1 to 200 printable characters"));
    }
    if registration.claim.as_str().len() != 64
        || !registration.claim.as_str().bytes().all(|b| b.is_ascii_hexdigit())
    {
        return Err(wrong("claim: must be 64 hexadecimal characters"));
    }
    check_addresses(&registration.addresses).map_err(wrong)?;
    check_channels(&registration.channels).map_err(wrong)
}

/// Checks the addresses that a device names.
///
/// # Errors
/// What is wrong, in words.
pub fn check_addresses(addresses: &Addresses) -> Result<(), &'static str> {
    let lists = [&addresses.rtsp, &addresses.quic, &addresses.nat_rtsp, &addresses.nat_quic];
    if lists.iter().any(|l| l.len() > MAX_ADDRESSES) {
        return Err("addresses: at most 32 of a kind");
    }
    Ok(())
}

/// Checks the cameras that a device names.
///
/// # Errors
/// What is wrong, in words.
pub fn check_channels(channels: &[ChannelStatus]) -> Result<(), &'static str> {
    if channels.len() > MAX_CHANNELS {
        return Err("channels: at most 64");
    }
    for (i, channel) in channels.iter().enumerate() {
        if channels[..i].iter().any(|c| c.channel == channel.channel) {
            return Err("channels: a number occurs twice");
        }
        if !is_name(&channel.name, 64) {
            return Err("channels: a name must have 1 to 64 printable characters");
        }
        if channel.fault.as_ref().is_some_and(|f| !is_name(f, 500)) {
            return Err("channels: a fault must have 1 to 500 printable characters");
        }
        if channel.streams.len() > 8 || channel.streams.iter().any(|s| !s.fps.is_finite()) {
            return Err("channels: at most 8 streams, each with a finite frame rate");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use sightline_model::{ChannelId, ClaimCode, ClaimSecret, PublicKey};

    use super::*;

    fn registration(key: &SigningKey, claimed_by: &SigningKey, nonce: &str) -> Registration {
        let public_key = PublicKey::from(key.verifying_key());
        let pu = PuId::from_public_key(&PublicKey::from(claimed_by.verifying_key()));
        let signed = registration_bytes(&"scu".parse().expect("valid"), nonce, &pu);
        Registration {
            claim: ClaimCode::new(pu.clone(), ClaimSecret::from_bytes([1; 10])).hash(),
            pu,
            public_key,
            signature: key.sign(&signed).into(),
            claim_unlocked: false,
            addresses: Addresses::default(),
            channels: Vec::new(),
            agent: "test".into(),
            kind: sightline_model::DeviceKind::Pu,
        }
    }

    fn verdict(registration: &Registration, policy: &Policy) -> Option<ProblemKind> {
        admit(registration, &"scu".parse().expect("valid"), "n1", policy).err().map(|(k, _)| k)
    }

    #[test]
    fn the_key_must_be_held_and_fresh() {
        let (mine, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        assert_eq!(verdict(&registration(&mine, &mine, "n1"), &Policy::Open), None);
        // Another's id with my key, and another's id and key with my signature.
        let wrong = Some(ProblemKind::WrongKey);
        assert_eq!(verdict(&registration(&mine, &other, "n1"), &Policy::Open), wrong);
        let mut stolen = registration(&mine, &other, "n1");
        stolen.public_key = PublicKey::from(other.verifying_key());
        assert_eq!(verdict(&stolen, &Policy::Open), wrong);
        // A recorded signature for another nonce.
        assert_eq!(verdict(&registration(&mine, &mine, "n0"), &Policy::Open), wrong);
    }

    #[test]
    fn a_provisioned_domain_admits_only_its_devices() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let registration = registration(&key, &key, "n1");
        let nobody = Policy::Provisioned([].into());
        assert_eq!(verdict(&registration, &nobody), Some(ProblemKind::UnknownDevice));
        let mine = Policy::Provisioned([registration.pu.clone()].into());
        assert_eq!(verdict(&registration, &mine), None);
    }

    #[test]
    fn what_a_device_says_of_itself_is_bounded() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let channel = |n: u16, name: &str| ChannelStatus {
            channel: ChannelId(n),
            name: name.into(),
            online: true,
            fault: None,
            streams: Vec::new(),
            audio: None,
        };
        let tricks: [Vec<ChannelStatus>; 3] = [
            vec![channel(0, "a\r\nSet-Cookie: x")],
            vec![channel(0, "a"), channel(0, "b")],
            (0..65).map(|n| channel(n, "a")).collect(),
        ];
        for channels in tricks {
            let mut r = registration(&key, &key, "n1");
            r.channels = channels;
            assert_eq!(verdict(&r, &Policy::Open), Some(ProblemKind::InvalidRequest));
        }
    }
}
