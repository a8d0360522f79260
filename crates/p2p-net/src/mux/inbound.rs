//! Packets of sessions that came through other sockets than the main one, on their way to quinn.

use std::{
    collections::VecDeque,
    io::IoSliceMut,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::Context,
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use quinn::udp::RecvMeta;

/// Bytes that may wait; what comes then is lost, as in a socket's buffer.
const MAX_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Inbound {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    turn: AtomicBool,
}

#[derive(Default)]
struct Queue {
    trains: VecDeque<Train>,
    bytes: usize,
}

struct Train {
    from: SocketAddr,
    stride: usize,
    data: Bytes,
}

impl Inbound {
    pub(super) fn push(&self, from: SocketAddr, stride: usize, data: Bytes) {
        {
            let mut queue = self.queue.lock();
            if queue.bytes + data.len() > MAX_BYTES {
                return;
            }
            queue.bytes += data.len();
            queue.trains.push_back(Train { from, stride: stride.max(1), data });
        }
        self.waker.wake();
    }

    /// Every other time.
    pub(super) fn is_first(&self) -> bool {
        self.turn.fetch_xor(true, Relaxed)
    }

    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Fills quinn's buffers; `None` when nothing waits.
    pub(super) fn take(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Option<usize> {
        let mut queue = self.queue.lock();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(train) = queue.trains.front_mut() else { break };
            // Whole datagrams only; one that fits into no buffer is lost.
            let fits = buffer.len() / train.stride * train.stride;
            let length = train.data.len().min(fits);
            buffer[..length].copy_from_slice(&train.data[..length]);
            let (addr, stride) = (train.from, train.stride);
            *meta = RecvMeta { addr, len: length, stride, ecn: None, dst_ip: None };
            train.data.advance(length);
            let over = train.data.is_empty() || length == 0;
            let lost = if over { train.data.len() } else { 0 };
            if over {
                queue.trains.pop_front();
            }
            queue.bytes = queue.bytes.saturating_sub(length + lost);
            count += 1;
        }
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_are_cut_at_datagrams_and_what_is_too_much_is_lost() {
        let inbound = Inbound::default();
        let from = "[100::1]:9".parse().expect("address");
        inbound.push(from, 10, Bytes::from(vec![1; 35]));
        let (mut a, mut b) = ([0; 25], [0; 25]);
        let mut buffers = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        let mut meta = [RecvMeta::default(); 2];
        assert_eq!(inbound.take(&mut buffers, &mut meta), Some(2));
        assert_eq!([meta[0].len, meta[1].len], [20, 15]);
        assert_eq!(inbound.take(&mut buffers, &mut meta), None);
        for _ in 0..10 {
            inbound.push(from, 1 << 20, Bytes::from(vec![0; 1 << 20]));
        }
        assert_eq!(inbound.queue.lock().trains.len(), 4);
    }
}
