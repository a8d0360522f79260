//! The web client: packages, build, checks.

use std::{fs, time::SystemTime};

use crate::run::{command, execute, root};

fn npm(arguments: &[&str]) -> anyhow::Result<()> {
    execute(command("npm").current_dir(root().join("web")).args(arguments))
}

/// Installs the packages of `package-lock.json` unless they are there already.
pub fn install() -> anyhow::Result<()> {
    let web = root().join("web");
    let modified = |path: &str| -> Option<SystemTime> {
        fs::metadata(web.join(path)).and_then(|m| m.modified()).ok()
    };
    let installed = modified("node_modules/.package-lock.json");
    if installed.is_some() && installed >= modified("package-lock.json") {
        return Ok(());
    }
    npm(&["ci", "--no-audit", "--no-fund"])
}

/// Builds `web/dist`.
pub fn build() -> anyhow::Result<()> {
    install()?;
    npm(&["run", "build"])
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
