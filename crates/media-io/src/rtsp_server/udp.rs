//! RTP over UDP: pairs of ports towards one player, sent in trains (GSO) where the system can.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdSocket},
    task::{Context, Poll},
};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use tokio::{
    io::{Interest, ReadBuf},
    net::UdpSocket,
};

/// Tries to find an even port whose neighbour is free too.
const TRIES: u16 = 64;
/// Largest train, in bytes: the kernel takes one UDP length.
const MAX_TRAIN: usize = 60_000;

/// Where pairs come from.
#[derive(Debug)]
pub(super) struct Pool {
    range: Option<(u16, u16)>,
}

/// A pair of ports, connected to the player's: what others send to them is dropped by the system.
pub(super) struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    state: UdpSocketState,
    destination: SocketAddr,
}

impl Pool {
    pub(super) const fn new(range: Option<(u16, u16)>) -> Self {
        Self { range }
    }

    /// An even port for RTP and the next for RTCP (RFC 3550 section 11).
    pub(super) fn open(
        &self,
        local: IpAddr,
        rtp_to: SocketAddr,
        rtcp_to: SocketAddr,
    ) -> io::Result<Pair> {
        let mut last = io::Error::new(io::ErrorKind::AddrInUse, "no pair of UDP ports is free");
        let offset = rand::random::<u16>();
        for index in 0..TRIES {
            match self.candidate(local, offset, index) {
                Ok((rtp, rtcp)) => return Pair::new(rtp, rtcp, rtp_to, rtcp_to),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn candidate(
        &self,
        local: IpAddr,
        offset: u16,
        index: u16,
    ) -> io::Result<(StdSocket, StdSocket)> {
        let port = match self.range {
            None => 0,
            Some((first, last)) => {
                let first = first + first % 2;
                let pairs = last.saturating_sub(first).div_ceil(2);
                if pairs == 0 {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "empty port range"));
                }
                first + (offset.wrapping_add(index) % pairs) * 2
            }
        };
        let rtp = StdSocket::bind((local, port))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 1 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok((rtp, StdSocket::bind((local, port + 1))?))
    }
}

impl Pair {
    fn new(
        rtp: StdSocket,
        rtcp: StdSocket,
        rtp_to: SocketAddr,
        rtcp_to: SocketAddr,
    ) -> io::Result<Self> {
        rtp.connect(rtp_to)?;
        rtcp.connect(rtcp_to)?;
        rtp.set_nonblocking(true)?;
        rtcp.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&rtp))?;
        let (rtp, rtcp) = (UdpSocket::from_std(rtp)?, UdpSocket::from_std(rtcp)?);
        Ok(Self { rtp, rtcp, state, destination: rtp_to })
    }

    pub(super) fn local(&self) -> io::Result<(SocketAddr, u16)> {
        Ok((self.rtp.local_addr()?, self.rtcp.local_addr()?.port()))
    }

    /// Sends packets that lie behind each other in `data`. What the system does not take now is
    /// lost, as on the network: a live picture is not worth waiting for.
    pub(super) fn send(&self, data: &[u8], lengths: &[usize]) {
        let mut at = 0;
        let mut rest = lengths;
        while let Some(&size) = rest.first() {
            let (count, bytes) = train(rest, self.state.max_gso_segments().max(1));
            let transmit = Transmit {
                destination: self.destination,
                ecn: None,
                contents: &data[at..at + bytes],
                segment_size: (count > 1).then_some(size),
                src_ip: None,
            };
            let sent = self.rtp.try_io(Interest::WRITABLE, || {
                self.state.try_send(UdpSockRef::from(&self.rtp), &transmit)
            });
            if let Err(error) = sent {
                tracing::trace!(%error, "RTP not sent");
            }
            at += bytes;
            rest = &rest[count..];
        }
    }

    pub(super) fn send_control(&self, data: &[u8]) {
        if let Err(error) = self.rtcp.try_send(data) {
            tracing::trace!(%error, "RTCP not sent");
        }
    }

    /// Ready when the player has sent RTCP, or anything to the RTP port (as some do to open a
    /// firewall); gives the bytes of RTCP.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        for socket in [&self.rtcp, &self.rtp] {
            let mut read = ReadBuf::new(buffer);
            match socket.poll_recv(cx, &mut read) {
                Poll::Ready(Ok(())) => return Poll::Ready(read.filled().len()),
                // A refused port shows here once; the socket stays usable.
                Poll::Ready(Err(_)) => return Poll::Ready(0),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

/// How many packets from the front go in one system call, and their bytes: equal ones, and at the
/// end a shorter one.
fn train(lengths: &[usize], most: usize) -> (usize, usize) {
    let size = lengths[0];
    let (mut count, mut bytes) = (0, 0);
    for &length in lengths.iter().take(most) {
        if length > size || bytes + length > MAX_TRAIN {
            break;
        }
        count += 1;
        bytes += length;
        if length < size {
            break;
        }
    }
    (count.max(1), bytes.max(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_hold_equal_packets_and_one_shorter() {
        assert_eq!(train(&[10, 10, 10, 4, 10], 64), (4, 34));
        assert_eq!(train(&[10, 12], 64), (1, 10));
        assert_eq!(train(&[10, 10, 10], 2), (2, 20));
        assert_eq!(train(&[40_000, 40_000], 64), (1, 40_000));
    }

    #[tokio::test]
    async fn pairs_come_from_the_range_and_run_out() {
        let local: IpAddr = "127.0.0.1".parse().expect("valid");
        let to = SocketAddr::new(local, 9);
        let pool = Pool::new(Some((41_010, 41_013)));
        let open = || pool.open(local, to, to);
        let (one, two) = (open().expect("first"), open().expect("second"));
        let mut ports =
            [one.local().expect("bound").0.port(), two.local().expect("bound").0.port()];
        ports.sort_unstable();
        assert_eq!(ports, [41_010, 41_012]);
        assert!(open().is_err());
    }
}
