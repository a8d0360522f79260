//! Waits until a packet fits into the socket or relay where the last one did not.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::UdpPoller;

use super::{Mux, Wire};

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Waits for one connection.
pub(super) struct Poller {
    mux: Arc<Mux>,
    waiting: Option<Waiting>,
}

impl Poller {
    pub(super) const fn new(mux: Arc<Mux>) -> Self {
        Self { mux, waiting: None }
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { mux, waiting } = &mut *self;
        let future = waiting.get_or_insert_with(|| {
            let wire = mux.blocked.lock().clone();
            let wire = wire.unwrap_or_else(|| Wire::Udp(Arc::clone(&mux.main)));
            Box::pin(async move { wire.writable().await })
        });
        ready!(future.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}
