//! The real agent, killed while it records: nothing that was acknowledged is lost.

mod recording;

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use recording::{Unit, until};
use sightline_recording_store::Level;

/// How often it is killed.
const KILLS: u64 = 3;

struct Agent {
    process: Child,
    http: SocketAddr,
}

impl Agent {
    fn start(unit: &Unit) -> Self {
        // Free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let config = unit.root().join("pu-agent.toml");
        let text = format!(
            "data_dir = {:?}\nmap_ports = false\n\
             [recording]\ndir = {:?}\n\
             [[scu]]\nwebsocket = \"ws://127.0.0.1:1/ps/v1\"\n\
             [[camera]]\nname = \"Yard\"\nsource = \"synthetic\"\n\
             [camera.synthetic]\nwidth = 160\nheight = 90\ngop_s = 0.2\nbitrate_bps = 500000\n\
             [rtsp]\nlisten = \"127.0.0.1:0\"\n[quic]\nlisten = \"127.0.0.1:0\"\n\
             [webrtc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"{free}\"\n",
            unit.data_dir(),
            unit.dir(),
        );
        std::fs::write(&config, text).expect("own file");
        let process = Command::new(env!("CARGO_BIN_EXE_pu-agent"))
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Self { process, http: free }
    }

    /// Segments that it says are durable.
    fn acknowledged(&self) -> Option<u64> {
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

    /// Whether it has ended by itself: its port was taken meanwhile.
    fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("our own process").is_some()
    }

    fn kill(mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ended");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_loses_nothing_that_it_acknowledged() {
    let unit = Unit::new();
    let mut stored = 0;
    for round in 0..KILLS {
        let agent = RefCell::new(Agent::start(&unit));
        let told = until("a segment is acknowledged", async || {
            let mut agent = agent.borrow_mut();
            let told = agent.acknowledged().filter(|count| *count > round % 2);
            if agent.has_ended() {
                *agent = Agent::start(&unit);
                return None;
            }
            told
        })
        .await;
        // At another place of the next segment each time.
        tokio::time::sleep(Duration::from_millis(round * 1_300)).await;
        agent.into_inner().kill();
        let store = unit.open().await;
        let segments = unit.segments(&store).await;
        let now = segments.len() as u64;
        assert!(now >= stored + told, "{told} were acknowledged, {now} are there");
        let found = unit.verify(&store, Level::Hash).await;
        assert!(found.is_sound(), "{found:?}");
        assert_eq!(found.files_hashed, now, "not every segment's file is there");
        stored = now;
        store.close().await;
    }
}
