//! A centre with several SCUs and MTUs, over NATS and PostgreSQL, from the files in
//! `infra/compose/`; and one PU that knows both SCUs.

#[path = "../../../cmu/storage/tests/postgres/mod.rs"]
mod postgres;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    centre::claim_code,
    compose::{self, Service, services},
    http::{Answer, http},
    process::{Process, bin, free_port, tool, wait_for},
    trace::{self, Sent},
};

const START: Duration = Duration::from_secs(30);

/// The centre and the PU. Its SCUs are `scu` and `scu-2`, its MTUs `mtu` and `mtu-2`, as the
/// Compose files call them.
#[derive(Debug)]
pub struct Several {
    // Dropped in this order: whoever speaks over the bus goes before it.
    pu: Process,
    units: Vec<(String, Process)>,
    _nats: Process,
    _postgres: postgres::Server,
    /// Where everything is kept.
    pub data: tempfile::TempDir,
    /// The portal.
    pub portal: String,
    /// The claim code of the PU.
    pub claim_code: String,
    /// The port of the bus.
    pub nats_port: u16,
    portal_port: u16,
    admin_ports: Vec<(String, u16)>,
}

/// Ports of an SCU: for PUs, and for CUs.
struct ScuPorts {
    ps: u16,
    cs: u16,
}

impl Several {
    /// Starts all of them, the PU at `scu-2`, and viewers' signalling at `scu`; `None` when NATS or
    /// PostgreSQL is not installed.
    ///
    /// # Panics
    /// When a unit does not come up.
    #[must_use]
    pub fn start() -> Option<Self> {
        let nats_server = tool("nats-server")?;
        let postgres = postgres::Server::start()?;
        let data = tempfile::tempdir().expect("a temporary folder");
        let (nats_port, portal_port) = (free_port(), free_port());
        let mut nats = Command::new(nats_server);
        nats.args(["-a", "127.0.0.1", "-p", &nats_port.to_string()]).stderr(Stdio::null());
        let nats = Process::start(&mut nats);
        wait_for_port("the NATS server", nats_port);
        let secrets = make_secrets(data.path(), &postgres.url());
        let portal = format!("http://localhost:{portal_port}");

        let all = services(&["compose.yaml", "several.yaml"]);
        let scus = [("scu", ports()), ("scu-2", ports())];
        let mut several = Self {
            pu: Process::start(&mut Command::new("true")),
            units: Vec::new(),
            _nats: nats,
            _postgres: postgres,
            portal,
            claim_code: String::new(),
            nats_port,
            portal_port,
            admin_ports: all.iter().map(|s| (s.name.clone(), free_port())).collect(),
            data,
        };
        for service in &all {
            several.start_unit(service, &secrets, &scus);
        }
        several.start_pu(&scus);
        Some(several)
    }

    fn start_unit(&mut self, service: &Service, secrets: &Path, scus: &[(&str, ScuPorts)]) {
        let own_data = self.data.path().join(format!("{}-data", service.name));
        fs::create_dir_all(&own_data).expect("a folder");
        let nats = format!("nats://127.0.0.1:{}", self.nats_port);
        let elsewhere = vec![
            ("nats://nats:4222".to_owned(), nats.clone()),
            ("nats://127.0.0.1:4222".to_owned(), nats),
            ("/run/secrets/".to_owned(), format!("{}/", secrets.display())),
            ("/data".to_owned(), own_data.display().to_string()),
            (public_ip_of_compose(), "127.0.0.1".to_owned()),
        ];
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut own = vec![("ADMIN_LISTEN", at(self.admin_port(&service.name)))];
        let ready = match scus.iter().find(|(name, _)| *name == service.name) {
            Some((_, ScuPorts { ps, cs })) => {
                own.extend([("QUIC_LISTEN", at(*ps)), ("HTTP_LISTEN", at(*cs))]);
                own.push(("PUBLIC_URL", format!("ws://localhost:{cs}")));
                *cs
            }
            None if service.name == "cmu" => {
                own.extend([("LISTEN", at(self.portal_port)), ("PUBLIC_URL", self.portal.clone())]);
                own.push(("APPROVAL", "automatic".to_owned()));
                // A test asks until it sees what it waits for.
                own.push(("LIMITS__PLAY_PER_USER__COUNT", "1000000".to_owned()));
                own.push(("LIMITS__PLAY_PER_USER__PER_S", "60".to_owned()));
                // As where one name stands for all SCUs: viewers are at another than the device.
                own.push(("SIGNAL_URL", format!("ws://localhost:{}", scus[0].1.cs)));
                self.portal_port
            }
            None => {
                let port = free_port();
                own.extend([("UDP_LISTEN", at(port)), ("TCP_LISTEN", at(port))]);
                port
            }
        };
        let process = service.start(self.data.path(), &elsewhere, &own);
        self.units.push((service.name.clone(), process));
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", ready)).is_err() {
            let late = begin.elapsed() > START;
            assert!(!late, "{} did not come up:\n{}", service.name, self.log(&service.name));
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// The PU knows both SCUs, and tries the second one first. It trusts the authority of each.
    fn start_pu(&mut self, scus: &[(&str, ScuPorts)]) {
        let data = self.data.path();
        let authorities = scus.iter().map(|(name, _)| {
            fs::read_to_string(data.join(format!("{name}-data/tls/ca.pem"))).expect("an authority")
        });
        fs::write(data.join("scus.pem"), authorities.collect::<String>()).expect("written");
        let scu = |(_, ScuPorts { ps, cs }): &(&str, ScuPorts)| {
            format!(
                "[[scu]]\nquic = \"localhost:{ps}\"\nwebsocket = \"ws://localhost:{cs}/ps/v1\"\n"
            )
        };
        let text = format!(
            "data_dir = \"pu\"\ncentre_ca = \"scus.pem\"\nannounce_loopback = true\n\
             portal = \"{}\"\n{}[[camera]]\nname = \"Yard\"\nsource = \"synthetic\"\n\
             [rtsp]\nlisten = \"127.0.0.1:0\"\n[quic]\nlisten = \"127.0.0.1:0\"\n\
             [webrtc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [telemetry]\nformat = \"json\"\n",
            self.portal,
            scus.iter().rev().map(scu).collect::<String>(),
        );
        let config = data.join("pu-agent.toml");
        fs::write(&config, text).expect("written");
        self.claim_code = claim_code(data, "pu-agent");
        let log = fs::File::create(data.join("pu-agent.log")).expect("a log file");
        let mut command = Command::new(bin("pu-agent"));
        command.args(["run", "--config"]).arg(config).current_dir(data).stderr(log);
        self.pu = Process::start(command.env("SIGHTLINE_LOG", "info,sightline::flow=debug"));
        wait_for("the PU at scu-2", START, || (self.pus_at("scu-2") == 1.0).then_some(()));
    }

    fn admin_port(&self, name: &str) -> u16 {
        let found = self.admin_ports.iter().find(|(of, _)| of == name);
        found.unwrap_or_else(|| panic!("no service is called {name}")).1
    }

    /// One of the units.
    ///
    /// # Panics
    /// When none is called so.
    pub fn unit(&mut self, name: &str) -> &mut Process {
        let found = self.units.iter_mut().find(|(of, _)| of == name);
        &mut found.unwrap_or_else(|| panic!("no service is called {name}")).1
    }

    /// A figure of a unit's metrics; 0 when it has none of that name.
    #[must_use]
    pub fn metric(&self, unit: &str, name: &str) -> f64 {
        let text = http(self.admin_port(unit), "GET", "/metrics", None, None).body;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }

    /// How many PUs an SCU speaks for.
    #[must_use]
    pub fn pus_at(&self, scu: &str) -> f64 {
        self.metric(scu, "sightline_scu_pus")
    }

    /// Asks the portal's API.
    #[must_use]
    pub fn api(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&serde_json::Value>,
    ) -> Answer {
        http(self.portal_port, method, &format!("/api/v1{path}"), Some(token), body)
    }

    /// Makes the owner of a number one of the operator's staff, as `docs/operations.md` says.
    ///
    /// # Panics
    /// When the CMU's program refuses.
    pub fn add_operator(&self, phone: &str) {
        let service = services(&["compose.yaml"]);
        let cmu = service.iter().find(|s| s.name == "cmu").expect("a CMU");
        let url = self.data.path().join("compose/secrets");
        let elsewhere = vec![
            ("/run/secrets/".to_owned(), format!("{}/", url.display())),
            ("/data".to_owned(), self.data.path().join("cmu-data").display().to_string()),
        ];
        let mut command = cmu.command(&elsewhere);
        let output = command.args(["operator", "add", phone]).current_dir(self.data.path());
        let output = output.output().expect("the CMU's program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What was sent by a unit so far.
    #[must_use]
    pub fn sent_by(&self, unit: &str) -> Vec<Sent> {
        trace::read(&self.log(unit))
    }

    /// What a unit has logged so far.
    #[must_use]
    pub fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.data.path().join(format!("{unit}.log"))).unwrap_or_default()
    }

    /// Where the file gateway writes SMS.
    #[must_use]
    pub fn sms_log(&self) -> PathBuf {
        self.data.path().join("cmu-data/sms.log")
    }
}

fn ports() -> ScuPorts {
    ScuPorts { ps: free_port(), cs: free_port() }
}

fn wait_for_port(what: &str, port: u16) {
    wait_for(what, START, || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// What `compose.yaml` says where the operator's own address belongs.
fn public_ip_of_compose() -> String {
    let text = fs::read_to_string(compose::folder().join("compose.yaml")).expect("Compose file");
    let from = text.find("${PUBLIC_IP").expect("the operator's own address");
    let to = text[from..].find('}').expect("its end");
    text[from..=from + to].to_owned()
}

/// Runs `make-secrets.sh` in a folder of the test's, and makes the database that its URL names.
fn make_secrets(data: &Path, server: &str) -> PathBuf {
    let folder = data.join("compose");
    fs::create_dir_all(&folder).expect("a folder");
    let script = folder.join("make-secrets.sh");
    fs::copy(compose::folder().join("make-secrets.sh"), &script).expect("copied");
    assert!(Command::new("sh").arg(&script).status().is_ok_and(|s| s.success()), "make-secrets.sh");
    let secrets = folder.join("secrets");
    let password = fs::read_to_string(secrets.join("database-password")).expect("a password");
    for statement in [
        format!("CREATE ROLE sightline LOGIN PASSWORD '{password}'"),
        "CREATE DATABASE sightline OWNER sightline".to_owned(),
    ] {
        let done = Command::new("psql").args([server, "-q", "-c", &statement]).status();
        assert!(done.is_ok_and(|status| status.success()), "psql");
    }
    // The test's server is reached by a socket in a folder.
    let (_, host) = server.split_once('@').expect("a user");
    let host = host.split('/').next().unwrap_or_default();
    let url = fs::read_to_string(secrets.join("database-url")).expect("a URL");
    let url = url.replace("@postgres/", &format!("@{host}/"));
    fs::write(secrets.join("database-url"), url).expect("written");
    secrets
}
