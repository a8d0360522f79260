//! `cargo xtask nat-matrix`: every pair of networks, with the real programs (tests/nat).

use crate::{
    run::{cargo, command, execute, output, say, target_dir},
    setup, web,
};

#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Needs root, for network namespaces. The whole takes about half an hour and writes
docs/nat-matrix.md.

Examples:
  cargo xtask nat-matrix                                   all cells
  cargo xtask nat-matrix --only symmetric,port-restricted --via quic --tries 10
  cargo xtask nat-matrix --camera symmetric                one row
  cargo xtask nat-matrix --viewer nat64 --merge            and the page with what earlier runs saw
  cargo xtask nat-matrix --help                            everything else (builds first)"
)]
pub struct Args {
    /// Arguments for `nat-matrix`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// The programs that the lab runs, and the runner.
const PACKAGES: [&str; 6] = ["cmu", "scu", "mtu", "pu-agent", "cu-cli", "nat"];

pub fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure(setup::Need::Test)?;
    web::build_if_stale()?;
    say("Building what has changed");
    let mut build = cargo();
    build.args(["build", "--bins"]);
    execute(build.args(PACKAGES.iter().flat_map(|package| ["--package", package])))?;
    let is_root = output(command("id").arg("-u"))?.trim() == "0";
    let program = target_dir().join("debug/nat-matrix");
    let mut matrix = if is_root { command(&program) } else { command("sudo") };
    if !is_root {
        // With the path, where the tools are.
        let path = matrix.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        matrix.arg("env").arg(format!("PATH={path}")).arg(&program);
    }
    execute(matrix.args(&args.rest))
}
