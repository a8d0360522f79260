//! Binding a device to its owner (A8.2).

use std::net::IpAddr;

use sightline_model::{ClaimCode, UserId};
use sightline_protocol::ProblemKind;
use subtle::ConstantTimeEq;

use crate::address::same_place;

/// The device that a claim code names, as the CMU knows it.
#[derive(Debug, Clone)]
pub struct Claimed<'a> {
    /// What the device registered as the hash of its claim code.
    pub claim_hash: &'a str,
    /// The button on the device was held since it was bound.
    pub unlocked: bool,
    /// Whose it is.
    pub owner: Option<&'a UserId>,
    /// Where its SCU sees it.
    pub observed: Option<IpAddr>,
}

/// What becomes of a bind request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The device becomes the user's; whoever had it loses it.
    Bind {
        /// Who loses it.
        from: Option<UserId>,
    },
    /// It is the user's already.
    Own,
    /// Refused.
    Refuse(ProblemKind, &'static str),
}

const WRONG: Decision = Decision::Refuse(
    ProblemKind::WrongClaimCode,
    "This code is not right, or its camera has never been online. Check the code, and that the camera has power and a network.",
);

/// Decides on a bind request. `device` is `None` when it has never registered; that is answered
/// like a wrong code, so that nobody learns which ids exist.
#[must_use]
pub fn decide(
    user: &UserId,
    code: &ClaimCode,
    device: Option<&Claimed<'_>>,
    seen_at: Option<IpAddr>,
) -> Decision {
    let given = code.hash();
    // The same work is done for an unknown device.
    let nothing = "0".repeat(64);
    let stored = device.map_or(nothing.as_str(), |d| d.claim_hash);
    let right: bool = given.as_str().as_bytes().ct_eq(stored.as_bytes()).into();
    let Some(device) = device.filter(|_| right) else { return WRONG };
    match device.owner {
        Some(owner) if owner == user => return Decision::Own,
        Some(_) if !device.unlocked => {
            return Decision::Refuse(
                ProblemKind::AlreadyBound,
                "This camera belongs to another account. Its owner can release it, or you can hold the button on the camera.",
            );
        }
        Some(_) | None => {}
    }
    let here = seen_at.is_none_or(|cu| device.observed.is_some_and(|pu| same_place(cu, pu)));
    if !here {
        return Decision::Refuse(
            ProblemKind::Forbidden,
            "Please add the camera while your phone or PC is in the same network as the camera.",
        );
    }
    Decision::Bind { from: device.owner.cloned() }
}

#[cfg(test)]
mod tests {
    use sightline_model::{ClaimSecret, PuId, PublicKey};

    use super::*;

    fn code(secret: u8) -> ClaimCode {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([9; 32]));
        ClaimCode::new(pu, ClaimSecret::from_bytes([secret; 10]))
    }

    fn user(name: &str) -> UserId {
        name.parse().expect("valid")
    }

    fn refusal(decision: Decision) -> Option<ProblemKind> {
        match decision {
            Decision::Refuse(kind, _) => Some(kind),
            Decision::Bind { .. } | Decision::Own => None,
        }
    }

    #[test]
    fn a_wrong_code_and_an_unknown_device_are_answered_alike() {
        let hash = code(1).hash();
        let device =
            Claimed { claim_hash: hash.as_str(), unlocked: false, owner: None, observed: None };
        let (me, wrong) = (user("me"), code(2));
        assert_eq!(decide(&me, &wrong, Some(&device), None), decide(&me, &wrong, None, None));
        assert_eq!(refusal(decide(&me, &wrong, None, None)), Some(ProblemKind::WrongClaimCode));
    }

    #[test]
    fn a_bound_device_stays_with_its_owner_until_released_or_unlocked() {
        let (hash, owner) = (code(1).hash(), user("owner"));
        let mut device = Claimed {
            claim_hash: hash.as_str(),
            unlocked: false,
            owner: Some(&owner),
            observed: None,
        };
        let ask = |d: &Claimed<'_>, who: &str| decide(&user(who), &code(1), Some(d), None);
        assert_eq!(ask(&device, "owner"), Decision::Own);
        assert_eq!(refusal(ask(&device, "other")), Some(ProblemKind::AlreadyBound));
        device.unlocked = true;
        assert_eq!(ask(&device, "other"), Decision::Bind { from: Some(user("owner")) });
        device.owner = None;
        assert_eq!(ask(&device, "other"), Decision::Bind { from: None });
    }

    #[test]
    fn where_asked_for_the_device_must_be_where_its_owner_is() {
        let hash = code(1).hash();
        let ip = |t: &str| t.parse::<IpAddr>().expect("an address");
        let mut device =
            Claimed { claim_hash: hash.as_str(), unlocked: false, owner: None, observed: None };
        let ask = |d: &Claimed<'_>| decide(&user("me"), &code(1), Some(d), Some(ip("192.0.2.1")));
        assert_eq!(refusal(ask(&device)), Some(ProblemKind::Forbidden));
        device.observed = Some(ip("192.0.2.2"));
        assert_eq!(refusal(ask(&device)), Some(ProblemKind::Forbidden));
        device.observed = Some(ip("192.0.2.1"));
        assert_eq!(ask(&device), Decision::Bind { from: None });
    }
}
