//! Running other programs, with words when they fail.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where tools of this project are kept that the system does not have.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the workspace's folder that finds `.tools/` first.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let own = [tools().join("venv/bin"), tools().join("node/bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)));
    if let Ok(path) = path {
        command.env("PATH", path);
    }
    command.current_dir(root());
    command
}

/// Cargo, as it was called for this program.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// One line about what happens now.
pub fn say(line: &str) {
    eprintln!("\x1b[1m{line}\x1b[0m");
}

/// Shows and runs a command; fails when it fails. What it says goes to the standard error, so that
/// the standard output has results only.
pub fn execute(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    say(&format!("$ {shown}"));
    let status = command.stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot run: {shown}"))?;
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    Ok(())
}

/// Runs a command whose words matter only when it fails: they are added to `log`.
pub fn execute_into(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    let named = || log.display().to_string();
    fs::create_dir_all(log.parent().unwrap_or(Path::new("."))).with_context(named)?;
    let file = fs::OpenOptions::new().create(true).append(true).open(log).with_context(named)?;
    let program = command.get_program().to_string_lossy().into_owned();
    let length_before = file.metadata().with_context(named)?.len();
    command.stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("cannot run: {program}"))?;
    if !status.success() {
        let text = fs::read(log).unwrap_or_default();
        let from = usize::try_from(length_before).unwrap_or(0).min(text.len());
        let text = String::from_utf8_lossy(&text[from..]).into_owned();
        let lines: Vec<_> = text.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        bail!("failed ({status}); the whole story is in {}", log.display());
    }
    Ok(())
}

/// Standard output of a command that must succeed.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run: {shown}"))?;
    if !output.status.success() {
        bail!("failed ({}): {shown}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command exists and succeeds, without showing anything.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
