//! CMU, SCU, MTU and PU agent as processes of their own, over a NATS server.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::process::{Process, bin, free_port, tool, wait_for};

/// What the units are called in [`Centre::log`].
pub const UNITS: [&str; 4] = ["cmu", "scu", "mtu", "pu-agent"];

/// How long a unit may take to come up.
const START: Duration = Duration::from_secs(20);

/// A centre of separate processes, and a PU with a synthetic camera.
#[derive(Debug)]
pub struct Centre {
    /// Where everything is kept.
    pub data: tempfile::TempDir,
    /// The portal.
    pub portal: String,
    /// The claim code of the PU.
    pub claim_code: String,
    /// Ports, by what they are for.
    pub ports: Ports,
    /// The bus.
    pub nats: Process,
    /// The units.
    pub cmu: Process,
    /// See `cmu`.
    pub scu: Process,
    /// See `cmu`.
    pub mtu: Process,
    /// See `cmu`.
    pub pu: Process,
}

/// The ports of a [`Centre`].
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named after what listens there")]
pub struct Ports {
    pub nats: u16,
    pub portal: u16,
    pub ps: u16,
    pub cs: u16,
    pub turn: u16,
    pub rtsp: u16,
    pub quic: u16,
    pub webrtc: u16,
    pub pu_admin: u16,
}

impl Ports {
    fn free() -> Self {
        Self {
            nats: free_port(),
            portal: free_port(),
            ps: free_port(),
            cs: free_port(),
            turn: free_port(),
            rtsp: free_port(),
            quic: free_port(),
            webrtc: free_port(),
            pu_admin: free_port(),
        }
    }
}

impl Centre {
    /// Starts all of them; `None` when there is no NATS server on this machine.
    ///
    /// # Panics
    /// When a unit does not come up.
    #[must_use]
    pub fn start() -> Option<Self> {
        let nats_server = tool("nats-server")?;
        let data = tempfile::tempdir().expect("a temporary folder");
        let ports = Ports::free();
        let mut nats = Command::new(nats_server);
        nats.args(["-a", "127.0.0.1", "-p", &ports.nats.to_string()]).stderr(Stdio::null());
        let nats = Process::start(&mut nats);
        wait_for_port("the NATS server", ports.nats);

        write_configurations(data.path(), &ports);
        let cmu = unit(data.path(), "cmu");
        wait_for_port("the CMU", ports.portal);
        let mtu = unit(data.path(), "mtu");
        let scu = unit(data.path(), "scu");
        wait_for_port("the SCU", ports.cs);
        let (pu, claim_code) = start_pu(data.path(), ports.rtsp);
        let portal = format!("http://localhost:{}", ports.portal);
        Some(Self { data, portal, claim_code, ports, nats, cmu, scu, mtu, pu })
    }

    /// What a unit has logged so far.
    #[must_use]
    pub fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.data.path().join(format!("{unit}.log"))).unwrap_or_default()
    }

    /// Where the file gateway writes SMS.
    #[must_use]
    pub fn sms_log(&self) -> PathBuf {
        self.data.path().join("cmu/sms.log")
    }

    /// The SCU's own authority, which PUs and `cu` must trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.data.path().join("scu/ca.pem")
    }

    /// Ends a unit and starts it anew with the same configuration.
    ///
    /// # Panics
    /// When `name` is none of [`UNITS`].
    pub fn restart(&mut self, name: &str) {
        let process = match name {
            "cmu" => &mut self.cmu,
            "scu" => &mut self.scu,
            "mtu" => &mut self.mtu,
            "pu-agent" => &mut self.pu,
            other => panic!("no unit is called {other}"),
        };
        process.stop();
        *process = unit(self.data.path(), name);
    }
}

fn wait_for_port(what: &str, port: u16) {
    wait_for(what, START, || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// Starts a unit with its configuration, its log in JSON in a file.
fn unit(data: &Path, name: &str) -> Process {
    let log = data.join(format!("{name}.log"));
    let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
    let mut command = Command::new(bin(name));
    if name == "pu-agent" {
        command.arg("run");
    }
    command.arg("--config").arg(data.join(format!("{name}.toml")));
    command.env("SIGHTLINE_LOG", "info,sightline::flow=debug").stderr(log).current_dir(data);
    Process::start(&mut command)
}

fn start_pu(data: &Path, rtsp: u16) -> (Process, String) {
    let config = data.join("pu-agent.toml");
    let mut command = Command::new(bin("pu-agent"));
    let output = command.arg("claim-code").arg("--config").arg(config).output();
    let output = output.expect("pu-agent runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // 44 characters in groups of four.
    let is_code = |word: &&str| word.len() == 54 && word.matches('-').count() == 10;
    let code = text.split_whitespace().find(is_code).map(str::to_owned);
    let code = code.unwrap_or_else(|| panic!("no claim code in:\n{text}"));
    let pu = unit(data, "pu-agent");
    wait_for_port("the PU agent", rtsp);
    (pu, code)
}

fn write_configurations(data: &Path, ports: &Ports) {
    let write = |name: &str, text: String| {
        fs::write(data.join(format!("{name}.toml")), text).expect("a configuration is written");
    };
    let telemetry = "[telemetry]\nformat = \"json\"\n";
    fs::write(data.join("turn.secret"), "a test's own relay secret, long enough").expect("written");
    let Ports { nats, portal, ps, cs, turn, rtsp, quic, webrtc, pu_admin } = ports;
    write(
        "cmu",
        format!(
            "listen = \"127.0.0.1:{portal}\"\nadmin_listen = \"\"\n\
             public_url = \"http://localhost:{portal}\"\ndata_dir = \"cmu\"\n\
             domain = \"test.example\"\napproval = \"automatic\"\n\
             [bus]\nurl = \"nats://127.0.0.1:{nats}\"\n{telemetry}"
        ),
    );
    write(
        "scu",
        format!(
            "domain = \"test.example\"\nid = \"scu1\"\npublic_url = \"ws://localhost:{cs}\"\n\
             bus_url = \"nats://127.0.0.1:{nats}\"\nquic_listen = \"127.0.0.1:{ps}\"\n\
             http_listen = \"127.0.0.1:{cs}\"\n[tls]\nhttp = false\nauthority_dir = \"scu\"\n\
             [turn]\nsecret_file = \"turn.secret\"\n{telemetry}"
        ),
    );
    write(
        "mtu",
        format!(
            "domain = \"test.example\"\nbus_url = \"nats://127.0.0.1:{nats}\"\n\
             listen = \"127.0.0.1:{turn}\"\nsecret_file = \"turn.secret\"\n{telemetry}"
        ),
    );
    write(
        "pu-agent",
        format!(
            "data_dir = \"pu\"\ncentre_ca = \"scu/ca.pem\"\nannounce_loopback = true\n\
             portal = \"http://localhost:{portal}\"\n\
             [[scu]]\nquic = \"localhost:{ps}\"\nwebsocket = \"ws://localhost:{cs}/ps/v1\"\n\
             [[camera]]\nname = \"Yard\"\nsource = \"synthetic\"\n\
             [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[quic]\nlisten = \"127.0.0.1:{quic}\"\n\
             [webrtc]\nlisten = \"127.0.0.1:{webrtc}\"\n[http]\nlisten = \"127.0.0.1:{pu_admin}\"\n\
             {telemetry}"
        ),
    );
}
