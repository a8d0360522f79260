//! For every pair of networks the rung that is expected, and a picture in each.

use std::time::Duration;

use sightline_model::{NatDependence, NatReport, Rung};
use sightline_p2p::Leg;

use crate::{
    end::{CAMERA, VIEWER},
    nat::{
        ADDRESS_RESTRICTED, Behaviour, DYING, FULL_CONE, NAT64, NO_UDP, PORT_RESTRICTED, SYMMETRIC,
    },
    world::{INTERNET, World},
};

/// Where an end may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Public,
    FullCone,
    AddressRestricted,
    PortRestricted,
    Symmetric,
    /// Two routers, both port-restricted.
    DoubleNat,
    /// A carrier's, whose mappings end after 50 s.
    Dying,
    Gateway,
    /// IPv6, and IPv4 through NAT64 only.
    V6Only,
    /// IPv6 beside IPv4 behind a port-restricted router.
    DualStack,
    UdpBlocked,
    Only443,
}

pub const PLACES: [Place; 12] = [
    Place::Public,
    Place::FullCone,
    Place::AddressRestricted,
    Place::PortRestricted,
    Place::Symmetric,
    Place::DoubleNat,
    Place::Dying,
    Place::Gateway,
    Place::V6Only,
    Place::DualStack,
    Place::UdpBlocked,
    Place::Only443,
];

impl Place {
    const fn behaviour(self) -> Option<Behaviour> {
        match self {
            Self::Public => None,
            Self::FullCone => Some(FULL_CONE),
            Self::AddressRestricted => Some(ADDRESS_RESTRICTED),
            Self::PortRestricted | Self::DoubleNat | Self::Gateway | Self::DualStack => {
                Some(PORT_RESTRICTED)
            }
            Self::Symmetric => Some(SYMMETRIC),
            Self::Dying => Some(DYING),
            Self::V6Only => Some(NAT64),
            Self::UdpBlocked | Self::Only443 => Some(NO_UDP),
        }
    }

    /// What RFC 5780's tests would say.
    pub fn report(self) -> NatReport {
        let Some(behaviour) = self.behaviour() else {
            return NatReport {
                udp: Some(true),
                translated: Some(false),
                mapping: Some(NatDependence::EndpointIndependent),
                filtering: Some(NatDependence::EndpointIndependent),
                mapping_lifetime_ms: None,
                nat64: None,
            };
        };
        if !behaviour.udp {
            return NatReport { udp: Some(false), ..NatReport::default() };
        }
        NatReport {
            udp: Some(true),
            translated: Some(true),
            mapping: Some(behaviour.mapping),
            filtering: Some(behaviour.filtering),
            mapping_lifetime_ms: None,
            nat64: None,
        }
    }

    /// Puts an end there. The side makes its addresses differ from the other's.
    pub fn put(self, world: &mut World, side: usize) -> usize {
        self.put_with(world, side, self.report())
    }

    /// The same, before its router has been measured.
    pub fn put_unmeasured(self, world: &mut World, side: usize) -> usize {
        self.put_with(world, side, NatReport::default())
    }

    fn put_with(self, world: &mut World, side: usize, report: NatReport) -> usize {
        let outside = format!("203.0.113.{}", side + 1);
        let inside = format!("192.168.{}.5", side + 1);
        let v6 = format!("2001:db8:{}::5", side + 1);
        let (realm, ips) = match (self, self.behaviour()) {
            (Self::Public, _) | (_, None) => (INTERNET, vec![format!("198.51.100.{}", side + 1)]),
            (Self::DoubleNat, Some(behaviour)) => {
                let middle = world.behind(behaviour, &outside, INTERNET);
                let home = world.behind(behaviour, &format!("100.64.{side}.9"), middle);
                (home, vec![inside])
            }
            (Self::V6Only, Some(behaviour)) => {
                (world.behind(behaviour, &outside, INTERNET), vec![v6])
            }
            (Self::DualStack, Some(behaviour)) => {
                (world.behind(behaviour, &outside, INTERNET), vec![inside, v6])
            }
            (_, Some(behaviour)) => (world.behind(behaviour, &outside, INTERNET), vec![inside]),
        };
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        let end = world.add_end(realm, &ips, report);
        match self {
            Self::UdpBlocked => world.ends[end].legs = vec![Leg::Tcp, Leg::Tls],
            Self::Only443 => world.ends[end].legs = vec![Leg::Tls],
            Self::V6Only => world.ends[end].nat64 = true,
            Self::Gateway => {
                let mapped = format!("{outside}:40000").parse().expect("an address");
                world.ends[end].mapped = Some(mapped);
            }
            _ => {}
        }
        end
    }

    const fn has_v6(self) -> bool {
        matches!(self, Self::V6Only | Self::DualStack)
    }
}

pub fn pair(seed: u64, viewer: Place, camera: Place) -> World {
    let mut world = World::new(seed);
    assert_eq!(viewer.put(&mut world, 0), VIEWER);
    assert_eq!(camera.put(&mut world, 1), CAMERA);
    world.begin();
    world
}

/// The best rung that theory allows.
pub fn expected(viewer: Place, camera: Place) -> Rung {
    use Place::{AddressRestricted, FullCone, Gateway, Only443, Public, Symmetric, UdpBlocked};
    let both = [viewer, camera];
    let has = |place| both.contains(&place);
    if has(Only443) {
        // The one that has no UDP may still use the other's relay; its own leg is what counts.
        return Rung::RelayTls;
    }
    if has(UdpBlocked) {
        return Rung::RelayTcp;
    }
    if viewer.has_v6() && camera.has_v6() || both == [Public; 2] {
        return Rung::Host;
    }
    if has(Gateway) {
        return Rung::Mapped;
    }
    let easy = |place| matches!(place, Public | FullCone | AddressRestricted);
    match (viewer == Symmetric, camera == Symmetric) {
        (true, true) => Rung::RelayUdp,
        (true, false) if !easy(camera) => Rung::Probed,
        (false, true) if !easy(viewer) => Rung::Probed,
        _ => Rung::Punched,
    }
}

#[test]
fn every_pair_of_networks_reaches_its_rung() {
    let (mut wrong, mut firsts) = (Vec::new(), Vec::new());
    for viewer in PLACES {
        for camera in PLACES {
            let mut world = pair(1, viewer, camera);
            world.run_for(Duration::from_secs(12));
            let reached = (world.rung(VIEWER), world.rung(CAMERA));
            let first = world.ends[VIEWER].frames.first().map(|at| *at - world.start);
            let wanted = Some(expected(viewer, camera));
            let late = first.is_none_or(|first| first > Duration::from_secs(2));
            firsts.push(first);
            if reached.0 != wanted || late {
                wrong.push(format!("{viewer:?} {camera:?}: {reached:?} {first:?}, not {wanted:?}"));
            }
        }
    }
    firsts.sort();
    println!("first picture: median {:?}, worst {:?}", firsts[72], firsts[143]);
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}
