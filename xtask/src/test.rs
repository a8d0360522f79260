//! `cargo xtask test`: what must hold before anything lands.

use std::time::Instant;

use crate::{
    checks,
    run::{cargo, command, execute},
    setup, web,
};

#[derive(clap::Args)]
pub struct Args {
    /// Only these steps (repeatable); without it, all of them
    #[arg(long, value_enum)]
    only: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Install what is missing
    Setup,
    /// Formatting of Rust code
    Fmt,
    /// Type check, lint and unit tests of the web client, and its build
    Web,
    /// Clippy with warnings denied
    Clippy,
    /// Unit, integration and end-to-end tests
    Tests,
    /// Examples in documentation
    Doctests,
    /// rustdoc with warnings denied
    Doc,
    /// Purity of the sans-IO crates
    SansIo,
    /// OpenAPI and the TypeScript client are what the code makes
    Generated,
    /// Licences, sources, advisories
    Deny,
}

/// In this order: cheap refusals first, and each build step reuses what the one before compiled.
const STEPS: &[Step] = &[
    Step::Setup,
    Step::Fmt,
    Step::SansIo,
    Step::Deny,
    Step::Web,
    Step::Clippy,
    Step::Generated,
    Step::Tests,
    Step::Doctests,
    Step::Doc,
];

pub fn run(args: &Args) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut times = Vec::new();
    for step in STEPS.iter().filter(|step| args.only.is_empty() || args.only.contains(step)) {
        let began = Instant::now();
        run_step(*step)?;
        times.push(format!("{step:?} {:.0} s", began.elapsed().as_secs_f32()));
    }
    eprintln!("All green in {:.0} s: {}", begin.elapsed().as_secs_f32(), times.join(", "));
    Ok(())
}

fn run_step(step: Step) -> anyhow::Result<()> {
    match step {
        Step::Setup => setup::ensure(setup::Need::Test),
        Step::Fmt => execute(cargo().args(["fmt", "--all", "--check"])),
        Step::SansIo => checks::sans_io(),
        Step::Deny => checks::dependencies(),
        Step::Web => web::check(),
        Step::Clippy => execute(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ])),
        Step::Generated => checks::generated_files_are_current(),
        Step::Tests => {
            // Tests start the real binaries.
            execute(cargo().args(["build", "--workspace", "--bins"]))?;
            execute(command("cargo-nextest").args(["nextest", "run", "--workspace"]))
        }
        Step::Doctests => execute(cargo().args(["test", "--workspace", "--doc", "--quiet"])),
        Step::Doc => execute(
            cargo()
                .args(["doc", "--workspace", "--no-deps", "--quiet"])
                .env("RUSTDOCFLAGS", "--deny warnings"),
        ),
    }
}
