//! RTSP inside QUIC: our own client against our own server, and who is kept out.

mod rtsp_support;

use std::time::{Duration, Instant, SystemTime};

use ed25519_dalek::SigningKey;
use rtsp_support::{TOKEN, Unit};
use sightline_media::AccessUnit;
use sightline_media_io::rtsp_server::{Options, pinned_tls, quic};
use sightline_model::{PublicKey, SessionToken, UnixMicros};
use sightline_protocol::{Problem, ProblemKind, pc::MediaTransport};
use sightline_rtsp::client::{Client, ClientError, Event, Options as ClientOptions, Output};

struct Key {
    pkcs8: Vec<u8>,
    public: PublicKey,
}

fn key(seed: u8) -> Key {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    Key { pkcs8: pinned_tls::pkcs8(&[seed; 32]), public: signing.verifying_key().into() }
}

struct Dialogue {
    client: Client,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
}

impl Dialogue {
    async fn start(connection: &quinn::Connection, token: &str, version_2: bool) -> Self {
        let (send, receive) = connection.open_bi().await.expect("a stream");
        let mut options = ClientOptions::new("rtsp://camera/0/main".parse().expect("valid"));
        options.token = Some(SessionToken::new(token.to_owned()));
        options.version_2 = version_2;
        let mut client = Client::new(options);
        client.start(Instant::now());
        Self { client, send, receive }
    }

    async fn next(&mut self) -> Event {
        let mut buffer = [0; 65_536];
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::Send(bytes) => self.send.write_all(&bytes).await.expect("open"),
                    Output::Event(event) => return event,
                }
            }
            let read =
                tokio::time::timeout(Duration::from_secs(10), self.receive.read(&mut buffer));
            let read = read.await.expect("the server goes on").expect("the connection lives");
            let Some(count) = read else { return Event::Ended };
            let now = UnixMicros::from(SystemTime::now());
            self.client.handle_input(&buffer[..count], Instant::now(), now);
        }
    }
}

async fn serve(unit: &Unit, key: &Key) -> std::net::SocketAddr {
    let bind = "127.0.0.1:0".parse().expect("valid");
    let endpoint = quic::server_endpoint(bind, &key.pkcs8).expect("a good key");
    let address = endpoint.local_addr().expect("bound");
    let (server, token, tasks) = (unit.server.clone(), unit.token.clone(), unit.tasks.clone());
    unit.tasks.spawn(async move { server.serve_quic(endpoint, token, tasks).await });
    address
}

fn endpoint() -> quinn::Endpoint {
    endpoint_at("127.0.0.1:0")
}

fn endpoint_at(address: &str) -> quinn::Endpoint {
    quinn::Endpoint::client(address.parse().expect("valid")).expect("a socket")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cu_gets_sound_and_picture_and_is_stopped_when_its_right_ends() {
    let unit = Unit::start(Options::default()).await;
    unit.online().await;
    let (pu, cu) = (key(1), key(2));
    let address = serve(&unit, &pu).await;
    let endpoint = endpoint();
    let connection = quic::connect(&endpoint, address, &cu.pkcs8, pu.public)
        .await
        .expect("both hold their keys");
    for version_2 in [false, true] {
        let mut dialogue = Dialogue::start(&connection, TOKEN, version_2).await;
        let Event::Described(stream) = dialogue.next().await else { panic!("not described") };
        let video = stream.video.expect("a picture");
        assert_eq!((video.width, video.height), (640, 360));
        assert!(stream.audio.is_some());
        assert!(matches!(dialogue.next().await, Event::Playing));
        let (mut pictures, mut sounds, mut last) = (0, 0, None);
        while pictures < 20 || sounds < 20 {
            let event = dialogue.next().await;
            let Event::Unit(unit) = event else { panic!("{event:?}") };
            if let AccessUnit::Video { keyframe, timestamp, .. } = unit {
                assert_eq!(pictures == 0, keyframe && last.is_none(), "begins with a keyframe");
                assert!(last.is_none_or(|l| l < timestamp));
                (pictures, last) = (pictures + 1, Some(timestamp));
            } else {
                sounds += 1;
            }
        }
        let report = unit.gate.paths.lock().last().and_then(|p| p.borrow().clone());
        assert_eq!(report.expect("reported").transport, MediaTransport::Quic);

        let ended = Problem::new(ProblemKind::TokenRevoked, "unbound");
        unit.gate.ended.lock().last().expect("admitted").send_replace(Some(ended));
        let stop = async { while !matches!(dialogue.next().await, Event::Ended) {} };
        tokio::time::timeout(Duration::from_secs(2), stop).await.expect("within two seconds");
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused_on_either_side() {
    let unit = Unit::start(Options::default()).await;
    unit.online().await;
    let (pu, cu, other) = (key(1), key(2), key(3));
    let address = serve(&unit, &pu).await;
    let endpoint = endpoint();
    let wrong = quic::connect(&endpoint, address, &cu.pkcs8, other.public).await;
    assert!(wrong.is_err(), "a PU with another key was taken");

    let connection = quic::connect(&endpoint, address, &cu.pkcs8, pu.public).await.expect("good");
    let mut dialogue = Dialogue::start(&connection, TOKEN, false).await;
    assert!(matches!(dialogue.next().await, Event::Described(_)));

    let stranger =
        quic::connect(&endpoint, address, &other.pkcs8, pu.public).await.expect("any key");
    let mut theirs = Dialogue::start(&stranger, TOKEN, false).await;
    let Event::Failed(ClientError::Refused { status, .. }) = theirs.next().await else {
        panic!("another's token was taken")
    };
    assert_eq!(status, 403);
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_key_gets_no_connection() {
    let unit = Unit::start(Options::default()).await;
    let pu = key(1);
    let address = serve(&unit, &pu).await;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("known")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![sightline_protocol::pc::QUIC_ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let endpoint = endpoint();
    let connecting = endpoint.connect_with(config, address, "x.invalid").expect("valid");
    assert!(connecting.await.is_err());
    assert!(unit.gate.ended.lock().is_empty(), "the gate was not even asked");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_given_back() {
    let options =
        Options { max_connections: 3, max_connections_per_address: 2, ..Options::default() };
    let unit = Unit::start(options).await;
    let (pu, stranger) = (key(1), key(9));
    let address = serve(&unit, &pu).await;
    let at = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"].map(endpoint_at);
    let dial = |from: usize| quic::connect(&at[from], address, &stranger.pkcs8, pu.public);

    let first = dial(0).await.expect("free");
    let _second = dial(0).await.expect("free");
    assert!(refused(dial(0).await), "a third one of the same address");
    let _third = dial(1).await.expect("another address");
    assert!(refused(dial(2).await), "full");

    first.close(0_u8.into(), b"");
    let again = async {
        loop {
            match dial(2).await {
                Ok(connection) => return connection,
                again => assert!(refused(again), "nothing else may stand in the way"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("places come back");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_good_token_is_closed_and_others_go_on() {
    let admission_timeout = Duration::from_secs(2);
    let unit = Unit::start(Options { admission_timeout, ..Options::default() }).await;
    unit.online().await;
    let (pu, cu, stranger) = (key(1), key(2), key(9));
    let address = serve(&unit, &pu).await;
    let endpoint = endpoint();
    let dial = |key: Vec<u8>| {
        let endpoint = &endpoint;
        async move { quic::connect(endpoint, address, &key, pu.public).await }
    };
    let viewer = dial(cu.pkcs8).await.expect("free");
    let mut viewing = Dialogue::start(&viewer, TOKEN, false).await;
    assert!(matches!(viewing.next().await, Event::Described(_)));
    assert!(matches!(viewing.next().await, Event::Playing));

    // Quinn keeps it alive by itself.
    let silent = dial(stranger.pkcs8.clone()).await.expect("any key");
    let refused = dial(stranger.pkcs8).await.expect("any key");
    let mut theirs = Dialogue::start(&refused, "revoked", false).await;
    assert!(matches!(theirs.next().await, Event::Failed(_)));
    let closed = async { (silent.closed().await, refused.closed().await) };
    tokio::pin!(closed);
    let (silent, refused) = loop {
        tokio::select! {
            closed = &mut closed => break closed,
            event = viewing.next() => assert!(matches!(event, Event::Unit(_)), "{event:?}"),
        }
    };
    for closed in [silent, refused] {
        let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code, 2_u8.into());
    }
    for _ in 0..60 {
        assert!(matches!(viewing.next().await, Event::Unit(_)), "the viewer was cut off too");
    }

    // Who has watched is no exception.
    let ended = Problem::new(ProblemKind::TokenRevoked, "unbound");
    unit.gate.ended.lock().last().expect("admitted").send_replace(Some(ended));
    let closed = tokio::time::timeout(Duration::from_secs(10), viewer.closed()).await;
    assert!(matches!(closed, Ok(quinn::ConnectionError::ApplicationClosed(_))), "{closed:?}");
    unit.stop().await;
}

/// Refused as such, before anything is kept for it (RFC 9000 section 20.1).
fn refused(dialled: Result<quinn::Connection, quic::QuicError>) -> bool {
    let Err(quic::QuicError::Connection(quinn::ConnectionError::ConnectionClosed(close))) = dialled
    else {
        return false;
    };
    close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED
}
