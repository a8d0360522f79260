//! What stands at one end: a host, and what is between it and the Internet.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
    sync::Arc,
};

use e2e::Process;

use crate::{
    carrier::Reaper,
    kind::Kind,
    names::Names,
    rules::router,
    services::{self, Speaks},
    space::Space,
    wan::{End, Wan, ipv6_lan, ipv6_wan, on_link, public_address},
};

/// Everybody's home network: the same addresses at both ends, as in life.
const HOME: &str = "192.168.1";
/// The carrier's network between a home and its own NAT (RFC 6598).
const BETWEEN: &str = "100.64.0";

/// A host behind its routers. Deleted when dropped.
#[derive(Debug)]
pub struct Network {
    /// What it is.
    pub kind: Kind,
    /// The host, where the unit runs.
    pub host: Space,
    /// Its address, or the outermost router's, in the Internet of the lab.
    pub public: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
    reaper: Option<Reaper>,
    names: Option<Names>,
    // After the host, whose default route they are; before their routers.
    services: Vec<Process>,
    folder: tempfile::TempDir,
    /// Outermost first.
    routers: Vec<Arc<Space>>,
}

impl Network {
    /// Builds one at an end.
    #[must_use]
    pub fn new(wan: &Wan, kind: Kind, end: End) -> Self {
        Self::with_lifetime(wan, kind, end, kind.mapping_lifetime())
    }

    /// As [`Network::new`], with another lifetime of mappings.
    #[must_use]
    pub fn with_lifetime(
        wan: &Wan,
        kind: Kind,
        end: End,
        lifetime: Option<std::time::Duration>,
    ) -> Self {
        Self::made(wan, kind, end, lifetime, Speaks::Everything)
    }

    /// A home whose gateway maps ports for those who ask in one of these languages.
    #[must_use]
    pub fn with_gateway(wan: &Wan, end: End, speaks: Speaks) -> Self {
        Self::made(wan, Kind::Gateway, end, None, speaks)
    }

    fn made(
        wan: &Wan,
        kind: Kind,
        end: End,
        lifetime: Option<std::time::Duration>,
        speaks: Speaks,
    ) -> Self {
        let number = wan.next_number();
        let side = if end == End::Camera { "camera" } else { "viewer" };
        let name = format!("{side}{number}");
        let mut network = Self {
            kind,
            host: wan.space(&name),
            public: public_address(end, kind == Kind::Gateway, number),
            ipv6: None,
            reaper: None,
            names: None,
            services: vec![],
            folder: tempfile::tempdir().expect("a temporary folder"),
            routers: vec![],
        };
        network.build(wan, &name, number, speaks);
        if let Some(lifetime) = lifetime {
            network.reaper = Some(Reaper::start(Arc::clone(&network.routers[0]), lifetime));
        }
        network
    }

    fn build(&mut self, wan: &Wan, name: &str, number: u8, speaks: Speaks) {
        if self.kind == Kind::Public {
            self.names = Some(Names::start(&self.host));
            resolves(&self.host, "127.0.0.1");
            wan.plug(&self.host, "eth0");
            self.host.ip(&["addr", "add", &format!("{}/24", self.public), "dev", "eth0"]);
            on_link(&self.host, "eth0");
            return;
        }
        let outer = Arc::new(wan.space(&format!("{name}-r")));
        wan.plug(&outer, "wan0");
        outer.ip(&["addr", "add", &format!("{}/24", self.public), "dev", "wan0"]);
        on_link(&outer, "wan0");
        let lan = if self.kind == Kind::DoubleNat { BETWEEN } else { HOME };
        prepare(&outer, (self.kind != Kind::Nat64).then_some(lan));
        outer.nft(&router(self.kind, self.public, true));
        self.routers.push(Arc::clone(&outer));
        match self.kind {
            Kind::DoubleNat => self.second_router(wan, &outer, &format!("{name}-r2")),
            Kind::Nat64 => return self.ipv6_only(wan, &outer, number),
            Kind::Gateway => {
                let gateway = services::gateway(&outer, self.folder.path(), HOME, speaks);
                self.services.push(gateway);
            }
            _ => {}
        }
        let inner = self.routers.last().map_or(outer, Arc::clone);
        self.names = Some(Names::start(&inner));
        join(&self.host, &inner, 20);
    }

    fn second_router(&mut self, wan: &Wan, outer: &Space, name: &str) {
        let inner = Arc::new(wan.space(name));
        inner.cable("wan0", outer, "home");
        outer.ip(&["link", "set", "home", "master", "lan0"]);
        inner.ip(&["addr", "add", &format!("{BETWEEN}.2/24"), "dev", "wan0"]);
        inner.ip(&["route", "add", "default", "via", &format!("{BETWEEN}.1")]);
        prepare(&inner, Some(HOME));
        inner.nft(&router(Kind::DoubleNat, Ipv4Addr::new(100, 64, 0, 2), false));
        self.routers.push(inner);
    }

    fn ipv6_only(&mut self, wan: &Wan, outer: &Arc<Space>, number: u8) {
        let [gateway, host] = ipv6_lan(number);
        self.ipv6 = Some(host);
        for space in [outer, &self.host] {
            space.sysctl("net/ipv6/conf/all/disable_ipv6", "0");
        }
        outer.sysctl("net/ipv6/conf/all/forwarding", "1");
        let add = |space: &Space, address: String, device: &str| {
            space.ip(&["-6", "addr", "add", &address, "dev", device, "nodad"]);
        };
        add(outer, format!("{gateway}/64"), "lan0");
        add(outer, format!("{}/64", ipv6_wan(number)), "wan0");
        wan.join_ipv6(outer, number);
        self.host.cable("eth0", outer, "host20");
        outer.ip(&["link", "set", "host20", "master", "lan0"]);
        add(&self.host, format!("{host}/64"), "eth0");
        self.host.ip(&["-6", "route", "add", "default", "via", &gateway.to_string()]);
        resolves(&self.host, &gateway.to_string());
        self.services.extend(services::nat64(outer, self.folder.path(), gateway));
    }

    /// Another host at home, beside the first.
    ///
    /// # Panics
    /// When there is no home.
    #[must_use]
    pub fn another_host(&self, wan: &Wan) -> Space {
        let router = self.routers.last().expect("a home has a router");
        let host = wan.space(&format!("guest{}", wan.next_number()));
        join(&host, router, 30);
        host
    }

    /// Takes this network's host away and gives another network's host its place: somebody's
    /// telephone goes from Wi-Fi to mobile data.
    ///
    /// # Panics
    /// When this network has no router.
    pub fn take_over(&self, host: &Space) {
        let router = self.routers.last().expect("a home has a router");
        host.ip(&["link", "del", "eth0"]);
        join(host, router, 40);
    }

    /// A command on the host.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        self.host.command(program)
    }

    /// The host's IPv6 address, if it has one.
    #[must_use]
    pub const fn ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6
    }

    /// Bytes that the host's link has carried in both directions.
    ///
    /// # Panics
    /// When the link has no counters.
    #[must_use]
    pub fn link_bytes(&self) -> u64 {
        let read = |name: &str| -> u64 {
            let path = format!("/sys/class/net/eth0/statistics/{name}");
            let output = self.command(Path::new("cat")).arg(path).output();
            let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
            text.ok().and_then(|t| t.parse().ok()).expect("a link has counters")
        };
        read("rx_bytes") + read("tx_bytes")
    }

    /// How many ports the home's gateway maps now.
    ///
    /// # Panics
    /// When there is no gateway.
    #[must_use]
    pub fn mappings(&self) -> usize {
        services::mappings(self.routers.last().expect("a home has a router"), HOME)
    }

    /// How many mappings have died of age.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.reaper.as_ref().map_or(0, Reaper::deaths)
    }
}

/// What every router has.
fn prepare(router: &Space, lan: Option<&str>) {
    router.sysctl("net/ipv4/ip_forward", "1");
    router.sysctl("net/netfilter/nf_conntrack_acct", "1");
    router.bridge("lan0");
    if let Some(lan) = lan {
        router.ip(&["addr", "add", &format!("{lan}.1/24"), "dev", "lan0"]);
    }
}

/// A host joins a home.
fn join(host: &Space, router: &Space, number: u8) {
    let port = format!("host{number}");
    host.cable("eth0", router, &port);
    router.ip(&["link", "set", &port, "master", "lan0"]);
    host.ip(&["addr", "add", &format!("{HOME}.{number}/24"), "dev", "eth0"]);
    host.ip(&["route", "add", "default", "via", &format!("{HOME}.1")]);
    resolves(host, &format!("{HOME}.1"));
}

/// It asks there for names.
fn resolves(host: &Space, at: &str) {
    host.etc_file("hosts", "127.0.0.1 localhost\n::1 localhost\n");
    host.etc_file("resolv.conf", &format!("nameserver {at}\n"));
}
