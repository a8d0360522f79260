//! The web client: packages, build, checks.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::run::{command, execute, root, say};

/// What `web/dist` is made from, in `web/`.
const SOURCES: &[&str] = &[
    "src",
    "public",
    "scripts",
    "index.html",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
];

fn npm(arguments: &[&str]) -> anyhow::Result<()> {
    execute(command("npm").current_dir(web()).args(arguments))
}

fn web() -> PathBuf {
    root().join("web")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

/// Installs the packages of `package-lock.json` unless they are there already.
pub fn install() -> anyhow::Result<()> {
    let installed = modified(&web().join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&web().join("package-lock.json")) {
        return Ok(());
    }
    say("Fetching the web client's packages (half a minute)");
    npm(&["ci", "--no-audit", "--no-fund"])
}

/// Builds `web/dist`.
pub fn build() -> anyhow::Result<()> {
    install()?;
    npm(&["run", "build"])
}

/// Builds `web/dist` unless it is newer than everything that it is made from.
pub fn build_if_stale() -> anyhow::Result<()> {
    let built = modified(&web().join("dist/index.html"));
    let newest = SOURCES.iter().filter_map(|source| newest(&web().join(source))).max();
    if built.is_some() && built >= newest {
        return Ok(());
    }
    install()?;
    say("Building the web client (half a minute)");
    npm(&["run", "build"])
}

/// When the latest change under `path` was; folders count too, for what was removed.
fn newest(path: &Path) -> Option<SystemTime> {
    let within = fs::read_dir(path).into_iter().flatten().flatten();
    let within = within.filter_map(|entry| newest(&entry.path()));
    within.chain(modified(path)).max()
}

/// Type check, lint, unit tests.
pub fn check() -> anyhow::Result<()> {
    install()?;
    npm(&["run", "check"])
}

/// The TypeScript types of the API, made from the OpenAPI document.
pub fn generate() -> anyhow::Result<()> {
    install()?;
    npm(&["run", "generate"])
}
