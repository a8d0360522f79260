//! One network namespace: a host or a router.

use std::{
    fs,
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Once,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What every namespace of this lab is called, before the process's id.
const PREFIX: &str = "slnat";

/// Whether this process may make namespaces and has `nft`; says so loudly when it has not.
#[must_use]
pub fn lab_allowed() -> bool {
    e2e::namespaces_allowed() && e2e::tool("nft").is_some() && e2e::tool("conntrack").is_some()
}

/// A namespace; deleted when dropped.
#[derive(Debug)]
pub struct Space {
    name: String,
}

impl Space {
    /// Makes one. `name` has to be unique in this process.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static LEFTOVERS: Once = Once::new();
        LEFTOVERS.call_once(delete_leftovers);
        let space = Self { name: format!("{PREFIX}{}-{name}", std::process::id()) };
        // Programs in it find their names here (ip-netns(8)).
        fs::create_dir_all(space.etc()).expect("/etc/netns can be written");
        ip(&["netns", "add", &space.name]);
        space.ip(&["link", "set", "lo", "up"]);
        // Addresses are valid at once, not a second or two later: browsers take that for a change of
        // network and break off what they are doing.
        if Path::new("/proc/sys/net/ipv6").exists() {
            space.sysctl("net/ipv6/conf/default/accept_dad", "0");
        }
        space
    }

    /// Its name, for `ip -n`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs in it.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(e2e::tool("ip").expect("iproute2 is installed"));
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip` for it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", self.name.as_str()], arguments].concat());
    }

    /// Runs a function on a thread inside; sockets that it makes stay inside.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let handle = fs::File::open(Path::new("/run/netns").join(&self.name));
        let handle = handle.expect("a namespace has a handle");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("the lab may enter its own namespaces");
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a variable below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub fn sysctl(&self, path: &str, value: &str) {
        self.enter(|| {
            // What is below `net` belongs to the namespace of whoever opens it.
            let written = fs::write(Path::new("/proc/sys").join(path), value);
            written.unwrap_or_else(|e| panic!("sysctl {path}: {e}"));
        });
    }

    /// Makes a bridge, whose frames are none of netfilter's business.
    pub fn bridge(&self, device: &str) {
        self.ip(&["link", "add", device, "type", "bridge"]);
        self.ip(&["link", "set", device, "up"]);
        // There when the kernel's br_netfilter is loaded.
        if Path::new("/proc/sys/net/bridge").exists() {
            self.sysctl("net/bridge/bridge-nf-call-iptables", "0");
            self.sysctl("net/bridge/bridge-nf-call-ip6tables", "0");
        }
    }

    /// Loads rules into its netfilter.
    ///
    /// # Panics
    /// When the kernel refuses them.
    pub fn nft(&self, rules: &str) {
        let nft = e2e::tool("nft").expect("nftables is installed");
        let mut command = self.command(&nft);
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nft starts");
        child.stdin.take().expect("piped").write_all(rules.as_bytes()).expect("nft reads");
        let output = child.wait_with_output().expect("nft ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: nft refused:\n{errors}\n{rules}", self.name);
    }

    /// Bytes that a named counter of its netfilter has seen.
    ///
    /// # Panics
    /// When there is no such counter.
    #[must_use]
    pub fn counted(&self, table: &str, counter: &str) -> u64 {
        let nft = e2e::tool("nft").expect("nftables is installed");
        let mut command = self.command(&nft);
        command.args(["-j", "list", "counter"]).args(table.split(' ')).arg(counter);
        let output = command.output().expect("nft starts");
        let read: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        let found = read.and_then(|value| {
            let list = value["nftables"].as_array()?;
            list.iter().find_map(|entry| entry["counter"]["bytes"].as_u64())
        });
        found.unwrap_or_else(|| panic!("{}: no counter {counter}", self.name))
    }

    /// The rules of a chain of its netfilter, as `nft` lists them.
    ///
    /// # Panics
    /// When there is no such chain.
    #[must_use]
    pub fn chain(&self, table: &str, chain: &str) -> String {
        let nft = e2e::tool("nft").expect("nftables is installed");
        let mut command = self.command(&nft);
        command.args(["list", "chain"]).args(table.split(' ')).arg(chain);
        let output = command.output().expect("nft starts");
        assert!(output.status.success(), "{}: no chain {chain}", self.name);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Gives it an own file in `/etc`, such as `hosts`.
    pub fn etc_file(&self, name: &str, text: &str) {
        fs::write(self.etc().join(name), text).expect("/etc/netns can be written");
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// Connects it with another by a virtual cable; both ends are up.
    pub fn cable(&self, device: &str, other: &Self, other_device: &str) {
        let peer = ["type", "veth", "peer", "name", other_device, "netns", &other.name];
        self.ip(&[&["link", "add", device], peer.as_slice()].concat());
        self.ip(&["link", "set", device, "up"]);
        other.ip(&["link", "set", other_device, "up"]);
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// # Panics
/// When it fails.
fn ip(arguments: &[&str]) {
    let program = e2e::tool("ip").expect("iproute2 is installed");
    let output = Command::new(program).args(arguments).output().expect("ip starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {errors}", arguments.join(" "));
}

fn delete(name: &str) {
    if let Some(program) = e2e::tool("ip") {
        let _ = Command::new(program).args(["netns", "del", name]).output();
    }
    let _ = fs::remove_dir_all(Path::new("/etc/netns").join(name));
}

/// Namespaces of processes of this lab that are no more.
fn delete_leftovers() {
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    for name in names("/run/netns").into_iter().chain(names("/etc/netns")) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            end_processes(&name);
            delete(&name);
        }
    }
}

/// What a killed run has left running: nobody else is in its namespaces.
fn end_processes(name: &str) {
    let Some(program) = e2e::tool("ip") else { return };
    let Ok(output) = Command::new(program).args(["netns", "pids", name]).output() else { return };
    for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        let _ = Command::new("kill").args(["-KILL", pid]).status();
    }
}
