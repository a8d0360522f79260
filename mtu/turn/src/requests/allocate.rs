//! Allocate (RFC 8656 section 7.2).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use stun_rs::{
    AddressFamily, ErrorCode, StunAttribute,
    attributes::{
        stun::{AlternateServer, XorMappedAddress},
        turn::{
            AdditionalAddressFamily, AddressErrorCode, DontFragment, EvenPort as EvenPortAttribute,
            LifeTime, RequestedAddressFamily, RequestedTrasport, ReservationToken,
            XorRelayedAddress,
        },
    },
};

use super::{Caller, Outcome, Refusal, malformed, refuse};
use crate::{
    allocation::Allocation,
    driver::{Driver, EvenPort, Family, OpenError, OpenRelay, RelayId, RelayProtocol},
    request::{Attributes, Request},
    server::{Now, Server},
    shared::NoPlace,
    streams::StreamMeter,
    users::User,
};

/// Protocol numbers of IP.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    protocol: RelayProtocol,
    family: Family,
    /// An IPv6 address beside the IPv4 one.
    also_v6: bool,
    even: EvenPort,
    token: Option<[u8; 8]>,
    lifetime_s: Option<u32>,
}

/// What could be opened.
#[derive(Debug, Default)]
struct Relays {
    opened: Vec<(Family, SocketAddr)>,
    held: Option<SocketAddr>,
    failed: Option<(Family, OpenError)>,
}

impl Server {
    pub(crate) fn allocate(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        attributes: &Attributes,
        now: Now,
        driver: &mut impl Driver,
    ) -> Outcome {
        if let Some(&index) = self.by_client.get(caller.client) {
            let allocation = &self.allocations[index];
            // The same request once more gets the same answer.
            let again = allocation.transaction == request.transaction
                && *allocation.user_name == *caller.user;
            return if again {
                Ok(self.granted(index, now))
            } else {
                Err(refuse(437, "Allocation Mismatch"))
            };
        }
        let wanted = self.wanted(caller, attributes)?;
        let outcome = self.make(caller, request, &wanted, now, driver);
        if outcome.is_err() {
            self.counters.refused_allocations += 1;
        }
        outcome
    }

    fn make(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        wanted: &Wanted,
        now: Now,
        driver: &mut impl Driver,
    ) -> Outcome {
        if self.settings.draining {
            return Err(self.elsewhere(caller));
        }
        let holds = wanted.even == EvenPort::EvenAndHoldNext;
        let (user, held) = self.enter(caller, wanted, now)?;
        let streams = (wanted.protocol == RelayProtocol::Tcp)
            .then(|| Arc::new(StreamMeter::of(self.shared.clone(), user.clone())));
        let opened = self.open_relays(caller, wanted, held, streams.as_ref(), driver);
        let relays = opened.inspect_err(|_| {
            for _ in 0..=usize::from(holds) {
                self.shared.leave(caller.user);
            }
        })?;
        let mut allocation = Allocation::new(
            *caller.client,
            caller.user,
            user.clone(),
            wanted.protocol,
            request.transaction,
            now.instant,
        );
        for &(family, address) in &relays.opened {
            allocation.set_relayed(family, Some(address));
        }
        allocation.failed = relays.failed;
        allocation.streams = streams;
        let held = relays.held;
        allocation.token =
            held.and_then(|held| self.reserve((caller.user, user), held, now, driver));
        if holds && allocation.token.is_none() {
            self.shared.leave(caller.user);
        }
        allocation.ends = now.instant + self.lifetime(wanted.lifetime_s, caller, now);
        let index = self.insert(allocation);
        Ok(self.granted(index, now))
    }

    /// What is asked for, if it makes sense together.
    fn wanted(&self, caller: &Caller<'_>, attributes: &Attributes) -> Result<Wanted, Refusal> {
        let transport = attributes.get::<RequestedTrasport>();
        let transport = transport.and_then(|a| a.as_requested_trasport().ok());
        let protocol = match transport.ok_or_else(malformed)?.protocol().as_u8() {
            UDP => RelayProtocol::Udp,
            TCP if self.settings.tcp_relays => RelayProtocol::Tcp,
            _ => return Err(refuse(442, "Unsupported Transport Protocol")),
        };
        let family = attributes.get::<RequestedAddressFamily>();
        let family = family.and_then(|a| a.as_requested_address_family().ok()).map(|a| a.family());
        let also = attributes.get::<AdditionalAddressFamily>();
        let also = also.and_then(|a| a.as_additional_address_family().ok()).map(|a| a.family());
        let even = attributes.get::<EvenPortAttribute>().and_then(|a| a.as_even_port().ok());
        let even = match even.map(EvenPortAttribute::reserve) {
            None => EvenPort::Any,
            Some(false) => EvenPort::Even,
            Some(true) => EvenPort::EvenAndHoldNext,
        };
        let token = attributes.get::<ReservationToken>();
        let token = token.and_then(|a| a.as_reservation_token().ok()?.token().try_into().ok());
        let contradicts = (token.is_some()
            && (family.is_some() || also.is_some() || even != EvenPort::Any))
            || (family.is_some() && also.is_some())
            || (also.is_some() && even == EvenPort::EvenAndHoldNext)
            // RFC 8656 section 18.10: only IPv6 can be had in addition.
            || also == Some(AddressFamily::IPv4);
        // RFC 6062 section 5.1: over streams only, nothing about ports, and nothing about
        // fragments, which streams do not have.
        let tcp_contradicts = protocol == RelayProtocol::Tcp
            && (!caller.client.transport.is_stream()
                || even != EvenPort::Any
                || token.is_some()
                || also.is_some()
                || attributes.has::<DontFragment>());
        if contradicts || tcp_contradicts {
            return Err(malformed());
        }
        let family = match family {
            None | Some(AddressFamily::IPv4) => Family::V4,
            Some(AddressFamily::IPv6) => Family::V6,
        };
        let lifetime_s = super::refresh::asked(attributes);
        Ok(Wanted { protocol, family, also_v6: also.is_some(), even, token, lifetime_s })
    }

    /// Takes a place for the allocation, and one more for a port that is to be held; or takes over
    /// that of a port that was, and its address.
    fn enter(
        &self,
        caller: &Caller<'_>,
        wanted: &Wanted,
        now: Now,
    ) -> Result<(Arc<User>, Option<SocketAddr>), Refusal> {
        if let Some(token) = wanted.token {
            let held = self.shared.redeem(token, caller.user, now.instant);
            let held = held.ok_or_else(|| refuse(508, "Insufficient Capacity"))?;
            return Ok((held.user, Some(held.address)));
        }
        let enter = || {
            self.shared.enter(caller.user, &self.settings.limits).map_err(|none| match none {
                NoPlace::OfUser => refuse(486, "Allocation Quota Reached"),
                NoPlace::AtAll => refuse(508, "Insufficient Capacity"),
            })
        };
        let user = enter()?;
        if wanted.even == EvenPort::EvenAndHoldNext
            && let Err(refusal) = enter()
        {
            self.shared.leave(caller.user);
            return Err(refusal);
        }
        Ok((user, None))
    }

    fn open_relays(
        &mut self,
        caller: &Caller<'_>,
        wanted: &Wanted,
        held: Option<SocketAddr>,
        streams: Option<&Arc<StreamMeter>>,
        driver: &mut impl Driver,
    ) -> Result<Relays, Refusal> {
        let index = self.allocations.vacant_key();
        let first = held.map_or(wanted.family, |address| Family::of(address.ip()));
        let mut families = vec![first];
        families.extend(wanted.also_v6.then_some(Family::V6));
        let mut relays = Relays::default();
        for family in families {
            let opened = driver.open_relay(&OpenRelay {
                relay: RelayId::new(index, family),
                client: *caller.client,
                user: caller.user,
                family,
                protocol: wanted.protocol,
                even: wanted.even,
                held,
                streams,
            });
            match opened {
                Ok(opened) => {
                    relays.opened.push((family, opened.address));
                    relays.held = relays.held.or(opened.held);
                }
                Err(error) => {
                    // What was reported first is what the client is told if nothing works.
                    relays.failed.get_or_insert((family, error));
                }
            }
        }
        match relays.failed {
            Some((_, error)) if relays.opened.is_empty() => Err(refusal(error)),
            _ => Ok(relays),
        }
    }

    fn reserve(
        &mut self,
        user: (&str, Arc<User>),
        address: SocketAddr,
        now: Now,
        driver: &mut impl Driver,
    ) -> Option<[u8; 8]> {
        let mut token = [0; 8];
        driver.random(&mut token);
        let Some(ends) = self.shared.reserve(token, address, user, now.instant) else {
            driver.release_held(address);
            return None;
        };
        self.held_until = Some(self.held_until.map_or(ends, |until| until.min(ends)));
        Some(token)
    }

    fn insert(&mut self, mut allocation: Allocation) -> usize {
        allocation.number = u64::from(self.worker.0) << 48 | self.made;
        self.made += 1;
        let ends = allocation.ends;
        let protocol = allocation.protocol;
        let client = allocation.client;
        let relayed: Vec<_> = allocation.all_relayed().collect();
        let index = self.allocations.insert(allocation);
        self.by_client.insert(client, index);
        self.ends.insert((ends, index));
        for (family, address) in relayed {
            if protocol == RelayProtocol::Udp {
                self.by_relayed.insert(address, RelayId::new(index, family));
                self.shared.live.opened(address, self.worker);
            }
        }
        self.counters.allocations += 1;
        index
    }

    fn granted(&self, index: usize, now: Now) -> Vec<StunAttribute> {
        let allocation = &self.allocations[index];
        let mut attributes: Vec<StunAttribute> = vec![];
        for (_, address) in allocation.all_relayed() {
            attributes.push(XorRelayedAddress::from(address).into());
        }
        let lifetime = allocation.ends.saturating_duration_since(now.instant);
        attributes.push(LifeTime::from(whole_seconds(lifetime)).into());
        attributes.push(XorMappedAddress::from(allocation.client.address).into());
        if let Some(token) = allocation.token {
            attributes.push(ReservationToken::from(token).into());
        }
        if let Some((family, error)) = allocation.failed {
            let Refusal { code, reason, .. } = refusal(error);
            let family = match family {
                Family::V4 => AddressFamily::IPv4,
                Family::V6 => AddressFamily::IPv6,
            };
            if let Ok(code) = ErrorCode::new(code, reason) {
                attributes.push(AddressErrorCode::new(family, code).into());
            }
        }
        attributes
    }

    /// RFC 8489 section 10, RFC 8656 section 7.2: another server of the client's family.
    fn elsewhere(&self, caller: &Caller<'_>) -> Refusal {
        let v4 = caller.client.address.is_ipv4();
        let alternates: Vec<_> =
            self.settings.alternates.iter().filter(|address| address.is_ipv4() == v4).collect();
        // Clients of one server are spread over the others.
        let choice = usize::from(caller.client.address.port()) % alternates.len().max(1);
        match alternates.get(choice) {
            Some(&&address) => refuse(300, "Try Alternate").with(AlternateServer::from(address)),
            None => refuse(508, "Insufficient Capacity"),
        }
    }

    /// RFC 8656 section 7.2, and never past the end of the credentials.
    pub(crate) fn lifetime(&self, asked_s: Option<u32>, caller: &Caller<'_>, now: Now) -> Duration {
        let limits = &self.settings.limits;
        let asked = asked_s.map_or(limits.lifetime, |s| Duration::from_secs(s.into()));
        let granted = asked.min(limits.max_lifetime).max(limits.lifetime);
        let left_s = caller.expiry_s.saturating_sub(now.unix_s).max(1);
        granted.min(Duration::from_secs(left_s))
    }
}

pub(super) fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn refusal(error: OpenError) -> Refusal {
    match error {
        OpenError::Family => refuse(440, "Address Family not Supported"),
        OpenError::Protocol => refuse(442, "Unsupported Transport Protocol"),
        OpenError::Exhausted => refuse(508, "Insufficient Capacity"),
    }
}
