//! `cargo xtask`: the one task runner.

mod bench;
mod checks;
mod demo;
mod fuzz;
mod nat_matrix;
mod packages;
mod run;
mod setup;
mod test;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Sightline's task runner",
    after_help = "New here? `cargo xtask demo` shows the product; `cargo xtask test` runs all tests.\n\
                  Both install what they need by themselves.\n\n\
                  Exit codes: 0 done; 1 something failed, the last line says what; 2 wrong command line."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and run the centre with a demo camera on this machine
    Demo(demo::Args),
    /// Install what tests need, then run every check and test
    Test(test::Args),
    /// Install what is missing: system packages, and tools under .tools/
    Setup(setup::Args),
    /// Build the web client into web/dist
    Web,
    /// Regenerate files that are made from code: OpenAPI, TypeScript types, golden files
    Generate,
    /// Throw bytes at every parser by coverage, or show what that reaches; needs nightly cargo-fuzz
    Fuzz(fuzz::Args),
    /// Measure against other people's software; writes docs/benchmarks.md
    Bench(bench::Args),
    /// Watch through every pair of home routers in a lab of namespaces; writes docs/nat-matrix.md
    NatMatrix(nat_matrix::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Test(args) => test::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Web => {
            setup::ensure(setup::Need::Web)?;
            web::build()
        }
        Command::Generate => checks::generate(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::NatMatrix(args) => nat_matrix::run(&args),
    }
}
