//! The tools against each other: what is sent arrives, is recognized, and nothing else is counted.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

const DIRECTIONS: [&str; 5] =
    ["channel-to-peer", "peer-to-channel", "send-to-peer", "peer-to-data", "relayed"];

struct Server(Child, String);

impl Server {
    fn start(program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]).args(words).stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("an address");
        Self(child, line.trim().to_owned())
    }

    fn load(&self, words: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load-relay"));
        command.args(["flows", "--server", &self.1, "--secret", "tests"]).args(words);
        command.args(["--watch", &self.0.id().to_string(), "--seconds", "1"]);
        command.args(["--flows", "4", "--burst", "4", "--interval-ms", "100"]);
        let output = command.args(["--warm-up-ms", "0"]).output().expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(figures: &Value, what: &str) {
    assert_eq!(figures["sent"], 4 * 4 * 10, "{what}: {figures}");
    assert_eq!(figures["delivered"], figures["sent"], "{what}: {figures}");
    assert_eq!(figures["wrong"], 0, "{what}: {figures}");
    assert!(figures["server_cpu_s"].as_f64().is_some_and(|s| s > 0.0), "{what}: {figures}");
    assert!(figures["delay_p50_us"].is_u64(), "{what}: {figures}");
}

#[test]
fn everything_comes_through_the_forwarder() {
    let forwarder = Server::start(env!("CARGO_BIN_EXE_load-forwarder"), &[]);
    for direction in DIRECTIONS {
        check(&forwarder.load(&["--forwarder", "--direction", direction]), direction);
    }
    let words = ["--forwarder", "--direction", "channel-to-peer", "--one-by-one"];
    check(&forwarder.load(&words), "one by one");
}

/// Clients of different threads meet, too.
#[test]
fn everything_comes_through_a_forwarder_of_several_threads() {
    let forwarder = Server::start(env!("CARGO_BIN_EXE_load-forwarder"), &["--threads", "3"]);
    for direction in DIRECTIONS {
        check(&forwarder.load(&["--forwarder", "--direction", direction]), direction);
    }
}

#[test]
fn a_flood_counts_what_came_through_in_its_time() {
    let forwarder = Server::start(env!("CARGO_BIN_EXE_load-forwarder"), &[]);
    let mut flood = Command::new(env!("CARGO_BIN_EXE_load-relay"));
    flood.args(["flows", "--server", &forwarder.1, "--forwarder"]);
    flood.args(["--direction", "channel-to-peer", "--flows", "4", "--interval-ms", "0"]);
    let output = flood.args(["--warm-up-ms", "0", "--seconds", "1"]).output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(figures["wrong"], 0, "{figures}");
    assert!(figures["delivered"].as_u64().is_some_and(|delivered| delivered > 0), "{figures}");
    assert!(figures["seconds"].as_f64().is_some_and(|seconds| seconds >= 1.0), "{figures}");
}

#[test]
fn everything_comes_through_the_turn_crate() {
    let words = ["--relay", "127.0.0.1", "--secret", "tests"];
    let server = Server::start(env!("CARGO_BIN_EXE_load-turn-crate"), &words);
    for direction in DIRECTIONS {
        check(&server.load(&["--direction", direction]), direction);
    }
}

#[test]
fn idle_allocations_are_refused_with_another_secret() {
    let words = ["--relay", "127.0.0.1", "--secret", "tests"];
    let server = Server::start(env!("CARGO_BIN_EXE_load-turn-crate"), &words);
    for (secret, made) in [("tests", true), ("others", false)] {
        let mut idle = Command::new(env!("CARGO_BIN_EXE_load-relay"));
        idle.args(["idle", "--server", &server.1, "--secret", secret, "--count", "4"]);
        let output = idle.stdin(Stdio::null()).output().expect("run");
        assert_eq!(output.status.success(), made, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
