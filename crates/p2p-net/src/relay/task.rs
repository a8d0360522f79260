//! The task of one relay.

use std::{io, net::SocketAddr, sync::Arc, time::Duration, time::Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;
use turn_client_proto::{
    api::TurnConfig,
    types::{AddressFamily, TurnCredentials},
};

use super::{
    Relay, RelayError, RelayOptions, Shared, Sink,
    core::Core,
    io::{Io, Reader, Wire},
};
use crate::server::RelayServer;

/// A request is repeated first after this, then after twice that.
const REPEAT_FIRST: Duration = Duration::from_millis(250);
const REPEAT_MAX: Duration = Duration::from_secs(2);
const REPEATS: u32 = 6;
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How soon it is noticed that nobody listens at the server any more.
const LOOK_FOR_ERRORS: Duration = Duration::from_millis(250);

/// Why there is no allocation.
pub(super) enum Refusal {
    Error(RelayError),
    /// Ask there instead.
    Alternate(SocketAddr),
}

impl From<RelayError> for Refusal {
    fn from(error: RelayError) -> Self {
        Self::Error(error)
    }
}

fn config(server: &RelayServer, options: &RelayOptions) -> TurnConfig {
    let credentials = TurnCredentials::new(&server.username, server.credential.expose());
    let mut config = TurnConfig::new(credentials);
    config.set_request_retransmits(REPEAT_FIRST, REPEAT_MAX, REPEATS, LAST_WAIT);
    if options.both_families {
        config.add_address_family(AddressFamily::IPV6);
    }
    config
}

/// Asks for an allocation over `wire` and leaves a task behind that keeps it.
pub(super) async fn ask(
    wire: Wire,
    server: &RelayServer,
    options: &RelayOptions,
    sink: Sink,
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Relay, Refusal> {
    let (local, address) = (wire.local, wire.server);
    let unreachable = |e: io::Error| RelayError::Unreachable(e.to_string());
    let (io, reader, writer) = wire.split().map_err(unreachable)?;
    let config = config(server, options);
    let core = Arc::new(Core::new(io.is_stream(), local, address, config, Instant::now()));
    let (dead_tx, dead) = watch::channel(None);
    let (ready, allocated) = oneshot::channel();
    let token = token.child_token();
    // Dropped with this future, or with the last handle.
    let alive = Arc::new(token.clone().drop_guard());
    let task = Task {
        core: Arc::clone(&core),
        io: Arc::clone(&io),
        reader,
        sink,
        ready: Some(ready),
        token: token.clone(),
    };
    if let Some(writer) = writer {
        tasks.spawn(async move {
            let end = token.clone();
            tokio::select! {
                result = writer.run() => if let Err(error) = result {
                    debug!(%error, "writing to a relay");
                },
                // The goodbye is in the queue.
                () = async { token.cancelled().await; tokio::time::sleep(LAST_WAIT).await } => {}
            }
            end.cancel();
        });
    }
    tasks.spawn(async move {
        // Also set when the task panics: the sender is dropped with the guard.
        let guard = Dead(dead_tx);
        let reason = task.run().await;
        debug!(%reason, "a relay has ended");
        guard.0.send_replace(Some(reason));
    });
    let ready = allocated.await.map_err(|_| match dead.borrow().clone() {
        Some(error) => Refusal::from(error),
        None => RelayError::Ended.into(),
    })??;
    let shared = Shared {
        server: address,
        local,
        transport: server.transport,
        relayed: ready.relayed,
        mapped: ready.mapped,
        core,
        io,
        dead,
    };
    Ok(Relay { shared: Arc::new(shared), _alive: alive })
}

struct Dead(watch::Sender<Option<RelayError>>);

impl Drop for Dead {
    fn drop(&mut self) {
        self.0.send_if_modified(|dead| {
            let unset = dead.is_none();
            dead.get_or_insert(RelayError::Ended);
            unset
        });
    }
}

struct Ready {
    relayed: Vec<SocketAddr>,
    mapped: Option<SocketAddr>,
}

struct Task {
    core: Arc<Core>,
    io: Arc<Io>,
    reader: Reader,
    sink: Sink,
    /// Until the allocation is there.
    ready: Option<oneshot::Sender<Result<Ready, Refusal>>>,
    token: CancellationToken,
}

impl Task {
    async fn run(mut self) -> RelayError {
        let mut look = Instant::now();
        loop {
            let step = self.core.step(&self.io, Instant::now());
            if step.closed {
                return self.closed();
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK_FOR_ERRORS;
                self.io.look_for_errors();
            }
            if self.io.is_refused() {
                return self.failed(&io::ErrorKind::ConnectionRefused.into());
            }
            self.tell_ready();
            let at = if self.io.is_stream() { step.at } else { step.at.min(look) };
            let Self { core, io, reader, sink, token, .. } = &mut self;
            let mut take = |message| {
                if let Some((peer, data)) = core.receive(io, &message) {
                    sink(peer, data);
                }
            };
            tokio::select! {
                () = token.cancelled() => {
                    core.delete(io, Instant::now());
                    return RelayError::Cancelled;
                }
                () = core.wake.notified() => {}
                () = tokio::time::sleep_until(at.into()) => {}
                read = reader.read(&mut take) => if let Err(error) = read {
                    return self.failed(&error);
                },
            }
        }
    }

    fn tell_ready(&mut self) {
        let relayed = match &self.ready {
            Some(_) => self.core.relayed(),
            None => return,
        };
        if relayed.is_empty() {
            return;
        }
        let mapped = self.core.answers().mapped;
        if let Some(ready) = self.ready.take() {
            // Nobody waits any more: the token is cancelled too.
            let _ = ready.send(Ok(Ready { relayed, mapped }));
        }
    }

    fn failed(&mut self, error: &io::Error) -> RelayError {
        let error = RelayError::Unreachable(error.to_string());
        self.refuse(Refusal::Error(error.clone()));
        error
    }

    fn closed(&mut self) -> RelayError {
        if self.ready.is_none() {
            return RelayError::Ended;
        }
        let answers = self.core.answers();
        if let Some(alternate) = answers.alternate {
            self.refuse(Refusal::Alternate(alternate));
            return RelayError::Ended;
        }
        let error = match answers.refusal {
            Some((code, reason)) => RelayError::Refused { code, reason },
            None => RelayError::Silent,
        };
        self.refuse(Refusal::Error(error.clone()));
        error
    }

    fn refuse(&mut self, refusal: Refusal) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Err(refusal));
        }
    }
}
