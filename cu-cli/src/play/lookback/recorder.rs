//! One stretch from a recorder: RTSP inside QUIC, as live pictures come, from the camera's own unit or an
//! NVR.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use sightline_model::{QualityChoice, StreamTier, VideoCodec};
use sightline_protocol::cm::Player;
use sightline_rtsp::{
    Url,
    client::{Client, Event, Options, Output, Replay},
    server::Span,
};
use tokio_util::sync::CancellationToken;

use super::{Look, Tour, sink::Sink};
use crate::{
    api::now,
    error::CuError,
    play::{
        Figures,
        place::Held,
        quic,
        session::{Session, Wanted},
    },
};

/// Plays a span until it is over, or `end` is cancelled.
///
/// # Errors
/// When the recorder refuses, cannot be reached, or goes away.
pub(super) async fn play(
    tour: &mut Tour<'_>,
    held: Held,
    span: Span,
    sink: &mut Sink,
    end: &CancellationToken,
) -> Result<(), CuError> {
    let wanted = Wanted {
        codecs: vec![VideoCodec::H264, VideoCodec::H265],
        quality: tour.quality,
        require_pin: tour.require_pin,
        player: Player::Client,
        recorder: held.recorder(),
    };
    let session = Session::ask(tour.api, tour.home, tour.camera.clone(), &wanted).await?;
    tour.warn(&session.answer.device.pu, session.warning());
    tour.bar.set_message(format!("connecting to {}", session.camera.name));
    let figures = Arc::new(Figures::since(session.asked));
    let opened = tokio::select! {
        () = end.cancelled() => return Ok(()),
        opened = quic::open(&session, &figures) => opened,
    };
    let (line, address) = opened?;
    let taken = match url(&session, tour.quality, span, address) {
        Ok(url) => line.until_ended(take(&session, url, tour.look, &line, sink, end)).await,
        Err(error) => Err(error),
    };
    line.close().await;
    taken
}

fn url(
    session: &Session,
    quality: QualityChoice,
    span: Span,
    address: SocketAddr,
) -> Result<Url, CuError> {
    let tier = match super::tier(quality) {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    };
    format!("rtsp://{address}/{}/{tier}/{span}", session.answer.camera.channel)
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
                Output::Event(Event::Unit(unit)) => sink.push(unit).await?,
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
