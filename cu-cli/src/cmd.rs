//! One module a command.

mod account;
mod cameras;
mod doctor;
mod nvr;
mod record;
mod snapshot;
mod verify;

use std::io::Write;

use clap::CommandFactory;
use sightline_model::CameraId;
use sightline_protocol::cm::Camera;

use crate::{
    api::SignedInApi,
    cli::{Cli, Command},
    error::{CuError, Exit},
    home::Home,
    play,
};

/// What every command needs.
pub(crate) struct Context {
    pub home: Home,
    pub json: bool,
}

pub(crate) async fn run(cli: Cli) -> Result<(), CuError> {
    if let Command::Completions { shell } = cli.command {
        return completions(shell);
    }
    if let Command::Verify(options) = cli.command {
        return verify::run(cli.json, &options);
    }
    let context = Context { home: Home::open(cli.home.as_deref())?, json: cli.json };
    match cli.command {
        Command::Login(login) => account::login(&context, login).await,
        Command::Logout => account::logout(&context).await,
        Command::Bind { code } => cameras::bind(&context, &code).await,
        Command::List => cameras::list(&context).await,
        Command::Play(options) => play::run(&context.home, context.json, options).await,
        Command::Record { record } => record::run(&context, record).await,
        Command::Nvr { command } => nvr::run(&context, command).await,
        Command::Snapshot { camera, file } => snapshot::run(&context, &camera, &file).await,
        Command::Doctor { camera } => doctor::run(&context, camera.as_deref()).await,
        Command::Release { device, yes } => cameras::release(&context, &device, yes).await,
        Command::Rename { camera, name } => cameras::rename(&context, &camera, &name).await,
        Command::Completions { .. } | Command::Verify(_) => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), CuError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cu", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|e| CuError::other(format!("cannot write the completions: {e}")))
}

/// The camera that the person means.
pub(crate) async fn find_camera(api: &SignedInApi, wanted: &str) -> Result<Camera, CuError> {
    pick(api.cameras().await?, wanted)
}

fn pick(cameras: Vec<Camera>, wanted: &str) -> Result<Camera, CuError> {
    let none = |message: String| CuError::new(Exit::Refused, message);
    if cameras.is_empty() {
        return Err(none("you have no camera yet; take one with: cu bind CODE".into()));
    }
    if let Ok(id) = wanted.parse::<CameraId>() {
        return cameras
            .into_iter()
            .find(|c| c.id == id)
            .ok_or_else(|| none(format!("{id} is not among your cameras; see `cu list`")));
    }
    let named = cameras.iter().filter(|c| c.name == wanted).count();
    if named > 1 {
        return Err(CuError::usage(format!(
            "{named} cameras are called {wanted:?}; use the number or the id from `cu list`"
        )));
    }
    let by_number = wanted.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let position = cameras.iter().position(|c| c.name == wanted).or(by_number);
    position
        .and_then(|at| cameras.into_iter().nth(at))
        .ok_or_else(|| none(format!("no camera is called {wanted:?}; see `cu list`")))
}

#[cfg(test)]
mod tests {
    use sightline_model::{ChannelId, DeviceId, Presence, PuId, PublicKey, Rights};

    use super::*;

    fn camera(name: &str, channel: u16) -> Camera {
        let device_key = PublicKey::from_bytes([7; 32]);
        let pu = PuId::from_public_key(&device_key);
        Camera {
            id: CameraId { pu: pu.clone(), channel: ChannelId(channel) },
            device: DeviceId { domain: "home".parse().expect("valid"), pu },
            name: name.into(),
            presence: Presence::Online,
            fault: None,
            streams: Vec::new(),
            audio: None,
            device_key,
            rights: Rights::owner(),
        }
    }

    #[test]
    fn a_camera_is_named_by_id_name_or_number() {
        let all = || vec![camera("Yard", 0), camera("2", 1), camera("Door", 2), camera("Door", 3)];
        let id = all()[2].id.to_string();
        assert_eq!(pick(all(), &id).expect("id").id.channel, ChannelId(2));
        assert_eq!(pick(all(), "Yard").expect("name").id.channel, ChannelId(0));
        assert_eq!(pick(all(), "1").expect("number").id.channel, ChannelId(0));
        assert_eq!(pick(all(), "2").expect("a name goes before a number").id.channel, ChannelId(1));
        assert_eq!(pick(all(), "4").expect("number").id.channel, ChannelId(3));
        assert_eq!(pick(all(), "Door").expect_err("two").exit, Exit::Usage);
        for unknown in ["0", "5", "yard", "", "-1", "99999999999999999999"] {
            assert_eq!(pick(all(), unknown).expect_err(unknown).exit, Exit::Refused);
        }
        assert!(pick(Vec::new(), "1").expect_err("none").message.contains("cu bind"));
    }
}
