//! Credentials of relays that end: no allocation outlives its own, but the picture does.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sightline_model::Rung;
use sightline_p2p::{Event, SocketId};

use crate::{
    end::{CAMERA, Socket, VIEWER},
    table::Place,
    world::{INTERNET, Owner, Server, World},
};

/// How long a credential lasts, and how often the centre gives another.
const LASTS: Duration = Duration::from_secs(14);
const EVERY: Duration = Duration::from_secs(7);

/// Two ends that cannot do without a relay, and the viewer's spare.
fn relayed() -> World {
    let mut world = World::new(17);
    assert_eq!(Place::Symmetric.put(&mut world, 0), VIEWER);
    assert_eq!(Place::Symmetric.put(&mut world, 1), CAMERA);
    for end in [VIEWER, CAMERA] {
        world.ends[end].credential = Some(world.now + LASTS);
    }
    world.begin();
    world.run_for(Duration::from_millis(500));
    world.allocate(VIEWER, None, 1);
    world
}

/// Allocations that have no successor yet, with their servers; the one that carries media last.
fn standing(world: &World, end: usize) -> Vec<(SocketId, usize)> {
    let end = &world.ends[end];
    let has_successor = |id: SocketId| {
        end.sockets.values().any(|socket| match socket {
            Socket::Relay { replaces, .. } | Socket::Direct { replaces, .. } => {
                *replaces == Some(id)
            }
        })
    };
    let relays = end.sockets.iter().filter_map(|(id, socket)| match socket {
        Socket::Relay { server, .. } => Some((*id, *server)),
        Socket::Direct { .. } => None,
    });
    let mut standing: Vec<_> = relays.filter(|(id, _)| !has_successor(*id)).collect();
    let active = end.ladder.active_path().map(|path| path.socket);
    standing.sort_by_key(|(id, _)| Some(*id) == active);
    standing
}

/// The centre gives both ends a fresh credential, with which each has successors made.
fn renew(world: &mut World) {
    for end in [VIEWER, CAMERA] {
        world.ends[end].credential = Some(world.now + LASTS);
        for (old, server) in standing(world, end) {
            world.allocate(end, Some(old), server);
        }
    }
}

#[test]
fn a_relayed_picture_outlives_its_credentials() {
    let mut world = relayed();
    world.run_for(EVERY);
    assert_eq!(world.rung(VIEWER), Some(Rung::RelayUdp));
    let since = world.now;
    let first = standing(&world, VIEWER);
    for _ in 0..12 {
        renew(&mut world);
        world.run_for(EVERY);
        assert_eq!(world.rung(VIEWER), Some(Rung::RelayUdp));
        for end in &world.ends {
            assert!(end.sockets.len() <= 8, "sockets are given back: {:?}", end.sockets);
        }
    }
    let gap = world.longest_gap(since);
    assert!(gap < Duration::from_millis(200), "{gap:?}");
    let lost = |(at, event): &(_, Event)| *at > since && matches!(event, Event::Lost);
    assert!(!world.ends.iter().flat_map(|end| &end.events).any(lost));
    // Nothing of what there was at first is left, and the spare is there.
    assert!(first.iter().all(|(id, _)| !world.ends[VIEWER].sockets.contains_key(id)));
    let report = world.ends[VIEWER].ladder.report();
    assert_eq!(report.spare, Some(Rung::RelayUdp));
}

/// The centre may name other servers each time. Successors are on those, and media moves there: what
/// the ends had at first is given up though it would work for a while yet.
#[test]
fn a_relayed_picture_moves_to_other_servers() {
    let mut world = relayed();
    for ip in ["192.0.2.30", "192.0.2.40"] {
        let ip: IpAddr = ip.parse().expect("an address");
        world.realms[INTERNET].owners.insert(ip, Owner::Server(world.servers.len()));
        let allocations = BTreeMap::new();
        world.servers.push(Server { ip, alive: true, allocations, relayed_bytes: 0 });
    }
    world.run_for(EVERY);
    assert_eq!(world.rung(VIEWER), Some(Rung::RelayUdp));
    let since = world.now;
    for named in [[2, 3], [0, 1], [2, 3], [0, 1]] {
        for end in &mut world.ends {
            end.servers = named.to_vec();
        }
        renew(&mut world);
        world.run_for(EVERY);
        assert_eq!(world.rung(VIEWER), Some(Rung::RelayUdp));
        let before: Vec<u64> = world.servers.iter().map(|server| server.relayed_bytes).collect();
        world.run_for(Duration::from_secs(1));
        for (server, before) in before.into_iter().enumerate() {
            // Checks of what is told of no more may still pass; media is more.
            let has_media = world.servers[server].relayed_bytes - before > 20_000;
            assert!(!has_media || named.contains(&server), "server {server}, of {named:?}");
        }
        for end in &world.ends {
            assert!(end.sockets.len() <= 8, "sockets are given back: {:?}", end.sockets);
        }
    }
    let gap = world.longest_gap(since);
    assert!(gap < Duration::from_millis(200), "{gap:?}");
    let lost = |(at, event): &(_, Event)| *at > since && matches!(event, Event::Lost);
    assert!(!world.ends.iter().flat_map(|end| &end.events).any(lost));
}

/// What it would be without: proof that the simulated relays mean it.
#[test]
fn without_fresh_credentials_a_relayed_picture_ends() {
    let mut world = relayed();
    world.run_for(LASTS);
    let since = world.now;
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.rung(VIEWER), None);
    assert!(world.longest_gap(since) > Duration::from_secs(25));
}
