//! `cargo xtask demo`: the main job on one machine.

use std::os::unix::process::CommandExt;

use crate::{
    run::{cargo, command, execute, target_dir},
    setup, web,
};

#[derive(clap::Args)]
#[command(after_help = "All arguments go to `sightline demo`; see `cargo xtask demo -- --help`.")]
pub struct Args {
    /// A real camera in place of the test pattern: rtsp://user:password@host/path (repeatable)
    #[arg(long, value_name = "URL")]
    camera: Vec<String>,
    /// Print one JSON line in place of words
    #[arg(long)]
    json: bool,
    /// Further arguments for `sightline demo`
    #[arg(last = true)]
    rest: Vec<String>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    setup::ensure(setup::Need::Web)?;
    web::build()?;
    execute(cargo().args(["build", "--package", "sightline"]))?;
    let mut demo = command(target_dir().join("debug/sightline"));
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
