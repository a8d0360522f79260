//! The centre: CMU, SCU and two MTUs on their own addresses, over a NATS server.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::{Process, bin, tool, wait_for};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{
    space::Space,
    wan::{CENTRE, peer_networks},
};

/// A number that no operator gives out.
pub const PHONE: &str = "+8613800138000";
/// How long a unit may take to come up.
const START: Duration = Duration::from_secs(30);
const NATS: &str = "nats://127.0.0.1:4222";

/// The centre's processes.
#[derive(Debug)]
pub struct Centre {
    /// Relays, by number.
    pub mtus: [Option<Process>; 2],
    // Whoever speaks over the bus ends before it.
    _scu: Process,
    _cmu: Process,
    _nats: Process,
    folder: PathBuf,
}

impl Centre {
    /// Starts everything on the centre's host; `None` when there is no NATS server.
    ///
    /// # Panics
    /// When a unit does not come up.
    #[must_use]
    pub fn start(host: &Space, folder: &Path) -> Option<Self> {
        let mut nats = host.command(&tool("nats-server")?);
        nats.args(["-a", "127.0.0.1", "-p", "4222"]).stderr(std::process::Stdio::null());
        let nats = Process::start(&mut nats);
        wait_for_tcp(host, Ipv4Addr::LOCALHOST, 4222, "the NATS server");
        host.nft(&counters());
        certificates(folder);
        configurations(folder);
        let cmu = unit(host, folder, "cmu");
        wait_for_tcp(host, CENTRE[0].1, 443, "the CMU");
        let mtus = ["mtu1", "mtu2"].map(|name| Some(unit(host, folder, name)));
        let scu = unit(host, folder, "scu");
        wait_for_tcp(host, CENTRE[1].1, 443, "the SCU");
        wait_for_tcp(host, CENTRE[2].1, 443, "the first MTU");
        wait_for_tcp(host, CENTRE[4].1, 443, "the second MTU");
        Some(Self { mtus, _scu: scu, _cmu: cmu, _nats: nats, folder: folder.to_owned() })
    }

    /// Kills an MTU as a power failure does.
    ///
    /// # Panics
    /// When it has been killed before.
    pub fn kill_mtu(&mut self, number: usize) {
        let mut mtu = self.mtus[number].take().expect("alive");
        mtu.signal("KILL");
        mtu.wait(Duration::from_secs(5));
    }

    /// Starts it again.
    pub fn start_mtu(&mut self, host: &Space, number: usize) {
        self.mtus[number] = Some(unit(host, &self.folder, &format!("mtu{}", number + 1)));
        wait_for_tcp(host, CENTRE[2 + 2 * number].1, 443, "the MTU");
    }

    /// Bytes that each MTU has sent so far, whatever they were.
    #[must_use]
    pub fn relayed_bytes(&self, host: &Space) -> [u64; 2] {
        ["mtu1", "mtu2"].map(|name| host.counted("inet relays", name))
    }

    /// The portal.
    #[must_use]
    pub fn portal(&self) -> String {
        format!("https://{}", CENTRE[0].0)
    }

    /// The authority of all its certificates.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Where SMS go.
    #[must_use]
    pub fn sms_log(&self) -> PathBuf {
        self.folder.join("cmu/sms.log")
    }

    /// What a unit has logged.
    #[must_use]
    pub fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{unit}.log"))).unwrap_or_default()
    }
}

fn counters() -> String {
    let of = |number: usize| {
        let [own, other] = [CENTRE[2 * number].1, CENTRE[2 * number + 1].1];
        format!("ip saddr {{ {own}, {other} }} counter name mtu{number}")
    };
    format!(
        "table inet relays {{
    counter mtu1 {{ }}
    counter mtu2 {{ }}
    chain out {{
        type filter hook output priority filter
        {}
        {}
    }}
}}",
        of(1),
        of(2)
    )
}

fn wait_for_tcp(host: &Space, address: Ipv4Addr, port: u16, what: &str) {
    wait_for(what, START, || host.enter(|| TcpStream::connect((address, port)).ok()));
}

fn unit(host: &Space, folder: &Path, name: &str) -> Process {
    let log = fs::File::create(folder.join(format!("{name}.log"))).expect("a log");
    let program = bin(name.trim_end_matches(|c: char| c.is_ascii_digit()));
    let mut command = host.command(&program);
    command.arg("--config").arg(folder.join(format!("{name}.toml"))).current_dir(folder);
    let filter = std::env::var("TEST_CENTRE_LOG").unwrap_or_else(|_| "info".into());
    Process::start(command.env("SIGHTLINE_LOG", filter).stderr(log))
}

/// An authority, and one certificate for all that the centre is called.
fn certificates(folder: &Path) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.distinguished_name.push(DnType::CommonName, "The lab's authority");
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("an authority").pem();
    let issuer = Issuer::new(ca, ca_key);
    let names = CENTRE.iter().flat_map(|(name, ip)| [(*name).to_owned(), ip.to_string()]);
    let leaf = CertificateParams::new(names.collect::<Vec<_>>()).expect("names");
    let key = KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("written");
    write("ca.pem", ca_pem);
    write("chain.pem", leaf.pem());
    write("key.pem", key.serialize_pem());
    write("turn.secret", "a lab's own relay secret, long enough".into());
}

fn configurations(folder: &Path) {
    let write = |name: &str, text: String| {
        fs::write(folder.join(format!("{name}.toml")), text).expect("written");
    };
    let [portal, scu, ..] = CENTRE;
    let tls = "certificate_file = \"chain.pem\"\nkey_file = \"key.pem\"\n";
    // Every cell signs in and plays.
    let often = "{ count = 100000, per_s = 60 }";
    let limits: String = [
        "sms_per_number",
        "sms_per_address",
        "sms_per_network",
        "sms_total",
        "sign_in_per_number",
        "sign_in_per_address",
        "bind_per_user",
        "bind_per_address",
        "not_found_per_user",
        "play_per_user",
    ]
    .map(|key| format!("{key} = {often}\n"))
    .concat();
    // A portal that has just been built, in place of the one in the program.
    let portal_dir = std::env::var("TEST_PORTAL").map(|dir| format!("portal_dir = {dir:?}\n"));
    let portal_dir = portal_dir.unwrap_or_default();
    write(
        "cmu",
        format!(
            "listen = \"{}:443\"\nadmin_listen = \"\"\npublic_url = \"https://{}\"\n\
             data_dir = \"cmu\"\ndomain = \"test.example\"\napproval = \"automatic\"\n{portal_dir}\
             [tls]\n{tls}[bus]\nurl = \"{NATS}\"\n[limits]\n{limits}",
            portal.1, portal.0
        ),
    );
    write(
        "scu",
        format!(
            "domain = \"test.example\"\nid = \"scu1\"\npublic_url = \"wss://{}\"\n\
             bus_url = \"{NATS}\"\nquic_listen = \"{}:7443\"\nhttp_listen = \"{}:443\"\n\
             [tls]\n{tls}[turn]\nsecret_file = \"turn.secret\"\n",
            scu.0, scu.1, scu.1
        ),
    );
    for number in [1, 2] {
        write(&format!("mtu{number}"), relay(number, tls));
    }
}

fn relay(number: usize, tls: &str) -> String {
    let ((name, address), (_, alternate)) = (CENTRE[2 * number], CENTRE[2 * number + 1]);
    format!(
        "domain = \"test.example\"\nid = \"mtu{number}\"\nbus_url = \"{NATS}\"\n\
         secret_file = \"turn.secret\"\npublic_name = \"{name}\"\n{tls}\
         udp_listen = \"{address}:3478\"\nalternate_ip = \"{alternate}\"\n\
         tcp_listen = [\"{address}:3478\", \"{address}:443\"]\nworkers = 1\n\
         allow_peers = {:?}\n",
        peer_networks()
    )
}
