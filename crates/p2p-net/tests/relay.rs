//! The relay client against coturn: over UDP, TCP and TLS, both ends relayed, refusals, death.

mod coturn;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use sightline_model::SessionToken;
use sightline_p2p_net::{
    Relay, RelayError, RelayOptions,
    relay::Sink,
    server::{Place, RelayServer, RelayTransport},
};
use tokio::{net::UdpSocket, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::coturn::Coturn;

const LONG: Duration = Duration::from_secs(10);

struct Client {
    relay: Relay,
    received: mpsc::UnboundedReceiver<(SocketAddr, Bytes)>,
}

struct World {
    coturn: Coturn,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl World {
    async fn new() -> Option<Self> {
        let coturn = Coturn::start().await?;
        Some(Self { coturn, token: CancellationToken::new(), tasks: TaskTracker::new() })
    }

    fn server(&self, transport: RelayTransport) -> RelayServer {
        let port = match transport {
            RelayTransport::Udp | RelayTransport::Tcp => self.coturn.port,
            RelayTransport::Tls => self.coturn.tls_port,
        };
        RelayServer {
            place: Place { host: "127.0.0.1".into(), port },
            transport,
            entry: 0,
            username: "user".into(),
            credential: SessionToken::new("password".to_owned()),
        }
    }

    async fn allocate(&self, server: &RelayServer) -> Result<Client, RelayError> {
        let (sender, received) = mpsc::unbounded_channel();
        let sink: Sink = Arc::new(move |peer, data| drop(sender.send((peer, data))));
        let options = RelayOptions { tls: Some(self.coturn.tls()), ..RelayOptions::default() };
        let relay = Relay::allocate(server, &options, sink, &self.token, &self.tasks).await?;
        Ok(Client { relay, received })
    }

    async fn end(self) {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(LONG, self.tasks.wait()).await.expect("every task ends");
    }
}

async fn next(client: &mut Client) -> (SocketAddr, Bytes) {
    tokio::time::timeout(LONG, client.received.recv()).await.expect("in time").expect("alive")
}

/// Packets of a plain peer and of the client reach each other, before and after a channel is bound.
async fn talks(transport: RelayTransport) {
    let Some(world) = World::new().await else { return };
    let mut client = world.allocate(&world.server(transport)).await.expect("an allocation");
    assert_eq!(client.relay.transport(), transport);
    let relayed = client.relay.relayed_address();
    let peer = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let peer_addr = peer.local_addr().expect("bound");
    let mut buffer = [0; 2_000];
    for round in 0..20_u8 {
        // Odd lengths: streams pad, datagrams do not.
        let text = vec![round; 101 + usize::from(round)];
        client.relay.send(peer_addr, &text, None).expect("sent");
        let receiving = tokio::time::timeout(LONG, peer.recv_from(&mut buffer));
        let (length, from) = receiving.await.expect("in time").expect("received");
        assert_eq!((&buffer[..length], from), (&text[..], relayed));
        peer.send_to(&text, relayed).await.expect("sent");
        assert_eq!(next(&mut client).await, (peer_addr, Bytes::from(text)));
    }
    // A train: four of one size and a shorter one.
    let train: Vec<u8> = (0..4_500).map(|i| u8::try_from(i / 1_000).expect("small")).collect();
    client.relay.send(peer_addr, &train, Some(1_000)).expect("sent");
    for (i, length) in [1_000, 1_000, 1_000, 1_000, 500].into_iter().enumerate() {
        let receiving = tokio::time::timeout(LONG, peer.recv_from(&mut buffer));
        let (received, _) = receiving.await.expect("in time").expect("received");
        assert_eq!(received, length);
        assert_eq!(usize::from(buffer[0]), i);
    }
    world.end().await;
}

#[tokio::test]
async fn over_udp() {
    talks(RelayTransport::Udp).await;
}

#[tokio::test]
async fn over_tcp() {
    talks(RelayTransport::Tcp).await;
}

#[tokio::test]
async fn over_tls() {
    talks(RelayTransport::Tls).await;
}

#[tokio::test]
async fn two_relays_talk_to_each_other() {
    let Some(world) = World::new().await else { return };
    let mut a = world.allocate(&world.server(RelayTransport::Udp)).await.expect("allocation");
    let mut b = world.allocate(&world.server(RelayTransport::Tcp)).await.expect("allocation");
    let (at_a, at_b) = (a.relay.relayed_address(), b.relay.relayed_address());
    b.relay.permit(at_a.ip());
    // What comes before the permission is lost, as on any path.
    let heard = loop {
        a.relay.send(at_b, b"question", None).expect("sent");
        let waiting = tokio::time::timeout(Duration::from_millis(100), b.received.recv());
        if let Ok(heard) = waiting.await {
            break heard.expect("alive");
        }
    };
    assert_eq!(heard, (at_a, Bytes::from_static(b"question")));
    b.relay.send(at_a, b"answer", None).expect("sent");
    assert_eq!(next(&mut a).await, (at_b, Bytes::from_static(b"answer")));
    world.end().await;
}

#[tokio::test]
async fn refusals_have_words() {
    let Some(world) = World::new().await else { return };
    let good = world.server(RelayTransport::Udp);
    let wrong = RelayServer { credential: SessionToken::new("wrong".to_owned()), ..good.clone() };
    let error = world.allocate(&wrong).await.err().expect("refused");
    assert!(matches!(error, RelayError::Refused { code: 401, .. }), "{error}");
    let place = Place { host: "no-such-host.invalid".into(), port: 1 };
    let error = world.allocate(&RelayServer { place, ..good.clone() }).await.err();
    assert!(matches!(error, Some(RelayError::Unknown(_))), "{error:?}");
    let nobody = UdpSocket::bind("127.0.0.1:0").await.expect("a socket").local_addr();
    let place = Place { host: "127.0.0.1".into(), port: nobody.expect("bound").port() };
    for transport in [RelayTransport::Udp, RelayTransport::Tcp] {
        let server = RelayServer { place: place.clone(), transport, ..good.clone() };
        let error = world.allocate(&server).await.err();
        assert!(matches!(error, Some(RelayError::Unreachable(_))), "{error:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_killed_server_is_noticed_when_something_is_sent() {
    let Some(mut world) = World::new().await else { return };
    let udp = world.allocate(&world.server(RelayTransport::Udp)).await.expect("allocation");
    let tcp = world.allocate(&world.server(RelayTransport::Tcp)).await.expect("allocation");
    let peer: SocketAddr = "127.0.0.1:9".parse().expect("address");
    world.coturn.kill().await;
    for client in [udp, tcp] {
        let mut dead = client.relay.dead();
        let died = async {
            while dead.borrow().is_none() {
                let _ = client.relay.send(peer, b"anybody?", None);
                let _ = tokio::time::timeout(Duration::from_millis(50), dead.changed()).await;
            }
        };
        tokio::time::timeout(LONG, died).await.expect("noticed");
        assert!(client.relay.is_dead());
        assert!(client.relay.send(peer, b"x", None).is_err());
    }
    world.end().await;
}
