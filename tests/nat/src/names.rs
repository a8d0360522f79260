//! The name server that every home's router has: knows the centre, and that there is nothing else.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{space::Space, wan::CENTRE};

const TYPE_A: u16 = 1;
/// Response, recursion desired and available.
const ANSWER: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;

/// Answers until dropped.
#[derive(Debug)]
pub(crate) struct Names {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Names {
    /// Serves on every address of a host.
    pub(crate) fn start(host: &Space) -> Self {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 53));
        let socket = host.enter(|| UdpSocket::bind(any).expect("port 53 is free"));
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                if let Some(reply) = reply(&bytes[..length]) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers a question of RFC 1035: the address of a known name, nothing for its other types.
fn reply(question: &[u8]) -> Option<Vec<u8>> {
    let header = question.get(..12)?;
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        let label = question.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(label).ok()?);
    }
    let kind = u16::from_be_bytes(question.get(at..at + 2)?.try_into().ok()?);
    let asked = question.get(12..at + 4)?;
    let known = CENTRE.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
    let address = known.map(|(_, address)| address).filter(|_| kind == TYPE_A);
    let flags = if known.is_some() { ANSWER } else { ANSWER | NO_SUCH_NAME };
    let mut reply = header[..2].to_vec();
    reply.extend(flags.to_be_bytes());
    for count in [1, u16::from(address.is_some()), 0, 0] {
        reply.extend(count.to_be_bytes());
    }
    reply.extend(asked);
    if let Some(address) = address {
        // The name is that at offset 12; class IN, 60 s, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).expect("short"));
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn known_names_have_an_address_and_nothing_else() {
        let known = reply(&question("mtu1.sightline.TEST", 1)).expect("an answer");
        assert_eq!((known[..2].to_vec(), known[3] & 15, known[7]), (vec![7, 7], 0, 1));
        assert!(known.ends_with(&[192, 0, 2, 3]));
        let ipv6 = reply(&question("mtu1.sightline.test", 28)).expect("an answer");
        assert_eq!((ipv6[3] & 15, ipv6[7]), (0, 0));
        let unknown = reply(&question("example.org", 1)).expect("an answer");
        assert_eq!((unknown[3] & 15, unknown[7]), (3, 0));
        assert_eq!(reply(&[0; 5]), None);
    }
}
