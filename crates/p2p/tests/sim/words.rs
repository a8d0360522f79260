//! The report: why not a better rung, in plain words.

use std::time::Duration;

use crate::{
    end::{CAMERA, VIEWER},
    table::{PLACES, Place, pair},
};

fn why(end: usize, viewer: Place, camera: Place) -> Vec<String> {
    let mut world = pair(1, viewer, camera);
    world.run_for(Duration::from_secs(14));
    world.ends[end].ladder.report().why_not_better
}

const NO_HOST: &str = "The ends are not in one network, and neither has IPv6";
const NO_GATEWAY: &str = "No home gateway maps a port to either end (UPnP, NAT-PMP, PCP)";

#[test]
fn every_better_rung_has_its_reason() {
    let punched = why(VIEWER, Place::PortRestricted, Place::PortRestricted);
    assert_eq!(punched, [NO_HOST, NO_GATEWAY]);
    for end in [VIEWER, CAMERA] {
        let two_symmetric = why(end, Place::Symmetric, Place::Symmetric);
        let (both, probing) = (
            "Both routers give every destination another port (symmetric)",
            "Ports were not probed: between two symmetric routers nothing would be hit",
        );
        assert_eq!(two_symmetric, [NO_HOST, NO_GATEWAY, both, probing]);
    }
    let probed = why(VIEWER, Place::Symmetric, Place::PortRestricted);
    let symmetric = "The viewer's router gives every destination another port (symmetric), and \
                     the camera's lets in only what was sent to before";
    assert_eq!(probed, [NO_HOST, NO_GATEWAY, symmetric]);
}

#[test]
fn whose_network_blocks_what_is_told() {
    let here = why(VIEWER, Place::UdpBlocked, Place::PortRestricted);
    assert_eq!(here[2], "UDP is blocked on the viewer's network");
    assert_eq!(here[4], "UDP is blocked on the viewer's network, to relays too");
    let there = why(VIEWER, Place::PortRestricted, Place::Only443);
    assert_eq!(there[2], "UDP is blocked on the camera's network");
    assert_eq!(there[4], "UDP is blocked on the camera's network, to relays too");
    assert_eq!(there[5], "The camera has reached no relay over TCP");
    let v6 = why(VIEWER, Place::DualStack, Place::PortRestricted);
    assert_eq!(v6[0], "The ends are not in one network, and the camera has no IPv6");
}

#[test]
fn no_reason_is_empty_or_ends_in_the_middle() {
    for viewer in PLACES {
        for camera in PLACES {
            for sentence in why(CAMERA, viewer, camera) {
                assert!(sentence.starts_with(char::is_uppercase), "{sentence}");
                assert!(!sentence.ends_with(['.', ' ', ':']) && sentence.len() > 20, "{sentence}");
            }
        }
    }
}
