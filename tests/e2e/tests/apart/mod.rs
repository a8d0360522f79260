//! Centre, agent and viewer as three hosts of a [`Lab`]: the demo's centre, an agent with a
//! configuration of its own, a browser or `cu`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{Lab, Process, bin, chromium, root, tool, wait_for};
use serde_json::Value;

/// A number that no operator gives out.
const PHONE: &str = "+8613800138000";

/// The three of them, running.
pub struct Apart {
    pub lab: Lab,
    pub claim_code: String,
    pub data: tempfile::TempDir,
    _agent: Process,
    _centre: Process,
}

impl Apart {
    /// Starts centre and agent; `prepare` may change the network between the two.
    pub fn start(prepare: impl FnOnce(&Lab)) -> Self {
        let lab = Lab::new(&["centre", "agent", "viewer"]);
        let data = tempfile::tempdir().expect("a temporary folder");
        let address = lab.address("centre");
        let mut centre = lab.command("centre", &bin("sightline"));
        centre.args(["demo", "--json", "--no-camera", "--public", &address]);
        centre.args(["--https", &format!("{address}:8443"), "--data"]).arg(data.path());
        let mut centre = Process::start(&mut centre);
        let info: Value =
            centre.line(Duration::from_secs(20), |line| serde_json::from_str(line).ok());
        prepare(&lab);

        let told = |pointer| info.pointer(pointer).and_then(Value::as_str).expect("told");
        let config = data.path().join("agent.toml");
        let text = format!(
            "data_dir = {:?}\ncentre_ca = {:?}\n[[scu]]\nquic = {:?}\nwebsocket = {:?}\n\
             [[camera]]\nname = \"Yard\"\nsource = \"synthetic\"\n",
            data.path().join("pu"),
            told("/ca"),
            told("/agents/quic"),
            told("/agents/websocket"),
        );
        fs::write(&config, text).expect("written");
        let claim_code = claim_code(&lab, &config);
        let log = fs::File::create(data.path().join("agent.log")).expect("a log");
        let mut agent = lab.command("agent", &bin("pu-agent"));
        agent.args(["run", "--config"]).arg(&config).stderr(log);
        let filter = std::env::var("TEST_AGENT_LOG").unwrap_or_else(|_| "info".into());
        let agent = Process::start(agent.env("SIGHTLINE_LOG", filter));
        let apart = Self { lab, claim_code, data, _agent: agent, _centre: centre };
        wait_for("the registration", Duration::from_secs(30), || {
            apart.agent_log().contains("registered").then_some(())
        });
        apart
    }

    /// What the agent has logged.
    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.data.path().join("agent.log")).unwrap_or_default()
    }

    /// Leaves the agent's log behind where `TEST_KEEP_LOG` says, for whoever looks for a cause.
    fn keep_log(&self) {
        if let Some(path) = std::env::var_os("TEST_KEEP_LOG") {
            let _ = fs::copy(self.data.path().join("agent.log"), path);
        }
    }

    fn portal(&self) -> String {
        format!("https://{}:8443", self.lab.address("centre"))
    }

    fn sms_log(&self) -> PathBuf {
        self.data.path().join("sms.log")
    }

    /// The browser on the viewer's host, a new user; `None` when there is no browser. Screenshots
    /// go where the test's data are.
    pub fn browser(&self, arguments: &[&str]) -> Option<Process> {
        let (node, _) = (tool("node")?, chromium()?);
        let mut command = self.lab.command("viewer", &node);
        command.current_dir(root().join("web")).arg("e2e/run.mjs");
        command.args(["--portal", &self.portal(), "--phone", PHONE, "--no-barcode"]);
        command.args(["--claim-code", &self.claim_code, "--sms-log"]).arg(self.sms_log());
        command.arg("--out").arg(self.data.path()).args(arguments);
        Some(Process::start(&mut command))
    }

    /// `cu` on the viewer's host.
    pub fn cu(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command("viewer", &bin("cu"));
        command.arg("--home").arg(self.data.path().join("cu")).args(arguments);
        command
    }

    /// Runs `cu` to its end, which must be good.
    pub fn cu_ok(&self, arguments: &[&str]) -> String {
        let output = self.cu(arguments).output().expect("cu starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cu {arguments:?} failed:\n{text}\n{errors}");
        text
    }

    /// Signs `cu` in and binds the camera.
    pub fn cu_binds(&self) {
        let code_file = self.data.path().join("code");
        let ca = self.data.path().join("tls/ca.pem");
        let mut login = self.cu(&["login", "--portal", &self.portal(), "--phone", PHONE]);
        login.arg("--ca").arg(ca).arg("--code-file").arg(&code_file).stdout(Stdio::null());
        let mut login = login.spawn().expect("cu starts");
        let code = wait_for("the SMS", Duration::from_secs(10), || last_code(&self.sms_log()));
        fs::write(code_file, code).expect("written");
        assert!(login.wait().is_ok_and(|status| status.success()), "cu login failed");
        self.cu_ok(&["bind", &self.claim_code]);
        wait_for("the camera", Duration::from_secs(10), || {
            let list = self.cu_ok(&["list", "--json"]);
            ["\"online\"", "\"active\""].iter().any(|s| list.contains(s)).then_some(())
        });
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.keep_log();
    }
}

/// Waits for a line of JSON that `pick` takes.
pub fn json<T>(from: &mut Process, seconds: u64, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
    from.line(Duration::from_secs(seconds), |line| pick(&serde_json::from_str(line).ok()?))
}

/// Ends `cu` as a person does, with Ctrl-C; it must end well.
pub fn end(cu: &mut Process) {
    cu.signal("INT");
    assert_eq!(cu.wait(Duration::from_secs(15)), Some(0), "cu did not end well");
}

/// Waits until the browser plays.
pub fn playing(browser: &mut Process) {
    json(browser, 60, |line| (line["event"] == "playing").then_some(()));
}

fn claim_code(lab: &Lab, config: &Path) -> String {
    let mut command = lab.command("agent", &bin("pu-agent"));
    let output = command.arg("claim-code").arg("--config").arg(config).output();
    let output = output.expect("pu-agent runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 44 characters in groups of four.
    let is_code = |word: &&str| word.len() == 54 && word.matches('-').count() == 10;
    let code = text.split_whitespace().find(is_code).map(str::to_owned);
    code.unwrap_or_else(|| panic!("no claim code in:\n{text}"))
}

fn last_code(sms_log: &Path) -> Option<String> {
    let text = fs::read_to_string(sms_log).ok()?;
    let line = text.lines().rfind(|line| line.contains(PHONE))?;
    let mut words = line.split(PHONE).nth(1)?.split(|c: char| !c.is_ascii_digit());
    words.find(|word| word.len() == 6).map(str::to_owned)
}
