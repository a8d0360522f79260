//! STUN and TURN from clients over TCP, shown to the server as one socket with many peers.
//!
//! Framing: RFC 8489 section 6.2.2, RFC 8656 section 12.5. The allocation of a client whose
//! connection has ended is kept by the `turn` crate until its lifetime is over; RFC 8656 would
//! have it deleted at once.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use webrtc_util::Conn;

use crate::framing::read_message;

/// Messages that wait for the server; a client's further ones wait in its connection.
const IN_QUEUE: usize = 256;
/// Messages that wait for one client; more are dropped, as UDP would.
const OUT_QUEUE: usize = 256;
/// Clients at a time.
const MAX_CLIENTS: usize = 4_096;
/// A client that says nothing for so long is gone: an allocation is refreshed more often.
const IDLE: Duration = Duration::from_secs(600);

type Clients = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>>;

/// The listening side.
pub(crate) struct TcpFront {
    local: SocketAddr,
    clients: Clients,
    incoming: tokio::sync::Mutex<mpsc::Receiver<(Vec<u8>, SocketAddr)>>,
}

impl TcpFront {
    pub(crate) fn start(listener: TcpListener, lifecycle: &Lifecycle) -> std::io::Result<Self> {
        let local = listener.local_addr()?;
        let (queue, incoming) = mpsc::channel(IN_QUEUE);
        let clients = Clients::default();
        lifecycle.spawn(accept(listener, clients.clone(), queue, lifecycle.clone()));
        Ok(Self { local, clients, incoming: tokio::sync::Mutex::new(incoming) })
    }
}

async fn accept(
    listener: TcpListener,
    clients: Clients,
    queue: mpsc::Sender<(Vec<u8>, SocketAddr)>,
    lifecycle: Lifecycle,
) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait until some are free.
                tracing::warn!(%error, "cannot accept a TCP client");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (sender, receiver) = mpsc::channel(OUT_QUEUE);
        {
            let mut clients = clients.lock();
            if clients.len() >= MAX_CLIENTS {
                continue;
            }
            clients.insert(from, sender);
        }
        lifecycle.spawn(client(stream, from, clients.clone(), queue.clone(), receiver));
    }
}

async fn client(
    stream: TcpStream,
    from: SocketAddr,
    clients: Clients,
    queue: mpsc::Sender<(Vec<u8>, SocketAddr)>,
    outgoing: mpsc::Receiver<Vec<u8>>,
) {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    // Whichever side fails ends both.
    let ended = tokio::select! {
        ended = read_all(read, from, queue) => ended,
        ended = write_all(write, outgoing) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a TCP client has ended");
    }
    clients.lock().remove(&from);
}

async fn read_all(
    mut read: OwnedReadHalf,
    from: SocketAddr,
    queue: mpsc::Sender<(Vec<u8>, SocketAddr)>,
) -> std::io::Result<()> {
    loop {
        let message = tokio::time::timeout(IDLE, read_message(&mut read)).await??;
        if queue.send((message, from)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write_all(
    mut write: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
) -> std::io::Result<()> {
    while let Some(message) = outgoing.recv().await {
        write.write_all(&message).await?;
    }
    Ok(())
}

#[async_trait]
impl Conn for TcpFront {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Err(std::io::Error::from(std::io::ErrorKind::Unsupported).into())
    }

    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        self.recv_from(buf).await.map(|(n, _)| n)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        let (message, from) = self
            .incoming
            .lock()
            .await
            .recv()
            .await
            .ok_or(webrtc_util::Error::ErrUseClosedNetworkConn)?;
        let n = message.len().min(buf.len());
        buf[..n].copy_from_slice(&message[..n]);
        Ok((n, from))
    }

    async fn send(&self, _: &[u8]) -> webrtc_util::Result<usize> {
        Err(webrtc_util::Error::ErrNoRemAddr)
    }

    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> webrtc_util::Result<usize> {
        let mut message = buf.to_vec();
        if matches!(buf.first(), Some(0x40..=0x7f)) {
            message.resize(buf.len().next_multiple_of(4), 0);
        }
        if let Some(client) = self.clients.lock().get(&target)
            && client.try_send(message).is_err()
        {
            metrics::counter!("sightline_mtu_slow_client_drops_total").increment(1);
        }
        Ok(buf.len())
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(self.local)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
