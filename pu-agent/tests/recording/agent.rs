//! The agent as a process of its own, with nobody to register with.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{PATIENCE, Unit};

/// Its camera: small pictures, a keyframe every 200 ms.
const CAMERA: &str = "[[camera]]\nname = \"Yard\"\nsource = \"synthetic\"\n\
                      [camera.synthetic]\nwidth = 160\nheight = 90\ngop_s = 0.2\nbitrate_bps = 500000\n";
/// Ports that were free a moment ago may be taken; not so often.
const STARTS: u32 = 5;

/// A running agent. Killed with its value.
pub struct Agent {
    process: Child,
    http: SocketAddr,
}

impl Agent {
    /// Records the unit's camera all the time. `environment`: what the process is started with besides.
    pub fn start(unit: &Unit, environment: &[(&str, String)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let config = unit.root().join("pu-agent.toml");
        let text = format!(
            "data_dir = {:?}\nmap_ports = false\nannounce_lan = false\n\
             [recording]\ndir = {:?}\n\
             [[scu]]\nwebsocket = \"ws://127.0.0.1:1/ps/v1\"\n{CAMERA}\
             [rtsp]\nlisten = \"127.0.0.1:0\"\n[quic]\nlisten = \"127.0.0.1:0\"\n\
             [webrtc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"{free}\"\n",
            unit.data_dir(),
            unit.dir(),
        );
        std::fs::write(&config, text).expect("own file");
        let process = Command::new(env!("CARGO_BIN_EXE_pu-agent"))
            .arg("--config")
            .arg(&config)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Self { process, http: free }
    }

    /// One that is up.
    pub async fn up(unit: &Unit, environment: &[(&str, String)]) -> Self {
        let (begin, mut starts) = (Instant::now(), 1);
        let mut agent = Self::start(unit, environment);
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while agent.acknowledged().is_none() {
            assert!(begin.elapsed() < PATIENCE, "it does not come up");
            tick.tick().await;
            if agent.has_ended() {
                assert!(starts < STARTS, "it ends by itself, again and again");
                starts += 1;
                agent = Self::start(unit, environment);
            }
        }
        agent
    }

    /// Lets one live for so long, from before it has even come up; it and what it had acknowledged by then.
    pub async fn live(unit: &Unit, life: Duration) -> (Self, u64) {
        let (begin, mut starts) = (Instant::now(), 1);
        let (mut agent, mut told) = (Self::start(unit, &[]), 0);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while begin.elapsed() < life {
            tick.tick().await;
            if agent.has_ended() {
                assert!(starts < STARTS, "it ends by itself, again and again");
                starts += 1;
                agent = Self::start(unit, &[]);
            }
            told = agent.acknowledged().unwrap_or(told);
        }
        (agent, told)
    }

    /// Segments that it says are durable; none: it says nothing.
    pub fn acknowledged(&self) -> Option<u64> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let of = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
        let name = "sightline_pu_recording_segments_total{";
        answer.lines().filter(|line| line.starts_with(name)).map(of).sum()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("our own process").is_some()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ended");
    }

    /// As the system ends it.
    pub async fn end(mut self) {
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()), "it could not be asked to end");
        let ended = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !self.has_ended() {
                tick.tick().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, ended).await.is_ok(), "it does not end");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
