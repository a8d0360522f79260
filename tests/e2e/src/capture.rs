//! Everything that passes the loopback interface, as `tcpdump` sees it.

use std::{
    collections::BTreeSet,
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

    /// The sender of an RTP packet (SSRC, RFC 3550 section 5.1), where this may be one.
    #[must_use]
    pub fn ssrc(&self) -> Option<[u8; 4]> {
        let rtp = !self.tcp && matches!(self.payload.first(), Some(128..=191));
        self.payload.get(8..12).filter(|_| rtp)?.try_into().ok()
    }

    /// The payload without what SRTP leaves in clear, its headers with the extension (RFC 3711
    /// section 3.1): padding there and the first encrypted byte may look like a start code.
    ///
    /// Datagrams that were sent at once are captured as one where the kernel does not part them, as
    /// on loopback; the later ones are known by their senders, `ssrcs`.
    #[must_use]
    pub fn contents(&self, ssrcs: &BTreeSet<[u8; 4]>) -> Vec<&[u8]> {
        if self.ssrc().is_none() {
            return vec![&self.payload];
        }
        let known = |head: &[u8]| head[0] & 0xC0 == 0x80 && ssrcs.contains(&head[8..12]);
        let later = self.payload.windows(12).enumerate().skip(1).filter(|(_, head)| known(head));
        let mut bounds = vec![0];
        bounds.extend(later.map(|(at, _)| at));
        bounds.push(self.payload.len());
        let datagrams = bounds.windows(2).map(|pair| &self.payload[pair[0]..pair[1]]);
        datagrams.map(|datagram| datagram.get(rtp_head(datagram)..).unwrap_or_default()).collect()
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

/// Length of an RTP header with its extension (RFC 3550 section 5.3.1), in bytes.
fn rtp_head(datagram: &[u8]) -> usize {
    let fixed = 12 + 4 * usize::from(datagram[0] & 0x0F);
    let words = datagram.get(fixed + 2..fixed + 4).filter(|_| datagram[0] & 0x10 != 0);
    let words = words.map(|w| usize::from(u16::from_be_bytes([w[0], w[1]])));
    fixed + words.map_or(0, |words| 4 + 4 * words)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An extension of one word that ends in padding, then `sealed`.
    fn rtp(ssrc: [u8; 4], sealed: &[u8]) -> Vec<u8> {
        let head = [0x90, 96, 0, 1, 0, 0, 0, 2, ssrc[0], ssrc[1], ssrc[2], ssrc[3]];
        [&head[..], &[0xBE, 0xDE, 0, 1, 0x10, 0, 0, 0], sealed].concat()
    }

    #[test]
    fn heads_of_datagrams_that_were_captured_as_one_are_no_content() {
        let (video, audio) = ([7, 7, 7, 7], [8, 8, 8, 8]);
        let payload =
            [rtp(video, &[1, 0x67, 9, 9]), rtp(video, &[1, 0x65, 5, 5]), rtp(audio, &[1, 0x68, 6])]
                .concat();
        let packet = Packet { tcp: false, from: 1, to: 2, payload };
        assert_eq!(packet.ssrc(), Some(video));
        let contents = packet.contents(&BTreeSet::from([video, audio]));
        assert_eq!(contents, [&[1, 0x67, 9, 9][..], &[1, 0x65, 5, 5], &[1, 0x68, 6]]);
    }

    #[test]
    fn what_is_not_rtp_is_content_from_its_first_byte() {
        for (tcp, payload) in [(true, vec![0x90; 40]), (false, vec![0x16; 40])] {
            let packet = Packet { tcp, from: 1, to: 2, payload: payload.clone() };
            assert_eq!(packet.contents(&BTreeSet::from([[0x90; 4]])), [&payload[..]]);
        }
    }
}
