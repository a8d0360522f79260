//! What a NAT does, measured from behind it: the tests of RFC 5780 with two addresses and two ports
//! outside, in datagrams of our own, so that nothing that is tested tests itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    kind::{Dependence, Theory},
    space::Space,
};

/// The outside's ports.
const PORTS: [u16; 2] = [4_001, 4_002];
/// The outside's addresses, both the centre's.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 3), Ipv4Addr::new(192, 0, 2, 4)];
const ANSWER: Duration = Duration::from_millis(250);
const TRIES: usize = 3;

/// Answers from outside, until dropped.
#[derive(Debug)]
pub struct Outside {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Outside {
    /// Starts to answer on the centre's host.
    ///
    /// # Panics
    /// When its ports are taken.
    #[must_use]
    pub fn start(centre: &Space) -> Self {
        let ends = ADDRESSES.into_iter().flat_map(|a| PORTS.map(|p| SocketAddr::from((a, p))));
        let sockets: Vec<UdpSocket> = centre.enter(|| {
            ends.map(|end| UdpSocket::bind(end).expect("a free port of the lab's own")).collect()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let start = |index: usize| {
            let clone = |s: &UdpSocket| s.try_clone().expect("a socket can be shared");
            let (sockets, stop): (Vec<_>, _) = (sockets.iter().map(clone).collect(), stop.clone());
            std::thread::spawn(move || answer(&sockets, index, &stop))
        };
        Self { threads: (0..sockets.len()).map(start).collect(), stop }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A question is one byte: how far from the asked socket the one is that answers.
fn answer(sockets: &[UdpSocket], index: usize, stop: &AtomicBool) {
    let mut bytes = [0; 64];
    let own = &sockets[index];
    own.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
    while !stop.load(Ordering::Relaxed) {
        match own.recv_from(&mut bytes) {
            Ok((1.., from)) => {
                let other = &sockets[index ^ usize::from(bytes[0] & 3)];
                let _ = other.send_to(from.to_string().as_bytes(), from);
            }
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An ICMP message about an earlier answer.
            Err(_) => {}
        }
    }
}

const SAME: u8 = 0;
const OTHER_PORT: u8 = 1;
const OTHER_ADDRESS_AND_PORT: u8 = 3;

/// A socket behind a NAT, with its questions.
#[derive(Debug)]
pub struct Inside {
    socket: UdpSocket,
    /// Where NAT64 has put IPv4.
    prefix: Option<Ipv6Addr>,
}

impl Inside {
    /// A new socket on this host; `prefix` is that of its NAT64, if it has no IPv4.
    ///
    /// # Panics
    /// When the host has no free port.
    #[must_use]
    pub fn new(host: &Space, prefix: Option<Ipv6Addr>) -> Self {
        let any = if prefix.is_some() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = host.enter(|| UdpSocket::bind(any).expect("a free port"));
        socket.set_read_timeout(Some(ANSWER)).expect("not zero");
        Self { socket, prefix }
    }

    fn outside(&self, address: usize, port: usize) -> SocketAddr {
        let (v4, port) = (ADDRESSES[address], PORTS[port]);
        match self.prefix {
            None => (v4, port).into(),
            Some(prefix) => {
                (Ipv6Addr::from_bits(prefix.to_bits() | u128::from(v4.to_bits())), port).into()
            }
        }
    }

    /// What the outside sees as this socket's address, if it answers.
    fn ask(&self, address: usize, port: usize, answer_from: u8) -> Option<SocketAddr> {
        let mut bytes = [0; 64];
        for _ in 0..TRIES {
            let _ = self.socket.send_to(&[answer_from], self.outside(address, port));
            if let Ok((length, _)) = self.socket.recv_from(&mut bytes) {
                return std::str::from_utf8(&bytes[..length]).ok()?.parse().ok();
            }
        }
        None
    }

    /// Its mapped address for the first address and port outside.
    #[must_use]
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.ask(0, 0, SAME)
    }

    fn mapping(&self) -> Option<Dependence> {
        let [first, other_port, other_address] =
            [(0, 0), (0, 1), (1, 0)].map(|(address, port)| self.ask(address, port, SAME));
        Some(match (first? == other_port?, first? == other_address?) {
            (true, true) => Dependence::Endpoint,
            (true, false) => Dependence::Address,
            (false, _) => Dependence::AddressAndPort,
        })
    }

    fn filtering(&self) -> Option<Dependence> {
        self.mapped()?;
        Some(if self.ask(0, 0, OTHER_ADDRESS_AND_PORT).is_some() {
            Dependence::Endpoint
        } else if self.ask(0, 0, OTHER_PORT).is_some() {
            Dependence::Address
        } else {
            Dependence::AddressAndPort
        })
    }

    /// Whether a datagram from elsewhere reaches this socket at that address.
    #[must_use]
    pub fn hears(&self, from: &UdpSocket, at: SocketAddr) -> bool {
        let mut bytes = [0; 64];
        (0..TRIES).any(|_| {
            let _ = from.send_to(b"hello", at);
            self.socket.recv_from(&mut bytes).is_ok()
        })
    }

    /// The socket itself.
    #[must_use]
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Its own port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }
}

/// Measures a host's way out; `None` when no UDP comes through.
#[must_use]
pub fn measure(host: &Space, prefix: Option<Ipv6Addr>) -> Option<Theory> {
    let first = Inside::new(host, prefix);
    let seen = first.mapped()?;
    let is_own = host.enter(|| UdpSocket::bind((seen.ip(), 0)).is_ok());
    Some(Theory {
        translated: !is_own,
        mapping: first.mapping()?,
        // What has been written to counts: another socket.
        filtering: Inside::new(host, prefix).filtering()?,
    })
}

/// Whether bytes that begin like this are answered over TCP.
#[must_use]
pub fn tcp_carries(host: &Space, at: SocketAddr, bytes: &[u8]) -> bool {
    host.enter(|| {
        let mut answer = [0; 1];
        let stream = TcpStream::connect_timeout(&at, Duration::from_secs(1));
        stream
            .and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                stream.write_all(bytes)?;
                stream.read_exact(&mut answer)
            })
            .is_ok()
    })
}

/// Whether a TCP connection to the centre comes about.
#[must_use]
pub fn tcp_reaches(host: &Space, at: SocketAddr) -> bool {
    host.enter(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok())
}
