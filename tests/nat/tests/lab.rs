//! The lab's own proof: every network does what its name says.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use e2e::{tool, wait_for};
use nat::{
    Kind, Network, Wan,
    behaviour::{Inside, Outside, measure, tcp_carries, tcp_reaches},
    lab_allowed,
    wan::End,
};

/// Where the lab's NAT64 has put IPv4.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 0);

fn prefix(kind: Kind) -> Option<Ipv6Addr> {
    (kind == Kind::Nat64).then_some(NAT64)
}

#[test]
fn every_nat_does_what_its_name_says() {
    if !lab_allowed() {
        return;
    }
    let wan = Wan::new();
    let _outside = Outside::start(&wan.centre);
    for kind in Kind::APART.into_iter().chain([Kind::OneHome]) {
        for end in [End::Camera, End::Viewer] {
            if kind == Kind::Nat64 && !nat64_is_there() {
                continue;
            }
            let network = Network::new(&wan, kind, end);
            let measured = measure(&network.host, prefix(kind));
            assert_eq!(measured, kind.theory(), "{kind}");
        }
    }
}

fn nat64_is_there() -> bool {
    tool("tayga").is_some() && tool("unbound").is_some()
}

#[test]
fn nobody_outside_reaches_a_port_that_nobody_has_mapped() {
    if !lab_allowed() {
        return;
    }
    let wan = Wan::new();
    let _outside = Outside::start(&wan.centre);
    let stranger = Network::new(&wan, Kind::Public, End::Viewer);
    let stranger = stranger.host.enter(|| UdpSocket::bind("0.0.0.0:0").expect("a port"));
    for kind in [Kind::FullCone, Kind::AddressRestricted, Kind::PortRestricted, Kind::Symmetric] {
        let network = Network::new(&wan, kind, End::Camera);
        let inside = Inside::new(&network.host, None);
        let unmapped = SocketAddr::from((network.public, inside.port()));
        assert!(!inside.hears(&stranger, unmapped), "{kind}: heard before it spoke");
        let mapped = inside.mapped().expect("an answer");
        assert_eq!(mapped.ip(), network.public);
        assert_eq!(inside.hears(&stranger, mapped), kind == Kind::FullCone, "{kind}");
        // And what was refused has not changed the mapping.
        assert_eq!(inside.mapped(), Some(mapped), "{kind}");
    }
}

#[test]
fn firewalls_let_through_what_their_names_say() {
    if !lab_allowed() {
        return;
    }
    let wan = Wan::new();
    let centre = Ipv4Addr::new(192, 0, 2, 1);
    let listen = |port| wan.centre.enter(|| TcpListener::bind((centre, port)).expect("a port"));
    let listening = [443, 3_478].map(|port| (port, listen(port)));
    for (kind, expected) in [
        (Kind::UdpBlocked, [true, true]),
        (Kind::Only443, [true, false]),
        (Kind::Public, [true; 2]),
    ] {
        let network = Network::new(&wan, kind, End::Viewer);
        let reached = listening
            .each_ref()
            .map(|(port, _)| tcp_reaches(&network.host, SocketAddr::from((centre, *port))));
        assert_eq!(reached, expected, "{kind}");
    }
    // And on 443 nothing but TLS, whose first byte is 22.
    let (_, listener) = &listening[0];
    let listener = listener.try_clone().expect("a listener can be shared");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // One whose end the firewall swallows holds up no other.
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let at = SocketAddr::from((centre, 443));
    for (kind, expected) in [(Kind::Only443, [true, false]), (Kind::UdpBlocked, [true; 2])] {
        let network = Network::new(&wan, kind, End::Viewer);
        let carried = [22, 0].map(|first| tcp_carries(&network.host, at, &[first; 20]));
        assert_eq!(carried, expected, "{kind}");
    }
}

#[test]
fn a_carriers_mapping_dies_of_age_whatever_the_traffic() {
    if !lab_allowed() {
        return;
    }
    let wan = Wan::new();
    let _outside = Outside::start(&wan.centre);
    let lifetime = Duration::from_secs(2);
    let network = Network::with_lifetime(&wan, Kind::Carrier, End::Camera, Some(lifetime));
    let inside = Inside::new(&network.host, None);
    let mut seen = vec![inside.mapped().expect("an answer")];
    // Asked all the time: it is used.
    wait_for("three deaths", Duration::from_secs(15), || {
        if let Some(now) = inside.mapped().filter(|now| seen.last() != Some(now)) {
            seen.push(now);
        }
        (seen.len() > 3).then_some(())
    });
    // The third may still be being counted.
    assert!(network.deaths() >= 2, "{seen:?}");
    let mut ports: Vec<_> = seen.iter().map(SocketAddr::port).collect();
    ports.dedup();
    assert_eq!(ports.len(), seen.len(), "a mapping came back: {seen:?}");
    // Between two deaths it is one port for all destinations.
    let measured = measure(&network.host, None);
    assert_eq!(measured, Kind::Carrier.theory());
}

#[test]
fn a_gateway_maps_a_port_when_asked() {
    if !lab_allowed() {
        return;
    }
    let (Some(_), Some(natpmpc)) = (tool("miniupnpd"), tool("natpmpc")) else { return };
    let wan = Wan::new();
    let network = Network::new(&wan, Kind::Gateway, End::Camera);
    let inside = Inside::new(&network.host, None);
    let port = inside.port().to_string();
    let mut asked = network.command(&natpmpc);
    asked.args(["-g", "192.168.1.1", "-a", &port, &port, "udp", "600"]);
    let output = network_output(&mut asked);
    assert!(output.contains(&network.public.to_string()), "{output}");
    assert!(output.contains("Mapped public port"), "{output}");
    let stranger = Network::new(&wan, Kind::Public, End::Viewer);
    let stranger = stranger.host.enter(|| UdpSocket::bind("0.0.0.0:0").expect("a port"));
    let mapped = SocketAddr::from((network.public, inside.port()));
    assert!(inside.hears(&stranger, mapped), "{output}");
}

#[test]
fn an_upnp_control_point_finds_the_gateway() {
    if !lab_allowed() {
        return;
    }
    let (Some(_), Some(upnpc)) = (tool("miniupnpd"), tool("upnpc")) else { return };
    let wan = Wan::new();
    let network = Network::new(&wan, Kind::Gateway, End::Camera);
    let output = network_output(network.command(&upnpc).arg("-s"));
    assert!(output.contains(&format!("ExternalIPAddress = {}", network.public)), "{output}");
}

#[test]
fn a_host_without_ipv4_finds_the_centre_by_name() {
    if !lab_allowed() || !nat64_is_there() {
        return;
    }
    let wan = Wan::new();
    let network = Network::new(&wan, Kind::Nat64, End::Viewer);
    let Some(getent) = tool("getent") else { return };
    let ask = |name| network_output(network.command(&getent).args(["ahosts", name]));
    for (name, address) in [("portal.sightline.test", "c000:201"), ("ipv4only.arpa", "c000:aa")] {
        let found = ask(name);
        assert!(found.contains(&format!("2001:db8:64::{address}")), "{name}: {found}");
    }
    let other = Network::new(&wan, Kind::Nat64, End::Camera);
    // Native IPv6 is between the two, and their firewalls let in what was asked for.
    let [one, two] = [&network, &other].map(|n| Inside::new(&n.host, Some(NAT64)));
    let at = |inside: &Inside, network: &Network| -> SocketAddr {
        (network.ipv6().expect("an IPv6 address"), inside.port()).into()
    };
    assert!(!two.hears(one.socket(), at(&two, &other)), "unasked, through the firewall");
    let _ = two.hears(two.socket(), at(&one, &network));
    assert!(two.hears(one.socket(), at(&two, &other)), "asked for, and not let in");
}

#[test]
fn in_one_home_everybody_reaches_everybody() {
    if !lab_allowed() {
        return;
    }
    let wan = Wan::new();
    let home = Network::new(&wan, Kind::OneHome, End::Camera);
    let guest = home.another_host(&wan);
    let guest = guest.enter(|| UdpSocket::bind("0.0.0.0:0").expect("a port"));
    let inside = Inside::new(&home.host, None);
    assert!(inside.hears(&guest, SocketAddr::from(([192, 168, 1, 20], inside.port()))));
}

fn network_output(command: &mut std::process::Command) -> String {
    let output = command.output().expect("it starts");
    let [text, errors] =
        [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    format!("{text}{errors}")
}
