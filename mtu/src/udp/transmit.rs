//! Sending in groups: packets of one socket, one destination and one size leave in one call.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
};

use mtu_turn::RelayId;
use quinn_udp::{Transmit, UdpSockRef};
use rustix::io::Errno;

use super::sockets::Udp;

/// Groups that are filled at a time.
const MAX_GROUPS: usize = 128;
/// UDP_MAX_SEGMENTS of older kernels.
const MAX_SEGMENTS: u16 = 64;
/// What IP leaves of 65,535 bytes, roughly.
const MAX_BYTES: usize = 65_000;
/// Longer packets leave one by one: with Ethernet's MTU, GSO would refuse them.
const MAX_SEGMENT: usize = 1_452;
/// Destinations that are remembered for refusing GSO, since their path is narrow.
const MAX_NARROW: usize = 1_024;

/// Through which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Via {
    /// That of our listeners.
    Listener(u16),
    /// That of a relay.
    Relay(RelayId),
}

/// What packets of one group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) via: Via,
    pub(super) to: SocketAddr,
    /// Where the socket has several addresses: which one.
    pub(super) from: Option<IpAddr>,
}

#[derive(Debug)]
struct Group {
    key: Key,
    /// Size of every packet but the last, which may be shorter.
    segment: usize,
    count: u16,
    closed: bool,
    bytes: Vec<u8>,
}

impl Group {
    fn takes(&self, length: usize) -> bool {
        !self.closed
            && length != 0
            && length <= self.segment
            && self.count < MAX_SEGMENTS
            && self.bytes.len() + length <= MAX_BYTES
    }

    fn append(&mut self, parts: [&[u8]; 3], length: usize) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
        self.closed |= length < self.segment;
    }
}

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) calls: u64,
    pub(super) packets: u64,
    /// What the socket did not take.
    pub(super) dropped: u64,
    /// Groups that were refused and sent packet by packet.
    pub(super) refused: u64,
}

/// Groups of one worker.
#[derive(Debug)]
pub(super) struct Groups {
    gso: bool,
    /// Their buffers are used again.
    groups: Vec<Group>,
    used: usize,
    open: HashMap<Key, usize, foldhash::fast::RandomState>,
    last: Option<(Key, usize)>,
    narrow: HashSet<IpAddr>,
    pub(super) sent: Sent,
}

impl Groups {
    pub(super) fn new(gso: bool) -> Self {
        Self {
            gso,
            groups: vec![],
            used: 0,
            open: HashMap::default(),
            last: None,
            narrow: HashSet::new(),
            sent: Sent::default(),
        }
    }

    /// Whether [`flush`](Self::flush) is due before anything else is pushed.
    pub(super) const fn is_full(&self) -> bool {
        self.used == MAX_GROUPS
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Takes one packet.
    pub(super) fn push(&mut self, key: Key, parts: [&[u8]; 3]) {
        let length = parts.iter().map(|part| part.len()).sum();
        let known = match self.last {
            Some((last, at)) if last == key => Some(at),
            _ => self.open.get(&key).copied(),
        };
        if let Some(at) = known
            && self.groups[at].takes(length)
        {
            self.groups[at].append(parts, length);
            self.last = Some((key, at));
            return;
        }
        let at = self.used;
        self.used += 1;
        if at == self.groups.len() {
            let bytes = Vec::with_capacity(16 * 1_024);
            self.groups.push(Group { key, segment: 0, count: 0, closed: false, bytes });
        }
        let grouped = self.gso && length <= MAX_SEGMENT && !self.narrow.contains(&key.to.ip());
        let group = &mut self.groups[at];
        group.bytes.clear();
        group.key = key;
        group.segment = length;
        group.count = 0;
        group.closed = !grouped;
        group.append(parts, length);
        self.open.insert(key, at);
        self.last = Some((key, at));
    }

    /// Sends everything.
    pub(super) fn flush<'a>(&mut self, socket: impl Fn(Via) -> Option<&'a Udp>) {
        for at in 0..self.used {
            let group = &self.groups[at];
            match socket(group.key.via) {
                Some(udp) => match send(udp, group, &mut self.sent) {
                    Refused::No => {}
                    // The path of this destination is narrower than others.
                    Refused::Path => {
                        if self.narrow.len() >= MAX_NARROW {
                            self.narrow.clear();
                        }
                        self.narrow.insert(group.key.to.ip());
                    }
                    Refused::Device => {
                        tracing::info!("this system refuses GSO: packets leave one by one");
                        self.gso = false;
                    }
                },
                None => self.sent.dropped += u64::from(group.count),
            }
        }
        self.used = 0;
        self.open.clear();
        self.last = None;
    }
}

/// Whether packets may not leave as a group.
enum Refused {
    No,
    Path,
    Device,
}

fn send(udp: &Udp, group: &Group, sent: &mut Sent) -> Refused {
    let Group { key, segment, count, bytes, .. } = group;
    let segment_size = (*count > 1).then_some(*segment);
    let Err(error) = transmit(udp, key, bytes, segment_size, sent) else {
        sent.packets += u64::from(*count);
        return Refused::No;
    };
    if *count == 1 || error.kind() == io::ErrorKind::WouldBlock {
        // What the socket does not take is lost, as in any network.
        sent.dropped += u64::from(*count);
        return Refused::No;
    }
    sent.refused += 1;
    for packet in bytes.chunks(*segment) {
        match transmit(udp, key, packet, None, sent) {
            Ok(()) => sent.packets += 1,
            Err(_) => sent.dropped += 1,
        }
    }
    // quinn-udp says the same of both; EIO comes from devices that cannot.
    match Errno::from_io_error(&error) {
        Some(Errno::IO) => Refused::Device,
        Some(Errno::INVAL | Errno::MSGSIZE) => Refused::Path,
        _ => Refused::No,
    }
}

fn transmit(
    udp: &Udp,
    key: &Key,
    contents: &[u8],
    segment_size: Option<usize>,
    sent: &mut Sent,
) -> io::Result<()> {
    let transmit =
        Transmit { destination: key.to, ecn: None, contents, segment_size, src_ip: key.from };
    let mut result = Ok(());
    // An ICMP error about an earlier packet is reported once, and says nothing about this one.
    for _ in 0..2 {
        sent.calls += 1;
        result = udp.state.try_send(UdpSockRef::from(&udp.socket), &transmit);
        match &result {
            Err(error) if is_about_another(error) => {}
            _ => break,
        }
    }
    result
}

/// Errors that a socket reports once for a packet that it sent earlier: all that Linux makes of
/// ICMP (`icmp_err_convert`, `icmpv6_err_convert`). They say nothing of the socket.
pub(super) fn is_about_another(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::NOPROTOOPT
                | Errno::MSGSIZE
                | Errno::OPNOTSUPP
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::ACCESS
                | Errno::PROTO
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::sockets;

    fn pair() -> (Udp, std::net::UdpSocket, Key) {
        let udp = sockets::relay(([127, 0, 0, 1], 0).into()).expect("bound");
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("set");
        let to = peer.local_addr().expect("bound");
        (udp, peer, Key { via: Via::Relay(RelayId(0)), to, from: None })
    }

    fn sizes_sent(gso: bool, sizes: &[usize]) -> (Vec<usize>, Sent) {
        let (udp, peer, key) = pair();
        let mut groups = Groups::new(gso);
        for (n, &size) in sizes.iter().enumerate() {
            groups.push(key, [&vec![n as u8; size], &[], &[]]);
        }
        groups.flush(|_| Some(&udp));
        let mut buffer = [0; 4_096];
        let received = (0..sizes.len()).map(|n| {
            let size = peer.recv(&mut buffer).expect("received");
            assert!(buffer[..size].iter().all(|&byte| usize::from(byte) == n), "out of order");
            size
        });
        (received.collect(), groups.sent)
    }

    #[test]
    fn packets_of_one_size_leave_together_and_arrive_apart() {
        let (sizes, sent) = sizes_sent(true, &[1_200; 8]);
        assert_eq!(sizes, [1_200; 8]);
        assert_eq!((sent.calls, sent.packets, sent.dropped), (1, 8, 0));
    }

    #[test]
    fn a_shorter_one_ends_a_group_and_a_longer_one_begins_another() {
        let sizes = [100, 100, 40, 100, 200, 0, 200];
        let (received, sent) = sizes_sent(true, &sizes);
        assert_eq!(received, sizes);
        assert_eq!((sent.calls, sent.packets), (5, 7));
    }

    #[test]
    fn without_gso_every_packet_leaves_alone() {
        let (received, sent) = sizes_sent(false, &[1_200; 8]);
        assert_eq!(received, [1_200; 8]);
        assert_eq!((sent.calls, sent.packets), (8, 8));
    }

    #[test]
    fn what_icmp_says_of_a_packet_is_not_said_of_the_socket() {
        let packets = [Errno::MSGSIZE, Errno::PROTO, Errno::ACCESS, Errno::HOSTDOWN, Errno::NONET];
        let packets = packets.into_iter().chain([Errno::CONNREFUSED, Errno::NOPROTOOPT]);
        for errno in packets {
            assert!(is_about_another(&errno.into()), "{errno}");
        }
        for errno in [Errno::WOULDBLOCK, Errno::BADF, Errno::NOMEM, Errno::INVAL] {
            assert!(!is_about_another(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn where_a_group_is_refused_its_packets_leave_alone() {
        let (udp, peer, key) = pair();
        // Loopback refuses segments only beyond its MTU; such a group is made by hand.
        let group = Group { key, segment: 70_000, count: 2, closed: false, bytes: vec![7; 3_000] };
        let mut sent = Sent::default();
        let _ = send(&udp, &Group { segment: 2_000, ..group }, &mut sent);
        assert_eq!((sent.packets, sent.dropped), (2, 0));
        let mut buffer = [0; 4_096];
        assert_eq!(peer.recv(&mut buffer).expect("received"), 2_000);
        assert_eq!(peer.recv(&mut buffer).expect("received"), 1_000);
    }
}
