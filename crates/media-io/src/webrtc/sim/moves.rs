//! Paths that die, and places at relays.

use sightline_model::Rung;
use str0m::{Candidate, net::Protocol};

use super::{Setting, SocketAddr, World};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn world() -> World {
    World::new(&Setting::new(20e6, 10, 0.0))
}

fn rung(world: &World) -> Option<Rung> {
    world.path.borrow().as_ref().and_then(|path| path.rung)
}

/// Gives the viewer a second address, which its ICE likes less.
fn second_address(world: &mut World, second: SocketAddr) {
    let relayed = Candidate::relayed(second, world.addresses.1, Protocol::Udp).expect("valid");
    let candidate = world.viewer.add_local_candidate(relayed).expect("new").to_sdp_string();
    world.session.remote_candidate(&candidate, world.now, &mut world.feeds);
}

fn first_candidate(world: &World) -> Candidate {
    Candidate::host(world.addresses.1, Protocol::Udp).expect("valid")
}

#[tokio::test]
async fn a_viewer_that_goes_over_to_another_pair_is_followed_and_may_come_back() {
    let mut world = world();
    let (first, second) = (world.addresses.1, at("198.51.100.9:4000"));
    second_address(&mut world, second);
    world.run_until(3.0, |_| false).await;
    assert_eq!(world.session.sends_to(), Some(first), "the better one is in use");
    assert_eq!(rung(&world), Some(Rung::Host));

    // The first address dies, and the viewer drops it as a browser does after a while.
    world.dead.push(first);
    world.run_until(4.5, |_| false).await;
    let candidate = first_candidate(&world);
    assert!(world.viewer.direct_api().invalidate_candidate(&candidate));
    world.screen.longest_gap = std::time::Duration::ZERO;
    let moved = world.run_until(20.0, |w| w.session.sends_to() == Some(second)).await;
    // This viewer checks a spare pair every 3 s; left to itself, the library takes 15 s and more.
    assert!(moved < 8.0, "followed after {} s", moved - 4.5);
    assert_eq!(rung(&world), Some(Rung::RelayUdp));
    let before = world.screen.pictures;
    world.run_until(moved + 2.0, |_| false).await;
    assert!(world.screen.pictures > before + 40, "the picture goes on");

    // It works again, and the viewer likes it better.
    world.dead.clear();
    world.viewer.add_local_candidate(candidate);
    let back = world.run_until(30.0, |w| w.session.sends_to() == Some(first)).await;
    assert!(back < 25.0, "back after {} s", back - moved);
    let before = world.screen.pictures;
    world.run_until(back + 2.0, |_| false).await;
    assert!(world.screen.pictures > before + 40, "the picture goes on");
}

#[tokio::test]
async fn a_pair_that_still_speaks_is_not_left() {
    let mut world = world();
    let first = world.addresses.1;
    second_address(&mut world, at("198.51.100.9:4000"));
    world.run_until(3.0, |_| false).await;
    let left = world.run_until(15.0, |w| w.session.sends_to() != Some(first)).await;
    assert!(left >= 15.0, "left after {left} s");
    assert!(world.screen.longest_gap.as_millis() < 200, "{:?}", world.screen.longest_gap);
}

#[tokio::test]
async fn where_no_direct_way_is_the_units_own_relay_carries_the_picture() {
    let mut world = world();
    let (own, relayed) = (world.addresses.0, at("198.51.100.1:9000"));
    // No UDP at the camera: nothing leaves its own address.
    world.dead.push(own);
    world.run_until(1.0, |_| false).await;
    assert!(!world.session.has_path());
    let candidate = Candidate::relayed(relayed, own, Protocol::Udp).expect("valid");
    world.session.relayed(&candidate, Rung::RelayTcp, world.now, &mut world.feeds);
    world.viewer.add_remote_candidate(candidate);
    let found = world.run_until(8.0, |w| w.screen.pictures > 0).await;
    assert!(found < 4.0, "after {found} s");
    assert_eq!(world.session.sends_from(), Some(relayed));
    assert_eq!(rung(&world), Some(Rung::RelayTcp));
    let why = world.path.borrow().as_ref().map(|path| path.why_not_better.len());
    assert_eq!(why, Some(4));

    // The relay goes; nothing is left.
    world.session.drop_local(
        &Candidate::relayed(relayed, own, Protocol::Udp).expect("valid"),
        world.now,
        &mut world.feeds,
    );
    world.dead.push(relayed);
    world.run_until(found + 5.0, |w| !w.session.has_path()).await;
    assert!(!world.session.has_path());
}
