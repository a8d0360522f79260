use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn asked(arguments: &str) -> Result<Look, String> {
    let line = format!("cu play Garden {arguments}");
    let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?;
    let Command::Play(options) = cli.command else { panic!("it is a play") };
    look(&options).map_err(|e| e.message)
}

#[test]
fn what_is_asked_of_a_recording() {
    let hour = "--from 2026-11-21T17:00:00Z --to 2026-11-21T18:00:00.5Z";
    let look = asked(&format!("{hour} --out a.mp4")).expect("valid");
    assert_eq!(look.span.to_string(), "20261121T170000Z-20261121T180000.5Z");
    assert!(look.at_once, "nobody waits an hour for an hour");
    let look = asked(&format!("{hour} --out a.mp4 --speed 2")).expect("valid");
    assert!(!look.at_once && look.scale.value() == 2.0);
    assert!(asked(&format!("{hour} --speed -1")).is_ok());
    assert!(asked("--from 2026-11-21T17:00:00Z").is_ok());
    // The cloud is played as the others are.
    for more in ["", " --out a.mp4", " --speed 4", " --speed -1"] {
        assert!(asked(&format!("{hour} --on cloud{more}")).is_ok(), "{more}");
    }
}

#[test]
fn what_cannot_be_played_is_said_in_words() {
    let from = "--from 2026-11-21T17:00:00Z";
    for (arguments, words) in [
        (format!("{from} --to 2026-11-21T16:00:00Z"), "--to lies before"),
        (format!("{from} --speed 0"), "0.125 to 16"),
        (format!("{from} --speed 17"), "0.125 to 16"),
        (format!("{from} --speed nan"), "0.125 to 16"),
        (format!("{from} --speed -1"), "--to says where"),
        (format!("{from} --to 2026-11-21T18:00:00Z --speed -1 --out a.mp4"), "in reverse"),
        (format!("{from} --via webrtc"), "over QUIC"),
        ("--from yesterday".into(), "2026-11-21T17:00:00Z"),
        ("--from 2026-11-31T17:00:00Z".into(), "2026-11-21T17:00:00Z"),
        ("--from 2026-11-21T17:00:00+01:00".into(), "2026-11-21T17:00:00Z"),
        ("--to 2026-11-21T17:00:00Z".into(), "--from"),
        (format!("{from} --rtsp-listen 127.0.0.1:0"), "--rtsp-listen"),
    ] {
        let refusal = asked(&arguments).expect_err(&arguments);
        assert!(refusal.contains(words), "{arguments}: {refusal}");
    }
}
