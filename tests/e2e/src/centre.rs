//! CMU, SCU, MTU and PU agent as processes of their own, over a NATS server.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    process::{Process, bin, free_port, tool, wait_for},
    trace::{self, Sent},
};

/// What the units are called in [`Centre::log`].
pub const UNITS: [&str; 5] = ["cmu", "scu", "mtu", "pu-agent", "nvr"];

/// How long a unit may take to come up.
const START: Duration = Duration::from_secs(20);

/// A centre of separate processes, and a PU with a synthetic camera.
#[derive(Debug)]
pub struct Centre {
    // Dropped in this order: whoever speaks over the bus goes before it.
    /// The PU agent.
    pub pu: Process,
    /// See `pu`.
    pub scu: Process,
    /// See `pu`.
    pub mtu: Process,
    /// See `pu`.
    pub cmu: Process,
    /// The bus.
    pub nats: Process,
    /// Where everything is kept.
    pub data: tempfile::TempDir,
    /// The portal.
    pub portal: String,
    /// The claim code of the PU.
    pub claim_code: String,
    /// Ports, by what they are for.
    pub ports: Ports,
    settings: Vec<Setting>,
}

/// A key of a unit's configuration, set by its environment: `("cmu", "SIGHTLINE_TOKENS__PLAY_S",
/// "30")`.
type Setting = (&'static str, &'static str, String);

/// Where in each unit's log somebody stopped reading.
#[derive(Debug, Clone)]
pub struct Mark([usize; UNITS.len()]);

/// Another PU of the same centre.
#[derive(Debug)]
pub struct SecondPu {
    /// The process.
    pub process: Process,
    /// Its claim code.
    pub claim_code: String,
    /// Where it serves RTSP.
    pub rtsp: u16,
}

/// An NVR of the same centre.
#[derive(Debug)]
pub struct Nvr {
    /// The process.
    pub process: Process,
    /// Its claim code.
    pub claim_code: String,
    /// Its device id.
    pub id: String,
    /// The folder of its recordings.
    pub disk: PathBuf,
    /// Where it serves its figures.
    pub admin: u16,
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
        Self::start_with(&[])
    }

    /// Starts all of them with settings of their own; `None` when there is no NATS server.
    ///
    /// # Panics
    /// When a unit does not come up.
    #[must_use]
    pub fn start_with(settings: &[(&'static str, &'static str, &str)]) -> Option<Self> {
        let settings: Vec<Setting> =
            settings.iter().map(|(unit, key, value)| (*unit, *key, (*value).to_owned())).collect();
        let nats_server = tool("nats-server")?;
        let data = tempfile::tempdir().expect("a temporary folder");
        let ports = Ports::free();
        let mut nats = Command::new(nats_server);
        nats.args(["-a", "127.0.0.1", "-p", &ports.nats.to_string()]).stderr(Stdio::null());
        let nats = Process::start(&mut nats);
        wait_for_port("the NATS server", ports.nats);

        write_configurations(data.path(), &ports);
        let start = |name| unit(data.path(), name, &settings);
        let cmu = start("cmu");
        wait_for_port("the CMU", ports.portal);
        let mtu = start("mtu");
        let scu = start("scu");
        wait_for_port("the SCU", ports.cs);
        let claim_code = claim_code(data.path(), "pu-agent");
        let pu = start("pu-agent");
        wait_for_port("the PU agent", ports.rtsp);
        let portal = format!("http://localhost:{}", ports.portal);
        Some(Self { data, portal, claim_code, ports, nats, cmu, scu, mtu, pu, settings })
    }

    /// Starts another PU, with a key and a camera of its own.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn second_pu(&self) -> SecondPu {
        let (name, rtsp) = ("pu-agent-2", free_port());
        let first = fs::read_to_string(self.data.path().join("pu-agent.toml")).expect("written");
        let Ports { rtsp: first_rtsp, quic, webrtc, pu_admin, .. } = self.ports;
        let text = first
            .replace("data_dir = \"pu\"", "data_dir = \"pu2\"")
            .replace("name = \"Yard\"", "name = \"Gate\"")
            .replace(&format!(":{first_rtsp}\""), &format!(":{rtsp}\""));
        let text = [quic, webrtc, pu_admin]
            .iter()
            .fold(text, |text, port| text.replace(&format!(":{port}\""), ":0\""));
        fs::write(self.data.path().join(format!("{name}.toml")), text).expect("written");
        let claim_code = claim_code(self.data.path(), name);
        let process = unit(self.data.path(), name, &self.settings);
        wait_for_port("the second PU agent", rtsp);
        SecondPu { process, claim_code, rtsp }
    }

    /// Starts an NVR without cameras of its own, or starts it anew.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn nvr(&self) -> Nvr {
        self.nvr_with("")
    }

    /// Starts an NVR with cameras of its own, as its configuration names them.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn nvr_with(&self, cameras: &str) -> Nvr {
        let data = self.data.path();
        let disk = data.join("nvr-disk");
        fs::create_dir_all(&disk).expect("a folder");
        let Ports { portal, ps, cs, .. } = self.ports;
        let (rtsp, admin) = (free_port(), free_port());
        let text = format!(
            "data_dir = \"nvr\"\ncentre_ca = \"scu/ca.pem\"\nannounce_loopback = true\n\
             portal = \"http://localhost:{portal}\"\n\
             [[scu]]\nquic = \"localhost:{ps}\"\nwebsocket = \"ws://localhost:{cs}/ps/v1\"\n\
             [recording]\ndir = \"{}\"\n\
             [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[quic]\nlisten = \"127.0.0.1:0\"\n\
             [webrtc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:{admin}\"\n\
             [telemetry]\nformat = \"json\"\n{cameras}",
            disk.display()
        );
        fs::write(data.join("nvr.toml"), text).expect("written");
        let claim_code = claim_code(data, "nvr");
        // It begins with the id: 26 characters, in groups of four.
        let id: String = claim_code.chars().filter(|c| *c != '-').take(26).collect();
        let process = unit(data, "nvr", &self.settings);
        wait_for_port("the NVR", rtsp);
        Nvr { process, claim_code, id, disk, admin }
    }

    /// Marks this moment in all logs.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(UNITS.map(|unit| self.log(unit).len()))
    }

    /// The beginning of all logs.
    #[must_use]
    pub const fn mark_start(&self) -> Mark {
        Mark([0; UNITS.len()])
    }

    /// What was sent between the units since then, by time.
    #[must_use]
    pub fn trace_since(&self, mark: &Mark) -> Vec<Sent> {
        let read = |(unit, from): (&str, &usize)| {
            // A line that is being written is read the next time.
            trace::read(self.log(unit).get(*from..).unwrap_or_default())
        };
        let mut sent: Vec<Sent> = UNITS.into_iter().zip(&mark.0).flat_map(read).collect();
        sent.sort();
        sent
    }

    /// The device id, which the claim code begins with.
    #[must_use]
    pub fn pu_id(&self) -> String {
        let found = trace::read(&self.log("scu"));
        let register = found.into_iter().find(|sent| sent.hop == "Sc SCU>CMU register");
        register.map(|sent| sent.about).unwrap_or_default()
    }

    /// Waits until the PU is registered.
    ///
    /// # Panics
    /// After 15 s.
    pub fn wait_registered(&self, mark: &Mark) {
        wait_for("the registration", Duration::from_secs(15), || {
            self.trace_since(mark).iter().any(|s| s.hop == "Ps SCU>PU registered").then_some(())
        });
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
    /// When it is no unit of this centre.
    pub fn restart(&mut self, name: &str) {
        self.process(name).stop();
        let anew = unit(self.data.path(), name, &self.settings);
        *self.process(name) = anew;
    }

    /// `kill -9` of a unit, which is started anew after that by [`Centre::restart`].
    ///
    /// # Panics
    /// When it is no unit of this centre.
    pub fn kill(&mut self, name: &str) {
        self.process(name).kill();
    }

    /// Waits until the portal answers again.
    ///
    /// # Panics
    /// When the CMU does not come up.
    pub fn wait_portal(&self) {
        wait_for_port("the CMU", self.ports.portal);
    }

    fn process(&mut self, name: &str) -> &mut Process {
        match name {
            "cmu" => &mut self.cmu,
            "scu" => &mut self.scu,
            "mtu" => &mut self.mtu,
            "pu-agent" => &mut self.pu,
            other => panic!("no unit is called {other}"),
        }
    }
}

fn wait_for_port(what: &str, port: u16) {
    wait_for(what, START, || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// Starts a unit with its configuration, its log in JSON in a file.
fn unit(data: &Path, name: &str, settings: &[Setting]) -> Process {
    let log = data.join(format!("{name}.log"));
    let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
    let is_pu = name.starts_with("pu-agent");
    let mut command = Command::new(bin(if is_pu { "pu-agent" } else { name }));
    if is_pu || name == "nvr" {
        command.arg("run");
    }
    let own = settings.iter().filter(|(unit, ..)| *unit == name);
    command.envs(own.map(|(_, key, value)| (*key, value)));
    command.arg("--config").arg(data.join(format!("{name}.toml")));
    command.env("SIGHTLINE_LOG", "info,sightline::flow=debug").stderr(log).current_dir(data);
    Process::start(&mut command)
}

pub(crate) fn claim_code(data: &Path, name: &str) -> String {
    let config = data.join(format!("{name}.toml"));
    let mut command = Command::new(bin(if name == "nvr" { "nvr" } else { "pu-agent" }));
    command.current_dir(data);
    let output = command.arg("claim-code").arg("--config").arg(config).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // 44 characters in groups of four.
    let is_code = |word: &&str| word.len() == 54 && word.matches('-').count() == 10;
    let code = text.split_whitespace().find(is_code).map(str::to_owned);
    code.unwrap_or_else(|| panic!("no claim code in:\n{text}"))
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
