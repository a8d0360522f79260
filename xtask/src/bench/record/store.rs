//! A real S3 store for uploads: SeaweedFS.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;
use serde_json::json;

use super::super::{
    bed::with_log,
    is_there,
    process::{Process, free_port},
};
use crate::run::{command, execute};

const ACCESS_KEY: &str = "benchmark";
const SECRET_KEY: &str = "the benchmark's own key of its store";
const BUCKET: &str = "recordings";
/// Of the data folder, which all of ours runs in.
const FOLDER: &str = "s3";
/// It listens on each of its ports plus this, too.
const SECOND: u16 = 10_000;

/// The store; it runs from [`Store::start`] on.
pub struct Store {
    folder: PathBuf,
    /// S3, master, volume, filer.
    ports: [u16; 4],
    process: Option<Process>,
}

impl Store {
    /// Writes its files; none where the program is missing.
    pub fn prepare(data: &Path) -> anyhow::Result<Option<Self>> {
        if !is_there("weed") {
            return Ok(None);
        }
        let folder = data.join(FOLDER);
        fs::create_dir_all(folder.join("volumes"))?;
        let config = json!({"identities": [{
            "name": "benchmark",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        fs::write(folder.join("s3.json"), config.to_string())?;
        fs::write(folder.join("access"), ACCESS_KEY)?;
        fs::write(folder.join("secret"), SECRET_KEY)?;
        Ok(Some(Self { folder, ports: free_ports()?, process: None }))
    }

    /// What the CMU is told of it.
    pub fn configuration(&self) -> String {
        let url = self.url();
        format!(
            "[cloud]\nstore = \"s3\"\nfree_bytes = 100000000000\n\
             access_key_file = \"{FOLDER}/access\"\nsecret_key_file = \"{FOLDER}/secret\"\n\
             [cloud.s3]\nurl = \"{url}\"\nbucket = \"{BUCKET}\"\n"
        )
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.ports[0])
    }

    /// Starts it, and has the bucket made by `load`, our tool for that.
    pub fn start(&mut self, data: &Path, load: &Path) -> anyhow::Result<()> {
        let [s3, master, volume, filer] = self.ports;
        let folder = self.folder.display();
        let mut weed = command("weed");
        weed.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]);
        // As many volumes as the disk has room for.
        weed.args(["-volume.max=0", "-master.volumeSizeLimitMB=256"]);
        weed.arg(format!("-dir={folder}/volumes"));
        weed.arg(format!("-s3.config={folder}/s3.json"));
        weed.args([format!("-s3.port={s3}"), format!("-master.port={master}")]);
        weed.args([format!("-volume.port={volume}"), format!("-filer.port={filer}")]);
        self.process = Some(with_log(weed, data, "weed")?);
        let mut bucket = command(load);
        execute(self.named(bucket.arg("bucket")))
    }

    /// Adds what a tool needs to reach it.
    pub fn named<'a>(&self, tool: &'a mut Command) -> &'a mut Command {
        tool.args(["--url", &self.url(), "--bucket", BUCKET]);
        tool.arg("--access-key-file").arg(self.folder.join("access"));
        tool.arg("--secret-key-file").arg(self.folder.join("secret"))
    }
}

fn free_ports() -> anyhow::Result<[u16; 4]> {
    let mut found = Vec::new();
    for _ in 0..1_000 {
        let port = free_port()?;
        let second = port.checked_add(SECOND);
        let second = second.map(|second| TcpListener::bind((Ipv4Addr::LOCALHOST, second)));
        if matches!(second, Some(Ok(_))) && !found.contains(&port) {
            found.push(port);
        }
        if let Ok(ports) = <[u16; 4]>::try_from(found.as_slice()) {
            return Ok(ports);
        }
    }
    bail!("no four free ports in a thousand tries")
}
