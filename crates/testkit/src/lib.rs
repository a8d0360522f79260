//! What tests of several crates share: file systems that lose power, fill up and go away ([`disk`]), clocks
//! that jump ([`clock`]), and how often and how long something is tried.
//!
//! Not for production. What a machine cannot do is said aloud, and its test passes; see [`disk::Disk::new`]
//! and [`clock::JumpingClock::new`] for what makes that a failure.
//!
//! ```
//! // The same moment in every run, and another one for every seed.
//! assert_eq!(sightline_testkit::random(7, 1_000), sightline_testkit::random(7, 1_000));
//! ```

pub mod clock;
pub mod disk;

use std::{env, path::PathBuf, time::Duration};

/// How often something is repeated: `few` times in every run, as `TEST_TIMES` says by hand.
///
/// # Panics
/// When `TEST_TIMES` is no number.
#[must_use]
pub fn times(few: u64) -> u64 {
    number("TEST_TIMES").unwrap_or(few)
}

/// How long something lasts: `few` seconds in every run, as `TEST_SECONDS` says by hand.
///
/// # Panics
/// When `TEST_SECONDS` is no number.
#[must_use]
pub fn seconds(few: u64) -> Duration {
    Duration::from_secs(number("TEST_SECONDS").unwrap_or(few))
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

/// A number below `below`, the same one for each seed (`SplitMix64`).
#[must_use]
pub const fn random(seed: u64, below: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// A program of the system; those of its administrator need not be on the path.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Says aloud why a test does nothing here; a failure where `requires` is set.
fn skip(why: &str, requires: &str) {
    assert!(env::var_os(requires).is_none(), "{requires} is set, but {why}");
    eprintln!("SKIPPED: {why}");
}
