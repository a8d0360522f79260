//! Sockets that send and receive trains: many packets of one size in one call of the kernel
//! (generic segmentation and receive offload).

use std::{
    io::{self, ErrorKind, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

/// The longest train that Linux receives.
const LONGEST: usize = 65_536;

/// What may wait in a socket while the machine does something else.
pub const BUFFER: usize = 4 << 20;

/// A socket that never blocks.
pub struct Train {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Train {
    /// Takes over a socket.
    ///
    /// # Errors
    /// The kernel refuses an option.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // The kernel gives less where `net.core.rmem_max` is lower.
        state.set_recv_buffer_size((&socket).into(), BUFFER)?;
        Ok(Self { socket, state })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends packets of `size` bytes each, the last one perhaps shorter. `Ok(false)` when the
    /// kernel has no room for them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, to: SocketAddr, packets: &[u8], size: usize) -> io::Result<bool> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: packets,
            segment_size: Some(size),
            src_ip: None,
        };
        loop {
            match self.state.try_send((&self.socket).into(), &transmit) {
                Ok(()) => return Ok(true),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock) => return Ok(false),
                // An ICMP error about an earlier packet.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Hands what has come to `take`: where from, one or more packets, their size. Returns whether
    /// more may be waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(
        &self,
        buffers: &mut Buffers,
        mut take: impl FnMut(&RecvMeta, &[u8]),
    ) -> io::Result<bool> {
        let mut slices = buffers.data.each_mut().map(|b| IoSliceMut::new(b));
        let count = match self.state.recv((&self.socket).into(), &mut slices, &mut buffers.meta) {
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Ok(true),
            Err(e) => return Err(e),
        };
        for (meta, data) in buffers.meta.iter().zip(buffers.data.iter()).take(count) {
            take(meta, &data[..meta.len]);
        }
        Ok(count == BATCH_SIZE)
    }
}

impl AsFd for Train {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for what one call receives; shared by all sockets of a thread.
pub struct Buffers {
    data: Box<[Vec<u8>; BATCH_SIZE]>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Default for Buffers {
    fn default() -> Self {
        let data = Box::new(std::array::from_fn(|_| vec![0; LONGEST]));
        Self { data, meta: [RecvMeta::default(); BATCH_SIZE] }
    }
}
