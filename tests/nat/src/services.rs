//! Programs on routers: port mapping on request, NAT64 and its DNS.

use std::{fs, net::Ipv6Addr, path::Path, process::Stdio, time::Duration};

use e2e::{Process, tool, wait_for};

use crate::{space::Space, wan::CENTRE};

/// Where NAT64 puts IPv4. Not the well-known prefix, which RFC 6052 keeps from documentation
/// addresses.
pub(crate) const NAT64: &str = "2001:db8:64::";
/// tayga's own pool, behind the router's masquerade.
const POOL: &str = "192.168.255";

/// What a home gateway understands of those who want a port mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// UPnP IGD, NAT-PMP and PCP.
    Everything,
    /// UPnP IGD alone.
    Upnp,
    /// NAT-PMP and PCP, which share a port.
    PmpAndPcp,
}

impl Speaks {
    /// What the configuration says of UPnP and of the other two, and the UDP port of what is there.
    const fn switches(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Everything => ("yes", "yes", 5_351),
            Self::Upnp => ("yes", "no", 1_900),
            Self::PmpAndPcp => ("no", "yes", 5_351),
        }
    }
}

/// The chain of the table `inet filter` in which the gateway notes what it maps.
const MAPPINGS: &str = "prerouting_miniupnpd";

/// How many ports of a home's hosts a gateway maps now.
pub(crate) fn mappings(router: &Space, lan: &str) -> usize {
    let rules = router.chain("inet filter", MAPPINGS);
    let is_mapping = |line: &&str| line.contains("dnat") && line.contains(&format!("{lan}."));
    rules.lines().filter(is_mapping).count()
}

/// A home gateway that maps ports when asked.
pub(crate) fn gateway(router: &Space, folder: &Path, lan: &str, speaks: Speaks) -> Process {
    let (upnp, natpmp, port) = speaks.switches();
    // What Debian's nft_init.sh makes.
    router.nft(
        "table inet filter {
    chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
    chain postrouting { type nat hook postrouting priority 99; jump postrouting_miniupnpd; }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}",
    );
    let configuration = format!(
        "ext_ifname=wan0\nlistening_ip=lan0\nipv6_disable=yes\nhttp_port=0\n\
         enable_natpmp={natpmp}\nenable_upnp={upnp}\nmin_lifetime=60\nmax_lifetime=86400\n\
         secure_mode=yes\nsystem_uptime=yes\nnotify_interval=60\nclean_ruleset_interval=600\n\
         uuid=00000000-0000-4000-8000-000000000001\nserial=1\nmodel_number=1\n\
         upnp_table_name=filter\nupnp_nat_table_name=filter\nupnp_forward_chain=miniupnpd\n\
         upnp_nat_chain={MAPPINGS}\n\
         upnp_nat_postrouting_chain=postrouting_miniupnpd\n\
         allow 1024-65535 {lan}.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
    );
    let path = folder.join("miniupnpd.conf");
    fs::write(&path, configuration).expect("written");
    router.ip(&["route", "add", "239.0.0.0/8", "dev", "lan0"]);
    let program = tool("miniupnpd").expect("miniupnpd is installed");
    let mut command = router.command(&program);
    command.arg("-d").arg("-f").arg(&path).arg("-P").arg(folder.join("miniupnpd.pid"));
    let daemon = Process::start(command.stderr(log(folder, "miniupnpd")));
    wait_for_udp(router, port, "miniupnpd");
    daemon
}

/// NAT64 on this router, and a name server that tells its prefix (RFC 6146, RFC 6147, RFC 7050).
pub(crate) fn nat64(router: &Space, folder: &Path, lan: Ipv6Addr) -> Vec<Process> {
    let path = folder.join("tayga.conf");
    let configuration = format!(
        "tun-device nat64\nipv4-addr {POOL}.1\nprefix {NAT64}/96\ndynamic-pool {POOL}.0/24\n\
         data-dir {}\n",
        folder.display()
    );
    fs::write(&path, configuration).expect("written");
    let tayga = tool("tayga").expect("tayga is installed");
    let made = router.command(&tayga).arg("-c").arg(&path).arg("--mktun").output();
    assert!(made.is_ok_and(|o| o.status.success()), "tayga made no device");
    router.ip(&["link", "set", "nat64", "up"]);
    router.ip(&["route", "add", &format!("{POOL}.0/24"), "dev", "nat64"]);
    router.ip(&["-6", "route", "add", &format!("{NAT64}/96"), "dev", "nat64"]);
    let mut command = router.command(&tayga);
    command.arg("-c").arg(&path).args(["--nodetach"]).stderr(log(folder, "tayga"));
    let tayga = Process::start(&mut command);

    // What everybody's servers know.
    let names = CENTRE.iter().map(|(name, address)| (*name, address.to_string()));
    let known = [("ipv4only.arpa", "192.0.0.170"), ("ipv4only.arpa", "192.0.0.171")];
    let known = known.map(|(name, address)| (name, address.to_owned()));
    let data = names.chain(known);
    let data: String =
        data.map(|(name, ip)| format!("  local-data: \"{name}. 60 IN A {ip}\"\n")).collect();
    let zones = "  local-zone: \"test.\" static\n  local-zone: \"arpa.\" static\n";
    let outside = format!("  interface: 127.0.0.1@5300\n{zones}{data}");
    let outside = unbound(router, folder, "outside", &outside, "");
    let inside = format!(
        "  interface: {lan}@53\n  interface: 127.0.0.1@53\n  access-control: ::0/0 allow\n\
         \x20 module-config: \"dns64 iterator\"\n  dns64-prefix: {NAT64}/96\n\
         \x20 dns64-ignore-aaaa: test.\n  do-not-query-localhost: no\n\
         \x20 local-zone: \"test.\" nodefault\n  local-zone: \"ipv4only.arpa.\" nodefault\n"
    );
    let forward = "forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@5300\n";
    let inside = unbound(router, folder, "inside", &inside, forward);
    wait_for_udp(router, 53, "unbound");
    vec![inside, outside, tayga]
}

fn unbound(router: &Space, folder: &Path, name: &str, server: &str, rest: &str) -> Process {
    let path = folder.join(format!("{name}.conf"));
    let text = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  use-syslog: no\n\
         \x20 directory: {folder:?}\n  do-daemonize: no\n  num-threads: 1\n{server}{rest}\
         remote-control:\n  control-enable: no\n"
    );
    fs::write(&path, text).expect("written");
    let program = tool("unbound").expect("unbound is installed");
    let mut command = router.command(&program);
    Process::start(command.arg("-d").arg("-c").arg(&path).stderr(log(folder, name)))
}

fn log(folder: &Path, name: &str) -> Stdio {
    fs::File::create(folder.join(format!("{name}.log"))).map_or_else(|_| Stdio::null(), Stdio::from)
}

/// Waits until somebody has the port. Not by trying to bind it: whoever is awaited might just then
/// find it taken.
fn wait_for_udp(router: &Space, port: u16, what: &str) {
    let bound = format!(":{port:04X}");
    let is_bound =
        |line: &str| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&bound));
    wait_for(what, Duration::from_secs(10), || {
        let sockets = router.enter(|| fs::read_to_string("/proc/thread-self/net/udp")).ok()?;
        sockets.lines().any(is_bound).then_some(())
    });
}
