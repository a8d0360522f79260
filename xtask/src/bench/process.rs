//! Programs that run during a benchmark, and what the kernel knows of them.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// How long a program may take to end when asked to.
const FAREWELL: Duration = Duration::from_secs(8);

/// A running program; it ends with this value.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts a program. Its errors go to a file where one is given.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let stdin = child.stdin.take();
        let (sender, lines) = mpsc::sync_channel(10_000);
        // Ends with the program's output.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        Ok(Self { name, child, stdin, lines })
    }

    /// The next line of standard output that `pick` takes.
    pub fn line<T>(
        &self,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.with_context(|| format!("{}: no such line came", self.name))?;
            if let Some(picked) = pick(&line) {
                return Ok(picked);
            }
        }
    }

    /// Writes a line to the program's standard input.
    pub fn tell(&self, line: &str) -> anyhow::Result<()> {
        let mut stdin = self.stdin.as_ref().context("standard input was closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not listen", self.name))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the program's standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("{} does not end", self.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Processor time so far, user and system.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
        let fields = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|t| t.parse::<u64>().unwrap_or(0)).sum();
        // USER_HZ is 100 on every Linux that Rust runs on.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// Resident memory in bytes, where what several processes share is divided among them.
    pub fn share_of_memory(&self) -> anyhow::Result<u64> {
        let maps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let line = maps.lines().find(|l| l.starts_with("Pss:")).context("no Pss")?;
        let kilobytes: u64 = line.split_whitespace().nth(1).context("Pss")?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// Bytes that it has had written to storage so far, as the kernel counts them: whole pages, when they
    /// change.
    pub fn written(&self) -> anyhow::Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid()))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        Ok(line.context("no write_bytes")?.trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal("TERM");
        if self.wait(FAREWELL).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to one process, which was started here.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

/// A port that was free a moment ago, for TCP and UDP alike.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in a hundred tries")
}

/// Waits until something listens there.
pub fn wait_for_port(what: &str, port: u16) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > until {
            bail!("{what} did not come up");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
