//! Packets from others: they change nothing, and get nothing.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::RngExt;
use sightline_model::NatReport;
use sightline_p2p::{Allowance, Candidate, CandidateKind, Consumed, Path, Seekers};

use crate::{
    end::{CAMERA, VIEWER, lone},
    table::{Place, pair},
    world::World,
};

fn state(world: &World, end: usize) -> (Option<Path>, Vec<Path>) {
    let ladder = &world.ends[end].ladder;
    (ladder.active_path(), ladder.paths().map(|p| p.path).collect())
}

fn settled() -> World {
    let mut world = pair(1, Place::PortRestricted, Place::Public);
    world.record = true;
    world.run_for(Duration::from_secs(10));
    world
}

/// Hands a datagram to an end as if it had come from there; what is sent back is given.
fn inject(world: &mut World, end: usize, from: SocketAddr, bytes: &[u8]) -> (Consumed, usize) {
    let socket = world.ends[end].ladder.active_path().expect("a path").socket;
    let now = world.now;
    let ladder = &mut world.ends[end].ladder;
    let consumed = ladder.handle_datagram(now, socket, from, bytes);
    let back = std::iter::from_fn(|| ladder.poll_transmit()).map(|t| t.bytes.len()).sum();
    (consumed, back)
}

fn attacker() -> SocketAddr {
    "198.51.100.66:6666".parse().expect("an address")
}

#[test]
fn a_spray_without_the_password_changes_nothing() {
    let mut world = settled();
    let before = state(&world, CAMERA);
    let recorded = world.recorded.clone();
    for round in 0..20_000_usize {
        let (_, _, bytes) = &recorded[round % recorded.len()];
        let mut bytes = bytes.to_vec();
        let at = world.rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << world.rng.random_range(0..8_u32);
        let active = before.0.expect("a path").remote;
        let from = if round % 2 == 0 { attacker() } else { active };
        let (consumed, back) = inject(&mut world, CAMERA, from, &bytes);
        assert!(!matches!(consumed, Consumed::Check), "{bytes:?}");
        assert_eq!(back, 0);
    }
    assert_eq!(state(&world, CAMERA), before);
}

#[test]
fn a_replay_from_anywhere_changes_nothing_and_gets_nothing() {
    for end in [VIEWER, CAMERA] {
        let mut world = settled();
        let before = state(&world, end);
        for (_, to_end, bytes) in world.recorded.clone() {
            if to_end != end {
                continue;
            }
            for from in [attacker(), before.0.expect("a path").remote] {
                let (consumed, back) = inject(&mut world, end, from, &bytes);
                assert!(!matches!(consumed, Consumed::Check));
                assert_eq!(back, 0);
            }
        }
        assert_eq!(state(&world, end), before);
    }
}

#[test]
fn another_sessions_checks_are_nobodys() {
    let mut world = settled();
    let mut other = pair(2, Place::PortRestricted, Place::Public);
    other.record = true;
    other.run_for(Duration::from_secs(5));
    let before = state(&world, CAMERA);
    for (_, _, bytes) in other.recorded {
        let (consumed, back) = inject(&mut world, CAMERA, attacker(), &bytes);
        assert_eq!((consumed, back), (Consumed::NotOurs, 0));
    }
    // Nor is media from addresses that have proven nothing.
    let (consumed, _) = inject(&mut world, CAMERA, attacker(), &[0xc0; 1200]);
    assert_eq!(consumed, Consumed::NotOurs);
    assert_eq!(state(&world, CAMERA), before);
}

/// A check that is caught on its way, and comes from the attacker's address first: the camera
/// answers it once, with less, and asks back a few times, but sends no media there.
#[test]
fn a_stolen_check_moves_no_media() {
    let mut world = pair(1, Place::PortRestricted, Place::Public);
    world.run_for(Duration::from_secs(10));
    let before = world.ends[CAMERA].ladder.active_path();
    world.steal = true;
    world.record = true;
    world.run_for(Duration::from_millis(700));
    world.steal = false;
    let stolen: Vec<Bytes> = world
        .recorded
        .iter()
        .filter(|(_, to, bytes)| *to == CAMERA && bytes[..2] == [0, 1])
        .map(|(_, _, bytes)| bytes.clone())
        .collect();
    assert!(!stolen.is_empty());
    let (mut sent, mut back) = (0, 0);
    for bytes in stolen {
        sent += bytes.len();
        back += inject(&mut world, CAMERA, attacker(), &bytes).1;
        let now = world.now;
        world.ends[CAMERA].ladder.handle_timeout(now);
    }
    world.to_attacker = Some(attacker());
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.ends[CAMERA].ladder.active_path(), before);
    back += world.attacker_bytes as usize;
    assert!(back < 12 * sent, "{back} bytes for {sent}");
    assert_eq!(world.attacker_media, 0);
}

/// An end that may speak names a thousand addresses of others: what goes there is bounded.
#[test]
fn a_flood_of_candidates_is_bounded() {
    let mut world = settled();
    let before = state(&world, CAMERA);
    for round in 0..1_000_u32 {
        let address = SocketAddr::from(([198, 51, (round / 250) as u8, (round % 250) as u8], 99));
        let candidate = Candidate {
            foundation: "1".into(),
            priority: u32::MAX - round,
            address,
            kind: CandidateKind::Host,
        };
        let now = world.now;
        world.ends[CAMERA].ladder.add_remote(now, &candidate);
        world.drain(CAMERA);
    }
    let sent = world.sent[CAMERA];
    world.ends[CAMERA].quiet = true;
    world.run_for(Duration::from_secs(60));
    // 64 addresses, eight checks each and then one in ten seconds, beside those of the session.
    let sent = world.sent[CAMERA] - sent;
    assert!(sent < 1_500, "{sent} datagrams");
    assert_eq!(state(&world, CAMERA).0, before.0);
}

/// Where an end sends to within ten minutes while the other names ten addresses a second.
fn named_for_long(of: impl Fn(u32) -> SocketAddr) -> BTreeSet<SocketAddr> {
    let mut world = settled();
    let ladder = &mut world.ends[CAMERA].ladder;
    let mut reached = BTreeSet::new();
    for round in 0..6_000_u32 {
        let now = world.now + Duration::from_millis(100) * round;
        let candidate = Candidate {
            foundation: "1".into(),
            priority: u32::MAX - round,
            address: of(round),
            kind: CandidateKind::ServerReflexive,
        };
        ladder.add_remote(now, &candidate);
        ladder.handle_timeout(now);
        reached.extend(std::iter::from_fn(|| ladder.poll_transmit()).map(|t| t.to));
        while ladder.poll_event().is_some() {}
    }
    reached
}

#[test]
fn packets_go_to_few_machines_whatever_the_other_end_names() {
    let machines = named_for_long(|n| SocketAddr::from(([198, 18, (n >> 8) as u8, n as u8], 99)));
    // 64, and one a minute.
    let own = 8;
    assert!((33..=64 + 10 + own).contains(&machines.len()), "{} machines", machines.len());
    // Of one machine: 64 ports at once, and one in two seconds.
    let ports = named_for_long(|n| SocketAddr::from(([198, 18, 0, 1], 1_000 + n as u16)));
    assert!((33..=64 + 300 + own).contains(&ports.len()), "{} ports", ports.len());
}

/// Another offer of the same call makes another ladder: nothing begins anew with it.
#[test]
fn packets_go_to_few_machines_however_many_ladders_the_call_has() {
    let mut now = Instant::now();
    let allowance = Allowance::new(now);
    let mut reached = BTreeSet::new();
    for round in 0..8 {
        let seekers = Seekers::new(1);
        let mut ladder = lone(now, NatReport::default()).within(allowance.clone(), seekers);
        ladder.set_remote(now, &lone(now, NatReport::default()).description([7; 32]));
        for n in 0..64 {
            let address = SocketAddr::from(([198, 18, round, n], 99));
            let (foundation, kind) = ("1".into(), CandidateKind::ServerReflexive);
            ladder.add_remote(now, &Candidate { foundation, priority: 1, address, kind });
        }
        for _ in 0..200 {
            now += Duration::from_millis(100);
            ladder.handle_timeout(now);
            let sent = std::iter::from_fn(|| ladder.poll_transmit()).map(|t| t.to.ip());
            reached.extend(sent.filter(|ip| ip.to_string().starts_with("198.18.")));
        }
    }
    // 64, and one a minute of nearly three.
    assert!((33..=64 + 2).contains(&reached.len()), "{} machines", reached.len());
}

/// The ports of this address that a camera tries when a viewer names it as what a server has seen
/// of a router that gives each destination another port.
fn ports_tried_of(named: SocketAddr) -> usize {
    let start = Instant::now();
    let mut ladder = lone(start, Place::PortRestricted.report());
    let mut other = lone(start, Place::Symmetric.report()).description([7; 32]);
    let (foundation, kind) = ("1".into(), CandidateKind::ServerReflexive);
    other.candidates = vec![Candidate { foundation, priority: 1, address: named, kind }];
    ladder.set_remote(start, &other);
    let (mut now, end) = (start, start + Duration::from_secs(60));
    let mut tried = BTreeSet::new();
    while let Some(due) = ladder.poll_timeout().filter(|due| *due <= end) {
        now = now.max(due);
        ladder.handle_timeout(now);
        let sent = std::iter::from_fn(|| ladder.poll_transmit()).map(|t| t.to);
        tried.extend(sent.filter(|to| to.ip().to_canonical() == named.ip().to_canonical()));
        while ladder.poll_event().is_some() {}
    }
    // The one that was named is no try.
    tried.iter().filter(|to| to.port() != named.port()).count()
}

#[test]
fn no_ports_are_tried_of_this_machine_a_home_or_a_carriers_network() {
    for named in [
        "127.0.0.1:6000",
        "127.9.9.9:6000",
        "[::ffff:127.0.0.1]:6000",
        "100.64.1.2:6000",
        "100.127.255.254:6000",
        "169.254.1.1:6000",
        "10.0.0.7:6000",
        "172.16.0.7:6000",
        "192.168.1.7:6000",
        "[fd00::7]:6000",
        "[::1]:6000",
    ] {
        assert_eq!(ports_tried_of(named.parse().expect("an address")), 0, "{named}");
    }
    // Those of a router on the Internet are.
    assert!(ports_tried_of("203.0.113.2:6000".parse().expect("an address")) > 1_000);
}
