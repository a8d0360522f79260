//! The seeds of the target as an ordinary test.

use std::{fs, path::Path};

use fuzz_configs::config;

#[test]
fn every_target_takes_its_seeds() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // `cargo xtask fuzz --coverage` wants what fuzzing has found as well.
    let found = std::env::var_os("TEST_FUZZ_TARGET").map(|_| here.join("../fuzz/corpus/config"));
    let spoil = found.is_none();
    let folders = [Some(here.join("seeds/config")), found];
    let mut count = 0;
    for folder in folders.iter().flatten() {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries.flatten() {
            let bytes = fs::read(entry.path()).expect("a readable seed");
            config(&bytes);
            count += 1;
            for cut in (0..bytes.len()).step_by(31).filter(|_| spoil) {
                config(&bytes[..cut]);
                let mut spoilt = bytes.clone();
                spoilt[cut] ^= 0x15;
                config(&spoilt);
            }
        }
    }
    assert!(count > 0, "there are no seeds");
}

/// Otherwise fuzzing would begin with what every service refuses.
#[test]
fn the_samples_and_the_seeds_called_good_are_good() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/config");
    for name in ["pu-agent-good", "cmu-good", "scu-good", "mtu-good", "sightline-good"] {
        let bytes = fs::read(here.join(name)).expect("a readable seed");
        assert_eq!(fuzz_configs::problem(&bytes), None, "{name}");
    }
}
