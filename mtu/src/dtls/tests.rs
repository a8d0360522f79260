//! A table and clients made of `dimpl`, without network.

use super::*;

const BOUNDS: Bounds =
    Bounds { clients: 100, per_subscriber: 2, hellos_per_s: 1_000, hellos_per_network_s: 1_000 };

#[derive(Default)]
struct Out {
    datagrams: Vec<(Peer, Vec<u8>)>,
    messages: Vec<Vec<u8>>,
    gone: Vec<Peer>,
    allocated: Option<Peer>,
}

impl Sink for Out {
    fn datagram(&mut self, peer: &Peer, bytes: &[u8]) {
        self.datagrams.push((*peer, bytes.to_vec()));
    }

    fn message(&mut self, _: &Peer, bytes: &[u8]) {
        self.messages.push(bytes.to_vec());
    }

    fn gone(&mut self, peer: &Peer) {
        self.gone.push(*peer);
    }

    fn has_allocation(&self, peer: &Peer) -> bool {
        self.allocated == Some(*peer)
    }
}

fn identity() -> DtlsCertificate {
    let authority = sightline_service_kit::tls::Authority::create("Test").expect("made");
    let identity = authority.issue(&["localhost"], &[]).expect("issued");
    certificate(&identity.chain, &identity.key).expect("an ECDSA key")
}

fn table(now: Instant) -> Table {
    Table::new(identity(), BOUNDS, &[7; 32], now)
}

fn peer(host: u8, port: u16) -> Peer {
    Peer { local: ([127, 0, 0, 1], 3_478).into(), remote: ([198, 51, 100, host], port).into() }
}

struct Client {
    dtls: Dtls,
    peer: Peer,
    received: Vec<Vec<u8>>,
    connected: bool,
}

impl Client {
    fn new(peer: Peer, now: Instant) -> Self {
        let config = dimpl::Config::builder().build().expect("good");
        let mut dtls = Dtls::new_12(Arc::new(config), identity(), now);
        dtls.set_active(true);
        dtls.handle_timeout(now).expect("begun");
        Self { dtls, peer, received: vec![], connected: false }
    }

    fn says(&mut self) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        let (received, connected) = (&mut self.received, &mut self.connected);
        poll(&mut self.dtls, &mut vec![0; 2_048], |output| match output {
            Output::Packet(bytes) => said.push(bytes.to_vec()),
            Output::Connected => *connected = true,
            Output::ApplicationData(bytes) => received.push(bytes.to_vec()),
            _ => {}
        });
        said
    }

    /// To and fro until nobody has anything to say.
    fn talk(&mut self, table: &mut Table, now: Instant) -> Out {
        let mut all = Out::default();
        loop {
            let said = self.says();
            if said.is_empty() {
                return all;
            }
            for bytes in said {
                let mut out = Out::default();
                table.handle_datagram(now, self.peer, &bytes, &mut out);
                for (peer, bytes) in out.datagrams {
                    assert_eq!(peer, self.peer);
                    self.dtls.handle_packet(&bytes).expect("taken");
                }
                all.messages.extend(out.messages);
                all.gone.extend(out.gone);
            }
        }
    }
}

#[test]
fn messages_pass_both_ways() {
    let now = Instant::now();
    let mut table = table(now);
    let mut client = Client::new(peer(1, 1), now);
    client.talk(&mut table, now);
    assert!(client.connected && table.len() == 1);
    client.dtls.send_application_data(b"question").expect("queued");
    assert_eq!(client.talk(&mut table, now).messages, [b"question"]);
    let mut out = Out::default();
    assert!(table.send(now, client.peer, b"answer", &mut out));
    for (_, bytes) in out.datagrams {
        client.dtls.handle_packet(&bytes).expect("taken");
    }
    client.says();
    assert_eq!(client.received, [b"answer"]);
    client.dtls.close().expect("closed");
    assert_eq!(client.talk(&mut table, now).gone, [client.peer]);
    assert_eq!((table.len(), table.per_subscriber.len()), (0, 0));
}

#[test]
fn strangers_are_answered_and_forgotten() {
    let now = Instant::now();
    let mut table = table(now);
    for host in 0..200 {
        let mut client = Client::new(peer(host, 1), now);
        let mut out = Out::default();
        for bytes in client.says() {
            table.handle_datagram(now, client.peer, &bytes, &mut out);
            let answered: usize = out.datagrams.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(answered < bytes.len(), "answers are larger than questions");
        }
        assert_eq!(out.datagrams.len(), 1, "one HelloVerifyRequest");
    }
    assert_eq!((table.len(), table.poll_timeout()), (0, None));
}

/// What the client says once it has been given a cookie.
fn with_cookie(client: &mut Client, table: &mut Table, now: Instant) -> Vec<u8> {
    let first = client.says().pop().expect("a hello");
    let mut out = Out::default();
    table.handle_datagram(now, client.peer, &first, &mut out);
    client.dtls.handle_packet(&out.datagrams[0].1).expect("taken");
    client.says().pop().expect("a hello with cookie")
}

#[test]
fn a_cookie_is_good_for_its_client_and_its_time() {
    let now = Instant::now();
    let mut table = table(now);
    let mut client = Client::new(peer(1, 1), now);
    let second = with_cookie(&mut client, &mut table, now);
    let mut out = Out::default();
    table.handle_datagram(now, peer(2, 1), &second, &mut out);
    table.handle_datagram(now, peer(1, 2), &second, &mut out);
    table.handle_datagram(now + 2 * SEED_EPOCH, client.peer, &second, &mut out);
    assert_eq!((table.len(), out.datagrams.len()), (0, 0), "a foreign or old cookie was taken");
    table.handle_datagram(now + SEED_EPOCH, client.peer, &second, &mut out);
    assert_eq!(table.len(), 1);
    // The same once more changes nothing.
    table.handle_datagram(now + SEED_EPOCH, client.peer, &second, &mut out);
    assert_eq!((table.len(), out.gone.len()), (1, 0));
}

#[test]
fn connections_are_bounded_and_end_when_nothing_comes() {
    let now = Instant::now();
    let mut table = table(now);
    let mut clients: Vec<_> = (1..=3).map(|port| Client::new(peer(1, port), now)).collect();
    for client in &mut clients {
        client.talk(&mut table, now);
    }
    assert_eq!(table.len(), 2, "two of one subscriber");
    // A third subscriber that stops halfway through.
    let mut half = Client::new(peer(3, 1), now);
    let second = with_cookie(&mut half, &mut table, now);
    table.handle_datagram(now, half.peer, &second, &mut Out::default());
    assert_eq!(table.len(), 3);
    let mut out = Out::default();
    table.handle_timeout(now + HANDSHAKE, &mut out);
    assert_eq!(out.gone, [half.peer]);
    table.handle_timeout(now + IDLE, &mut out);
    assert_eq!((out.gone.len(), table.len()), (3, 0));
}

#[test]
fn a_quiet_client_stays_as_long_as_its_allocation() {
    let now = Instant::now();
    let mut table = table(now);
    let mut client = Client::new(peer(1, 1), now);
    client.talk(&mut table, now);
    let mut out = Out { allocated: Some(client.peer), ..Out::default() };
    let hour = now + Duration::from_secs(3_600);
    table.handle_timeout(hour, &mut out);
    assert_eq!((table.len(), out.gone.len()), (1, 0));
    out.allocated = None;
    table.handle_timeout(hour + HANDSHAKE, &mut out);
    assert_eq!((table.len(), out.gone.len()), (0, 1));
}

#[test]
fn a_network_that_floods_leaves_room_for_others() {
    let now = Instant::now();
    let bounds = Bounds { hellos_per_network_s: 50, ..BOUNDS };
    let mut table = Table::new(identity(), bounds, &[7; 32], now);
    let mut answered = |remote: SocketAddr| {
        let mut client = Client::new(Peer { remote, ..peer(1, 1) }, now);
        let mut out = Out::default();
        for bytes in client.says() {
            table.handle_datagram(now, client.peer, &bytes, &mut out);
        }
        out.datagrams.len()
    };
    let v4: usize = (0..200).map(|host| answered(([198, 51, 100, host], 1).into())).sum();
    let v6 = |n: u128| Ipv6Addr::from_bits((0x2001_0db8_0007 << 80) | (n << 64) | n);
    let v6: usize = (0..200).map(|n| answered((v6(n), 1).into())).sum();
    assert_eq!((v4, v6), (50, 50));
    assert_eq!(answered(([198, 51, 101, 1], 1).into()), 1, "another network");
}

#[test]
fn who_has_a_cookie_gets_in_while_plain_hellos_flood_the_network() {
    let now = Instant::now();
    let bounds = Bounds { hellos_per_network_s: 50, ..BOUNDS };
    let mut table = Table::new(identity(), bounds, &[7; 32], now);
    let mut client = Client::new(peer(1, 1), now);
    let second = with_cookie(&mut client, &mut table, now);
    let mut out = Out::default();
    for host in 2..200 {
        for bytes in Client::new(peer(host, 1), now).says() {
            table.handle_datagram(now, peer(host, 1), &bytes, &mut out);
        }
    }
    assert_eq!(out.datagrams.len(), 49, "the network has had its share");
    table.handle_datagram(now, client.peer, &second, &mut out);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_message_that_fits_no_record_is_dropped_alone() {
    let now = Instant::now();
    let mut table = table(now);
    let mut client = Client::new(peer(1, 1), now);
    client.talk(&mut table, now);
    for (length, sent) in [(MAX_RECORD + 1, false), (60_000, false), (MAX_RECORD, true)] {
        let mut out = Out::default();
        assert_eq!(table.send(now, client.peer, &vec![7; length], &mut out), sent);
        assert_eq!((out.datagrams.len(), out.gone.len()), (usize::from(sent), 0));
        for (_, bytes) in out.datagrams {
            client.dtls.handle_packet(&bytes).expect("taken");
        }
    }
    poll(&mut client.dtls, &mut vec![0; 2 * MAX_RECORD], |output| {
        if let Output::ApplicationData(bytes) = output {
            client.received.push(bytes.to_vec());
        }
    });
    assert_eq!(client.received, [vec![7; MAX_RECORD]]);
}

#[test]
fn a_client_that_has_forgotten_its_connection_gets_a_new_one() {
    let now = Instant::now();
    let mut table = table(now);
    Client::new(peer(1, 1), now).talk(&mut table, now);
    let mut again = Client::new(peer(1, 1), now);
    let out = again.talk(&mut table, now);
    assert!(again.connected);
    assert_eq!((table.len(), out.gone.len()), (1, 1));
}

/// A connection that panics whatever it is asked: one of `dimpl` that has lost its state halfway
/// through.
fn broken(now: Instant) -> Dtls {
    let config = dimpl::Config::builder().build().expect("good");
    let mut dtls = Dtls::new_auto(Arc::new(config), identity(), now);
    dtls.set_active(true);
    // What a client of no known version cannot do.
    let back = catch_unwind(AssertUnwindSafe(|| dtls.set_active(false)));
    assert!(back.is_err(), "it can");
    dtls
}

#[test]
fn a_connection_that_panics_takes_no_other_with_it() {
    let now = Instant::now();
    let mut table = table(now);
    let mut clients = [1, 2, 3, 4].map(|host| Client::new(peer(host, 1), now));
    for client in &mut clients {
        client.talk(&mut table, now);
    }
    let peers = [2, 3, 4].map(|host| peer(host, 1));
    for peer in &peers {
        table.sessions.get_mut(peer).expect("connected").dtls = broken(now);
    }
    let mut out = Out::default();
    table.handle_datagram(now, peers[0], &[23; 64], &mut out);
    table.send(now, peers[1], b"answer", &mut out);
    table.handshaking.insert(peers[2]);
    table.handle_timeout(now + TICK, &mut out);
    assert_eq!((out.gone, out.datagrams.len()), (peers.to_vec(), 0));
    assert_eq!((table.len(), table.per_subscriber.len(), table.handshaking.len()), (1, 1, 0));
    let whole = &mut clients[0];
    whole.dtls.send_application_data(b"question").expect("queued");
    assert_eq!(whole.talk(&mut table, now).messages, [b"question"]);
    // Nor does it keep the others from being told goodbye.
    let mut again = Client::new(peers[0], now);
    again.talk(&mut table, now);
    assert!(again.connected, "the client may not come back");
    table.sessions.get_mut(&again.peer).expect("connected").dtls = broken(now);
    let mut out = Out::default();
    table.close(&mut out);
    assert_eq!((table.len(), out.gone.len(), out.datagrams.len()), (0, 2, 1));
}

#[test]
fn a_hello_at_which_the_library_panics_is_not_answered() {
    let now = Instant::now();
    let mut table = table(now);
    let mut client = Client::new(peer(1, 1), now);
    client.talk(&mut table, now);
    // A key that `dimpl` cannot read; configurations with one are refused.
    table.set_certificate(DtlsCertificate { certificate: vec![1], private_key: vec![1] });
    let mut out = Out::default();
    for bytes in Client::new(peer(2, 1), now).says() {
        table.handle_datagram(now, peer(2, 1), &bytes, &mut out);
    }
    assert_eq!((out.datagrams.len(), table.len()), (0, 1));
    client.dtls.send_application_data(b"question").expect("queued");
    assert_eq!(client.talk(&mut table, now).messages, [b"question"]);
    table.set_certificate(identity());
    let mut next = Client::new(peer(3, 1), now);
    next.talk(&mut table, now);
    assert!(next.connected);
}

#[test]
fn rubbish_is_dropped() {
    let now = Instant::now();
    let mut table = table(now);
    let mut out = Out::default();
    let hello = Client::new(peer(1, 1), now).says().pop().expect("a hello");
    for cut in 0..hello.len() {
        table.handle_datagram(now, peer(1, 1), &hello[..cut], &mut out);
    }
    for byte in FIRST_BYTE {
        table.handle_datagram(now, peer(1, 1), &[byte; 64], &mut out);
    }
    assert!(out.datagrams.is_empty() && table.len() == 0);
}

#[test]
fn who_knows_only_older_versions_is_told_so() {
    let now = Instant::now();
    let mut table = table(now);
    let mut hello = Client::new(peer(1, 1), now).says().pop().expect("a hello");
    hello[26] = 0xff;
    let mut out = Out::default();
    table.handle_datagram(now, peer(1, 1), &hello, &mut out);
    assert_eq!(out.datagrams[0].1, fatal(70));
    assert_eq!(table.len(), 0);
}

#[test]
fn spoilt_datagrams_harm_no_connection() {
    let now = Instant::now();
    let mut table = table(now);
    let mut client = Client::new(peer(1, 1), now);
    client.talk(&mut table, now);
    client.dtls.send_application_data(b"question").expect("queued");
    let record = client.says().pop().expect("a record");
    let mut out = Out::default();
    for _ in 0..20_000 {
        let mut spoilt = record.clone();
        let at = rand::random_range(0..spoilt.len());
        spoilt[at] ^= rand::random_range(1..=255);
        spoilt.truncate(rand::random_range(1..=2 * spoilt.len()));
        table.handle_datagram(now, client.peer, &spoilt, &mut out);
    }
    table.handle_datagram(now, client.peer, &record, &mut out);
    assert_eq!((table.len(), out.gone.len()), (1, 0), "the connection was ended");
    assert_eq!(out.messages.last().map(Vec::as_slice), Some(&b"question"[..]));
}
