//! Network namespaces on this machine: hosts that meet on one switch, each with its own link.

use std::{
    path::Path,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Whether this process may make network namespaces; says so loudly when it may not.
#[must_use]
pub fn namespaces_allowed() -> bool {
    // Tried once: tests that tried at the same time would be in each other's way.
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let allowed = *ALLOWED.get_or_init(|| {
        let name = format!("sl-probe-{}", std::process::id());
        ip(&["netns", "add", &name]) && ip(&["netns", "del", &name])
    });
    if !allowed {
        eprintln!("SKIPPED: network namespaces need root and a kernel that allows them");
    }
    allowed
}

fn ip(arguments: &[&str]) -> bool {
    let program = if Path::new("/usr/sbin/ip").exists() { "/usr/sbin/ip" } else { "ip" };
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Hosts on one switch, in the documentation network 192.0.2.0/24 (RFC 5737). Removed when
/// dropped.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    hosts: Vec<String>,
}

impl Lab {
    /// A switch with one host for each name; the first has address 192.0.2.1, and so on.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn new(hosts: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("sl{}-{number}", std::process::id() % 10_000);
        let lab = Self { prefix, hosts: hosts.iter().map(|h| (*h).to_owned()).collect() };
        let switch = lab.namespace("switch");
        lab.must(&["netns", "add", &switch]);
        lab.must(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        lab.must(&["-n", &switch, "link", "set", "br0", "up"]);
        for (index, host) in hosts.iter().enumerate() {
            lab.add_host(&switch, host, index + 1);
        }
        lab
    }

    fn add_host(&self, switch: &str, host: &str, number: usize) {
        let (namespace, port) = (self.namespace(host), format!("p{number}"));
        self.must(&["netns", "add", &namespace]);
        self.must(&["-n", &namespace, "link", "set", "lo", "up"]);
        self.must(&[
            "-n", &namespace, "link", "add", "eth0", "type", "veth", "peer", "name", &port,
            "netns", switch,
        ]);
        self.must(&["-n", switch, "link", "set", &port, "master", "br0", "up"]);
        let address = format!("192.0.2.{number}/24");
        self.must(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
        // No link-local address: it would become valid a second or two later, which browsers take for
        // a change of network and break off what they are doing.
        self.must(&["-n", &namespace, "link", "set", "eth0", "addrgenmode", "none"]);
        self.must(&["-n", &namespace, "link", "set", "eth0", "up"]);
        self.must(&["-n", &namespace, "route", "add", "default", "dev", "eth0"]);
    }

    fn must(&self, arguments: &[&str]) {
        assert!(ip(arguments), "{}: ip {} failed", self.prefix, arguments.join(" "));
    }

    /// The namespace of a host.
    #[must_use]
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// The address of a host.
    ///
    /// # Panics
    /// When there is no such host.
    #[must_use]
    pub fn address(&self, host: &str) -> String {
        let index = self.hosts.iter().position(|h| h == host).expect("a host of this lab");
        format!("192.0.2.{}", index + 1)
    }

    /// A command that runs on a host.
    #[must_use]
    pub fn command(&self, host: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program);
        command
    }

    /// Bytes that a host's link has carried, received and sent.
    ///
    /// # Panics
    /// When the link has no counters.
    #[must_use]
    pub fn link_bytes(&self, host: &str) -> (u64, u64) {
        let read = |name: &str| -> u64 {
            let path = format!("/sys/class/net/eth0/statistics/{name}");
            let output = self.command(host, Path::new("cat")).arg(path).output();
            let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
            text.ok().and_then(|t| t.parse().ok()).expect("a link has counters")
        };
        (read("rx_bytes"), read("tx_bytes"))
    }

    /// Narrows what a host's link sends, in bits per second; `None` opens it again.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn limit_sending(&self, host: &str, bits_per_s: Option<u64>) {
        let tc = Path::new("tc");
        let _ = self.command(host, tc).args(["qdisc", "del", "dev", "eth0", "root"]).output();
        if let Some(rate) = bits_per_s {
            let rate = format!("{rate}bit");
            let mut command = self.command(host, tc);
            command.args(["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate]);
            let output = command.args(["burst", "16kb", "latency", "200ms"]).output();
            assert!(output.is_ok_and(|o| o.status.success()), "tc tbf was refused");
        }
    }

    /// Gives a host another address, in the same network, in place of all that it has.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_address(&self, host: &str, address: &str) {
        let namespace = self.namespace(host);
        self.must(&["-n", &namespace, "addr", "flush", "dev", "eth0", "scope", "global"]);
        let address = format!("{address}/24");
        self.must(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
        ip(&["-n", &namespace, "route", "add", "default", "dev", "eth0"]);
    }

    /// Cuts or restores a host's link.
    pub fn set_link(&self, host: &str, up: bool) {
        let state = if up { "up" } else { "down" };
        self.must(&["-n", &self.namespace(host), "link", "set", "eth0", state]);
        if up {
            ip(&["-n", &self.namespace(host), "route", "add", "default", "dev", "eth0"]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["switch"]) {
            ip(&["netns", "del", &self.namespace(host)]);
        }
    }
}
