//! The seeds of the fuzz targets as an ordinary test: every target takes all of its own.

use std::{collections::BTreeSet, fs, path::Path};

use fuzz_targets::TARGETS;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_target_takes_its_seeds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    // `cargo xtask fuzz --coverage` asks for one target at a time, with what fuzzing has found.
    let only = std::env::var("TEST_FUZZ_TARGET").ok();
    for (name, target) in TARGETS {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let found = fuzz.join("corpus").join(name);
        if only.is_some() && found.exists() {
            for input in names(&found) {
                target(&fs::read(found.join(input)).expect("readable"));
            }
        }
        let folder = fuzz.join("seeds").join(name);
        let seeds = names(&folder);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = fs::read(folder.join(&seed)).expect("a readable seed");
            target(&bytes);
            if only.is_some() {
                continue;
            }
            // Nor does a seed that was cut short or spoilt do any harm.
            for cut in (0..bytes.len()).step_by(7) {
                target(&bytes[..cut]);
                let mut spoilt = bytes.clone();
                spoilt[cut] ^= 0x55;
                target(&spoilt);
            }
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz.join("seeds")), known);
    let programs = names(&fuzz.join("fuzz_targets"));
    assert_eq!(programs, known.iter().map(|name| format!("{name}.rs")).collect());
}
