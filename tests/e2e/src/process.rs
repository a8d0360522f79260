//! Processes that end with their test.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// The workspace's folder.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A binary of this workspace, as `cargo build --workspace --bins` left it.
///
/// # Panics
/// When it has not been built: a test must never run against nothing.
#[must_use]
pub fn bin(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let own = exe.parent().expect("a program lies in a folder");
    // target/debug/deps/test-hash, or a program beside the others
    let folder = if own.ends_with("deps") { own.parent().unwrap_or(own) } else { own };
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

/// Finds a program of other people, in `.tools/` or on the path; says so loudly when it is missing.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed; `cargo xtask setup` installs it");
    }
    found
}

/// Any Chromium: the one that `TEST_CHROMIUM` or `CHROMIUM_PATH` names, or what is installed; says
/// so loudly when there is none. `web/e2e/chromium.mjs` chooses by the same rule.
#[must_use]
pub fn chromium() -> Option<PathBuf> {
    let named = ["TEST_CHROMIUM", "CHROMIUM_PATH"].into_iter().find_map(std::env::var_os);
    if let Some(named) = named.map(PathBuf::from) {
        assert!(named.is_file(), "there is no Chromium at {}", named.display());
        return Some(named);
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = names.into_iter().find_map(find);
    if found.is_none() {
        eprintln!("SKIPPED: no Chromium is installed; name one in TEST_CHROMIUM");
    }
    found
}

fn find(name: &str) -> Option<PathBuf> {
    let own = root().join(".tools/venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own).chain(std::env::split_paths(&path)).chain([
        "/usr/sbin".into(),
        "/sbin".into(),
        root().join(".tools/node/bin"),
    ]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A port that was free a moment ago, for TCP and UDP alike.
#[must_use]
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let Ok(tcp) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)) else { continue };
        let Ok(address) = tcp.local_addr() else { continue };
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, address.port())).is_ok() {
            return address.port();
        }
    }
    panic!("no free port in a hundred tries");
}

/// Waits until `condition` gives something.
///
/// # Panics
/// After `limit`, with `what` in words.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A running program; asked to end, and waited for, when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts a program; its standard output is kept by lines, its errors go to the test's.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or(OsStr::new("?"))
            .to_string_lossy()
            .into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let stdout = child.stdout.take().expect("standard output is piped");
        Self { child, name, lines: read_lines(stdout) }
    }

    /// The next line of standard output that `pick` takes.
    ///
    /// # Panics
    /// When the program ends or `limit` passes first.
    pub fn line<T>(&mut self, limit: Duration, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            let left = limit.saturating_sub(begin.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(picked) = pick(&line) {
                        return picked;
                    }
                }
                Err(error) => panic!("{}: the awaited line did not come: {error}", self.name),
            }
        }
    }

    /// The next line of standard output; `None` when the program ends or `limit` passes first.
    pub fn try_line(&mut self, limit: Duration) -> Option<String> {
        self.lines.recv_timeout(limit).ok()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM` or `STOP`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    }

    /// Asks it to end and waits; returns its exit code.
    ///
    /// # Panics
    /// When it does not end within 10 s.
    pub fn stop(&mut self) -> Option<i32> {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("TERM");
        }
        wait_for(&format!("{} to end", self.name), Duration::from_secs(10), || {
            self.child.try_wait().ok().flatten()
        })
        .code()
    }

    /// `kill -9`: without a word, and waits.
    pub fn kill(&mut self) {
        // One that has ended already is as dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself; returns its exit code.
    ///
    /// # Panics
    /// After `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        wait_for(&format!("{} to end", self.name), limit, || self.child.try_wait().ok().flatten())
            .code()
    }

    /// Resident memory in kilobytes.
    #[must_use]
    pub fn rss_kb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal("TERM");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(6) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The reader thread ends with the program's output.
fn read_lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // When nobody reads, later lines are dropped rather than the program held up.
            let _ = sender.try_send(line);
        }
    });
    lines
}
