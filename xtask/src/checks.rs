//! Checks of the tree itself: purity of cores, generated files, the conformance table.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, bail};

use crate::{
    run::{cargo, command, execute, output, root, target_dir},
    web,
};

/// Crates without I/O: none may depend on what does I/O.
const SANS_IO: &[&str] = &[
    "sightline-model",
    "sightline-protocol",
    "sightline-media",
    "sightline-rtsp",
    "scu-session",
    "cmu-domain",
    "mtu-turn",
    "sightline-p2p",
    "sightline-recording",
    "sightline-cloud",
];
const IO_CRATES: &[&str] = &["tokio", "axum", "sqlx", "quinn", "reqwest", "mio"];

/// Proves that no sans-IO crate depends on I/O (normal dependencies; tests may).
pub fn sans_io() -> anyhow::Result<()> {
    for name in SANS_IO {
        let tree =
            output(cargo().args(["tree", "--edges", "normal", "--prefix", "none", "-p", name]))?;
        let found: BTreeSet<_> = tree
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|dependency| IO_CRATES.contains(dependency))
            .collect();
        if !found.is_empty() {
            bail!("{name} must stay free of I/O, but depends on {found:?}");
        }
    }
    Ok(())
}

/// Regenerates files made from code.
pub fn generate() -> anyhow::Result<()> {
    // The whole workspace: a package alone has other features, and would be compiled twice.
    execute(cargo().args(["build", "--workspace", "--bins"]))?;
    let cmu = target_dir().join("debug/cmu");
    execute(command(cmu).args(["openapi", "--out", "docs/api/openapi.json"]))?;
    web::generate()
}

/// Fails when regenerating changes anything.
pub fn generated_files_are_current() -> anyhow::Result<()> {
    let paths = ["docs/api/openapi.json", "web/src/api/schema.d.ts"];
    let before = paths.map(|path| fs::read(root().join(path)).ok());
    generate()?;
    let after = paths.map(|path| fs::read(root().join(path)).ok());
    for ((path, before), after) in paths.iter().zip(before).zip(after) {
        if before != after {
            bail!("{path} was out of date; commit it as `cargo xtask generate` has just made it");
        }
    }
    Ok(())
}

/// Licences, sources, duplicate bans and advisories.
///
/// Advisories need the RustSec database from the network; where it cannot be had, everything else
/// is still checked and a notice says so.
pub fn dependencies() -> anyhow::Result<()> {
    execute(command("cargo-deny").args([
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    let fetch = command("cargo-deny").args(["fetch", "db"]).output().context("cargo-deny")?;
    if !fetch.status.success() {
        eprintln!(
            "NOTICE: the advisory database cannot be reached from here; advisories NOT checked."
        );
        return Ok(());
    }
    execute(command("cargo-deny").args([
        "--log-level",
        "error",
        "check",
        "--disable-fetch",
        "advisories",
    ]))
}
