//! A real S3 store: SeaweedFS.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rusty_s3::{
    Bucket, Credentials, S3Action, UrlStyle,
    actions::{CreateBucket, ListObjectsV2},
};

use crate::{
    http::http,
    process::{Process, tool, wait_for},
};

const ACCESS_KEY: &str = "end-to-end";
const SECRET_KEY: &str = "a secret of the whole-system tests";
const BUCKET: &str = "cameras";
/// How long the store may take to come up.
const START: Duration = Duration::from_secs(60);

/// A store with a bucket.
#[derive(Debug)]
pub struct S3 {
    /// The process.
    pub process: Process,
    /// `http://localhost:…`.
    pub url: String,
    dir: tempfile::TempDir,
    ports: [u16; 4],
}

impl S3 {
    /// Starts it; `None` when there is none on this machine.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = tool("weed")?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = serde_json::json!({"identities": [{
            "name": "cmu",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        fs::write(dir.path().join("s3.json"), config.to_string()).expect("written");
        fs::write(dir.path().join("access"), ACCESS_KEY).expect("written");
        fs::write(dir.path().join("secret"), SECRET_KEY).expect("written");
        let ports = free_ports();
        let process = server(program, &dir, ports);
        let url = format!("http://localhost:{}", ports[0]);
        let s3 = Self { process, url, dir, ports };
        s3.wait();
        Some(s3)
    }

    /// What a CMU is told to use it.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, &'static str, String)> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        [
            ("SIGHTLINE_CLOUD__STORE", "s3".to_owned()),
            ("SIGHTLINE_CLOUD__S3__URL", self.url.clone()),
            ("SIGHTLINE_CLOUD__S3__BUCKET", BUCKET.to_owned()),
            ("SIGHTLINE_CLOUD__ACCESS_KEY_FILE", file("access")),
            ("SIGHTLINE_CLOUD__SECRET_KEY_FILE", file("secret")),
        ]
        .map(|(key, value)| ("cmu", key, value))
        .to_vec()
    }

    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again, with what it held.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        let program = tool("weed").expect("it was there before");
        self.process = server(program, &self.dir, self.ports);
        self.wait();
    }

    /// Names and lengths of whatever lies in the bucket.
    ///
    /// # Panics
    /// When the store does not tell.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, u64)> {
        let (bucket, key) = self.bucket();
        let mut objects: Vec<(String, u64)> = Vec::new();
        loop {
            let mut action = ListObjectsV2::new(&bucket, Some(&key));
            if let Some((last, _)) = objects.last() {
                action.with_start_after(last.clone());
            }
            let url = action.sign(Duration::from_secs(60));
            let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
            let answer = http(self.ports[0], "GET", &path, None, None);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let list = ListObjectsV2::parse_response(&answer.body).expect("a list");
            objects.extend(list.contents.into_iter().map(|one| (one.key, one.size)));
            if list.next_continuation_token.is_none() {
                return objects;
            }
        }
    }

    fn bucket(&self) -> (Bucket, Credentials) {
        let url = self.url.parse().expect("a URL");
        let bucket = Bucket::new(url, UrlStyle::Path, BUCKET, "us-east-1").expect("a bucket");
        (bucket, Credentials::new(ACCESS_KEY, SECRET_KEY))
    }

    /// It takes a bucket as soon as it is up.
    fn wait(&self) {
        let (bucket, key) = self.bucket();
        wait_for("the S3 store", START, || {
            TcpStream::connect(("127.0.0.1", self.ports[0])).ok()?;
            let url = CreateBucket::new(&bucket, &key).sign(Duration::from_secs(60));
            let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
            let status = http(self.ports[0], "PUT", &path, None, None).status;
            // 409: it is there already.
            matches!(status, 200 | 409).then_some(())
        });
    }
}

fn server(
    program: PathBuf,
    dir: &tempfile::TempDir,
    [s3, master, volume, filer]: [u16; 4],
) -> Process {
    let folder = dir.path().display();
    let mut command = Command::new(program);
    command
        .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"])
        .args(["-master.volumeSizeLimitMB=64".to_owned(), format!("-dir={folder}")])
        .args([format!("-s3.port={s3}"), format!("-s3.config={folder}/s3.json")])
        .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
        .arg(format!("-filer.port={filer}"))
        .stderr(Stdio::null());
    Process::start(&mut command)
}

/// It listens on each of its ports plus ten thousand, too.
fn free_ports() -> [u16; 4] {
    let mut found = Vec::new();
    for _ in 0..1000 {
        let one = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = one.local_addr().expect("an address").port();
        let second =
            port.checked_add(10_000).map(|second| TcpListener::bind(("127.0.0.1", second)));
        if matches!(second, Some(Ok(_))) && !found.contains(&port) {
            found.push(port);
        }
        if let Ok(ports) = <[u16; 4]>::try_from(found.as_slice()) {
            return ports;
        }
    }
    panic!("no four free ports in a thousand tries");
}
