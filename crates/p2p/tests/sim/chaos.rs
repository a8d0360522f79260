//! Many sessions with loss, repetition, reordering and delays at random: always a picture, on the
//! rung that theory allows, and never a state that cannot be.

use std::time::Duration;

use rand::RngExt;

use crate::{
    end::{CAMERA, VIEWER},
    table::{PLACES, expected, pair},
};

#[test]
fn a_thousand_bad_networks() {
    let (mut lower, mut total) = (Vec::new(), 0);
    for seed in 0..1_000 {
        let viewer = PLACES[(seed % 12) as usize];
        let camera = PLACES[(seed / 12 % 12) as usize];
        let mut world = pair(seed, viewer, camera);
        world.loss = world.rng.random_range(0.0..0.1);
        world.duplicates = world.rng.random_range(0.0..0.1);
        world.delay = Duration::from_millis(world.rng.random_range(1..150));
        world.jitter = Duration::from_millis(world.rng.random_range(0..60));
        let end = world.start + Duration::from_secs(8);
        let pictured = world.run_until(end, |w| !w.ends[VIEWER].frames.is_empty());
        assert!(pictured, "seed {seed}: {viewer:?} {camera:?}: no picture");
        world.run_until(end + Duration::from_secs(4), |_| false);
        total += 1;
        let (rung, wanted) = (world.rung(VIEWER), expected(viewer, camera));
        if rung != Some(wanted) {
            lower.push(format!("{seed} {viewer:?} {camera:?}: {rung:?}, not {wanted:?}"));
        }
        // The camera sends where the viewer listens.
        let (a, b) = (world.rung(VIEWER), world.rung(CAMERA));
        assert!(a.is_some() && b.is_some(), "seed {seed}");
    }
    println!("{} of {total} on a lower rung:\n{}", lower.len(), lower.join("\n"));
    assert!(lower.len() * 50 <= total, "{}", lower.join("\n"));
}
