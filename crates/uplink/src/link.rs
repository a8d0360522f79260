//! One open connection to an SCU: framed messages in both directions, over QUIC or WebSocket.
//!
//! QUIC: one bidirectional stream, each message behind its length (`u32`, big-endian).
//! WebSocket: one text message each.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::frames::read_frame;

/// Messages that may wait for the network. When there are more, the link counts as dead: an SCU
/// that takes nothing for so long is no use.
const QUEUE: usize = 256;

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// QUIC.
    Quic,
    /// WebSocket, on TLS except on the same machine.
    WebSocket,
}

impl Transport {
    /// For logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
        }
    }
}

/// The link takes nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed or stalled")]
pub struct LinkClosed;

/// An open connection; dropping it closes it.
#[derive(Debug)]
pub struct Link {
    /// What carries it.
    pub transport: Transport,
    outgoing: mpsc::Sender<Bytes>,
    incoming: mpsc::Receiver<Bytes>,
    _closes: DropGuard,
}

impl Link {
    /// Runs the dialogue over an open QUIC connection.
    ///
    /// # Errors
    /// When the connection takes no stream.
    pub async fn quic(
        connection: quinn::Connection,
        tasks: &TaskTracker,
    ) -> Result<Self, quinn::ConnectionError> {
        let (send, receive) = connection.open_bi().await?;
        let (link, ends, closed) = Self::new(Transport::Quic);
        tasks.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = write_frames(send, ends.outgoing) => {}
                () = read_frames(receive, ends.incoming) => {}
            }
            connection.close(0u32.into(), b"");
        });
        Ok(link)
    }

    /// Runs the dialogue over an open WebSocket.
    pub fn websocket<S>(stream: WebSocketStream<S>, tasks: &TaskTracker) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (link, ends, closed) = Self::new(Transport::WebSocket);
        tasks.spawn(async move {
            let (sink, stream) = stream.split();
            tokio::select! {
                () = closed.cancelled() => {}
                () = write_texts(sink, ends.outgoing) => {}
                () = read_texts(stream, ends.incoming) => {}
            }
        });
        link
    }

    fn new(transport: Transport) -> (Self, Ends, CancellationToken) {
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (received, incoming) = mpsc::channel(QUEUE);
        let token = CancellationToken::new();
        let link = Self { transport, outgoing, incoming, _closes: token.clone().drop_guard() };
        (link, Ends { outgoing: to_send, incoming: received }, token)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`LinkClosed`]; drop the link then.
    pub fn send(&self, message: Vec<u8>) -> Result<(), LinkClosed> {
        self.outgoing.try_send(message.into()).map_err(|_| LinkClosed)
    }

    /// The next message; `None` when the link has ended. Cancel-safe.
    pub async fn receive(&mut self) -> Option<Bytes> {
        self.incoming.recv().await
    }
}

struct Ends {
    outgoing: mpsc::Receiver<Bytes>,
    incoming: mpsc::Sender<Bytes>,
}

async fn write_frames(mut stream: quinn::SendStream, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        let Ok(length) = u32::try_from(message.len()) else { return };
        let length = Bytes::copy_from_slice(&length.to_be_bytes());
        if stream.write_all_chunks(&mut [length, message]).await.is_err() {
            return;
        }
    }
}

async fn read_frames(mut stream: quinn::RecvStream, messages: mpsc::Sender<Bytes>) {
    loop {
        match read_frame(&mut stream).await {
            Ok(message) => {
                if messages.send(message).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::InvalidData {
                    tracing::warn!(%error, "the service broke the protocol");
                }
                return;
            }
        }
    }
}

async fn write_texts(
    mut sink: impl futures_util::Sink<Message> + Unpin,
    mut messages: mpsc::Receiver<Bytes>,
) {
    while let Some(message) = messages.recv().await {
        let Ok(text) = message.try_into() else { return };
        if sink.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
}

async fn read_texts<E>(
    mut stream: impl futures_util::Stream<Item = Result<Message, E>> + Unpin,
    messages: mpsc::Sender<Bytes>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let message: Bytes = match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) | Message::Frame(_) => return,
        };
        if messages.send(message).await.is_err() {
            return;
        }
    }
}
