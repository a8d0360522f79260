//! What stands before the `turn` crate's server: it drops floods that the crate would keep state
//! for, and refuses permissions for peers that are denied.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stun::{
    attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_USERNAME},
    error_code::{CODE_FORBIDDEN, ErrorCodeAttribute},
    integrity::MessageIntegrity,
    message::{
        CLASS_ERROR_RESPONSE, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
        METHOD_CREATE_PERMISSION, Message, MessageType, is_message,
    },
    textattrs::TextAttribute,
};
use webrtc_util::Conn;

use crate::{
    auth::Credentials, framing::is_channel_data, named_peers::names_denied_peer, relay::Shared,
};

/// Wraps a listening connection.
pub(crate) struct Front<C> {
    pub(crate) inner: C,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) newcomers: Arc<Bucket>,
}

/// How many requests without credentials are answered: the crate keeps a nonce for each.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_s: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(crate) fn new(per_s: u32) -> Arc<Self> {
        let per_s = f64::from(per_s);
        Arc::new(Self { per_s, state: Mutex::new((per_s, Instant::now())) })
    }

    fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let (tokens, last) = *state;
        let refill = now.saturating_duration_since(last).as_secs_f64() * self.per_s;
        let tokens = (tokens + refill).min(self.per_s);
        let enough = tokens >= 1.0;
        *state = (if enough { tokens - 1.0 } else { tokens }, now);
        enough
    }
}

/// What to do with a datagram.
enum Verdict {
    Pass,
    Drop,
    Answer(Vec<u8>),
}

impl<C> Front<C> {
    fn judge(&self, datagram: &[u8]) -> Verdict {
        if !is_message(datagram) {
            return if is_channel_data(datagram) { Verdict::Pass } else { garbage() };
        }
        let mut message = Message { raw: datagram.to_vec(), ..Default::default() };
        if message.decode().is_err() {
            return garbage();
        }
        if message.typ.class != CLASS_REQUEST {
            return Verdict::Pass;
        }
        let signed = message.contains(ATTR_MESSAGE_INTEGRITY);
        match message.typ.method {
            METHOD_ALLOCATE if !signed && !self.newcomers.take(Instant::now()) => {
                metrics::counter!("sightline_mtu_flood_dropped_total").increment(1);
                Verdict::Drop
            }
            METHOD_CREATE_PERMISSION | METHOD_CHANNEL_BIND
                if names_denied_peer(&self.shared.filter, &message) =>
            {
                self.forbid(message)
            }
            _ => Verdict::Pass,
        }
    }

    /// RFC 8656 sections 10.2 and 12.2: 403, once the client has proved itself. Who has not is
    /// left to the server, which asks for proof and so never gets as far as the peer.
    fn forbid(&self, mut message: Message) -> Verdict {
        let key = TextAttribute::get_from_as(&message, ATTR_USERNAME)
            .ok()
            .and_then(|username| self.credentials.key(&username.text, SystemTime::now()));
        let Some(integrity) = key.map(MessageIntegrity) else { return Verdict::Pass };
        if integrity.check(&mut message).is_err() {
            return Verdict::Pass;
        }
        metrics::counter!("sightline_mtu_denied_peers_total").increment(1);
        let mut answer = Message { transaction_id: message.transaction_id, ..Message::new() };
        let built = answer.build(&[
            Box::new(message.transaction_id),
            Box::new(MessageType::new(message.typ.method, CLASS_ERROR_RESPONSE)),
            Box::new(ErrorCodeAttribute { code: CODE_FORBIDDEN, reason: b"Forbidden".to_vec() }),
            Box::new(integrity),
        ]);
        if built.is_ok() { Verdict::Answer(answer.raw) } else { Verdict::Drop }
    }
}

/// The server would write a line into the log for each; a stranger must not fill the disk.
fn garbage() -> Verdict {
    metrics::counter!("sightline_mtu_garbage_dropped_total").increment(1);
    Verdict::Drop
}

#[async_trait]
impl<C: Conn + Send + Sync + 'static> Conn for Front<C> {
    async fn connect(&self, addr: SocketAddr) -> webrtc_util::Result<()> {
        self.inner.connect(addr).await
    }

    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        self.recv_from(buf).await.map(|(n, _)| n)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        loop {
            let (n, from) = match self.inner.recv_from(buf).await {
                Ok(received) => received,
                // An ICMP error about one client must not end the server for all.
                Err(webrtc_util::Error::Io(e))
                    if e.0.kind() == std::io::ErrorKind::ConnectionRefused =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.judge(&buf[..n]) {
                Verdict::Pass => return Ok((n, from)),
                Verdict::Drop => {}
                Verdict::Answer(answer) => {
                    if let Err(error) = self.inner.send_to(&answer, from).await {
                        tracing::debug!(%error, "could not answer a client");
                    }
                }
            }
        }
    }

    async fn send(&self, buf: &[u8]) -> webrtc_util::Result<usize> {
        self.inner.send(buf).await
    }

    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> webrtc_util::Result<usize> {
        self.inner.send_to(buf, target).await
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    /// The crate closes its listening connection whenever one allocation ends; it is not that
    /// allocation's alone.
    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_neither_stun_nor_channel_data_never_reaches_the_server() {
        for bad in
            [&b""[..], b"\x40\0\0", b"\x40\0\0\x05abcd", b"\x80`1234567890", b"\x16\xfe\xfd\0\0"]
        {
            assert!(!is_channel_data(bad) && !is_message(bad), "{bad:?} was let through");
        }
        assert!(is_channel_data(b"\x40\0\0\x03abc\0") && is_channel_data(b"\x7f\0\0\0"));
    }

    #[test]
    fn a_flood_of_newcomers_is_bounded_and_ends() {
        let (bucket, start) = (Bucket::new(10), Instant::now());
        let taken = (0..100).filter(|_| bucket.take(start)).count();
        assert_eq!(taken, 10);
        assert!(bucket.take(start + Duration::from_secs(1)));
    }
}
