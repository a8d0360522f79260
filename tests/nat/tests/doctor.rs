//! `cu doctor` behind routers: it names what they do, and says why the way is no better.

use nat::{
    Kind, Network, Person, Space, World,
    behaviour::{Outside, measure},
    lab_allowed,
    wan::End,
};
use serde_json::Value;

/// What the doctor has found.
struct Findings(Vec<Value>);

impl Findings {
    fn ask(person: &Person, from: &Space, camera: &str) -> Self {
        let output =
            person.cu(from).args(["--json", "doctor", camera]).output().expect("cu starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        let found = text.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let checks = found.as_ref().and_then(|found| found["checks"].as_array().cloned());
        Self(checks.unwrap_or_else(|| panic!("no checks in {text}\n{errors}")))
    }

    /// Whether each of these went well, and its words.
    fn of(&self, what: &str) -> Vec<(bool, &str)> {
        let found = self.0.iter().filter(|check| check["what"] == what);
        found.filter_map(|check| Some((check["ok"].as_bool()?, check["words"].as_str()?))).collect()
    }

    /// The only one.
    fn one(&self, what: &str) -> (bool, &str) {
        match self.of(what)[..] {
            [one] => one,
            ref others => panic!("{what}: {others:?} in {:#?}", self.0),
        }
    }

    fn says(&self, what: &str, words: &str) {
        let found = self.of(what);
        let is_said = found.iter().any(|(ok, said)| *ok && said.contains(words));
        assert!(is_said, "{what}: not \"{words}\" in {:#?}", self.0);
    }
}

/// How the doctor names what a network really does with UDP.
fn names(host: &Space) -> Option<(&'static str, &'static str)> {
    use nat::Dependence::{Address, AddressAndPort, Endpoint};
    let theory = measure(host, None)?;
    assert!(theory.translated, "there is a router");
    let mapping = match theory.mapping {
        Endpoint => "keeps one port for all destinations",
        Address | AddressAndPort => "gives every destination another port (symmetric NAT)",
    };
    let filtering = match theory.filtering {
        Endpoint => "lets in packets from anybody",
        Address => "lets in packets from hosts that were sent to",
        AddressAndPort => "lets in packets only from exactly where was sent to",
    };
    Some((mapping, filtering))
}

/// A camera behind a symmetric NAT, asked about from behind three kinds of routers at once.
#[test]
fn the_doctor_names_what_routers_do_and_why_there_is_no_better_way() {
    if !lab_allowed() {
        return;
    }
    let Some(world) = World::start() else { return };
    let (_camera, id) = world.camera(Kind::Symmetric);
    let _outside = Outside::start(&world.wan.centre);
    let kinds = [Kind::Symmetric, Kind::AddressRestricted, Kind::UdpBlocked];
    let networks = kinds.map(|kind| Network::new(&world.wan, kind, End::Viewer));
    let hosts = networks.each_ref().map(|network| &network.host);
    let (person, id) = (&world.person, id.as_str());
    let found = std::thread::scope(|scope| {
        let asking = hosts.map(|host| scope.spawn(move || Findings::ask(person, host, id)));
        asking.map(|asked| asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for (host, found) in hosts.into_iter().zip(&found) {
        found.says("sign-in", "works");
        found.says("signalling", "works");
        match names(host) {
            Some((mapping, filtering)) => {
                found.says("UDP", "passes");
                found.says("router", mapping);
                found.says("router's filter", filtering);
            }
            None => assert!(!found.one("UDP").0, "{:#?}", found.0),
        }
        let home = "No home gateway maps a port to either end";
        found.says("why not better", home);
    }
    let [symmetric, restricted, blocked] = &found;

    symmetric.says("verdict", "through a relay over UDP");
    symmetric.says("why not better", "Both routers give every destination another port");
    symmetric.says("why not better", "between two symmetric routers nothing would be hit");

    restricted.says("verdict", "directly, through the routers");
    restricted.says("why not better", "The ends are not in one network");

    assert_eq!(blocked.one("UDP"), (false, "no server answers; a firewall may block UDP"));
    let over_udp = blocked.of("relay over UDP");
    assert!(!over_udp.is_empty() && over_udp.iter().all(|(ok, _)| !ok), "{:#?}", blocked.0);
    assert!(blocked.of("relay over TCP").iter().any(|(ok, _)| *ok), "{:#?}", blocked.0);
    blocked.says("verdict", "through a relay over TCP");
    blocked.says("why not better", "UDP is blocked on the viewer's network");
}
