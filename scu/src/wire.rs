//! Messages over QUIC and over WebSocket, as one stream and one sink.
//!
//! Over QUIC (Ps): one bidirectional stream, opened by the PU; each message is a u32 in
//! big-endian order and that many bytes of JSON. A stream exists for the SCU only once the PU has
//! sent something on it, so the PU's first message is a `KeepAlive` as hello; the SCU answers it
//! with the challenge. Over WebSocket (Ps, Cs): each message is one text message; the SCU speaks
//! first, and the hello is allowed but not needed.

use std::{pin::Pin, time::Duration};

use axum::extract::ws;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, stream};
use sightline_protocol::MAX_MESSAGE_BYTES;
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::frames::codec;

/// A peer that does not take a message within this time is too slow.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// What comes in.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Bytes),
    /// Not a message at all: what is wrong with it.
    Unreadable(String),
    /// Nothing more will come; `clean` when the peer said so.
    Closed {
        clean: bool,
    },
}

/// Nothing more can be sent.
#[derive(Debug)]
pub(crate) struct Broken;

/// A connection.
pub(crate) struct Wire {
    incoming: Pin<Box<dyn Stream<Item = Incoming> + Send>>,
    /// `None` once it has failed: a sink must not be touched after its error.
    outgoing: Option<Outgoing>,
}

type Outgoing = Pin<Box<dyn Sink<Bytes, Error = Broken> + Send>>;

impl Wire {
    pub(crate) fn quic(send: quinn::SendStream, recv: quinn::RecvStream) -> Self {
        // Most connections are idle most of the time: a small buffer that grows when needed.
        let incoming = FramedRead::with_capacity(recv, codec(), 512).map(|frame| match frame {
            Ok(frame) => Incoming::Message(frame.freeze()),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => too_long(),
            Err(_) => Incoming::Closed { clean: false },
        });
        let outgoing = FramedWrite::new(send, codec());
        let outgoing = SinkExt::<Bytes>::sink_map_err(outgoing, |_: std::io::Error| Broken);
        Self { incoming: Box::pin(incoming), outgoing: Some(Box::pin(outgoing)) }
    }

    pub(crate) fn websocket(socket: ws::WebSocket) -> Self {
        let (sink, stream) = socket.split();
        let incoming = stream.filter_map(|message| async {
            Some(match message {
                Ok(ws::Message::Text(text)) => Incoming::Message(text.into()),
                Ok(ws::Message::Binary(_)) => {
                    Incoming::Unreadable("messages are text, not binary".to_owned())
                }
                Ok(ws::Message::Ping(_) | ws::Message::Pong(_)) => return None,
                Ok(ws::Message::Close(_)) => Incoming::Closed { clean: true },
                Err(e) if e.to_string().contains("too long") => too_long(),
                Err(_) => Incoming::Closed { clean: false },
            })
        });
        let outgoing = sink.sink_map_err(|_| Broken).with(|bytes: Bytes| async move {
            ws::Utf8Bytes::try_from(bytes).map(ws::Message::Text).map_err(|_| Broken)
        });
        Self { incoming: Box::pin(incoming), outgoing: Some(Box::pin(outgoing)) }
    }

    /// The next thing that comes in. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Incoming {
        self.incoming.next().await.unwrap_or(Incoming::Closed { clean: false })
    }

    /// Nothing more is expected: what comes is ignored.
    pub(crate) fn stop_reading(&mut self) {
        self.incoming = Box::pin(stream::pending());
    }

    pub(crate) async fn send(&mut self, message: Vec<u8>) -> Result<(), Broken> {
        let outgoing = self.outgoing.as_mut().ok_or(Broken)?;
        let sent = tokio::time::timeout(SEND_TIMEOUT, outgoing.send(message.into())).await;
        let sent = sent.unwrap_or_else(|_| {
            metrics::counter!("sightline_scu_slow_peers_total").increment(1);
            Err(Broken)
        });
        if sent.is_err() {
            self.outgoing = None;
        }
        sent
    }

    /// Ends the connection after what was sent.
    pub(crate) async fn close(self) {
        if let Some(mut outgoing) = self.outgoing {
            let _ = tokio::time::timeout(SEND_TIMEOUT, outgoing.close()).await;
        }
    }
}

fn too_long() -> Incoming {
    Incoming::Unreadable(format!("a message has more than {MAX_MESSAGE_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::LengthDelimitedCodec;

    use super::*;

    #[tokio::test]
    async fn a_wire_that_failed_refuses_further_messages_and_can_be_closed() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let outgoing = FramedWrite::new(near, LengthDelimitedCodec::new());
        let outgoing = SinkExt::<Bytes>::sink_map_err(outgoing, |_: std::io::Error| Broken);
        let incoming = Box::pin(stream::pending());
        let mut wire = Wire { incoming, outgoing: Some(Box::pin(outgoing)) };
        assert!(wire.send(b"first".to_vec()).await.is_err());
        assert!(wire.send(b"second".to_vec()).await.is_err());
        wire.close().await;
    }
}
