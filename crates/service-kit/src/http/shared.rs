//! One TLS port for HTTP and something else, told apart by the first decrypted byte.
//!
//! Connections that have not said anything yet are bounded, in all and of one subscriber: more are
//! closed at once. The handshake and the first byte have a time limit each.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum_server::{
    accept::{Accept, NoDelayAcceptor},
    tls_rustls::RustlsAcceptor,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// A browser may open a connection before it has anything to say.
const FIRST_BYTE: Duration = Duration::from_secs(75);

/// Connections that have not said anything yet.
const MAX_SILENT: usize = 4_096;
/// The same of one subscriber: one address, or a /64 of IPv6.
/// Browsers open some in advance, and many may share an address.
const MAX_SILENT_OF_ONE: usize = 256;

/// A connection whose first bytes have been looked at.
pub type SharedStream = BufReader<TlsStream<TcpStream>>;

/// Takes connections that do not speak HTTP.
pub trait OtherProtocol: Send + Sync {
    /// Its name in TLS (RFC 7301).
    fn alpn(&self) -> &'static [u8];

    /// Whether a connection that begins with this byte is for it.
    fn is_for(&self, first: u8) -> bool;

    /// Serves a connection, in a task of its own.
    fn serve(&self, stream: SharedStream, remote: SocketAddr, local: SocketAddr);
}

#[derive(Clone)]
pub(super) struct SharedAcceptor {
    tls: RustlsAcceptor<NoDelayAcceptor>,
    other: Arc<dyn OtherProtocol>,
    silent: Arc<Silent>,
}

impl SharedAcceptor {
    pub(super) fn new(tls: RustlsAcceptor<NoDelayAcceptor>, other: Arc<dyn OtherProtocol>) -> Self {
        Self { tls, other, silent: Silent::new(MAX_SILENT, MAX_SILENT_OF_ONE) }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for SharedAcceptor {
    type Stream = SharedStream;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(SharedStream, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let addresses = stream.peer_addr().and_then(|remote| Ok((remote, stream.local_addr()?)));
        let place = addresses.as_ref().ok().and_then(|(remote, _)| self.silent.enter(remote.ip()));
        let Some(place) = place else {
            metrics::counter!("sightline_silent_connections_refused_total").increment(1);
            return Box::pin(async { Err(io::Error::other("too many silent connections")) });
        };
        let handshake = self.tls.accept(stream, service);
        let other = self.other.clone();
        Box::pin(async move {
            let (remote, local) = addresses?;
            let (stream, service) = handshake.await?;
            let mut stream = BufReader::new(stream);
            let first = timeout(FIRST_BYTE, stream.fill_buf()).await??.first().copied();
            drop(place);
            if first.is_some_and(|first| other.is_for(first)) {
                other.serve(stream, remote, local);
                return Err(io::Error::other("handed over"));
            }
            Ok((stream, service))
        })
    }
}

/// Connections that have not said anything yet, by subscriber.
struct Silent {
    most: usize,
    most_of_one: usize,
    now: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_subscriber: HashMap<IpAddr, usize>,
}

impl Silent {
    fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, now: Mutex::default() })
    }

    fn now(&self) -> MutexGuard<'_, Counts> {
        // Counts are changed in one step: a panic elsewhere has left them whole.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, given back when it is dropped.
    fn enter(self: &Arc<Self>, remote: IpAddr) -> Option<Place> {
        let subscriber = match remote.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
            v4 @ IpAddr::V4(_) => v4,
        };
        let mut now = self.now();
        let theirs = now.by_subscriber.get(&subscriber).copied().unwrap_or(0);
        if theirs >= self.most_of_one || now.all >= self.most {
            return None;
        }
        now.all += 1;
        now.by_subscriber.insert(subscriber, theirs + 1);
        drop(now);
        Some(Place { silent: self.clone(), subscriber })
    }
}

/// That of one connection.
struct Place {
    silent: Arc<Silent>,
    subscriber: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut now = self.silent.now();
        now.all -= 1;
        if let Some(theirs) = now.by_subscriber.get_mut(&self.subscriber) {
            *theirs -= 1;
            if *theirs == 0 {
                now.by_subscriber.remove(&self.subscriber);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_connections_are_bounded_in_all_and_of_one_subscriber() {
        let silent = Silent::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = silent.enter(ip("2001:db8::1")).expect("room");
        let _second = silent.enter(ip("2001:db8::2")).expect("room");
        assert!(silent.enter(ip("2001:db8::3")).is_none(), "a third of one subscriber");
        let _third = silent.enter(ip("192.0.2.1")).expect("room");
        assert!(silent.enter(ip("192.0.2.2")).is_none(), "a fourth in all");
        drop(first);
        let _fourth = silent.enter(ip("192.0.2.2")).expect("given back");
    }
}
