//! The telling cells of the matrix: `cargo xtask nat-matrix` goes through all of them.

use nat::{Cell, Kind, Via, World, lab_allowed};

fn cell(via: Via, camera: Kind, viewer: Kind) {
    if !lab_allowed() {
        return;
    }
    let Some(mut world) = World::start() else { return };
    let (place, id) = world.camera(camera);
    let cell = Cell { via, camera, viewer };
    let seen = world.cell(cell, &place, &id);
    if seen.is_skipped() {
        return;
    }
    println!("{cell}: {seen:?}");
    assert!(
        seen.is_as_expected(cell),
        "{cell}: expected {}, seen {seen:#?}",
        nat::name(cell.expected())
    );
    if seen.rung.is_some_and(nat::Rung::is_relayed) {
        assert!(!seen.why.is_empty(), "{cell}: relayed without a word why");
        // A browser there writes to no IPv4 address; the player tells keys of its dictionary.
        let keeps_apart = via == Via::Webrtc && viewer == Kind::Nat64;
        let is_said = seen.why.iter().any(|why| why == "here_nat64");
        assert_eq!(is_said, keeps_apart, "{cell}: {:?}", seen.why);
    }
}

macro_rules! cells {
    ($($name:ident: $via:ident, $camera:ident x $viewer:ident;)*) => {
        $(#[test]
        fn $name() {
            cell(Via::$via, Kind::$camera, Kind::$viewer);
        })*
    };
}

cells! {
    quic_between_two_homes: Quic, PortRestricted x PortRestricted;
    quic_from_a_symmetric_nat_to_a_home: Quic, PortRestricted x Symmetric;
    quic_between_two_symmetric_nats: Quic, Symmetric x Symmetric;
    quic_through_a_gateways_port: Quic, Gateway x Symmetric;
    quic_where_udp_is_blocked: Quic, UdpBlocked x FullCone;
    quic_where_only_443_is_open: Quic, DoubleNat x Only443;
    quic_without_ipv4: Quic, PortRestricted x Nat64;
    quic_in_one_home: Quic, OneHome x OneHome;
    webrtc_between_two_homes: Webrtc, DoubleNat x PortRestricted;
    webrtc_from_a_symmetric_nat: Webrtc, AddressRestricted x Symmetric;
    webrtc_between_two_symmetric_nats: Webrtc, Symmetric x Symmetric;
    webrtc_where_the_camera_has_no_udp: Webrtc, UdpBlocked x FullCone;
    webrtc_where_only_443_is_open: Webrtc, Symmetric x Only443;
    webrtc_without_ipv4: Webrtc, PortRestricted x Nat64;
}
