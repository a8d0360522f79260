use std::{
    thread,
    time::{Duration, Instant},
};

use sightline_model::{DomainName, PublicKey};

use super::*;
use crate::uplink::{Lease, Status};

fn registered_in(domain: &DomainName) -> Status {
    let lease = Lease {
        domain: domain.clone(),
        epoch: 1,
        token_keys: Vec::new(),
        ice_servers: Vec::new(),
        owner: None,
        observed: ([192, 0, 2, 1], 9).into(),
        relations: None,
    };
    Status { lease: Some(lease), ..Status::default() }
}

#[test]
fn what_is_kept_is_never_an_older_authority_under_a_newer_number() {
    let (uplink, status) = Uplink::without_driver();
    let [before, after] = ["a.example", "b.example"].map(|d| d.parse().expect("domain"));
    status.send_replace(registered_in(&before));
    let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
    let settings = GateSettings::new(pu, 8);
    let gate = PuGate::new(settings, uplink, Clock::default(), &Lifecycle::new());
    gate.registered();
    let shared = &gate.shared;
    let kept = thread::scope(|scope| {
        let mut keeping = None;
        // Nobody can read the lease until this is done; the books must be locked before.
        status.send_modify(|status| {
            keeping = Some(scope.spawn(|| shared.kept(0)));
            let begun = Instant::now();
            while shared.books.try_lock().is_some() {
                assert!(begun.elapsed() < Duration::from_secs(10), "the books are not locked");
                thread::yield_now();
            }
            *status = registered_in(&after);
        });
        keeping.expect("started").join().expect("no panic")
    });
    let (changes, kept) = kept.expect("there is something to keep");
    assert_eq!((changes, kept.authority.domain), (1, after));
    gate.registered();
    assert!(shared.kept(changes).is_some(), "and once more, for the new lease");
}
