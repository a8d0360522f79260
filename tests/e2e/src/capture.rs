//! Everything that passes the loopback interface, as `tcpdump` sees it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::process::tool;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    file: PathBuf,
}

/// One segment or datagram with something in it.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Over TCP; otherwise over UDP.
    pub tcp: bool,
    /// Sender's port.
    pub from: u16,
    /// Receiver's port.
    pub to: u16,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Packet {
    /// The two ports, in whichever direction, and whether over TCP.
    #[must_use]
    pub fn flow(&self) -> (bool, u16, u16) {
        (self.tcp, self.from.min(self.to), self.from.max(self.to))
    }

    /// A long header of QUIC version 1 (RFC 9000 section 17.2): the whole flow is QUIC then. Later
    /// packets cannot be told by their first byte (RFC 9287).
    #[must_use]
    pub fn begins_quic(&self) -> bool {
        !self.tcp && matches!(self.payload.as_slice(), [192..=255, 0, 0, 0, 1, ..])
    }

    /// Whether it is TLS, DTLS or SRTP. STUN (RFC 8489) may be seen: it holds addresses only.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        match self.payload.as_slice() {
            // Segments may begin inside a record: of these the search for content must tell.
            _ if self.tcp => true,
            // RFC 7983, by the first byte: STUN, DTLS, SRTP and SRTCP.
            [0..=3, _, ..] => self.payload.get(4..8) == Some(&[0x21, 0x12, 0xA4, 0x42]),
            [20..=63, 0xFE, ..] | [128..=191, ..] => true,
            _ => false,
        }
    }

    /// The payload without what SRTP leaves in clear, its header with the extension (RFC 3711
    /// section 3.1): padding there and the first encrypted byte may look like a start code.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        let head = match self.payload.as_slice() {
            [first @ 128..=191, ..] if !self.tcp => {
                let fixed = 12 + 4 * usize::from(first & 0x0F);
                let words = self.payload.get(fixed + 2..fixed + 4).filter(|_| first & 0x10 != 0);
                let words = words.map(|w| usize::from(u16::from_be_bytes([w[0], w[1]])));
                fixed + words.map_or(0, |words| 4 + 4 * words)
            }
            _ => 0,
        };
        self.payload.get(head..).unwrap_or_default()
    }

    /// Whether `needle` occurs in it.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.payload.windows(needle.len()).any(|window| window == needle)
    }
}

impl Capture {
    /// Captures TCP and UDP. `None`, loudly, where that is not allowed.
    ///
    /// # Panics
    /// When `tcpdump` cannot be started.
    #[must_use]
    pub fn start(folder: &Path) -> Option<Self> {
        let tcpdump = tool("tcpdump")?;
        let file = folder.join("capture.pcap");
        let mut command = Command::new(tcpdump);
        command.args(["-i", "lo", "-n", "-s", "0", "-B", "65536", "-Z", "root"]);
        // Else the newest second is still in the kernel when it is stopped.
        command.args(["-U", "--immediate-mode", "-w"]);
        command.arg(&file).arg("tcp or udp").stderr(Stdio::piped());
        let mut child = command.spawn().expect("tcpdump starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if said.read_line(&mut line).unwrap_or(0) == 0 {
                let _ = child.wait();
                eprintln!("SKIPPED: tcpdump may not capture here; it needs root");
                return None;
            }
        }
        // Keeps the pipe open and empty until the end.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Some(Self { child, file })
    }

    /// Ends it and reads what was captured from or to these ports.
    ///
    /// # Panics
    /// When the file cannot be read.
    #[must_use]
    pub fn stop(mut self, ports: &[u16]) -> Vec<Packet> {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.child.wait();
        let mut packets = parse(&std::fs::read(&self.file).expect("the capture was written"));
        packets.retain(|p| ports.contains(&p.from) || ports.contains(&p.to));
        packets
    }
}

/// A classic pcap file of Ethernet frames.
fn parse(file: &[u8]) -> Vec<Packet> {
    let mut rest = file.get(24..).unwrap_or_default();
    let mut packets = Vec::new();
    while let Some(header) = rest.get(..16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        packets.extend(packet(frame));
        rest = &rest[16 + length..];
    }
    packets
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let (protocol, inner) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(frame.get(14)? & 15) * 4;
            let total = usize::from(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]));
            // Segments that the kernel joins say 0.
            let end = if total == 0 { frame.len() } else { 14 + total };
            (*frame.get(23)?, frame.get(14 + header..end)?)
        }
        [0x86, 0xDD] => (*frame.get(20)?, frame.get(54..)?),
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*inner.get(at)?, *inner.get(at + 1)?]));
    let tcp = protocol == 6;
    let offset = match protocol {
        6 => usize::from(inner.get(12)? >> 4) * 4,
        17 => 8,
        _ => return None,
    };
    let payload = inner.get(offset..)?.to_vec();
    let (from, to) = (port(0)?, port(2)?);
    (!payload.is_empty()).then_some(Packet { tcp, from, to, payload })
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
