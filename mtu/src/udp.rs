//! STUN and TURN over UDP: one thread for each core, each with its own sockets and allocations.
//!
//! Every worker listens at the same addresses (SO_REUSEPORT), so the kernel gives a client always
//! to the same one. A worker receives in batches (recvmmsg, GRO), hands them to its
//! [`Server`](mtu_turn::Server), gathers what that sends by (socket, destination, size), and sends
//! each group at once (GSO), or packet by packet where GSO is refused. Packets between two relayed
//! addresses of this MTU never see the kernel: within a worker the core hands them over, between
//! workers a bounded queue does; what does not fit there is dropped, as a network would.
//!
//! Clients of streams belong to a worker too ([`Workers::worker_for`]); whoever reads their
//! connections hands in whole messages and gets whole messages back ([`StreamOut`]).

mod alarm;
mod batch;
mod icmp;
mod inbox;
mod io;
mod metrics;
mod options;
mod relays;
mod sockets;
mod streams;
mod transmit;
mod veiled;
mod worker;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use arc_swap::ArcSwap;
use mtu_turn::{ClientId, Settings, Shared, Usage, WorkerIndex};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use inbox::{Gone, StreamHandle, WorkerHandle};
pub use options::{Options, RelayAddress};
pub(crate) use sockets::{file_limit, raise_file_limit};
pub use streams::{StreamOut, TcpRelays};
pub(crate) use veiled::DtlsOptions;

/// How many ended allocations may wait to be accounted for; more are counted as lost.
const USAGES: usize = 65_536;

/// The workers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is no thread, or no way to wait for sockets.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] std::io::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Running workers. They end with [`stop`](Self::stop), or when this is dropped.
#[derive(Debug)]
pub struct Workers {
    addresses: Vec<SocketAddr>,
    handles: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
    died: CancellationToken,
    relayed_bytes: Arc<AtomicU64>,
}

impl Workers {
    /// Starts them. The receiver tells what each allocation has carried when it has ended.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub fn start(
        options: Options,
        settings: Arc<ArcSwap<Settings>>,
    ) -> Result<(Self, mpsc::Receiver<Usage>), StartError> {
        Self::start_with(options, settings, None)
    }

    /// The same, with DTLS at the same addresses.
    pub(crate) fn start_with(
        options: Options,
        settings: Arc<ArcSwap<Settings>>,
        dtls: Option<DtlsOptions>,
    ) -> Result<(Self, mpsc::Receiver<Usage>), StartError> {
        raise_file_limit();
        let mut nonce_key = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce_key).map_err(|_| StartError::Random)?;
        let announced = options.relays.iter().map(|relay| relay.announced);
        let shared = Arc::new(Shared::new(announced, &nonce_key, Instant::now()));
        let (usage, usages) = mpsc::channel(USAGES);
        let listeners = sockets::listen(&options.listen, options.workers)?;
        let addresses = listeners.addresses;
        let stopping = Arc::new(AtomicBool::new(false));
        let relayed_bytes = Arc::<AtomicU64>::default();
        let mut made = vec![];
        for (index, sockets) in (0..).zip(listeners.sockets) {
            made.push((inbox::Inbox::new(WorkerIndex(index))?, sockets));
        }
        let handles: Vec<_> = made.iter().map(|((_, handle), _)| handle.clone()).collect();
        let common = worker::Common {
            options: Arc::new(options),
            shared: shared.clone(),
            settings,
            usage,
            stopping: stopping.clone(),
            relayed_bytes: relayed_bytes.clone(),
            batches: inbox::Batches::new(handles.clone()),
            held: Arc::default(),
            dtls,
        };
        let died = CancellationToken::new();
        let mut workers = Self {
            addresses,
            handles,
            threads: vec![],
            shared,
            stopping,
            died: died.clone(),
            relayed_bytes,
        };
        for ((inbox, handle), sockets) in made {
            let index = handle.index();
            let mut worker = worker::Worker::new(index, &common, handle, inbox, sockets)?;
            let thread = std::thread::Builder::new().name(format!("relay-{}", index.0));
            let end = End { stopping: workers.stopping.clone(), died: died.clone() };
            workers.threads.push(thread.spawn(move || {
                let _end = end;
                worker.run();
            })?);
        }
        Ok((workers, usages))
    }

    /// Where clients are served, in the order in which they were asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the servers of all workers have in common: allocations, users, live relays.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Payload relayed by all workers since they started, as of a second ago.
    #[must_use]
    pub fn relayed_bytes(&self) -> u64 {
        self.relayed_bytes.load(Ordering::Relaxed)
    }

    /// All workers.
    #[must_use]
    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// The worker for a client of a stream: always the same for one address and port. Those of one
    /// address are spread, as datagrams are: many clients may stand behind it.
    #[must_use]
    pub fn worker_for(&self, client: &ClientId) -> &WorkerHandle {
        let bits = match client.address.ip() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        // Fibonacci hashing: neighbours do not share a worker.
        let hash = bits.wrapping_add(client.address.port().into());
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.handles[hash as usize % self.handles.len()]
    }

    /// Cancelled when a worker has ended although nobody asked it to. The system then gives its
    /// clients' datagrams to the others, which do not know them: the process must start anew.
    #[must_use]
    pub fn died(&self) -> CancellationToken {
        self.died.clone()
    }

    /// Ends all allocations and waits for the threads.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for handle in &self.handles {
            handle.wake();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a relay worker has panicked");
            }
        }
    }
}

/// A worker without a thread, which takes what is told to it and does nothing; it lasts as long as
/// what is given beside it.
#[cfg(test)]
pub(crate) fn idle_worker() -> (WorkerHandle, impl Sized) {
    let (inbox, handle) = inbox::Inbox::new(WorkerIndex(0)).expect("a poll");
    (handle, inbox)
}

/// Tells when a worker's thread ends too early, by a panic too.
struct End {
    stopping: Arc<AtomicBool>,
    died: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.stopping.load(Ordering::Acquire) {
            self.died.cancel();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
