//! Many clients at once, against a model that knows what each may do. Seeded: a case that fails
//! fails again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::*;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::SmallRng};

/// What a client should have.
#[derive(Default)]
struct Expected {
    relayed: Option<SocketAddr>,
    ends: Option<Instant>,
    permissions: HashMap<std::net::IpAddr, Instant>,
    channels: HashMap<u16, (SocketAddr, Instant)>,
}

impl Expected {
    fn lapse(&mut self, now: Instant) {
        if self.ends.is_some_and(|ends| ends <= now) {
            *self = Self::default();
        }
        self.permissions.retain(|_, ends| *ends > now);
        self.channels.retain(|_, (_, ends)| *ends > now);
    }

    fn channel_of(&self, peer: SocketAddr) -> Option<u16> {
        self.channels.iter().find(|(_, (to, _))| *to == peer).map(|(number, _)| *number)
    }
}

struct Simulation {
    world: World,
    clients: Vec<(Client, Expected)>,
    rng: SmallRng,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let clients = (0..6).map(|n| {
            let user = format!("user{}", n % 3);
            (Client::new(&format!("198.51.100.{}:40000", n + 1), &user), Expected::default())
        });
        let clients = clients.collect();
        Self { world: World::new(settings()), clients, rng: SmallRng::seed_from_u64(seed) }
    }

    fn peer(&mut self) -> SocketAddr {
        // Few, so that they meet; some of them relayed addresses of other clients.
        let relayed = self.clients[self.rng.random_range(0..6)].1.relayed;
        match relayed.filter(|_| self.rng.random_bool(0.3)) {
            Some(relayed) => relayed,
            None => {
                format!("203.0.113.{}:{}", self.rng.random_range(1..4), self.rng.random_range(7..9))
                    .parse()
                    .unwrap()
            }
        }
    }

    fn step(&mut self) {
        let at = self.rng.random_range(0..self.clients.len());
        let peer = self.peer();
        let number = 0x4000 + self.rng.random_range(0..4);
        let now = self.world.now.instant;
        let (client, expected) = &mut self.clients[at];
        let world = &mut self.world;
        match self.rng.random_range(0..9) {
            0 => {
                let outcome = client.allocate(world);
                match expected.relayed {
                    Some(_) => assert_eq!(outcome, Err(437)),
                    None => {
                        expected.relayed = Some(outcome.unwrap());
                        expected.ends = Some(now + Duration::from_secs(600));
                    }
                }
            }
            1 => {
                let lifetime_s = if self.rng.random_bool(0.3) { 0 } else { 600 };
                let outcome = client.refresh(world, lifetime_s);
                match (expected.relayed, lifetime_s) {
                    (None, 0) => assert!(outcome.is_ok()),
                    (None, _) => assert_eq!(outcome.err(), Some(437)),
                    (Some(_), 0) => *expected = Expected::default(),
                    (Some(_), _) => expected.ends = Some(now + Duration::from_secs(600)),
                }
            }
            2 => {
                let outcome = client.permit(world, &[peer]);
                assert_eq!(outcome.is_ok(), expected.relayed.is_some());
                if expected.relayed.is_some() {
                    expected.permissions.insert(peer.ip(), now + Duration::from_secs(300));
                }
            }
            3 => {
                let outcome = client.bind(world, number, peer);
                let known = expected.channels.get(&number).map(|(to, _)| *to);
                let free = known.is_none() && expected.channel_of(peer).is_none();
                let good = expected.relayed.is_some() && (known == Some(peer) || free);
                assert_eq!(outcome.is_ok(), good);
                if good {
                    expected.permissions.insert(peer.ip(), now + Duration::from_secs(300));
                    expected.channels.insert(number, (peer, now + Duration::from_secs(600)));
                }
            }
            4 => {
                client.send(world, peer, b"indication");
                let allowed = expected.permissions.contains_key(&peer.ip()).then_some(peer);
                self.check_sent(at, allowed, b"indication");
            }
            5 => {
                client.send_channel(world, number, b"channel");
                let to = expected.channels.get(&number).map(|(to, _)| *to);
                self.check_sent(at, to, b"channel");
            }
            6 => {
                let Some(relayed) = expected.relayed else { return };
                if self.world.shared.live().owner(peer).is_some() {
                    return;
                }
                self.world.peer_input(relayed, peer, b"from a peer");
                self.check_received(at, peer, b"from a peer");
            }
            7 => {
                // A stranger at the client's address changes nothing.
                let mut thief = client.clone();
                thief.user = format!("{}:nobody", START_UNIX_S + 600);
                let outcome = thief.refresh(&mut self.world, 0);
                assert_eq!(outcome.err(), Some(401));
            }
            _ => {
                let time = Duration::from_secs(self.rng.random_range(0..200));
                self.world.pass(time);
                let now = self.world.now.instant;
                for (_, expected) in &mut self.clients {
                    expected.lapse(now);
                }
            }
        }
        self.world.assert_silent();
        let open = self.clients.iter().filter(|(_, e)| e.relayed.is_some()).count();
        assert_eq!(self.world.server.allocations(), open);
        assert_eq!(self.world.hands.relays.len(), open);
    }

    fn check_sent(&mut self, from: usize, to: Option<SocketAddr>, payload: &[u8]) {
        let Some((to, relayed)) = to.zip(self.clients[from].1.relayed) else {
            return self.world.assert_silent();
        };
        let here = self.clients.iter().position(|(_, e)| e.relayed == Some(to));
        match here {
            Some(other) => self.check_received(other, relayed, payload),
            // Where one of us was, and is no more, nobody may send: it is our own address.
            None if to.ip() == relayed.ip() => self.world.assert_silent(),
            None => {
                let Some(Out::Peer(_, went, bytes, _)) = self.world.take() else {
                    panic!("nothing was sent");
                };
                assert_eq!((went, &bytes[..]), (to, payload));
            }
        }
    }

    fn check_received(&mut self, at: usize, peer: SocketAddr, payload: &[u8]) {
        let (client, expected) = &self.clients[at];
        if !expected.permissions.contains_key(&peer.ip()) {
            return self.world.assert_silent();
        }
        let bytes = self.world.take_for(&client.id);
        match expected.channel_of(peer) {
            Some(number) => assert_eq!(
                bytes,
                [&mtu_turn::wire::channel_header(number, payload.len())[..], payload].concat()
            ),
            None => assert_eq!(bytes[..2], [0x00, 0x17]),
        }
    }
}

#[test]
fn many_clients_get_what_they_should_and_nothing_else() {
    for seed in 0..400 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..60 {
            simulation.step();
        }
        let hands = &mut simulation.world.hands;
        simulation.world.server.close(simulation.world.now, hands);
        assert_eq!(simulation.world.shared.allocations(), 0, "seed {seed}");
        assert!(simulation.world.hands.relays.is_empty() && simulation.world.shared.users() == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_bytes_of_a_client_do_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        stride in 0usize..64,
        stun in any::<bool>(),
    ) {
        let mut world = World::new(settings());
        let mut client = Client::new("198.51.100.7:40000", "call");
        client.allocate(&mut world).unwrap();
        let mut bytes = bytes;
        if stun && bytes.len() >= 20 {
            bytes.truncate(bytes.len() / 4 * 4);
            let length = (bytes.len() - 20) as u16;
            bytes[0] &= 1;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&mtu_turn::wire::MAGIC_COOKIE);
        }
        world.server.handle_input(&client.id, &bytes, stride, world.now, &mut world.hands);
        prop_assert_eq!(world.server.allocations(), 1);
        let relay = world.hands.relays[0].0;
        let peer = address("203.0.113.5:7000");
        world.hands.out.clear();
        world.server.handle_peer_input(relay, peer, &bytes, stride, world.now, &mut world.hands);
        world.assert_silent();
    }

    #[test]
    fn xor_addresses_come_back(ip in any::<std::net::IpAddr>(), port in any::<u16>(), id in any::<[u8; 12]>()) {
        let address = SocketAddr::new(ip, port);
        let mut bytes = [0; 20];
        let length = mtu_turn::wire::write_xor(&mut bytes, address, &id);
        prop_assert_eq!(mtu_turn::wire::read_xor(&bytes[..length], &id), Some(address));
    }
}
