//! A PostgreSQL server for the time of a test.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Server {
    /// Starts one on a Unix socket in a temporary folder. `None`, with words on stderr: there is no
    /// PostgreSQL here.
    pub fn start() -> Option<Self> {
        let Some(bin) = find_bin() else {
            eprintln!("SKIPPED: PostgreSQL is not installed, so only SQLite was tested");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("slpg").tempdir_in("/tmp").expect("a folder");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("chmod");
        let server = Self { dir, bin };
        let data = server.data();
        let init = [server.tool("initdb"), "-A".into(), "trust".into(), "-D".into(), data.clone()];
        succeed(&run(&init));
        let socket = server.dir.path().display();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{socket}' -F");
        let log = format!("{socket}/log");
        let start =
            [server.tool("pg_ctl"), "-D".into(), data, "-l".into(), log, "-o".into(), options];
        let rest = ["-w".to_owned(), "-t".into(), "60".into(), "start".into()];
        succeed(&run(&[&start[..], &rest[..]].concat()));
        Some(server)
    }

    /// How to reach it.
    pub fn url(&self) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://{}@{socket}/postgres", user())
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn tool(&self, name: &str) -> String {
        self.bin.join(name).display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = ["-m", "immediate", "-w", "stop"].map(str::to_owned);
        let args = [&[self.tool("pg_ctl"), "-D".into(), self.data()][..], &stop[..]].concat();
        run(&args);
        // The files belong to another user.
        run(&["rm".into(), "-rf".into(), self.data()]);
    }
}

fn find_bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut bins: Vec<PathBuf> = versions.flatten().map(|v| v.path().join("bin")).collect();
    bins.sort();
    bins.into_iter().rev().find(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    // The owner of /proc/self is whoever runs this.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|m| m.uid() == 0)
}

fn user() -> String {
    if is_root() { "postgres".into() } else { std::env::var("USER").unwrap_or_default() }
}

/// PostgreSQL refuses to run as root.
fn run(args: &[String]) -> Output {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).args(args);
        command
    } else {
        let mut command = Command::new(&args[0]);
        command.args(&args[1..]);
        command
    };
    // pg_ctl's server inherits open pipes, which would never close.
    let out = tempfile::tempfile().expect("a file");
    let status = command
        .current_dir("/tmp")
        .stdout(out.try_clone().expect("a handle"))
        .stderr(out.try_clone().expect("a handle"))
        .status()
        .expect("the program runs");
    use std::io::{Read, Seek};
    let mut file = out;
    let mut stdout = Vec::new();
    file.rewind().expect("rewound");
    file.read_to_end(&mut stdout).expect("read");
    Output { status, stdout, stderr: Vec::new() }
}

fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
