//! `--from`: what the camera's unit has recorded, over QUIC, into a file.
//!
//! Nothing is left out here when the disk is slow: what is not written yet is not taken from the
//! connection, and the unit waits.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use indicatif::ProgressBar;
use serde_json::json;
use sightline_media::{
    AccessUnit, StreamDescription, VideoTrack,
    mp4::{Mp4Error, Writer},
};
use sightline_model::{QualityChoice, Right, StreamTier, UnixMicros, VideoCodec};
use sightline_protocol::cm::Player;
use sightline_rtsp::{
    Url,
    client::{Client, Event, Options, Output, Replay},
    replay::Scale,
    server::Span,
};
use tokio::{fs::File, io::AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::{
    Figures, assembler, quic, record,
    session::{Session, Wanted},
    stop::{self, Stop},
};
use crate::{
    api::{SignedInApi, now},
    cli::{Play, Via},
    cmd::find_camera,
    error::{CuError, Exit},
    home::Home,
    output,
};

/// What is wanted of the recording.
#[derive(Debug, Clone, Copy)]
struct Look {
    span: Span,
    scale: Scale,
    /// Whether it is taken as fast as it comes.
    at_once: bool,
}

/// Runs `cu play --from`.
pub(super) async fn run(home: &Home, json: bool, options: Play) -> Result<(), CuError> {
    let look = look(&options)?;
    let bar = output::progress(format!("asking for {}", options.camera));
    let api = SignedInApi::open(home)?;
    let camera = find_camera(&api, &options.camera).await?;
    if !camera.rights.allows(Right::Playback) {
        let words = format!("you may not watch the recordings of {}", camera.name);
        return Err(CuError::new(Exit::Refused, words));
    }
    let wanted = Wanted {
        codecs: vec![VideoCodec::H264, VideoCodec::H265],
        quality: options.quality,
        require_pin: options.require_pin,
        player: Player::Client,
    };
    let session = Session::ask(&api, home, camera, &wanted).await?;
    if let Some(warning) = session.warning() {
        output::note(&warning);
    }
    bar.set_message(format!("connecting to {}", session.camera.name));
    let figures = Arc::new(Figures::since(session.asked));
    let (line, address) = quic::open(&session, &figures).await?;
    let mut sink = Sink::new(options.out.clone(), look, bar.clone());
    let mut stop = Stop::listen()?;
    let end = CancellationToken::new();
    let playing = async {
        let taken = match url(&session, options.quality, look.span, address) {
            Ok(url) => line.until_ended(take(&session, url, look, &line, &mut sink, &end)).await,
            Err(error) => Err(error),
        };
        line.close().await;
        // What came before it broke is kept.
        taken.and(sink.finish(json).await)
    };
    let played = stop::twice(playing, &end, async || stop.asked().await).await;
    bar.finish_and_clear();
    played
}

fn look(options: &Play) -> Result<Look, CuError> {
    let Some(from) = options.from else {
        return Err(CuError::usage("--to and --speed need --from"));
    };
    if options.via != Via::Quic {
        return Err(CuError::usage("recordings are played over QUIC; leave --via away"));
    }
    if options.to.is_some_and(|to| to <= from) {
        return Err(CuError::usage("--to lies before --from"));
    }
    let speed = options.speed.unwrap_or(1.0);
    let scale = Scale::new(speed)
        .filter(|_| (0.125..=16.0).contains(&speed.abs()))
        .ok_or_else(|| CuError::usage("the speed is 0.125 to 16, or the same below zero"))?;
    if speed < 0.0 && options.out.is_some() {
        return Err(CuError::usage(
            "a file cannot be written in reverse: its pictures refer to those before them",
        ));
    }
    if speed < 0.0 && options.to.is_none() {
        return Err(CuError::usage("in reverse --to says where playing begins"));
    }
    let at_once = options.out.is_some() && scale == Scale::NORMAL;
    Ok(Look { span: Span { from, to: options.to }, scale, at_once })
}

fn url(
    session: &Session,
    quality: QualityChoice,
    span: Span,
    address: SocketAddr,
) -> Result<Url, CuError> {
    let tier = match quality {
        QualityChoice::Tier { tier: StreamTier::Sub } => "sub",
        QualityChoice::Tier { tier: StreamTier::Main }
        | QualityChoice::Auto
        | QualityChoice::Keyframes
        | QualityChoice::Exact { .. } => "main",
    };
    format!("rtsp://{address}/{}/{tier}/{span}", session.camera.id.channel)
        .parse()
        .map_err(|e| CuError::other(format!("no URL: {e}")))
}

/// The dialogue, until the span is over or `end` is cancelled.
async fn take(
    session: &Session,
    url: Url,
    look: Look,
    line: &quic::Line,
    sink: &mut Sink,
    end: &CancellationToken,
) -> Result<(), CuError> {
    let lost = |e: &dyn std::fmt::Display| {
        CuError::unreachable(format!("the connection to the camera broke: {e}"))
    };
    let (mut send, mut receive) = line.connection().open_bi().await.map_err(|e| lost(&e))?;
    let replay = Replay {
        scale: look.scale,
        rate_control: !look.at_once,
        // In a file what was not recorded takes no time.
        recorded_times: false,
    };
    let mut client = Client::new(Options {
        token: Some(session.answer.token.clone()),
        replay: Some(replay),
        ..Options::new(url)
    });
    client.start(Instant::now());
    let mut buffer = vec![0; 64 * 1_024];
    let mut leaving = false;
    loop {
        while let Some(output) = client.poll_output() {
            match output {
                Output::Send(bytes) => send.write_all(&bytes).await.map_err(|e| lost(&e))?,
                Output::Event(Event::Described(stream)) => sink.describe(stream),
                Output::Event(Event::Unit(unit)) => sink.push(&unit).await?,
                Output::Event(Event::Ended) => return Ok(()),
                Output::Event(Event::Failed(error)) => return Err(quic::refused(error)),
                Output::Event(Event::Playing | Event::Paused | Event::Packet(..)) => {}
            }
        }
        let wake = client.poll_timeout().map(tokio::time::Instant::from_std);
        tokio::select! {
            read = receive.read(&mut buffer) => match read {
                Ok(Some(length)) => client.handle_input(&buffer[..length], Instant::now(), now()),
                Ok(None) | Err(_) if leaving => return Ok(()),
                Ok(None) => return Err(CuError::unreachable("the camera has ended the stream")),
                Err(e) => return Err(lost(&e)),
            },
            () = quic::sleep_until(wake) => client.handle_timeout(Instant::now()),
            () = end.cancelled(), if !leaving => {
                leaving = true;
                client.teardown(Instant::now());
            }
        }
    }
}

/// Where the units go.
struct Sink {
    out: Option<Out>,
    look: Look,
    form: StreamDescription,
    pictures: u64,
    bar: ProgressBar,
}

struct Out {
    path: PathBuf,
    /// Made with the first picture: an empty file would only puzzle.
    open: Option<(File, Writer)>,
    written: u64,
}

impl Sink {
    fn new(path: Option<PathBuf>, look: Look, bar: ProgressBar) -> Self {
        let out = path.map(|path| Out { path, open: None, written: 0 });
        Self { out, look, form: StreamDescription::default(), pictures: 0, bar }
    }

    fn describe(&mut self, form: StreamDescription) {
        self.form = form;
    }

    async fn push(&mut self, unit: &AccessUnit) -> Result<(), CuError> {
        self.pictures += u64::from(unit.is_video());
        let changed = self.changed(unit);
        let created = self.look.span.from;
        if let Some(out) = &mut self.out {
            out.push(unit, &self.form, changed, created).await?;
            self.bar.set_message(format!(
                "fetching, {} pictures, {} kB",
                self.pictures,
                out.written / 1_000
            ));
        } else {
            self.bar.set_message(format!("playing, {} pictures", self.pictures));
        }
        Ok(())
    }

    /// Whether the picture has another form from this unit on: keyframes carry it.
    fn changed(&mut self, unit: &AccessUnit) -> bool {
        let AccessUnit::Video { keyframe: true, codec, data, .. } = unit else { return false };
        let Some(track) = assembler::track_of(*codec, data) else { return false };
        let known = self.form.video.as_ref();
        if known.is_some_and(|known| known.parameter_sets == track.parameter_sets) {
            return false;
        }
        let fps = known.map_or(0.0, |known| known.fps);
        self.form.video = Some(VideoTrack { fps, ..track });
        true
    }

    async fn finish(self, json: bool) -> Result<(), CuError> {
        match self.out {
            Some(out) => out.finish(json).await,
            None if self.pictures == 0 => Err(CuError::timeout("no picture came")),
            None => {
                output::line(&played(self.pictures, json));
                Ok(())
            }
        }
    }
}

/// What is said of pictures that went into no file.
fn played(pictures: u64, as_json: bool) -> String {
    if as_json {
        json!({"played": {"pictures": pictures}}).to_string()
    } else {
        format!("{pictures} pictures came.")
    }
}

impl Out {
    async fn push(
        &mut self,
        unit: &AccessUnit,
        form: &StreamDescription,
        changed: bool,
        created: UnixMicros,
    ) -> Result<(), CuError> {
        let path = self.path.clone();
        if self.open.is_none() {
            let writer = Writer::new(form, created).map_err(|e| record::unusable(&e))?;
            let file = File::create(&path).await.map_err(|e| cannot(&path, &e))?;
            self.open = Some((file, writer));
        }
        let Some((file, writer)) = &mut self.open else { return Ok(()) };
        let mut bytes = Vec::new();
        if changed && writer.started() {
            bytes = writer.describe(form).map_err(|e| record::unusable(&e))?;
        }
        bytes.extend(writer.push(unit).map_err(|e| record::unusable(&e))?);
        file.write_all(&bytes).await.map_err(|e| cannot(&path, &e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    async fn finish(self, json: bool) -> Result<(), CuError> {
        let Some((mut file, writer)) = self.open else {
            return Err(CuError::timeout("no picture came, so nothing was written"));
        };
        let left_out = writer.left_out();
        match writer.finish() {
            Ok(end) => {
                record::finish(&mut file, end).await.map_err(|e| cannot(&self.path, &e))?;
            }
            Err(Mp4Error::Empty) => {
                drop(file);
                let _ = tokio::fs::remove_file(&self.path).await;
                return Err(CuError::timeout("no picture came, so nothing was written"));
            }
            Err(error) => return Err(record::unusable(&error)),
        }
        record::report(&self.path, left_out, json).await;
        Ok(())
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> CuError {
    CuError::other(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn scripts_are_told_as_json_what_was_played() {
        let told: serde_json::Value = serde_json::from_str(&played(7, true)).expect("an object");
        assert_eq!(told, json!({"played": {"pictures": 7}}));
        assert_eq!(played(7, false), "7 pictures came.");
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
}
