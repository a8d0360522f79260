//! `cargo xtask demo`: the main job on one machine.

use std::{os::unix::process::CommandExt, path::PathBuf};

use crate::{
    run::{cargo, command, execute, say, target_dir},
    setup, web,
};

#[derive(clap::Args)]
#[command(after_help = "\
The first time takes some ten minutes on two cores, later ones seconds. Ctrl-C ends it at any
moment; the next call goes on where it was.

Examples:
  cargo xtask demo
  cargo xtask demo --camera rtsp://user:password@192.168.1.20/stream1
  cargo xtask demo -- --free-ports       several demos beside each other
  cargo xtask demo -- --help             everything else that can be set (builds first)")]
pub struct Args {
    /// A real camera in place of the test pattern: rtsp://user:password@host/path (repeatable)
    #[arg(long, value_name = "URL")]
    camera: Vec<String>,
    /// Print one JSON line in place of words; all else goes to the standard error
    #[arg(long)]
    json: bool,
    /// Further arguments for `sightline demo`
    #[arg(last = true)]
    rest: Vec<String>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    setup::ensure(setup::Need::Web)?;
    web::build_if_stale()?;
    let program = build()?;
    let mut demo = command(program);
    demo.arg("demo");
    for camera in args.camera {
        demo.arg("--camera").arg(camera);
    }
    if args.json {
        demo.arg("--json");
    }
    demo.args(args.rest);
    // In place of this process, so that Ctrl-C goes straight to the demo.
    Err(demo.exec().into())
}

fn build() -> anyhow::Result<PathBuf> {
    let program = target_dir().join("debug/sightline");
    say(if program.exists() {
        "Building what has changed"
    } else {
        "Building everything (the first time: about ten minutes on two cores, then seconds)"
    });
    // `cu` too, since the demo's words name it.
    execute(cargo().args(["build", "--package", "sightline", "--package", "cu-cli"]))?;
    Ok(program)
}
