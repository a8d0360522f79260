//! Ports of a symmetric NAT, found by trying.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use sightline_model::{NatReport, Rung};
use sightline_p2p::{
    Allowance, Candidate, CandidateKind, Description, Event, Ladder, Local, NetworkId, Seekers,
    SocketId,
};

use crate::{
    end::{CAMERA, VIEWER, lone},
    table::{Place, pair},
    world::World,
};

#[test]
fn one_symmetric_side_is_found_in_nine_of_ten_tries_within_ten_seconds() {
    const TRIES: u64 = 30;
    for (viewer, camera) in
        [(Place::Symmetric, Place::PortRestricted), (Place::PortRestricted, Place::Symmetric)]
    {
        let mut found = 0;
        for seed in 0..TRIES {
            let mut world = pair(seed, viewer, camera);
            world.loss = 0.01;
            let end = world.start + Duration::from_secs(10);
            let direct = |rung| matches!(rung, Some(Rung::Probed));
            let reached =
                world.run_until(end, |w| direct(w.rung(VIEWER)) && direct(w.rung(CAMERA)));
            found += u64::from(reached);
            // The picture did not wait for it, nor stop.
            let first = *world.ends[VIEWER].frames.first().expect("a picture");
            assert!(first - world.start < Duration::from_secs(2), "seed {seed}");
            assert!(world.longest_gap(first) < Duration::from_millis(400), "seed {seed}");
            // Bounded in count and rate.
            assert!(world.sent[VIEWER] < 3_000 && world.sent[CAMERA] < 6_500, "{:?}", world.sent);
            world.run_for(Duration::from_secs(8));
            for end in &world.ends {
                let asked = end
                    .events
                    .iter()
                    .filter(|(_, event)| matches!(event, Event::NeedProbeSockets { .. }));
                assert!(asked.count() <= 1);
                assert!(end.sockets.len() < 8, "sockets are given back: {}", end.sockets.len());
            }
        }
        println!("{viewer:?} {camera:?}: {found} of {TRIES}");
        assert!(found * 10 >= TRIES * 9, "{viewer:?} {camera:?}: {found} of {TRIES}");
    }
}

#[test]
fn two_symmetric_sides_are_not_probed() {
    let mut world = pair(1, Place::Symmetric, Place::Symmetric);
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.rung(VIEWER), Some(Rung::RelayUdp));
    // Neither sprays: what goes out is media's acknowledgements and a few checks.
    let report = world.ends[VIEWER].ladder.report();
    assert!(world.sent[VIEWER] < 2_500, "{:?}", world.sent);
    assert!(
        report.why_not_better.iter().any(|why| why.starts_with("Both routers give")),
        "{:?}",
        report.why_not_better
    );
}

/// Both ends measure their routers while the session runs already, and tell each other.
fn learns_late(seed: u64, viewer: Place, camera: Place, after: Duration) -> World {
    let mut world = World::new(seed);
    assert_eq!(viewer.put_unmeasured(&mut world, 0), VIEWER);
    assert_eq!(camera.put_unmeasured(&mut world, 1), CAMERA);
    world.begin();
    world.run_for(after);
    for (end, place) in [(VIEWER, viewer), (CAMERA, camera)] {
        world.measured(end, place.report());
    }
    world
}

#[test]
fn what_is_measured_later_starts_probing() {
    const TRIES: u64 = 20;
    for (viewer, camera) in
        [(Place::Symmetric, Place::PortRestricted), (Place::PortRestricted, Place::Symmetric)]
    {
        let mut found = 0;
        for seed in 0..TRIES {
            let mut world = learns_late(seed, viewer, camera, Duration::from_secs(3));
            let end = world.start + Duration::from_secs(10);
            found += u64::from(world.run_until(end, |w| w.rung(VIEWER) == Some(Rung::Probed)));
        }
        assert!(found * 10 >= TRIES * 9, "{viewer:?} {camera:?}: {found} of {TRIES}");
    }
}

/// A round whose packets are all lost is followed by another, and not by more.
#[test]
fn a_round_that_found_nothing_is_repeated_once() {
    let asked = |world: &World| {
        let events = &world.ends[VIEWER].events;
        events.iter().filter(|(_, e)| matches!(e, Event::NeedProbeSockets { .. })).count()
    };
    let mut world = pair(5, Place::Symmetric, Place::PortRestricted);
    // The camera's end does not know that it could help.
    world.run_for(Duration::from_millis(150));
    world.ends[CAMERA].ladder.set_remote_nat(world.now, NatReport::default());
    world.run_for(Duration::from_secs(15));
    assert_eq!((asked(&world), world.rung(VIEWER)), (1, Some(Rung::RelayUdp)));
    let (now, report) = (world.now, Place::Symmetric.report());
    world.ends[CAMERA].ladder.set_remote_nat(now, report);
    world.drain(CAMERA);
    world.run_for(Duration::from_secs(20));
    assert_eq!((asked(&world), world.rung(VIEWER)), (2, Some(Rung::Probed)));

    let mut world = pair(6, Place::Symmetric, Place::PortRestricted);
    world.run_for(Duration::from_millis(150));
    world.ends[CAMERA].ladder.set_remote_nat(world.now, NatReport::default());
    world.run_for(Duration::from_secs(300));
    assert_eq!(asked(&world), 2);
    world.run_for(Duration::from_secs(600));
    assert_eq!(asked(&world), 2, "it gives up");
    assert!(world.ends[VIEWER].sockets.len() < 8, "sockets are given back");
}

/// One that would try the ports of a router where nobody answers.
fn seeking(now: Instant, allowance: &Allowance, seekers: &Seekers) -> Ladder {
    let nat = Place::PortRestricted.report();
    let mut ladder = lone(now, nat).within(allowance.clone(), seekers.clone());
    ladder.set_remote(now, &symmetric_at(now, [203, 0, 113, 2]));
    ladder
}

/// What an end says that is behind a symmetric router there.
fn symmetric_at(now: Instant, ip: [u8; 4]) -> Description {
    let mut other = lone(now, Place::Symmetric.report()).description([7; 32]);
    let address = SocketAddr::from((ip, 6_000));
    let (foundation, kind) = ("1".into(), CandidateKind::ServerReflexive);
    other.candidates = vec![Candidate { foundation, priority: 1, address, kind }];
    other
}

/// The ports that it tries within that time.
fn ports_tried(ladder: &mut Ladder, mut now: Instant, end: Instant) -> usize {
    let mut ports = BTreeSet::new();
    while let Some(due) = ladder.poll_timeout().filter(|due| *due <= end) {
        now = now.max(due);
        ladder.handle_timeout(now);
        ports.extend(std::iter::from_fn(|| ladder.poll_transmit()).map(|t| t.to.port()));
        while ladder.poll_event().is_some() {}
    }
    // The one that was named is no try.
    ports.remove(&6_000);
    ports.len()
}

/// Whoever names them is not there, and would have this end search itself.
#[test]
fn no_address_of_this_end_is_searched() {
    let now = Instant::now();
    let mapped = Local {
        socket: SocketId(1),
        kind: CandidateKind::Mapped,
        address: SocketAddr::from(([203, 0, 113, 9], 7_000)),
        network: NetworkId(1),
        replaces: None,
        since: Some(now),
    };
    // As a STUN server sees it, as the gateway says, and its neighbour's.
    for (ip, tries) in [([203, 0, 113, 1], 0), ([203, 0, 113, 9], 0), ([203, 0, 113, 2], 1_500)] {
        let mut ladder = lone(now, Place::PortRestricted.report());
        ladder.add_local(now, &mapped);
        ladder.set_remote(now, &symmetric_at(now, ip));
        let tried = ports_tried(&mut ladder, now, now + Duration::from_secs(15));
        assert_eq!(tried, tries, "{ip:?}");
    }
}

#[test]
fn a_call_has_two_rounds_whatever_ladders_it_has() {
    let now = Instant::now();
    let (minute, allowance, seekers) =
        (Duration::from_secs(60), Allowance::new(now), Seekers::new(1));
    let mut first = seeking(now, &allowance, &seekers);
    assert_eq!(ports_tried(&mut first, now, now + minute), 2 * 1_500);
    let now = now + minute;
    let mut second = seeking(now, &allowance, &seekers);
    assert_eq!(ports_tried(&mut second, now, now + minute), 0);
}

#[test]
fn a_round_that_has_no_place_waits_and_is_not_counted() {
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let seekers = Seekers::new(1);
    let [mut first, mut second] =
        [(); 2].map(|()| seeking(start, &Allowance::new(start), &seekers));
    assert!(ports_tried(&mut first, start, at(5)) > 0);
    assert_eq!(ports_tried(&mut second, start, at(8)), 0);
    ports_tried(&mut first, at(5), at(13));
    assert_eq!(ports_tried(&mut second, at(13), at(60)), 2 * 1_500);
    // A ladder that is gone is at nothing any more.
    let mut third = seeking(at(60), &Allowance::new(at(60)), &seekers);
    assert!(ports_tried(&mut third, at(60), at(65)) > 0);
    drop(third);
    let mut fourth = seeking(at(65), &Allowance::new(at(65)), &seekers);
    assert!(ports_tried(&mut fourth, at(65), at(70)) > 0);
}
