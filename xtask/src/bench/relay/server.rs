//! The servers, each started afresh for every measurement.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::bail;

use super::super::process::{Process, free_port, wait_for_port};
use crate::run::{command, output, root};

/// Signs the credentials of the benchmark.
pub const SECRET: &str = "the benchmark's own relay secret";
const REALM: &str = "bench";

/// Relayed addresses are on these; a hundred thousand need more ports than one address has.
const RELAYS: [&str; 4] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
/// Ports of relays on each of them.
const PORTS: (u16, u16) = (20_000, 65_000);

/// How long a server may take to come up.
const START: Duration = Duration::from_secs(20);
/// A Binding request (RFC 8489 section 5).
const BINDING: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42sightline-bm";

/// What all servers share.
pub struct Bed {
    data: PathBuf,
    binaries: PathBuf,
    bus: u16,
    _nats: Process,
}

impl Bed {
    pub fn start(binaries: &Path) -> anyhow::Result<Self> {
        let data = std::env::temp_dir().join(format!("sightline-relays-{}", std::process::id()));
        fs::create_dir_all(&data)?;
        fs::write(data.join("turn.secret"), SECRET)?;
        if command("nats-server").arg("--version").output().is_err() {
            bail!("nats-server is missing: `cargo xtask setup` installs it");
        }
        let bus = free_port()?;
        let mut nats = command("nats-server");
        nats.args(["-a", "127.0.0.1", "-p", &bus.to_string(), "-l"]).arg(data.join("nats.log"));
        let nats = Process::start(&mut nats)?;
        wait_for_port("nats-server", bus)?;
        Ok(Self { data, binaries: binaries.to_owned(), bus, _nats: nats })
    }

    /// The load generator.
    pub fn load(&self) -> Command {
        with_files(&self.binaries.join("load-relay"))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// A program that is measured.
pub struct Server {
    pub name: String,
    pub version: String,
    kind: Kind,
    path: PathBuf,
}

enum Kind {
    Ours,
    Coturn { batching: bool },
    TurnCrate,
    Limit { threads: usize },
}

/// A server that runs.
pub struct Running {
    pub process: Process,
    pub address: SocketAddr,
}

impl Server {
    pub fn ours(bed: &Bed) -> Self {
        let version = output(command("git").args(["describe", "--always", "--dirty"]));
        let version = version.map_or_else(|_| "?".into(), |v| v.trim().to_owned());
        Self { name: "sightline".into(), version, kind: Kind::Ours, path: bed.binaries.join("mtu") }
    }

    pub fn coturn(name: String, path: PathBuf) -> anyhow::Result<Self> {
        let version = output(command(&path).arg("--version"))?;
        let help = command(&path).arg("--help").output()?;
        let help = [help.stdout, help.stderr].concat();
        let batching = String::from_utf8_lossy(&help).contains("--multiplex-peer");
        let mut version = format!("coturn {}", version.lines().last().unwrap_or("?").trim());
        if batching {
            version += " --multiplex-peer --udp-gso";
        }
        Ok(Self { name, version, kind: Kind::Coturn { batching }, path })
    }

    pub fn turn_crate(bed: &Bed) -> Self {
        let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
        let version = lock.split("name = \"turn\"\nversion = \"").nth(1);
        let version = version.and_then(|rest| rest.split('"').next()).unwrap_or("?");
        let version = format!("`turn` {version}, its server");
        let path = bed.binaries.join("load-turn-crate");
        Self { name: "turn-crate".into(), version, kind: Kind::TurnCrate, path }
    }

    /// The bare forwarder: with one thread, and with as many as the MTU has workers here.
    pub fn limits(bed: &Bed) -> Vec<Self> {
        let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let limit = |name: &str, threads: usize, words: &str| Self {
            name: name.into(),
            version: words.into(),
            kind: Kind::Limit { threads },
            path: bed.binaries.join("load-forwarder"),
        };
        let bare = "a bare forwarder with GRO and GSO: no TURN, no check, fixed ways; one thread";
        let same = "the same with as many threads as the MTU has workers";
        let mut limits = vec![limit("limit", 1, bare)];
        if all > 1 {
            limits.push(limit("limit-threads", all, same));
        }
        limits
    }

    pub const fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours)
    }

    /// Whether it is only the bare forwarder.
    pub const fn is_limit(&self) -> bool {
        matches!(self.kind, Kind::Limit { .. })
    }

    /// Starts it, with relays on the first `addresses` of ours. `shared` lets a coturn that can do so
    /// have one relayed address for all, which is how it batches; it then refuses two allocations
    /// that are each other's peers.
    pub fn start(&self, bed: &Bed, addresses: usize, shared: bool) -> anyhow::Result<Running> {
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut program = with_files(&self.path);
        let relays = &RELAYS[..addresses];
        match self.kind {
            Kind::Ours => {
                let file = bed.data.join("mtu.toml");
                fs::write(&file, mtu_configuration(bed, address, relays))?;
                program.arg("--config").arg(file);
            }
            Kind::Coturn { batching } => {
                program.args(coturn_words(bed, port, relays));
                if batching && shared {
                    program.args(["--multiplex-peer", "--udp-gso"]);
                    program.arg(format!("--multiplex-peer-port={}", free_port()?));
                }
            }
            Kind::TurnCrate => {
                program.args(["--listen", &address.to_string(), "--secret", SECRET]);
                program.args(["--realm", REALM]);
                program.args(relays.iter().flat_map(|relay| ["--relay", relay]));
            }
            Kind::Limit { threads } => {
                program.args(["--listen", &address.to_string()]);
                program.args(["--threads", &threads.to_string()]);
            }
        }
        let log = fs::File::create(bed.data.join(format!("{}.log", self.name)))?;
        let process = Process::start(program.stderr(log).current_dir(&bed.data))?;
        if !self.is_limit() {
            wait_for_stun(&self.name, address)?;
        }
        Ok(Running { process, address })
    }
}

/// A program that may open as many files as this user may allow it.
fn with_files(path: &Path) -> Command {
    let mut shell = command("sh");
    let words = "ulimit -n 1048576 2>/dev/null || ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\"";
    shell.arg("-c").arg(words).arg(path);
    shell
}

fn mtu_configuration(bed: &Bed, listen: SocketAddr, relays: &[&str]) -> String {
    let (bus, (first, last)) = (bed.bus, PORTS);
    format!(
        "domain = \"bench.example\"\nbus_url = \"nats://127.0.0.1:{bus}\"\n\
         udp_listen = \"{listen}\"\nalternate_port = 0\nrelay_addresses = {relays:?}\n\
         relay_ports = [{first}, {last}]\nrealm = \"{REALM}\"\nsecret_file = \"turn.secret\"\n\
         max_allocations = 200000\nnewcomers_per_s = 1000000\nallow_peers = [\"127.0.0.0/8\"]\n\
         [telemetry]\nfilter = \"warn\"\n"
    )
}

fn coturn_words(bed: &Bed, port: u16, relays: &[&str]) -> Vec<String> {
    let data = bed.data.display();
    let (first, last) = PORTS;
    let mut words = vec![
        "-n".into(),
        "--listening-ip=127.0.0.1".into(),
        format!("--listening-port={port}"),
        format!("--min-port={first}"),
        format!("--max-port={last}"),
        "--lt-cred-mech".into(),
        "--use-auth-secret".into(),
        format!("--static-auth-secret={SECRET}"),
        format!("--realm={REALM}"),
        "--allow-loopback-peers".into(),
        // What it has beside UDP is switched off, so that it costs nothing.
        "--no-cli".into(),
        "--no-tcp".into(),
        "--no-tls".into(),
        "--no-dtls".into(),
        "--no-tcp-relay".into(),
        "--simple-log".into(),
        format!("--log-file={data}/turnserver.log"),
        format!("--userdb={data}/turn.db"),
        format!("--pidfile={data}/turnserver.pid"),
    ];
    words.extend(relays.iter().map(|relay| format!("--relay-ip={relay}")));
    words
}

fn wait_for_stun(name: &str, address: SocketAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let until = Instant::now() + START;
    while Instant::now() < until {
        socket.send_to(&BINDING, address)?;
        if socket.recv(&mut [0; 1_500]).is_ok() {
            return Ok(());
        }
    }
    bail!("{name} did not come up")
}
