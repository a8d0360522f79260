//! `cargo xtask fuzz`: throws bytes at every parser of ours, and shows which of their lines that
//! reaches. Not part of `cargo xtask test`, which replays the seeds only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::run::{cargo, command, execute, output, root, succeeds};

#[derive(clap::Args)]
pub struct Args {
    /// Only this target; without it, all of them one after the other
    target: Option<String>,
    /// Inputs for each target
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Stop a target after so many seconds, with fewer inputs [default: no limit]
    #[arg(long, conflicts_with = "coverage")]
    seconds: Option<NonZeroU32>,
    /// Longest input [default: 2048, less where one byte is a whole message]
    #[arg(long, value_name = "BYTES")]
    max_len: Option<u32>,
    /// Without the address sanitizer, and with counters in our own crates only: several times as
    /// fast, and enough for code that is all safe Rust; needs no nightly
    #[arg(long)]
    fast: bool,
    /// Fuzz nothing; show which lines the inputs found so far reach
    #[arg(long)]
    coverage: bool,
    /// With --coverage: name the lines that they do not reach, too
    #[arg(long, requires = "coverage")]
    missed: bool,
}

/// The targets that need whole services: a crate of their own, and a build of their own, in which
/// only this workspace is instrumented.
const SERVICES: [&str; 2] = ["config", "play_token"];

/// Longest input: of the targets that make a dialogue or a recording out of a few bytes, none needs
/// a long one, and each is slow.
fn longest(target: &str) -> u32 {
    match target {
        "switchboard" | "calls" => 256,
        "mp4" => 256,
        "uplink" | "control" | "ladder" => 512,
        _ => 2_048,
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let targets = targets()?;
    if let Some(name) = args.target.as_ref().filter(|name| !targets.contains(*name)) {
        let known = targets.into_iter().collect::<Vec<_>>().join(", ");
        bail!("there is no target {name}; there are: {known}");
    }
    let chosen: Vec<&String> =
        targets.iter().filter(|name| args.target.as_ref().is_none_or(|t| t == *name)).collect();
    if args.coverage {
        return coverage(&chosen, args.missed);
    }
    let nightly = chosen.iter().any(|name| !args.fast && !SERVICES.contains(&name.as_str()));
    if nightly && !succeeds(command("cargo").args(["+nightly", "fuzz", "--version"])) {
        bail!(
            "cargo-fuzz is missing: rustup toolchain install nightly && cargo install cargo-fuzz"
        );
    }
    for target in chosen {
        fuzz(target, args)?;
    }
    Ok(())
}

/// A target is a file in `tests/fuzz/fuzz_targets`, but for those that need whole services.
fn targets() -> anyhow::Result<BTreeSet<String>> {
    let folder = root().join("tests/fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut targets: BTreeSet<String> =
        files.filter_map(|f| Some(f.file_stem()?.to_string_lossy().into_owned())).collect();
    targets.extend(SERVICES.map(str::to_owned));
    Ok(targets)
}

fn fuzz(target: &str, args: &Args) -> anyhow::Result<()> {
    let corpus = format!("tests/fuzz/corpus/{target}");
    fs::create_dir_all(root().join(&corpus))?;
    let mut fuzz = if SERVICES.contains(&target) {
        own_program("fuzz-services", target)?
    } else if args.fast {
        let mut program = own_program("fuzz-targets", "fuzz-fast")?;
        program.env("TEST_FUZZ_TARGET", target);
        program
    } else {
        // Through rustup, whatever toolchain runs this program.
        let mut fuzz = command("cargo");
        fuzz.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        fuzz.args(["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", target]);
        fuzz
    };
    let package = if SERVICES.contains(&target) { "fuzz-services" } else { "fuzz" };
    fuzz.args([&corpus, &format!("tests/{package}/seeds/{target}")]);
    if !SERVICES.contains(&target) && !args.fast {
        fuzz.arg("--");
    }
    fuzz.arg(format!("-artifact_prefix=tests/fuzz/artifacts/{target}/"));
    fs::create_dir_all(root().join("tests/fuzz/artifacts").join(target))?;
    fuzz.arg(format!("-runs={}", args.runs));
    if let Some(seconds) = args.seconds {
        fuzz.arg(format!("-max_total_time={seconds}"));
    }
    fuzz.arg(format!("-max_len={}", args.max_len.unwrap_or_else(|| longest(target))));
    let dictionary = format!("tests/fuzz/dictionaries/{target}");
    if root().join(&dictionary).exists() {
        fuzz.arg(format!("-dict={dictionary}"));
    }
    execute(&mut fuzz)
}

/// A build beside the ordinary one, with this wrapper around the compiler of our own crates.
fn instrumented(wrapper: &str) -> Command {
    let mut cargo = cargo();
    cargo.env("CARGO_TARGET_DIR", root().join("tests/fuzz/target/own"));
    cargo.env("RUSTC_WORKSPACE_WRAPPER", root().join("tests/fuzz").join(wrapper));
    cargo
}

fn own_program(package: &str, program: &str) -> anyhow::Result<Command> {
    let mut build = instrumented("instrument.sh");
    build.args(["build", "--package", package, "--features", "libfuzzer", "--bin", program]);
    execute(&mut build)?;
    Ok(command(root().join("tests/fuzz/target/own/debug").join(program)))
}

/// Lines of one file: how many there are that can run, and which of them did.
type Lines = BTreeMap<u64, bool>;

/// Replays seeds and corpus through an instrumented build of the ordinary tests.
fn coverage(targets: &[&String], missed: bool) -> anyhow::Result<()> {
    let llvm = llvm_tools()?;
    let profiles = root().join("tests/fuzz/target/profiles");
    fs::create_dir_all(&profiles)?;
    for target in targets {
        let of_services = SERVICES.contains(&target.as_str());
        let package = if of_services { "fuzz-services" } else { "fuzz-targets" };
        let program = replay_program(package, &profiles)?;
        let raw = profiles.join(format!("{target}.profraw"));
        let data = profiles.join(format!("{target}.profdata"));
        let mut replay = command(&program);
        replay.args(["--quiet", "every_target_takes_its_seeds"]);
        output(replay.env("TEST_FUZZ_TARGET", target).env("LLVM_PROFILE_FILE", &raw))?;
        let mut merge = command(llvm.join("llvm-profdata"));
        execute(merge.args(["merge", "--sparse", "-o"]).args([&data, &raw]))?;
        let mut export = command(llvm.join("llvm-cov"));
        export.args(["export", "--format=lcov", "--instr-profile"]).arg(data).arg(&program);
        for (file, lines) in own_files(&output(&mut export)?) {
            print_lines(target, &file, &lines, missed);
        }
    }
    Ok(())
}

fn replay_program(package: &str, profiles: &Path) -> anyhow::Result<PathBuf> {
    let mut build = instrumented("instrument-coverage.sh");
    build.args(["test", "--package", package, "--test", "replay"]);
    build.args(["--no-run", "--message-format=json"]);
    let said = output(build.env("LLVM_PROFILE_FILE", profiles.join("build-%m.profraw")))?;
    let program = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find_map(|message: serde_json::Value| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo names no test program")
}

fn print_lines(target: &str, file: &str, lines: &Lines, missed: bool) {
    let reached = lines.values().filter(|reached| **reached).count();
    if reached == 0 {
        return;
    }
    let percent = 100.0 * reached as f64 / lines.len() as f64;
    println!("{target:14} {percent:5.1} % of {:4} lines  {file}", lines.len());
    if missed {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            if lines.get(&number) == Some(&false) {
                println!("{number:19} {line}");
            }
        }
    }
}

/// Files of ours in an LCOV report, up to their unit tests.
fn own_files(lcov: &str) -> BTreeMap<String, Lines> {
    let mut files = BTreeMap::<String, Lines>::new();
    let (mut file, mut end) = (None, u64::MAX);
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
            let own = path.strip_prefix(root()).ok().filter(|own| !own.starts_with("tests"));
            file = own.map(|own| own.display().to_string());
            end = first_line_of_tests(&path);
        } else if let (Some(counts), Some(file)) = (line.strip_prefix("DA:"), &file) {
            let mut counts = counts.split(',').filter_map(|n| n.parse::<u64>().ok());
            let (Some(number), Some(count)) = (counts.next(), counts.next()) else { continue };
            if number < end {
                *files.entry(file.clone()).or_default().entry(number).or_default() |= count > 0;
            }
        }
    }
    files
}

fn first_line_of_tests(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let at = text.lines().position(|line| line == "#[cfg(test)]");
    at.map_or(u64::MAX, |at| at as u64 + 1)
}

/// Where rustup puts `llvm-cov` of the compiler in use.
fn llvm_tools() -> anyhow::Result<PathBuf> {
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    let found = fs::read_dir(&rustlib)?.flatten().map(|entry| entry.path().join("bin"));
    let found = found.into_iter().find(|bin| bin.join("llvm-cov").exists());
    found.context("llvm-cov is missing: rustup component add llvm-tools")
}
