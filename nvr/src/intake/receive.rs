//! The dialogue with a PU over Np and Pn: RTSP inside QUIC, as `cu` speaks it, into a hub.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use quinn::Connection;
use sightline_media::AccessUnit;
use sightline_media_io::assembler::Assembler;
use sightline_model::{StreamTier, UnixMicros};
use sightline_protocol::{cm::PlayAnswer, flow};
use sightline_rtsp::{
    Url,
    client::{Client, ClientError, Event, Options, Output},
};
use tokio_util::sync::CancellationToken;

use super::course::Outcome;

/// A PU that sends nothing for so long is lost: a camera gives a picture every second at the least.
const SILENCE: Duration = Duration::from_secs(15);

/// Plays until the stream ends, nobody wants it, or the PU falls silent.
pub(super) async fn receive(
    connection: &Connection,
    address: SocketAddr,
    ticket: &PlayAnswer,
    tier: StreamTier,
    assembler: &mut Assembler,
    leave: &CancellationToken,
) -> Outcome {
    let hub = assembler.publisher().hub();
    let unwanted = async {
        tokio::select! {
            () = leave.cancelled() => {}
            () = hub.unwanted() => {}
        }
    };
    let mut playing = None;
    let result = dialogue(connection, address, ticket, tier, assembler, unwanted, &mut playing);
    let why = match result.await {
        Ok(()) => "the stream has ended".to_owned(),
        Err(Lost::Refused { status: 401 | 403, reason }) => {
            assembler.offline(&format!("the camera does not admit this recorder: {reason}"));
            return Outcome::NotAdmitted;
        }
        Err(lost) => lost.to_string(),
    };
    assembler.offline(&why);
    let Some(since) = playing else {
        tracing::info!(camera = %ticket.camera, why, "a related camera gives no stream");
        return Outcome::NotReached;
    };
    let length = Instant::now().saturating_duration_since(since);
    tracing::info!(camera = %ticket.camera, why, ?length, "a related camera's stream has ended");
    Outcome::Played(length)
}

/// Why there is no stream any more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the camera refused: {reason} ({status})")]
    Refused { status: u16, reason: String },
    #[error("the connection to the camera broke: {0}")]
    Broken(String),
    #[error("the camera's device has fallen silent")]
    Silent,
    #[error("the camera's answer makes no sense: {0}")]
    Nonsense(ClientError),
    #[error("the camera has no usable address")]
    Address,
}

impl Lost {
    fn broken(error: &dyn std::error::Error) -> Self {
        // The innermost cause says who ended it: quinn's own words for the rest are "connection lost".
        let cause = std::iter::successors(Some(error), |e| e.source()).last().unwrap_or(error);
        Self::Broken(cause.to_string())
    }
}

impl From<ClientError> for Lost {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { status, reason, .. } => Self::Refused { status, reason },
            ClientError::Timeout => Self::Silent,
            other @ (ClientError::Frame(_) | ClientError::Answer { .. } | ClientError::Sdp(_)) => {
                Self::Nonsense(other)
            }
        }
    }
}

fn url(ticket: &PlayAnswer, tier: StreamTier, address: SocketAddr) -> Result<Url, Lost> {
    let tier = match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    };
    let url = format!("rtsp://{address}/{}/{tier}", ticket.camera.channel);
    url.parse().map_err(|_| Lost::Address)
}

async fn dialogue(
    connection: &Connection,
    address: SocketAddr,
    ticket: &PlayAnswer,
    tier: StreamTier,
    assembler: &mut Assembler,
    unwanted: impl Future<Output = ()>,
    playing: &mut Option<Instant>,
) -> Result<(), Lost> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|e| Lost::broken(&e))?;
    let mut client = Client::new(Options {
        token: Some(ticket.token.clone()),
        ..Options::new(url(ticket, tier, address)?)
    });
    flow::sent("Np", "NVR", "PU", "media_request", ticket.session.as_str());
    client.start(Instant::now());
    let mut buffer = vec![0; 64 * 1_024];
    let (mut leaving, mut heard) = (false, Instant::now());
    tokio::pin!(unwanted);
    loop {
        while let Some(output) = client.poll_output() {
            match output {
                Output::Send(bytes) => {
                    send.write_all(&bytes).await.map_err(|e| Lost::broken(&e))?;
                }
                Output::Event(Event::Described(stream)) => assembler.describe(stream),
                Output::Event(Event::Playing) => {
                    tracing::info!(camera = %ticket.camera, %address, "a related camera plays");
                    playing.get_or_insert_with(Instant::now);
                }
                Output::Event(Event::Unit(unit)) => {
                    heard = Instant::now();
                    assembler.push(arrived(unit, SystemTime::now().into()));
                }
                Output::Event(Event::Paused | Event::Packet(..)) => {}
                Output::Event(Event::Ended) => return Ok(()),
                Output::Event(Event::Failed(error)) => return Err(error.into()),
            }
        }
        let wake = client.poll_timeout().map_or(heard + SILENCE, |at| at.min(heard + SILENCE));
        tokio::select! {
            read = receive.read(&mut buffer) => match read {
                Ok(Some(length)) => {
                    let now = UnixMicros::from(SystemTime::now());
                    client.handle_input(&buffer[..length], Instant::now(), now);
                }
                Ok(None) if leaving => return Ok(()),
                Ok(None) => return Err(Lost::Broken("it was closed".into())),
                Err(_) if leaving => return Ok(()),
                Err(error) => return Err(Lost::broken(&error)),
            },
            () = tokio::time::sleep_until(wake.into()) => {
                if heard.elapsed() >= SILENCE {
                    return Err(Lost::Silent);
                }
                client.handle_timeout(Instant::now());
            }
            () = &mut unwanted, if !leaving => {
                leaving = true;
                client.teardown(Instant::now());
            }
        }
    }
}

/// A unit dated by our own clock: the PU's may be another, and recordings have one clock (decision 0090).
fn arrived(unit: AccessUnit, now: UnixMicros) -> AccessUnit {
    match unit {
        AccessUnit::Video { timestamp, keyframe, disposable, codec, data, .. } => {
            let captured_at = now;
            AccessUnit::Video { timestamp, captured_at, keyframe, disposable, codec, data }
        }
        AccessUnit::Audio { timestamp, data, .. } => {
            AccessUnit::Audio { timestamp, captured_at: now, data }
        }
    }
}
