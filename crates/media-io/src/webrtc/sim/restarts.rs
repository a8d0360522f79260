//! ICE that starts over while the old way works.

use std::time::Duration;

use str0m::{Candidate, change::SdpAnswer, net::Protocol};
use tokio::sync::{mpsc, watch};

use super::{super::session::Renewal, Admission, Setting, SocketAddr, World, grant};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The viewer restarts ICE, and the session is given these sockets.
fn restart(world: &mut World, fresh: SocketAddr) -> String {
    let mut api = world.viewer.sdp_api();
    api.ice_restart(true);
    let (offer, pending) = api.apply().expect("a change");
    let (right, ended) = watch::channel(None);
    let (path, path_seen) = watch::channel(None);
    let renewal = Renewal {
        sdp: &offer.to_sdp_string(),
        admission: Admission { grant: grant(), ended, path },
        candidate_tx: mpsc::channel(8).0,
        fresh: Some(&[Candidate::host(fresh, Protocol::Udp).expect("valid")]),
        mapped_since: Some(world.now.instant),
    };
    let answer = world.session.renew(renewal, world.now, &mut world.feeds).expect("answered").sdp;
    let accepted = SdpAnswer::from_sdp_string(&answer).expect("an answer");
    world.viewer.sdp_api().accept_answer(pending, accepted).expect("fits");
    (world._right, world.path) = (right, path_seen);
    answer
}

#[tokio::test]
async fn a_restart_goes_over_to_fresh_sockets_and_takes_no_detour() {
    let mut world = World::new(&Setting::new(20e6, 10, 0.0));
    let relayed = |n: u16| SocketAddr::from(([198, 51, 100, 9], 4_000 + n));
    // As many places at relays as a browser takes.
    for n in 0..24 {
        let made = Candidate::relayed(relayed(n), world.addresses.1, Protocol::Udp).expect("valid");
        world.viewer.add_local_candidate(made).expect("new");
    }
    world.run_until(3.0, |_| false).await;
    let mut old = world.addresses.0;
    world.screen.longest_gap = Duration::ZERO;
    for n in 1..=4_u16 {
        let fresh = SocketAddr::from(([192, 0, 2, 1], 30_000 + n));
        let answer = restart(&mut world, fresh);
        assert!(answer.contains("a=x-mapped-for:0\r\n"), "{answer}");
        let begun = world.elapsed();
        let mut others = Vec::new();
        let moved = world
            .run_until(begun + 5.0, |world| {
                let to = world.session.sends_to().map(|to| to.ip());
                others.extend(to.filter(|to| *to == relayed(0).ip()));
                world.session.sends_from() == Some(fresh)
            })
            .await;
        assert!(moved < begun + 5.0, "still from {:?}", world.session.sends_from());
        assert!(others.is_empty(), "over a relay: {others:?}");
        // The old mapping dies some seconds later.
        world.run_until(moved + 3.0, |_| false).await;
        world.dead.push(old);
        world.run_until(moved + 6.0, |_| false).await;
        old = fresh;
    }
    assert!(
        world.screen.longest_gap < Duration::from_millis(200),
        "{:?}",
        world.screen.longest_gap
    );
}

#[tokio::test]
async fn an_offer_that_is_no_restart_or_cannot_be_read_moves_nothing() {
    let mut world = World::new(&Setting::new(20e6, 10, 0.0));
    world.run_until(2.0, |_| false).await;
    let own = world.addresses.0;
    let fresh = Candidate::host(at("192.0.2.1:30001"), Protocol::Udp).expect("valid");
    let (_right, ended) = watch::channel(None);
    let renewal = Renewal {
        sdp: "v=0\r\n",
        admission: Admission { grant: grant(), ended, path: watch::channel(None).0 },
        candidate_tx: mpsc::channel(8).0,
        fresh: Some(&[fresh]),
        mapped_since: None,
    };
    assert!(world.session.renew(renewal, world.now, &mut world.feeds).is_err());
    world.screen.longest_gap = Duration::ZERO;
    world.run_until(6.0, |_| false).await;
    assert_eq!(world.session.sends_from(), Some(own));
    assert!(world.screen.longest_gap < Duration::from_millis(200));
}

#[tokio::test]
async fn a_restart_that_cannot_be_answered_leaves_the_old_way() {
    let mut world = World::new(&Setting::new(20e6, 10, 0.0));
    world.run_until(3.0, |_| false).await;
    let (own, fresh) = (world.addresses.0, at("192.0.2.1:30001"));
    let mut api = world.viewer.sdp_api();
    api.ice_restart(true);
    let (offer, _) = api.apply().expect("a change");
    let offer = offer.to_sdp_string();
    // Another section stands where the picture was.
    let mid = offer.lines().find_map(|line| line.strip_prefix("a=mid:")).expect("a section");
    let wrong = offer.replace(&format!("a=mid:{mid}"), "a=mid:other");
    let wrong = wrong.replace(&format!("BUNDLE {mid}"), "BUNDLE other");
    let (_right, ended) = watch::channel(None);
    let renewal = Renewal {
        sdp: &wrong,
        admission: Admission { grant: grant(), ended, path: watch::channel(None).0 },
        candidate_tx: mpsc::channel(8).0,
        fresh: Some(&[Candidate::host(fresh, Protocol::Udp).expect("valid")]),
        mapped_since: Some(world.now.instant),
    };
    let refused = world.session.renew(renewal, world.now, &mut world.feeds).expect_err("refused");
    assert!(refused.detail.contains("m-line"), "{refused}");
    world.screen.longest_gap = Duration::ZERO;
    world.run_until(9.0, |_| false).await;
    assert!(world.session.has_path(), "ICE has started over");
    assert_eq!(world.session.sends_from(), Some(own));
    assert!(world.screen.longest_gap < Duration::from_millis(200));

    // One that can be answered still goes over.
    restart(&mut world, fresh);
    let moved = world.run_until(14.0, |world| world.session.sends_from() == Some(fresh)).await;
    assert!(moved < 14.0, "still from {:?}", world.session.sends_from());
}
