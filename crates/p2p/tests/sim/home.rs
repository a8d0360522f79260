//! Both ends behind one router.

use std::time::Duration;

use sightline_model::Rung;

use crate::{
    end::VIEWER,
    nat::{Behaviour, PORT_RESTRICTED, SYMMETRIC},
    table::Place,
    world::{INTERNET, World},
};

fn home(seed: u64, behaviour: Behaviour) -> World {
    let mut world = World::new(seed);
    let home = world.behind(behaviour, "203.0.113.1", INTERNET);
    for ip in ["192.168.1.5", "192.168.1.6"] {
        world.add_end(home, &[ip], Place::PortRestricted.report());
    }
    world.begin();
    world
}

#[test]
fn in_one_home_media_stays_there_whatever_the_router_does() {
    for behaviour in [PORT_RESTRICTED, Behaviour { hairpin: false, ..PORT_RESTRICTED }, SYMMETRIC] {
        let mut world = home(1, behaviour);
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.rung(VIEWER), Some(Rung::Host));
        let report = world.ends[VIEWER].ladder.report();
        assert_eq!(report.why_not_better, Vec::<String>::new());
        assert!(report.rtt.is_some_and(|rtt| rtt < Duration::from_millis(5)));
    }
}

/// Two homes behind one carrier's router: its outside comes back if it can hairpin.
#[test]
fn behind_one_carrier_it_depends_on_the_hairpin() {
    for hairpin in [true, false] {
        let mut world = World::new(1);
        let carrier = Behaviour { hairpin, ..PORT_RESTRICTED };
        let middle = world.behind(carrier, "203.0.113.1", INTERNET);
        for side in 0..2 {
            let home = world.behind(PORT_RESTRICTED, &format!("100.64.0.{}", side + 1), middle);
            let ip = format!("192.168.{side}.5");
            world.add_end(home, &[&ip], Place::PortRestricted.report());
        }
        world.begin();
        world.run_for(Duration::from_secs(5));
        let wanted = if hairpin { Rung::Punched } else { Rung::RelayUdp };
        assert_eq!(world.rung(VIEWER), Some(wanted));
    }
}
