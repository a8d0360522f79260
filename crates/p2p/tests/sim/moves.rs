//! Paths that die, addresses that change, relays that are killed: the picture goes on.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use sightline_model::Rung;
use sightline_p2p::{
    Candidate, CandidateKind, Event, Ladder, Leg, Local, Nat64Prefix, NetworkId, SocketId,
};

use crate::{
    end::{CAMERA, Socket, VIEWER, lone},
    nat::PORT_RESTRICTED,
    table::{PLACES, Place, pair},
    world::{INTERNET, World},
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Share of the media that went through relays, since a count taken before.
fn relayed_share(world: &World, before: (u64, u64)) -> f64 {
    let (relayed, all) = media(world);
    (relayed - before.0) as f64 / (all - before.1) as f64
}

fn media(world: &World) -> (u64, u64) {
    let media = &world.ends[CAMERA].media_bytes;
    let relayed = media.iter().filter(|(rung, _)| rung.is_relayed()).map(|(_, bytes)| bytes).sum();
    (relayed, media.values().sum())
}

#[test]
fn ten_minutes_behind_a_carrier_whose_mappings_die() {
    let places = [
        (Place::Dying, Place::Public),
        (Place::Dying, Place::PortRestricted),
        (Place::PortRestricted, Place::Dying),
        (Place::Dying, Place::Dying),
    ];
    for (viewer, camera) in places {
        let mut world = pair(3, viewer, camera);
        world.run_for(secs(75));
        let learned = |world: &World| {
            world.ends.iter().flat_map(|end| &end.events).any(|(_, event)| {
                matches!(event, Event::LifetimeLearned { lifetime, .. }
                    if (secs(45)..secs(52)).contains(lifetime))
            })
        };
        assert!(learned(&world), "{viewer:?} {camera:?}");
        assert!(world.longest_gap(world.start + secs(1)) < secs(1), "{viewer:?} {camera:?}: first");
        let (since, before) = (world.now, media(&world));
        world.run_for(secs(600));
        let gap = world.longest_gap(since);
        let share = relayed_share(&world, before);
        println!("{viewer:?} {camera:?}: gap {gap:?}, {:.2} % relayed", share * 100.0);
        assert!(gap <= ms(200) && share < 0.01, "{viewer:?} {camera:?}: {gap:?}, {share}");
        // Sockets come and go, but do not pile up.
        for end in &world.ends {
            assert!(end.sockets.len() <= 8, "{viewer:?} {camera:?}: {:?}", end.sockets);
        }
    }
}

/// A death that was none of a mapping's age, or one whose birth was not known, teaches too short a
/// lifetime: it is mended by watching the sockets that were replaced.
#[test]
fn a_lifetime_that_was_learned_too_short_grows() {
    let mut world = pair(3, Place::Dying, Place::PortRestricted);
    world.run_for(secs(15));
    let gateway = world.realms[world.ends[VIEWER].realm].gateway.expect("a gateway");
    world.nats[gateway].restart();
    world.run_for(secs(5));
    let lifetime = |world: &World| {
        world.ends[VIEWER].ladder.lifetimes().get(&NetworkId(1)).copied().expect("learned")
    };
    assert!(lifetime(&world) < secs(16), "{:?}", lifetime(&world));
    let since = world.now;
    world.run_for(secs(300));
    assert!((secs(40)..secs(52)).contains(&lifetime(&world)), "{:?}", lifetime(&world));
    assert!(world.longest_gap(since) < ms(200), "{:?}", world.longest_gap(since));
}

/// The viewer leaves its Wi-Fi for a mobile network.
fn roam(world: &mut World, announced: bool) {
    let new = world.behind(PORT_RESTRICTED, "203.0.113.77", INTERNET);
    let ip = "10.77.0.5".parse().expect("an address");
    let old_realm = world.ends[VIEWER].realm;
    let old_ips = world.ends[VIEWER].ips.clone();
    for ip in &old_ips {
        world.realms[old_realm].owners.remove(ip);
    }
    world.realms[new].owners.insert(ip, crate::world::Owner::End(VIEWER));
    let end = &mut world.ends[VIEWER];
    (end.realm, end.ips, end.network) = (new, vec![ip], NetworkId(2));
    let old: Vec<SocketId> = end.sockets.keys().copied().collect();
    if !announced {
        // The system moves sockets that are bound to no address.
        for socket in end.sockets.values_mut() {
            let (Socket::Direct { address, .. } | Socket::Relay { client: address, .. }) = socket;
            address.set_ip(ip);
        }
        return;
    }
    world.gather(VIEWER);
    world.allocate(VIEWER, None, 0);
    for socket in old {
        world.ends[VIEWER].sockets.remove(&socket);
        let now = world.now;
        world.ends[VIEWER].ladder.remove_local(now, socket);
    }
    world.drain(VIEWER);
}

#[test]
fn the_viewer_changes_networks() {
    for camera in [Place::Public, Place::FullCone, Place::PortRestricted, Place::Symmetric] {
        for announced in [true, false] {
            let mut world = pair(5, Place::PortRestricted, camera);
            world.run_for(secs(20));
            let since = world.now;
            roam(&mut world, announced);
            world.run_for(secs(10));
            let gap = world.longest_gap(since);
            println!("{camera:?}, announced {announced}: gap {gap:?}, {:?}", world.rung(VIEWER));
            let limit = if announced { secs(1) } else { ms(1_500) };
            assert!(gap < limit, "{camera:?}, announced {announced}: {gap:?}");
        }
    }
}

/// The viewer's network is away for so long that every mapping and permission has ended.
#[test]
fn after_an_outage_everything_comes_back() {
    for camera in PLACES {
        let mut world = pair(13, Place::PortRestricted, camera);
        world.run_for(secs(20));
        let before = world.rung(VIEWER);
        world.ends[VIEWER].online = false;
        let gateway = world.realms[world.ends[VIEWER].realm].gateway.expect("a gateway");
        world.nats[gateway].restart();
        world.run_for(secs(90));
        assert_eq!(world.rung(VIEWER), None, "{camera:?}");
        world.ends[VIEWER].online = true;
        let since = world.now;
        world.run_for(secs(60));
        let first = world.ends[VIEWER].frames.iter().find(|at| **at > since).map(|at| *at - since);
        println!("{camera:?}: gap {first:?}");
        assert!(first.is_some_and(|first| first < secs(8)), "{camera:?}: {first:?}");
        // Probed ports are not probed a second time.
        let wanted = if before == Some(Rung::Probed) { Some(Rung::RelayUdp) } else { before };
        assert_eq!(world.rung(VIEWER), wanted, "{camera:?}");
    }
}

#[test]
fn a_relay_is_killed() {
    let cases = [
        (Place::Symmetric, Place::Symmetric),
        (Place::UdpBlocked, Place::PortRestricted),
        (Place::Only443, Place::Only443),
    ];
    for (viewer, camera) in cases {
        let mut world = pair(7, viewer, camera);
        // The second allocation is made beforehand.
        world.run_for(ms(500));
        world.allocate(VIEWER, None, 1);
        world.run_for(secs(20));
        let used = world.ends[VIEWER].ladder.active_path().expect("a path");
        let ip = |end: usize, socket: SocketId| match world.ends[end].sockets.get(&socket) {
            Some(Socket::Relay { server, .. }) => Some(*server),
            _ => None,
        };
        let server = ip(VIEWER, used.socket).unwrap_or_else(|| {
            world.servers.iter().position(|s| s.ip == used.remote.ip()).expect("a relay")
        });
        let since = world.now;
        world.servers[server].alive = false;
        world.run_for(secs(10));
        let gap = world.longest_gap(since);
        println!("{viewer:?} {camera:?}: gap {gap:?}");
        assert!(gap < secs(2), "{viewer:?} {camera:?}: {gap:?}");
    }
}

#[test]
fn a_direct_path_takes_over_from_the_relay_without_a_gap() {
    for camera in [Place::PortRestricted, Place::Symmetric] {
        let mut world = pair(9, Place::Public, camera);
        // Nothing but the relay at first: the camera's router is closed.
        let gateway = world.realms[world.ends[CAMERA].realm].gateway.expect("a gateway");
        world.nats[gateway].behaviour.udp = false;
        world.ends[CAMERA].legs = vec![Leg::Tcp];
        world.run_for(secs(10));
        assert_eq!(world.rung(VIEWER), Some(Rung::RelayTcp));
        let since = world.now;
        world.nats[gateway].behaviour.udp = true;
        world.run_for(secs(15));
        assert_eq!(world.rung(VIEWER), Some(Rung::Punched));
        assert!(world.longest_gap(since) < ms(150), "{:?}", world.longest_gap(since));
    }
}

#[test]
fn the_camera_follows_when_the_viewers_router_forgets_everything() {
    for camera in PLACES {
        let mut world = pair(11, Place::PortRestricted, camera);
        world.run_for(secs(20));
        let since = world.now;
        let gateway = world.realms[world.ends[VIEWER].realm].gateway.expect("a gateway");
        world.nats[gateway].restart();
        world.run_for(secs(10));
        let gap = world.longest_gap(since);
        println!("{camera:?}: gap {gap:?}, {:?}", world.rung(VIEWER));
        assert!(gap < ms(1_500), "{camera:?}: {gap:?}");
    }
}

/// After a reconnect the router has another address outside, and nobody is at the one before.
#[test]
fn a_port_that_is_mapped_no_more_is_described_to_nobody() {
    let now = Instant::now();
    let mut ladder = lone(now, Place::PortRestricted.report());
    let told = |ladder: &Ladder| -> Vec<SocketAddr> {
        let candidates = ladder.description([7; 32]).candidates;
        let mapped = candidates.iter().filter(|c| c.kind == CandidateKind::Mapped);
        mapped.map(|c| c.address).collect()
    };
    let (socket, kind, network) = (SocketId(1), CandidateKind::Mapped, NetworkId(1));
    for ip in [[203_u8, 0, 113, 9], [203, 0, 113, 10]] {
        let address = SocketAddr::from((ip, 7_000));
        ladder.keep_mapped(now, socket, &[address]);
        let local = Local { socket, kind, address, network, replaces: None, since: Some(now) };
        assert!(ladder.add_local(now, &local).is_some(), "the other end is told");
        assert_eq!(told(&ladder), [address]);
    }
    ladder.keep_mapped(now, socket, &[]);
    assert_eq!(told(&ladder), Vec::<SocketAddr>::new());
}

/// The next network may translate with another prefix, or not at all.
#[test]
fn the_prefix_of_a_network_that_was_left_is_not_used_any_more() {
    let mut now = Instant::now();
    let mut ladder = lone(now, Place::V6Only.report());
    let address = "[2001:db8:1::5]:5000".parse().expect("an address");
    let (socket, kind, network) = (SocketId(2), CandidateKind::Host, NetworkId(1));
    let local = Local { socket, kind, address, network, replaces: None, since: Some(now) };
    ladder.add_local(now, &local);
    ladder.set_remote(now, &lone(now, Place::Public.report()).description([7; 32]));
    let named = SocketAddr::from(([203, 0, 113, 9], 99));
    let (foundation, kind) = ("1".into(), CandidateKind::Host);
    ladder.add_remote(now, &Candidate { foundation, priority: 1, address: named, kind });
    let mut reached = |prefix: Option<Nat64Prefix>| {
        ladder.set_nat64(now, prefix);
        let mut reached = BTreeSet::new();
        // What waits to be sent was for the network before.
        while ladder.poll_transmit().is_some() {}
        for _ in 0..600 {
            now += ms(100);
            ladder.handle_timeout(now);
            reached.extend(std::iter::from_fn(|| ladder.poll_transmit()).map(|t| t.to));
        }
        reached
    };
    let other = "2001:db8:64::".parse().expect("an address");
    let other = Nat64Prefix::new(other, 96).expect("a prefix");
    for prefix in [Some(Nat64Prefix::WELL_KNOWN), None, Some(other), None] {
        let reached = reached(prefix);
        assert!(reached.contains(&named));
        for candidate in [Nat64Prefix::WELL_KNOWN, other] {
            let through = candidate.map(named);
            assert_eq!(reached.contains(&through), prefix == Some(candidate), "{prefix:?}");
        }
    }
}
