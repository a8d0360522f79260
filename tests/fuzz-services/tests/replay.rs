//! The seeds of the targets as an ordinary test.

use std::{fs, path::Path};

use fuzz_services::TARGETS;

fn inputs(folder: &Path) -> impl Iterator<Item = Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.flatten().map(|entry| fs::read(entry.path()).expect("a readable seed"))
}

#[test]
fn every_target_takes_its_seeds() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // `cargo xtask fuzz --coverage` asks for one target at a time, with what fuzzing has found.
    let only = std::env::var("TEST_FUZZ_TARGET").ok();
    for (name, target) in TARGETS {
        let found = here.join("../fuzz/corpus").join(name);
        match &only {
            Some(only) if only != name => continue,
            Some(_) if found.exists() => inputs(&found).for_each(|bytes| target(&bytes)),
            _ => {}
        }
        let mut count = 0;
        for bytes in inputs(&here.join("seeds").join(name)) {
            count += 1;
            target(&bytes);
            // Nor does a seed that was cut short or spoilt do any harm.
            for cut in (0..bytes.len()).step_by(31).filter(|_| only.is_none()) {
                target(&bytes[..cut]);
                let mut spoilt = bytes.clone();
                spoilt[cut] ^= 0x15;
                target(&spoilt);
            }
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

/// Otherwise fuzzing would begin with what every service refuses.
#[test]
fn the_seeds_called_good_are_good() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/config");
    for name in ["pu-agent-good", "cmu-good", "scu-good", "mtu-good", "sightline-good"] {
        let bytes = fs::read(seeds.join(name)).expect("a readable seed");
        assert_eq!(fuzz_services::problem(&bytes), None, "{name}");
    }
}
