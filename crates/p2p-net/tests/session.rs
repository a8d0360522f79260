//! Two ends with real sockets: QUIC over whatever path the ladder has, and its changes.

mod coturn;

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{RootCertStore, pki_types::PrivateKeyDer};
use sightline_model::{NatReport, Rung, SessionToken};
use sightline_p2p::{Description, Role};
use sightline_p2p_net::{
    Lifetimes, Line, Mux, RelayOptions, Session, SessionConfig,
    server::{Place, RelayServer, RelayTransport, Servers},
    session_of,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::coturn::Coturn;

const LONG: Duration = Duration::from_secs(15);

/// One end.
struct End {
    mux: Arc<Mux>,
    session: Session,
}

struct World {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl World {
    fn new() -> Self {
        Self { token: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    fn end(&self, role: Role, servers: Servers, loopback: bool) -> End {
        self.end_with(role, servers, loopback, RelayOptions::default())
    }

    fn end_with(&self, role: Role, servers: Servers, loopback: bool, relay: RelayOptions) -> End {
        let mux = Mux::new(UdpSocket::bind("[::]:0").expect("a socket")).expect("works");
        let config = SessionConfig {
            role,
            fingerprint: [7; 32],
            nat: NatReport::default(),
            lifetimes: Lifetimes::default(),
            servers,
            relay,
            warm_relays: usize::from(role == Role::Controlling),
            loopback,
            mapped: Vec::new(),
            map: false,
            measure: false,
        };
        let session =
            Session::start(&mux, config, &self.token, &self.tasks).expect("a session starts");
        End { mux, session }
    }

    /// As signalling does it: descriptions as text, later candidates one by one.
    async fn introduce(&self, a: &mut End, b: &mut End) {
        let text = |end: &End| end.session.description().to_string();
        let parse = |text: String| text.parse::<Description>().expect("its own text");
        let (of_a, of_b) = (parse(text(a)), parse(text(b)));
        a.session.set_remote(of_b).await;
        b.session.set_remote(of_a).await;
    }

    async fn end_all(self, ends: [End; 2]) {
        drop(ends);
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(LONG, self.tasks.wait()).await.expect("every task ends");
    }
}

/// Carries later candidates for as long as both live.
async fn trickle(a: &mut End, b: &mut End) {
    let (mut of_a, mut of_b) =
        (a.session.take_lines().expect("once"), b.session.take_lines().expect("once"));
    loop {
        tokio::select! {
            Some(line) = of_a.recv() => b.session.add_remote(line).await,
            Some(line) = of_b.recv() => a.session.add_remote(line).await,
        }
    }
}

fn tls() -> (quinn::ServerConfig, quinn::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["test.invalid".to_owned()]).expect("made");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = &[&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = QuicServerConfig::try_from(server).expect("suites");
    let client = QuicClientConfig::try_from(client).expect("suites");
    (quinn::ServerConfig::with_crypto(Arc::new(server)), quinn::ClientConfig::new(Arc::new(client)))
}

/// A megabyte each way over QUIC between the two sessions; says by which rung.
async fn talk(pu: &End, cu: &End) -> Rung {
    let (server, client) = tls();
    let accepting = pu.mux.endpoint(Some(server)).expect("an endpoint");
    let dialling = cu.mux.endpoint(None).expect("an endpoint");
    let number = pu.session.number();
    let serving = tokio::spawn(async move {
        let incoming = accepting.accept().await.expect("somebody");
        assert_eq!(session_of(incoming.remote_address()), Some(number));
        let connection = incoming.await.expect("a connection");
        let (mut send, mut receive) = connection.accept_bi().await.expect("a stream");
        let heard = receive.read_to_end(2 << 20).await.expect("all of it");
        send.write_all(&heard).await.expect("sent");
        send.finish().expect("finished");
        connection.closed().await;
    });
    let mut first = cu.session.first_path();
    first.wait_for(Option::is_some).await.expect("a path");
    let connecting = dialling.connect_with(client, cu.session.address(), "test.invalid");
    let connection = connecting.expect("dialled").await.expect("connected");
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    let text: Vec<u8> = (0..1_u32 << 20).map(|i| i.to_le_bytes()[1]).collect();
    let writing = async {
        send.write_all(&text).await.expect("sent");
        send.finish().expect("finished");
    };
    let ((), heard) = tokio::join!(writing, receive.read_to_end(2 << 20));
    assert_eq!(heard.expect("all of it"), text);
    let mut report = cu.session.report();
    let rung = report.wait_for(|r| r.rung.is_some()).await.expect("alive").rung;
    connection.close(0_u8.into(), b"");
    serving.await.expect("served");
    rung.expect("a rung")
}

#[tokio::test]
async fn quic_between_two_processes_of_one_machine() {
    let world = World::new();
    let mut pu = world.end(Role::Controlled, Servers::default(), true);
    let mut cu = world.end(Role::Controlling, Servers::default(), true);
    world.introduce(&mut pu, &mut cu).await;
    let rung = tokio::time::timeout(LONG, talk(&pu, &cu)).await.expect("in time");
    assert_eq!(rung, Rung::Host);
    assert!(cu.session.report().borrow().why_not_better.is_empty());
    world.end_all([pu, cu]).await;
}

#[tokio::test]
async fn plain_dials_to_the_same_port_go_on() {
    let world = World::new();
    let pu = world.end(Role::Controlled, Servers::default(), true);
    let (server, client) = tls();
    let endpoint = pu.mux.endpoint(Some(server)).expect("an endpoint");
    let port = pu.mux.main_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        let connection = endpoint.accept().await.expect("somebody").await.expect("a connection");
        connection.closed().await;
    });
    let dialling = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("an endpoint");
    let address = ([127, 0, 0, 1], port).into();
    let connecting = dialling.connect_with(client, address, "test.invalid").expect("dialled");
    let connection = tokio::time::timeout(LONG, connecting).await.expect("in time");
    connection.expect("connected").close(0_u8.into(), b"");
    serving.await.expect("served");
    let cu = world.end(Role::Controlling, Servers::default(), true);
    world.end_all([pu, cu]).await;
}

#[tokio::test]
async fn quic_through_a_relay_alone() {
    let Some(mut coturn) = Coturn::start().await else { return };
    for transport in [RelayTransport::Udp, RelayTransport::Tcp, RelayTransport::Tls] {
        let world = World::new();
        let server = RelayServer {
            place: Place {
                host: "127.0.0.1".into(),
                port: if transport == RelayTransport::Tls { coturn.tls_port } else { coturn.port },
            },
            transport,
            entry: 0,
            username: "user".into(),
            credential: SessionToken::new("password".to_owned()),
        };
        let servers = || Servers { stun: Vec::new(), relays: vec![server.clone()] };
        // The unit tells no address of its own that the viewer could reach.
        let trust = || RelayOptions { tls: Some(coturn.tls()), ..RelayOptions::default() };
        let mut pu = world.end_with(Role::Controlled, servers(), true, trust());
        let mut cu = world.end_with(Role::Controlling, servers(), true, trust());
        let mut blind: Description =
            pu.session.description().to_string().parse().expect("its own text");
        blind.candidates.clear();
        let mut hidden: Description =
            cu.session.description().to_string().parse().expect("its own text");
        hidden.candidates.clear();
        cu.session.set_remote(blind).await;
        pu.session.set_remote(hidden).await;
        // Of the viewer's lines only that of its relay reaches the unit, and the other way round.
        let (mut of_pu, mut of_cu) =
            (pu.session.take_lines().expect("once"), cu.session.take_lines().expect("once"));
        let (pu, cu) = (Arc::new(pu), Arc::new(cu));
        let relayed = |line: &Line| matches!(line, Line::Candidate(c) if c.kind.is_relayed());
        let (to_pu, to_cu) = (Arc::clone(&pu), Arc::clone(&cu));
        let lines = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(line) = of_cu.recv() => if relayed(&line) { to_pu.session.add_remote(line).await },
                    Some(line) = of_pu.recv() => if relayed(&line) { to_cu.session.add_remote(line).await },
                    else => return,
                }
            }
        });
        let rung = tokio::time::timeout(LONG, talk(&pu, &cu)).await.expect("in time");
        println!("{transport:?}: {rung:?} {:?}", cu.session.report().borrow().why_not_better);
        lines.abort();
        let _ = lines.await;
        let ends = [pu, cu].map(|end| Arc::try_unwrap(end).ok().expect("the last"));
        world.end_all(ends).await;
    }
    coturn.kill().await;
}

/// A description without addresses.
fn hidden(end: &End) -> Description {
    let text = end.session.description().to_string();
    let mut description: Description = text.parse().expect("its own text");
    description.candidates.clear();
    description
}

/// The address of a relayed candidate.
fn relayed(line: &Line) -> Option<SocketAddr> {
    match line {
        Line::Candidate(candidate) if candidate.kind.is_relayed() => Some(candidate.address),
        Line::Candidate(_) | Line::Nat(_) => None,
    }
}

/// The ends know each other's relays alone. What the centre names later has allocations made with
/// the new credential, and media moves there.
#[tokio::test]
async fn fresh_credentials_move_a_session_to_a_new_allocation() {
    let Some(mut coturn) = Coturn::start().await else { return };
    let world = World::new();
    let place = Place { host: "127.0.0.1".into(), port: coturn.port };
    let servers = |username: &str| {
        let credential = SessionToken::new("password".to_owned());
        let (place, transport) = (place.clone(), RelayTransport::Udp);
        let relay =
            RelayServer { place, transport, entry: 0, username: username.into(), credential };
        Servers { stun: Vec::new(), relays: vec![relay] }
    };
    let mut pu = world.end(Role::Controlled, servers("user"), true);
    let mut cu = world.end(Role::Controlling, servers("user"), true);
    cu.session.set_remote(hidden(&pu)).await;
    pu.session.set_remote(hidden(&cu)).await;
    let (mut of_pu, mut of_cu) =
        (pu.session.take_lines().expect("once"), cu.session.take_lines().expect("once"));
    let (pu, cu) = (Arc::new(pu), Arc::new(cu));
    let (told, mut allocations) = mpsc::unbounded_channel();
    let (to_pu, to_cu) = (Arc::clone(&pu), Arc::clone(&cu));
    let lines = tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(line) = of_cu.recv() => if relayed(&line).is_some() {
                    to_pu.session.add_remote(line).await;
                },
                Some(line) = of_pu.recv() => if let Some(address) = relayed(&line) {
                    to_cu.session.add_remote(line).await;
                    let _ = told.send(address);
                },
                else => return,
            }
        }
    });
    let renewing = async {
        let first = allocations.recv().await.expect("the unit's relay");
        let mut path = cu.session.first_path();
        path.wait_for(Option::is_some).await.expect("alive");
        for end in [&pu, &cu] {
            end.session.set_servers(servers("fresh")).await;
        }
        let second = allocations.recv().await.expect("another allocation");
        assert_ne!(first, second);
        let mut report = cu.session.report();
        let moved = report.wait_for(|report| report.remote == Some(second)).await;
        assert_eq!(moved.expect("alive").rung, Some(Rung::RelayUdp));
        talk(&pu, &cu).await
    };
    let rung = tokio::time::timeout(LONG, renewing).await.expect("in time");
    assert_eq!(rung, Rung::RelayUdp);
    lines.abort();
    let _ = lines.await;
    let ends = [pu, cu].map(|end| Arc::try_unwrap(end).ok().expect("the last"));
    world.end_all(ends).await;
    coturn.kill().await;
}

#[tokio::test]
async fn a_stranger_s_checks_find_no_session() {
    let world = World::new();
    let mut pu = world.end(Role::Controlled, Servers::default(), true);
    let mut cu = world.end(Role::Controlling, Servers::default(), true);
    let mut wrong: Description =
        pu.session.description().to_string().parse().expect("its own text");
    wrong.credentials.password = SessionToken::new("x".repeat(24));
    cu.session.set_remote(wrong).await;
    let of_cu = cu.session.description().to_string().parse().expect("its own text");
    pu.session.set_remote(of_cu).await;
    let both = async { trickle(&mut pu, &mut cu).await };
    assert!(tokio::time::timeout(Duration::from_secs(2), both).await.is_err());
    for end in [&pu, &cu] {
        assert_eq!(end.session.report().borrow().rung, None);
        assert!(end.session.first_path().borrow().is_none());
    }
    world.end_all([pu, cu]).await;
}

/// The unit measures its router once for all sessions, and may have begun one before it knew.
#[tokio::test]
async fn what_the_caller_finds_out_later_reaches_both_ends() {
    let world = World::new();
    let mut pu = world.end(Role::Controlled, Servers::default(), true);
    let mut cu = world.end(Role::Controlling, Servers::default(), true);
    world.introduce(&mut pu, &mut cu).await;
    let nat = NatReport { udp: Some(true), translated: Some(true), ..NatReport::default() };
    pu.session.set_nat(nat.clone()).await;
    pu.session.set_nat(nat.clone()).await;
    pu.session.set_mapped(vec!["203.0.113.9:7000".parse().expect("an address")]).await;
    let mut lines = pu.session.take_lines().expect("once");
    let (mut reports, mut mapped) = (0, 0);
    let (mut here, mut there) = (pu.session.report(), cu.session.report());
    let carrying = async {
        while mapped == 0 {
            let line = lines.recv().await.expect("the session lives");
            reports += usize::from(matches!(line, Line::Nat(_)));
            let is_mapped = |c: &sightline_p2p::Candidate| {
                c.kind == sightline_p2p::CandidateKind::Mapped && c.address.port() == 7000
            };
            mapped += usize::from(matches!(&line, Line::Candidate(c) if is_mapped(c)));
            let text = line.to_string();
            cu.session.add_remote(text.parse().expect("its own text")).await;
        }
        here.wait_for(|r| r.nat_local == nat).await.expect("alive");
        there.wait_for(|r| r.nat_remote == nat).await.expect("alive");
    };
    tokio::time::timeout(LONG, carrying).await.expect("in time");
    assert_eq!(reports, 1, "what is the same is told once");
    world.end_all([pu, cu]).await;
}
