//! What stands between workers and connections.

use mtu_turn::{Extension, ExtensionRequest, OpenError, OpenRelay, Opened, RelayId};

use super::WorkerHandle;

/// Takes messages for the client of a stream. Called on the worker's thread: it must not wait.
/// When the client is too slow, the implementation drops, as UDP would.
pub trait StreamOut: Send {
    /// One message in three parts, padded as streams have it.
    fn send(&mut self, head: &[u8], payload: &[u8], tail: &[u8]);

    /// The client's allocation has ended.
    fn released(&mut self);
}

/// Relays TCP (RFC 6062). Called on workers' threads: it must not wait.
pub trait TcpRelays: Send + Sync {
    /// Opens a relayed address for connections.
    ///
    /// # Errors
    /// [`OpenError`].
    fn open(&self, worker: &WorkerHandle, wanted: &OpenRelay<'_>) -> Result<Opened, OpenError>;

    /// Closes it, and its connections.
    fn close(&self, worker: &WorkerHandle, relay: RelayId);

    /// Connect and ConnectionBind; the answer may come later by [`WorkerHandle::answer`].
    fn extend(&self, worker: &WorkerHandle, request: &ExtensionRequest<'_>) -> Extension;
}
