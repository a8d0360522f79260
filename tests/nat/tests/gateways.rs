//! Gateways that speak one language alone: the agent finds each of them, and leaves nothing behind.

use std::{fs, time::Duration};

use e2e::{Process, bin, tool, wait_for};
use nat::{Network, Speaks, Wan, lab_allowed, wan::End};

/// How long the agent may take to start and to have its ports mapped, on a busy machine.
const MAPS: Duration = Duration::from_secs(30);
/// How long the gateway may take to delete what was released.
const RELEASES: Duration = Duration::from_secs(5);
/// RTSP over TCP; QUIC and WebRTC over UDP.
const PORTS: usize = 3;

/// An agent without a centre: its ports are mapped all the same, and released when it ends.
fn maps_and_releases(speaks: Speaks) {
    if !lab_allowed() || tool("miniupnpd").is_none() {
        return;
    }
    let wan = Wan::new();
    let network = Network::with_gateway(&wan, End::Camera, speaks);
    assert_eq!(network.mappings(), 0, "{speaks:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("pu.toml");
    let text = format!(
        "data_dir = {:?}\n[[scu]]\nwebsocket = \"ws://127.0.0.1:1/ps/v1\"\n\
         [[camera]]\nname = \"gateway\"\nsource = \"synthetic\"\n",
        folder.path().join("pu"),
    );
    fs::write(&config, text).expect("written");
    let log = folder.path().join("pu.log");
    let mut command = network.command(&bin("pu-agent"));
    command.args(["run", "--config"]).arg(&config).env("NO_COLOR", "1");
    command.env("SIGHTLINE_LOG", "info,sightline_p2p_net=debug");
    let mut agent = Process::start(command.stderr(fs::File::create(&log).expect("a log")));
    wait_for(&format!("{PORTS} mappings ({speaks:?})"), MAPS, || {
        (network.mappings() == PORTS).then_some(())
    });
    assert_eq!(agent.stop(), Some(0), "{}", fs::read_to_string(&log).unwrap_or_default());
    wait_for(&format!("their end ({speaks:?})"), RELEASES, || {
        (network.mappings() == 0).then_some(())
    });
}

#[test]
fn ports_are_mapped_and_released_by_upnp_alone() {
    maps_and_releases(Speaks::Upnp);
}

#[test]
fn ports_are_mapped_and_released_by_nat_pmp_or_pcp_alone() {
    maps_and_releases(Speaks::PmpAndPcp);
}
