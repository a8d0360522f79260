//! An RTSP camera, through `retina`.
//!
//! [`run`] keeps the camera connected for ever; one connection is `run_once`. What is wrong is
//! told by [`crate::hub::SourceState::Offline`] in words for the camera's owner.

mod error;
mod media;

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use futures_util::StreamExt;
use retina::{
    client::{
        Credentials, Demuxed, Described, InitialTimestampPolicy, PlayOptions, Session,
        SessionGroup, SessionOptions, SetupOptions, TcpTransportOptions, UdpTransportOptions,
    },
    codec::{CodecItem, FrameFormat, ParameterSetInsertion, aac, h26x},
};
use sightline_model::Secret;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::error::SourceError;
use self::media::Tracks;
use super::percent_decode;
use crate::hub::Publisher;

/// Longest wait for connection, and for the answer to each request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A camera that sends nothing for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);
/// A camera that sends sound but no picture for so long is lost.
const NO_PICTURE: Duration = Duration::from_secs(15);
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// After a refused password: many cameras lock themselves after a few wrong ones.
const AUTH_BACKOFF: Duration = Duration::from_secs(30);

/// How RTP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// In the RTSP connection.
    #[default]
    Tcp,
    /// In UDP packets of its own.
    Udp,
}

/// Which camera, and how to get in.
#[derive(Clone)]
pub struct RtspSourceConfig {
    /// Where the stream is: `rtsp://host[:port]/path`. A user name and password in it are taken
    /// out and used when the fields below have none.
    pub url: Url,
    /// User name at the camera.
    pub username: Option<String>,
    /// Password at the camera.
    pub password: Option<Secret<String>>,
    /// How RTP travels.
    pub transport: Transport,
}

impl RtspSourceConfig {
    /// A camera by its URL alone, over TCP.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, username: None, password: None, transport: Transport::Tcp }.normalized()
    }

    /// The same with nothing secret left in the URL.
    fn normalized(mut self) -> Self {
        if self.username.is_none() && !self.url.username().is_empty() {
            self.username = Some(percent_decode(self.url.username()));
            self.password = self.url.password().map(|p| Secret::new(percent_decode(p)));
        }
        // Fails only for URLs without a host, which `connect` refuses.
        let _ = self.url.set_username("");
        let _ = self.url.set_password(None);
        self
    }

    fn credentials(&self) -> Option<Credentials> {
        let username = self.username.clone()?;
        let password = self.password.as_ref().map(|p| p.expose().clone()).unwrap_or_default();
        Some(Credentials { username, password })
    }
}

impl fmt::Debug for RtspSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Query and user part may be secrets of the camera's making.
        f.debug_struct("RtspSourceConfig")
            .field("host", &self.url.host_str())
            .field("port", &self.url.port())
            .field("path", &self.url.path())
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Publishes the camera's stream until `token` is cancelled, connecting again whenever it is lost.
pub async fn run(config: RtspSourceConfig, publisher: Publisher, token: CancellationToken) {
    let config = config.normalized();
    let sessions = Arc::new(SessionGroup::default());
    let mut backoff = MIN_BACKOFF;
    loop {
        let mut was_online = false;
        let lost = tokio::select! {
            () = token.cancelled() => break,
            lost = run_once(&config, &sessions, &publisher, &mut was_online) => match lost {
                Ok(never) => match never {},
                Err(error) => error,
            },
        };
        if was_online {
            backoff = MIN_BACKOFF;
        }
        tracing::info!(reason = %lost, "camera lost");
        publisher.offline(lost.to_string());
        let wait = if lost.is_authentication() { AUTH_BACKOFF } else { backoff };
        tokio::select! {
            () = token.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    // Many cameras count sessions: give the TEARDOWN, which retina sends by itself, a moment.
    let _ = timeout(Duration::from_millis(500), sessions.await_teardown()).await;
}

/// One connection, until it is lost. Sets `online` with the first picture.
async fn run_once(
    config: &RtspSourceConfig,
    sessions: &Arc<SessionGroup>,
    publisher: &Publisher,
    online: &mut bool,
) -> Result<Infallible, SourceError> {
    let mut session = within(Session::describe(config.url.clone(), options(config, sessions)))
        .await
        .map_err(|error| error.on_describe(config.username.is_some()))?;
    let tracks = setup(&mut session, config.transport).await?;
    let play = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
    let playing = within(session.play(play)).await?;
    let demuxed = playing.demuxed().map_err(SourceError::protocol)?;
    pump(demuxed, tracks, publisher, online).await
}

fn options(config: &RtspSourceConfig, sessions: &Arc<SessionGroup>) -> SessionOptions {
    SessionOptions::default()
        .creds(config.credentials())
        .session_group(Arc::clone(sessions))
        .user_agent("Sightline".into())
}

/// SETUP of the picture and, when there is one that we can carry, the sound.
async fn setup(
    session: &mut Session<Described>,
    transport: Transport,
) -> Result<Tracks, SourceError> {
    let tracks = Tracks::choose(session.streams())?;
    for index in [Some(tracks.video), tracks.audio_index()].into_iter().flatten() {
        let transport = match transport {
            Transport::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
            Transport::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
        };
        let format = FrameFormat {
            h26x_framing: h26x::Framing::FourByteLength,
            parameter_set_insertion: ParameterSetInsertion::EachKeyFrame,
            aac_framing: aac::Framing::Raw,
        };
        let options = SetupOptions::default().transport(transport).frame_format(format);
        within(session.setup(index, options)).await?;
    }
    Ok(tracks)
}

/// Hands frames on until the camera falls silent or breaks off.
async fn pump(
    mut demuxed: Demuxed,
    mut tracks: Tracks,
    publisher: &Publisher,
    online: &mut bool,
) -> Result<Infallible, SourceError> {
    let mut last_picture = Instant::now();
    loop {
        let deadline = (Instant::now() + SILENCE).min(last_picture + NO_PICTURE);
        let item = timeout_at(deadline, demuxed.next())
            .await
            .map_err(|_| SourceError::Silent)?
            .ok_or(SourceError::Closed)?
            .map_err(SourceError::protocol)?;
        match item {
            CodecItem::VideoFrame(frame) => {
                last_picture = Instant::now();
                if frame.has_new_parameters() || !*online {
                    let Some(description) = tracks.describe(demuxed.streams()) else { continue };
                    publisher.online(description);
                    *online = true;
                }
                if let Some(unit) = tracks.video(frame) {
                    publisher.publish(unit);
                }
            }
            CodecItem::AudioFrame(frame) if *online => {
                tracks.audio(&frame, |unit| publisher.publish(unit));
            }
            // Sound before the first picture, metadata, RTCP: retina keeps its own books.
            _ => {}
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, retina::Error>>) -> Result<T, SourceError> {
    timeout(REQUEST_TIMEOUT, work)
        .await
        .map_err(|_| SourceError::Unreachable)?
        .map_err(SourceError::protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_the_url_and_never_show() {
        let url = "rtsp://admin:p%40ss%zz@camera.example:8554/main?key=hidden";
        let config = RtspSourceConfig::new(url.parse().expect("URL"));
        assert_eq!(config.username.as_deref(), Some("admin"));
        assert_eq!(config.password.as_ref().map(|p| p.expose().as_str()), Some("p@ss%zz"));
        assert_eq!(config.url.as_str(), "rtsp://camera.example:8554/main?key=hidden");
        let shown = format!("{config:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("hidden") && !shown.contains("admin"));
    }
}
