//! Bytes of relayed connections on their way, at the pace of their allocation.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mtu_turn::{Direction, Settings, StreamMeter};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep},
};

/// What is taken at a time.
const PIECE: usize = 8 * 1_024;
/// Where many wait for the same meter, they do not look at it all the time.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// Carries what the connections of one relay say.
#[derive(Debug, Clone)]
pub(super) struct Carrier {
    meter: Arc<StreamMeter>,
    settings: Arc<ArcSwap<Settings>>,
}

impl Carrier {
    pub(super) const fn new(meter: Arc<StreamMeter>, settings: Arc<ArcSwap<Settings>>) -> Self {
        Self { meter, settings }
    }

    /// One way, until `from` has ended. While a limit is reached nothing is taken from there, so
    /// that whoever speaks is slowed down by the connection.
    ///
    /// # Errors
    /// The connection's; `ConnectionAborted` when the allocation has ended.
    pub(super) async fn carry(
        &self,
        direction: Direction,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let label = match direction {
            Direction::ToPeer => "to_peer",
            Direction::ToClient => "from_peer",
        };
        let relayed = metrics::counter!("sightline_mtu_relayed_bytes_total", "direction" => label);
        let mut buffer = vec![0; PIECE];
        loop {
            let most = self.piece();
            let n = from.read(&mut buffer[..most]).await?;
            if n == 0 {
                return to.shutdown().await;
            }
            while let Some(wait) = self.wait() {
                sleep(wait.max(SHORTEST_WAIT)).await;
            }
            if !self.pass(direction, n) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            relayed.increment(n as u64);
            to.write_all(&buffer[..n]).await?;
            // TLS keeps what the socket did not take at once.
            to.flush().await?;
        }
    }

    fn piece(&self) -> usize {
        self.meter.piece(PIECE, &self.settings.load().limits)
    }

    fn wait(&self) -> Option<Duration> {
        self.meter.wait(&self.settings.load().limits, Instant::now().into_std())
    }

    fn pass(&self, direction: Direction, bytes: usize) -> bool {
        let now = Instant::now().into_std();
        self.meter.pass(direction, bytes, &self.settings.load().limits, now)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mtu_turn::{Credentials, Limits, Shared, peers::PeerRules};
    use sightline_model::Secret;
    use tokio::io::duplex;

    use super::*;

    /// Of an allocation that may carry so much.
    pub(in crate::tcp_relays) fn carrier(bytes_per_s: Option<u64>) -> Carrier {
        let secret = Secret::new("0123456789abcdef".to_owned());
        let settings = Settings {
            credentials: Credentials::new("sightline", vec![secret]).expect("good"),
            peers: PeerRules::default(),
            limits: Limits { allocation_bytes_per_s: bytes_per_s, ..Limits::default() },
            listening: vec![],
            draining: false,
            alternates: vec![],
            tcp_relays: true,
        };
        let shared = Arc::new(Shared::new([], &[7; 32], Instant::now().into_std()));
        let meter = Arc::new(StreamMeter::new(shared));
        Carrier::new(meter, Arc::new(ArcSwap::from_pointee(settings)))
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_too_much_is_slowed_down_and_nothing_is_lost() {
        let begun = Instant::now();
        let carrier = carrier(Some(10_000));
        let (mut client, from) = duplex(1_024);
        let (to, mut peer) = duplex(1_024);
        let said: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
        let saying = async {
            client.write_all(&said).await.expect("taken");
            let slowed = begun.elapsed();
            client.shutdown().await.expect("ended");
            slowed
        };
        let mut heard = vec![];
        let (slowed, carried, read) = tokio::join!(
            saying,
            carrier.carry(Direction::ToPeer, from, to),
            peer.read_to_end(&mut heard),
        );
        carried.expect("carried");
        read.expect("ended cleanly");
        assert!(heard == said, "{} bytes of {}", heard.len(), said.len());
        // Half a second's worth may come at once, and what is in buffers has been taken.
        let seconds = begun.elapsed().as_secs_f64();
        assert!((4.3..=4.8).contains(&seconds), "{seconds} s for 50,000 bytes");
        assert!(slowed > Duration::from_secs(4), "only slowed after {slowed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let begun = Instant::now();
        let carrier = carrier(None);
        let (mut client, from) = duplex(1_024);
        let (to, mut peer) = duplex(1_024);
        let saying = async {
            client.write_all(&[7; 1_000_000]).await.expect("taken");
            client.shutdown().await.expect("ended");
        };
        let mut heard = vec![];
        let ((), carried, read) = tokio::join!(
            saying,
            carrier.carry(Direction::ToClient, from, to),
            peer.read_to_end(&mut heard),
        );
        carried.expect("carried");
        read.expect("ended cleanly");
        assert_eq!((heard.len(), begun.elapsed()), (1_000_000, Duration::ZERO));
    }
}
