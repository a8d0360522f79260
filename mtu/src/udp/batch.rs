//! Receiving in batches.

use std::{io, io::IoSliceMut};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef};

use super::sockets::Udp;

/// A datagram, or a train of them, is no longer than this.
const LARGEST: usize = 1 << 16;
/// So that the beginnings of buffers do not fall on the same lines of the cache.
const STAGGER: usize = LARGEST + 17 * 64;

/// Buffers for one call, used for every socket of a worker.
pub(super) struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; STAGGER * BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// Takes what waits, up to a batch; a batch that is not full was all there was.
    pub(super) fn receive(&mut self, udp: &Udp) -> io::Result<Received> {
        let mut chunks = self.bytes.chunks_exact_mut(STAGGER);
        let mut slices = std::array::from_fn::<_, BATCH_SIZE, _>(|_| {
            IoSliceMut::new(chunks.next().map_or(&mut [], |chunk| &mut chunk[..LARGEST]))
        });
        let socket = UdpSockRef::from(&udp.socket);
        match udp.state.recv(socket, &mut slices, &mut self.metas) {
            Ok(count) => Ok(Received { count, drained: count < BATCH_SIZE }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Received { count: 0, drained: true })
            }
            Err(error) => Err(error),
        }
    }

    /// What the last call took.
    pub(super) fn get(&self, at: usize) -> (&RecvMeta, &[u8]) {
        let meta = &self.metas[at];
        (meta, &self.bytes[at * STAGGER..][..meta.len])
    }
}

/// What one call took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) count: usize,
    pub(super) drained: bool,
}
