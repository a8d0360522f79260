//! What the session finds, and what becomes of what it found before.

use std::{net::UdpSocket, sync::Barrier};

use rand::{SeedableRng, rngs::StdRng};
use sightline_p2p::{Config, Consumed, Credentials, Ladder, Local, Report, Role};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    Lifetimes, RelayOptions,
    gateway::MappedPort,
    session::{Command, SessionConfig, driver::Ends},
};

fn config() -> SessionConfig {
    SessionConfig {
        role: Role::Controlling,
        fingerprint: [0; 32],
        nat: NatReport::default(),
        lifetimes: Lifetimes::default(),
        servers: Servers::default(),
        relay: RelayOptions::default(),
        warm_relays: 0,
        loopback: true,
        mapped: Vec::new(),
        map: false,
        measure: false,
    }
}

fn ladder(role: Role, seed: u8) -> Ladder {
    let credentials = Credentials::generate(&mut StdRng::from_seed([seed; 32]));
    let (nat, lifetimes) = (NatReport::default(), Default::default());
    let seed = [seed; 32];
    Ladder::new(Instant::now(), Config { role, credentials, seed, nat, lifetimes, probing: false })
}

/// In that place, with nobody at the other ends of its channels.
fn driver(place: Surroundings, token: &CancellationToken, tasks: &TaskTracker) -> Driver {
    let main = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let mux = Mux::new(main).expect("it works");
    let ladder = ladder(Role::Controlling, 0);
    let ufrag = ladder.description([0; 32]).credentials.ufrag;
    let (route, inbox) = mux.routes().add_session(1, ufrag);
    let ends = Ends {
        inbox,
        commands: mpsc::channel(1).1,
        lines: mpsc::channel(1).0,
        report: watch::channel(Report::default()).0,
        first_path: watch::channel(None).0,
        surroundings: watch::channel(place).1,
    };
    Driver::new(mux, route, ladder, config(), ends, token.clone(), tasks.clone())
}

#[tokio::test]
async fn what_was_asked_in_the_network_before_says_nothing_of_this_one() {
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut driver = driver(place(1), &token, &tasks);
    driver.look_for_nat64();
    let (look, nat64) = (driver.nat64_look, Nat64::WELL_KNOWN);
    driver.found(Found::Nat64 { look, nat64 });
    assert_eq!(driver.config.relay.nat64, Some(nat64));
    driver.moved(Instant::now(), place(2));
    assert_eq!(driver.config.relay.nat64, None);
    driver.found(Found::Nat64 { look, nat64 });
    assert_eq!(driver.config.relay.nat64, None);
    token.cancel();
    drop(driver);
    tasks.close();
    tasks.wait().await;
}

/// With IPv4, so that nobody's resolver is asked.
fn place(host: u8) -> Surroundings {
    let v4 = Ipv4Addr::new(192, 0, 2, host);
    let (addresses, outward_v4) = (vec![v4.into()], Some(v4));
    Surroundings { addresses, outward_v4, ..Surroundings::default() }
}

/// The port of one of its sockets.
fn port_of(driver: &Driver, socket: SocketId) -> Wanted {
    let bound = driver.mux.bound(socket).expect("open");
    Wanted { protocol: Protocol::Udp, port: NonZeroU16::new(bound.port()).expect("bound") }
}

/// Where the other end hears that gateways map something.
fn told(driver: &Driver) -> Vec<SocketAddr> {
    let candidates = driver.description([0; 32]).candidates;
    let mapped = candidates.iter().filter(|c| c.kind == CandidateKind::Mapped);
    mapped.map(|c| c.address).collect()
}

/// In the first place, with a gateway that nobody asks.
fn driver_that_maps(
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> (Driver, watch::Receiver<Vec<Wanted>>) {
    let mut driver = driver(place(1), token, tasks);
    driver.config.map = true;
    let (sender, wanted) = watch::channel(Vec::new());
    driver.wanted = Some(sender);
    driver.gather_hosts().expect("bound");
    driver.map();
    (driver, wanted)
}

#[tokio::test]
async fn after_a_move_the_port_of_the_fresh_socket_is_mapped() {
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (mut driver, wanted) = driver_that_maps(&token, &tasks);
    let main = port_of(&driver, MAIN);
    assert_eq!(wanted.borrow()[..], [main]);
    let (before, outside) =
        (SocketAddr::from(([203, 0, 113, 8], 7_000)), SocketAddr::from(([203, 0, 113, 9], 7_000)));
    driver.found(Found::Mapped(vec![MappedPort { wanted: main, outside: before }]));
    assert_eq!(told(&driver), [before]);

    driver.moved(Instant::now(), place(2));
    let fresh = driver.mapped_socket;
    assert!(fresh != MAIN && driver.own.contains_key(&fresh));
    assert_eq!(wanted.borrow()[..], [port_of(&driver, fresh)]);
    assert!(told(&driver).is_empty());
    // Told late, of the socket before.
    driver.found(Found::Mapped(vec![MappedPort { wanted: main, outside: before }]));
    assert!(told(&driver).is_empty());
    let port = port_of(&driver, fresh);
    driver.found(Found::Mapped(vec![MappedPort { wanted: port, outside }]));
    assert_eq!(told(&driver), [outside]);

    // And that of its successor, when there is one in its place.
    driver.succeed(Instant::now(), fresh, driver.place.network());
    driver.done(Instant::now(), fresh);
    let successor = driver.mapped_socket;
    assert!(successor != fresh && driver.own.contains_key(&successor));
    assert_eq!(wanted.borrow()[..], [port_of(&driver, successor)]);
    token.cancel();
    drop(driver);
    tasks.close();
    tasks.wait().await;
}

/// The agent has its main socket mapped wherever it is.
#[tokio::test]
async fn a_main_socket_that_is_mapped_after_a_move_is_a_way_in_again() {
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut driver = driver(place(1), &token, &tasks);
    driver.gather_hosts().expect("bound");
    driver.moved(Instant::now(), place(2));
    driver.command(Command::Mapped(Vec::new()));
    assert!(!driver.own.contains_key(&MAIN), "of no use");
    let outside = SocketAddr::from(([203, 0, 113, 9], 7_000));
    driver.command(Command::Mapped(vec![outside]));
    assert_eq!(told(&driver), [outside]);
    token.cancel();
    drop(driver);
    tasks.close();
    tasks.wait().await;
}

/// After a reconnect the router has another address outside, and nobody is at the one before.
#[tokio::test]
async fn a_mapping_takes_the_place_of_the_one_before() {
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut driver = driver(Surroundings::default(), &token, &tasks);
    let network = driver.place.network();
    driver.own.insert(MAIN, Own::plain(network, None, None));
    let here = driver.mux.main_addr().expect("bound");
    driver.add_local(Instant::now(), MAIN, CandidateKind::Host, here);
    for ip in [[203_u8, 0, 113, 9], [203, 0, 113, 10]] {
        let outside = SocketAddr::from((ip, 7_000));
        driver.found(Found::Mapped(vec![MappedPort { wanted: port_of(&driver, MAIN), outside }]));
        assert_eq!(told(&driver), [outside]);
    }
    driver.found(Found::Mapped(Vec::new()));
    assert_eq!(told(&driver), Vec::<SocketAddr>::new());
    token.cancel();
    drop(driver);
    tasks.close();
    tasks.wait().await;
}

/// What comes at once after the answer would else be taken for a plain dial, whose handshake
/// never ends.
#[tokio::test]
async fn a_path_is_known_before_the_answer_to_its_first_check_leaves() {
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    for round in 0..50 {
        let mut driver = driver(Surroundings::default(), &token, &tasks);
        let network = driver.place.network();
        driver.own.insert(MAIN, Own::plain(network, None, None));
        let there = driver.mux.main_addr().expect("bound");
        let now = Instant::now();
        driver.add_local(now, MAIN, CandidateKind::Host, there);
        let here = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let from = here.local_addr().expect("bound");
        let mut other = ladder(Role::Controlled, 1);
        let local = Local {
            socket: MAIN,
            kind: CandidateKind::Host,
            address: from,
            network,
            replaces: None,
            since: None,
        };
        other.add_local(now, &local);
        other.set_remote(now, &driver.ladder.description([0; 32]));
        driver.ladder.set_remote(now, &other.description([1; 32]));
        while driver.ladder.poll_transmit().is_some() {}
        other.handle_timeout(now + Duration::from_secs(1));
        let check = other.poll_transmit().expect("it checks").bytes;
        let consumed = driver.ladder.handle_datagram(now, MAIN, from, &check);
        assert!(matches!(consumed, Consumed::Check), "{consumed:?}");
        here.set_nonblocking(true).expect("a socket");
        driver.mux.wire(MAIN).expect("open").writable().await;
        let mux = Arc::clone(&driver.mux);
        let looks = Arc::new(Barrier::new(2));
        let begins = Arc::clone(&looks);
        let heard = std::thread::spawn(move || {
            begins.wait();
            // Awake: whoever sleeps until the answer comes is too late to see anything.
            while here.recv(&mut [0; 1_500]).is_err() {
                assert!(now.elapsed() < Duration::from_secs(5), "no answer");
            }
            mux.routes().path(MAIN, from).is_some()
        });
        looks.wait();
        driver.drain(now);
        assert!(heard.join().expect("it ends"), "round {round}");
    }
    token.cancel();
    tasks.close();
    tasks.wait().await;
}
