//! The Internet of the lab: a switch that everybody's outer side hangs on.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::space::Space;

/// The centre's addresses, in the documentation network 192.0.2.0/24 (RFC 5737), and its names.
pub const CENTRE: [(&str, Ipv4Addr); 6] = [
    ("portal.sightline.test", Ipv4Addr::new(192, 0, 2, 1)),
    ("scu.sightline.test", Ipv4Addr::new(192, 0, 2, 2)),
    ("mtu1.sightline.test", Ipv4Addr::new(192, 0, 2, 3)),
    ("alternate1.sightline.test", Ipv4Addr::new(192, 0, 2, 4)),
    ("mtu2.sightline.test", Ipv4Addr::new(192, 0, 2, 5)),
    ("alternate2.sightline.test", Ipv4Addr::new(192, 0, 2, 6)),
];

/// What hosts and routers outside the centre have as public addresses. All but the last are for
/// documentation; the last is for gateways, since miniupnpd refuses to map ports of an address
/// that it knows to be nobody's. It does not leave the lab, which has no way out.
const CAMERAS: [u8; 3] = [198, 51, 100];
const VIEWERS: [u8; 3] = [203, 0, 113];
const GATEWAYS: [u8; 3] = [11, 0, 0];

/// Which end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The PU's.
    Camera,
    /// The CU's.
    Viewer,
}

/// The switch, and the centre's host on it.
#[derive(Debug)]
pub struct Wan {
    /// The centre's host, with all of [`CENTRE`].
    pub centre: Space,
    switch: Space,
    number: u32,
    ports: AtomicU32,
    /// Routers of IPv6 networks, which know each other.
    ipv6: Mutex<Vec<(u8, Weak<Space>)>>,
}

impl Wan {
    /// A switch with the centre's host.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let switch = Space::new(&format!("{number}-switch"));
        switch.bridge("br0");
        let centre = Space::new(&format!("{number}-centre"));
        let wan = Self { centre, switch, number, ports: AtomicU32::new(0), ipv6: Mutex::default() };
        wan.plug(&wan.centre, "eth0");
        for (_, address) in CENTRE {
            wan.centre.ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        }
        on_link(&wan.centre, "eth0");
        wan.centre.etc_file("hosts", &hosts());
        wan
    }

    /// A namespace of this lab.
    pub(crate) fn space(&self, name: &str) -> Space {
        Space::new(&format!("{}-{name}", self.number))
    }

    /// Puts a device of a host or router on the switch.
    pub(crate) fn plug(&self, space: &Space, device: &str) {
        let port = format!("p{}", self.ports.fetch_add(1, Ordering::Relaxed));
        space.cable(device, &self.switch, &port);
        self.switch.ip(&["link", "set", &port, "master", "br0"]);
    }

    /// Routes between this router's IPv6 network and all others.
    pub(crate) fn join_ipv6(&self, router: &Arc<Space>, number: u8) {
        let route = |from: &Space, to: u8| {
            let network = format!("{}/64", Ipv6Addr::from_bits(ipv6_lan(to)[0].to_bits() - 1));
            let via = ipv6_wan(to).to_string();
            from.ip(&["-6", "route", "replace", &network, "via", &via, "dev", "wan0"]);
        };
        let mut known = self.ipv6.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, other)| other.strong_count() > 0);
        for (other_number, other) in known.iter() {
            if let Some(other) = other.upgrade() {
                route(&other, number);
                route(router, *other_number);
            }
        }
        known.push((number, Arc::downgrade(router)));
    }

    /// The number of the next public address on an end's side.
    pub(crate) fn next_number(&self) -> u8 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // 10 to 249, over and over: more networks never stand beside each other.
        u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 240 + 10).unwrap_or(10)
    }
}

impl Default for Wan {
    fn default() -> Self {
        Self::new()
    }
}

/// The public address of a network.
pub(crate) fn public_address(end: End, is_gateway: bool, number: u8) -> Ipv4Addr {
    let [a, b, c] = match (is_gateway, end) {
        (true, _) => GATEWAYS,
        (false, End::Camera) => CAMERAS,
        (false, End::Viewer) => VIEWERS,
    };
    Ipv4Addr::new(a, b, c, number)
}

/// The networks to which a relay of the lab may send.
#[must_use]
pub fn peer_networks() -> Vec<String> {
    let name = |[a, b, c]: [u8; 3]| format!("{a}.{b}.{c}.0/24");
    [CAMERAS, VIEWERS, GATEWAYS, [192, 0, 2]].into_iter().map(name).collect()
}

/// The IPv6 network behind a router, of the documentation prefix (RFC 3849).
pub(crate) fn ipv6_lan(number: u8) -> [Ipv6Addr; 2] {
    let host = |host| Ipv6Addr::new(0x2001, 0xdb8, 0x1000 + u16::from(number), 0, 0, 0, 0, host);
    [host(1), host(0x20)]
}

/// The outer IPv6 address of a router.
pub(crate) fn ipv6_wan(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, u16::from(number))
}

/// Everybody is on the switch: whatever address it is, ask there who has it.
pub(crate) fn on_link(space: &Space, device: &str) {
    space.ip(&["route", "add", "default", "dev", device]);
}

/// The names of the centre, for `/etc/hosts`.
pub(crate) fn hosts() -> String {
    let names = CENTRE.iter().map(|(name, address)| format!("{address} {name}\n"));
    format!("127.0.0.1 localhost\n::1 localhost\n{}", names.collect::<String>())
}
