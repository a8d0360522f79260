//! One end: a premises unit with a synthetic camera.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use e2e::{Process, bin, wait_for};

use crate::{network::Network, wan::CENTRE};

/// How long registration may take, with all its detours.
const REGISTERS: Duration = Duration::from_secs(40);
/// How long it may measure.
const MEASURES: Duration = Duration::from_secs(20);

/// A running agent in its network.
#[derive(Debug)]
pub struct Camera {
    // Ends before its network.
    agent: Process,
    /// What people call it.
    pub name: String,
    /// Takes possession of it.
    pub claim_code: String,
    /// Where it is.
    pub network: Network,
    log: PathBuf,
    config: PathBuf,
}

impl Camera {
    /// Starts the agent in a network, and waits until it has registered.
    ///
    /// # Panics
    /// When it does not register.
    #[must_use]
    pub fn start(network: Network, folder: &Path) -> Self {
        let name = network.kind.name().to_owned();
        let own = folder.join(format!("pu-{name}"));
        let config = folder.join(format!("pu-{name}.toml"));
        let [_, (scu, _), ..] = CENTRE;
        let text = format!(
            "data_dir = {own:?}\ncentre_ca = {:?}\n\
             [[scu]]\nquic = \"{scu}:7443\"\nwebsocket = \"wss://{scu}/ps/v1\"\n\
             [[camera]]\nname = \"{name}\"\nsource = \"synthetic\"\n",
            folder.join("ca.pem"),
        );
        fs::write(&config, text).expect("written");
        let claim_code = claim_code(&network, &config);
        let log = folder.join(format!("pu-{name}.log"));
        let agent = run(&network, &config, &log);
        let camera = Self { agent, name, claim_code, network, log, config };
        camera.wait_registered();
        camera.wait_measured();
        camera
    }

    /// Starts the agent anew, and waits until it has registered, but not until it has measured.
    ///
    /// # Panics
    /// When it does not end, or does not register.
    pub fn restart(&mut self) {
        self.agent.stop();
        self.agent = run(&self.network, &self.config, &self.log);
        self.wait_registered();
    }

    fn wait_registered(&self) {
        wait_for("the registration", REGISTERS, || self.log().contains("registered").then_some(()));
    }

    /// A camera has stood where it stands for longer than it takes to measure its NATs: waits for
    /// the report, which comes a few seconds after the registration where a relay is known.
    fn wait_measured(&self) {
        let begun = Instant::now();
        while !self.log().contains("to=\"SCU\" nat") && begun.elapsed() < MEASURES {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// What the agent has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }
}

impl Drop for Camera {
    /// Leaves the log behind where `TEST_KEEP_LOGS` says, for whoever looks for a cause.
    fn drop(&mut self) {
        if let Some(folder) = std::env::var_os("TEST_KEEP_LOGS") {
            let _ = fs::create_dir_all(&folder);
            let _ = fs::copy(&self.log, Path::new(&folder).join(format!("pu-{}.log", self.name)));
        }
    }
}

fn run(network: &Network, config: &Path, log: &Path) -> Process {
    let file = fs::File::create(log).expect("a log");
    let mut agent = network.command(&bin("pu-agent"));
    agent.args(["run", "--config"]).arg(config).stderr(file);
    let filter = std::env::var("TEST_AGENT_LOG").unwrap_or_else(|_| "info".into());
    let filter = format!("{filter},sightline::flow=debug");
    Process::start(agent.env("SIGHTLINE_LOG", filter).env("NO_COLOR", "1"))
}

fn claim_code(network: &Network, config: &Path) -> String {
    let mut command = network.command(&bin("pu-agent"));
    let output = command.arg("claim-code").arg("--config").arg(config).output();
    let output = output.expect("pu-agent runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 44 characters in groups of four.
    let is_code = |word: &&str| word.len() == 54 && word.matches('-').count() == 10;
    let code = text.split_whitespace().find(is_code).map(str::to_owned);
    let errors = String::from_utf8_lossy(&output.stderr);
    code.unwrap_or_else(|| panic!("no claim code in:\n{text}\n{errors}"))
}
