//! Refresh (RFC 8656 section 8.2).

use std::time::Duration;

use stun_rs::{
    AddressFamily,
    attributes::turn::{LifeTime, RequestedAddressFamily},
};

use super::{Caller, Outcome, allocate::whole_seconds, refuse};
use crate::{
    driver::{Driver, Family},
    request::Attributes,
    server::{Now, Server},
};

impl Server {
    pub(crate) fn refresh(
        &mut self,
        caller: &Caller<'_>,
        attributes: &Attributes,
        now: Now,
        driver: &mut impl Driver,
    ) -> Outcome {
        let asked_s = asked(attributes);
        let family = attributes.get::<RequestedAddressFamily>();
        let family = family.and_then(|a| a.as_requested_address_family().ok());
        let family = family.map(|a| match a.family() {
            AddressFamily::IPv4 => Family::V4,
            AddressFamily::IPv6 => Family::V6,
        });
        let index = match self.allocation_of(caller) {
            Ok(index) => index,
            // What is gone can be given up again: a lost answer must not cost the client an error.
            Err(_) if asked_s == Some(0) && !self.by_client.contains_key(caller.client) => {
                return Ok(vec![LifeTime::from(0).into()]);
            }
            Err(refusal) => return Err(refusal),
        };
        let allocation = &self.allocations[index];
        if family.is_some_and(|family| allocation.relayed(family).is_none()) {
            return Err(refuse(443, "Peer Address Family Mismatch"));
        }
        if asked_s == Some(0) {
            match family.filter(|_| allocation.all_relayed().count() > 1) {
                Some(family) => self.close_relay(index, family, driver),
                None => self.end(index, now.instant, driver),
            }
            return Ok(vec![LifeTime::from(0).into()]);
        }
        let lifetime: Duration = self.lifetime(asked_s, caller, now);
        self.ends_at(index, now.instant + lifetime);
        Ok(vec![LifeTime::from(whole_seconds(lifetime)).into()])
    }
}

/// LIFETIME, in seconds.
pub(super) fn asked(attributes: &Attributes) -> Option<u32> {
    attributes.get::<LifeTime>().and_then(|a| a.as_life_time().ok()).map(LifeTime::as_u32)
}
