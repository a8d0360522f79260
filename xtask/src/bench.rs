//! `cargo xtask bench`: ratios to named peers, measured in one run.

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("there is no benchmark yet")
}
