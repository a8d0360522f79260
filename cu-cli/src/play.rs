//! `cu play`: one stream from a PU, given to a file, to players, or to a counter.
//!
//! A way in (`quic`, `webrtc`) publishes into a hub; sinks read from it. A slow sink skips to a
//! keyframe and never holds up the others.

pub mod assembler;
pub mod export;
mod figures;
mod ladder;
mod lookback;
pub(crate) mod place;
mod quic;
mod record;
pub mod reorder;
mod serve;
pub mod session;
pub mod signal;
mod stop;
pub(crate) mod survey;
mod webrtc;

use std::{sync::Arc, time::Duration};

use serde_json::json;
use sightline_media::{AccessUnit, StreamDescription, VIDEO_CLOCK_HZ, ring::Limits};
use sightline_media_io::hub::{Hub, Next, Reader, SourceState};
use sightline_model::{QualityChoice, VideoCodec};
use sightline_protocol::cm::Player;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{assembler::Assembler, session::Session, stop::Stop};
pub(crate) use self::{figures::Figures, ladder::best_way, quic::connect as quic_connect};
use crate::{
    api::SignedInApi,
    cli::{Play, Via},
    cmd::find_camera,
    error::CuError,
    home::Home,
    output,
};

/// How long the first picture may take.
const FIRST_MEDIA: Duration = Duration::from_secs(20);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// A stream on its way in.
pub(crate) struct Incoming {
    pub hub: Hub,
    pub figures: Arc<Figures>,
    token: CancellationToken,
    receiver: tokio::task::JoinHandle<Result<(), CuError>>,
}

impl Incoming {
    /// Starts to receive. Readers that must see the first unit subscribe before: `before` is
    /// called with the hub.
    pub fn start<T>(
        session: Session,
        via: Via,
        quality: QualityChoice,
        before: impl FnOnce(&Hub) -> T,
    ) -> (Self, T) {
        let (publisher, hub) = Hub::new(Limits::default());
        let figures = Arc::new(Figures::since(session.asked));
        figures.stage(figures::Stage::Play);
        let token = CancellationToken::new();
        let kept = before(&hub);
        let assembler = Assembler::new(publisher, Arc::clone(&figures));
        let cancel = token.clone();
        let shown = Arc::clone(&figures);
        let receiver = tokio::spawn(async move {
            match via {
                Via::Quic => quic::receive(&session, quality, assembler, &shown, &cancel).await,
                Via::Webrtc => webrtc::receive(&session, quality, assembler, &shown, &cancel).await,
            }
        });
        (Self { hub, figures, token, receiver }, kept)
    }

    /// Resolves when the stream has ended, with the reason.
    pub async fn ended(&mut self) -> Result<(), CuError> {
        match (&mut self.receiver).await {
            Ok(result) => result,
            Err(e) => Err(CuError::other(format!("receiving stopped: {e}"))),
        }
    }

    /// Says goodbye to the PU.
    pub async fn stop(mut self) {
        self.token.cancel();
        if !self.receiver.is_finished()
            && tokio::time::timeout(GOODBYE, &mut self.receiver).await.is_err()
        {
            self.receiver.abort();
        }
    }
}

/// Runs the command.
pub(crate) async fn run(home: &Home, json: bool, options: Play) -> Result<(), CuError> {
    check(&options)?;
    if options.from.is_some() || options.to.is_some() || options.speed.is_some() {
        return lookback::run(home, json, options).await;
    }
    let bar = output::progress(format!("asking for {}", options.camera));
    let api = SignedInApi::open(home)?;
    let camera = find_camera(&api, &options.camera).await?;
    let codecs = match options.via {
        Via::Quic => vec![VideoCodec::H264, VideoCodec::H265],
        Via::Webrtc => webrtc::codecs(&camera),
    };
    let player = if options.print_url { Player::Rtsp } else { Player::Client };
    let (quality, require_pin) = (options.quality, options.require_pin);
    let wanted = session::Wanted { codecs, quality, require_pin, player, recorder: None };
    let session = Session::ask(&api, home, camera, &wanted).await?;
    if let Some(warning) = session.warning() {
        output::note(&warning);
    }
    if options.print_url {
        bar.finish_and_clear();
        return print_urls(&session, json);
    }
    bar.set_message(format!("connecting to {}", session.camera.name));
    let name: Arc<str> = session.camera.name.as_str().into();
    let (incoming, reader) = Incoming::start(session, options.via, options.quality, Hub::subscribe);
    let tasks = TaskTracker::new();
    let token = CancellationToken::new();
    let result = match options.rtsp_listen {
        Some(address) => {
            serve::start(address, name, incoming.hub.clone(), json, &tasks, &token).await
        }
        None => Ok(()),
    };
    let result = match result {
        Ok(()) => watch(incoming, reader, &options, json, &tasks, &token, bar).await,
        Err(e) => {
            incoming.stop().await;
            Err(e)
        }
    };
    token.cancel();
    tasks.close();
    tasks.wait().await;
    result
}

/// The URLs carry a token without a key: it works from the first address that shows it.
fn print_urls(session: &Session, as_json: bool) -> Result<(), CuError> {
    let urls = &session.answer.rtsp_urls;
    if urls.is_empty() {
        return Err(CuError::unreachable(
            "the camera has told no RTSP address; try: cu play CAMERA --rtsp-listen 127.0.0.1:8554",
        ));
    }
    if as_json {
        let urls: Vec<_> = urls.iter().map(|url| url.expose()).collect();
        output::json(&json!({"rtsp": {"urls": urls, "expires_at": session.answer.expires_at}}));
        return Ok(());
    }
    for url in urls {
        output::line(url.expose());
    }
    Ok(())
}

/// From the first unit to the end: whichever comes first of the time limit, Ctrl-C or SIGTERM, and
/// the end of the stream. A recording is brought to its proper end in each case.
async fn watch(
    mut incoming: Incoming,
    reader: Reader,
    options: &Play,
    json: bool,
    tasks: &TaskTracker,
    token: &CancellationToken,
    bar: indicatif::ProgressBar,
) -> Result<(), CuError> {
    let mut stop = Stop::listen()?;
    if options.stats {
        tasks.spawn(figures::report(Arc::clone(&incoming.figures), json, token.clone()));
    }
    let limit = options.seconds.map(|s| Duration::from_secs(s.into()));
    let source = Source { reader, limit, first_until: Instant::now() + FIRST_MEDIA, begun: None };
    let sink = match options.out.clone() {
        Some(path) => tasks.spawn(record::run(source, path, token.clone(), bar.clone(), json)),
        None => tasks.spawn(count(source, token.clone(), bar.clone())),
    };
    tokio::pin!(sink);
    let finished = |result: Result<Result<(), CuError>, tokio::task::JoinError>| {
        result.unwrap_or_else(|e| Err(CuError::other(format!("the sink stopped: {e}"))))
    };
    let result = tokio::select! {
        result = &mut sink => finished(result),
        ended = incoming.ended() => {
            token.cancel();
            let saved = finished((&mut sink).await);
            // What the camera said matters more than an empty file.
            ended.and(saved).and(Err(CuError::unreachable("the camera has ended the stream")))
        }
        () = stop.asked() => {
            token.cancel();
            finished((&mut sink).await)
        }
    };
    bar.finish_and_clear();
    incoming.stop().await;
    result
}

fn check(options: &Play) -> Result<(), CuError> {
    let by_name = matches!(options.quality, QualityChoice::Auto | QualityChoice::Tier { .. });
    if options.via == Via::Quic && !by_name {
        return Err(CuError::usage(
            "over QUIC the quality is auto, main or sub; others need --via webrtc",
        ));
    }
    Ok(())
}

/// What a sink reads: units until the limit of media time.
pub(crate) struct Source {
    reader: Reader,
    limit: Option<Duration>,
    first_until: Instant,
    /// Timestamp, clock and time of arrival of the first picture (or sound, where there is none).
    begun: Option<(i64, Instant)>,
}

/// What [`Source::next`] gives.
pub(crate) enum Item {
    /// The stream has this form from here on.
    Form(Arc<StreamDescription>),
    /// A unit.
    Unit(Arc<AccessUnit>),
    /// The source is away; why.
    Away(String),
    /// So many units were left out, since this sink was too slow.
    Skipped(u64),
}

impl Source {
    /// The next item; `None` at the limit.
    async fn next(&mut self) -> Result<Option<Item>, CuError> {
        let next = if self.begun.is_some() {
            self.reader.next().await
        } else {
            tokio::time::timeout_at(self.first_until, self.reader.next()).await.map_err(|_| {
                CuError::timeout(
                    "the camera is there, but no picture came. Try again, or see `cu doctor`",
                )
            })?
        };
        Ok(Some(match next {
            Next::State(SourceState::Online(form)) => Item::Form(form),
            Next::State(SourceState::Offline(why)) => Item::Away(why),
            Next::Skipped(count) => Item::Skipped(count),
            Next::Unit(unit) => {
                if self.is_over(&unit) {
                    return Ok(None);
                }
                Item::Unit(unit)
            }
        }))
    }

    fn is_over(&mut self, unit: &AccessUnit) -> bool {
        let AccessUnit::Video { timestamp, .. } = unit else {
            // Sound alone is measured by the wall clock.
            let (_, at) = *self.begun.get_or_insert((i64::MIN, Instant::now()));
            let first_sound = self.begun.is_some_and(|(t, _)| t == i64::MIN);
            return first_sound && self.limit.is_some_and(|l| at.elapsed() >= l);
        };
        if self.begun.is_none_or(|(t, _)| t == i64::MIN) {
            self.begun = Some((*timestamp, Instant::now()));
        }
        let Some((first, at)) = self.begun else { return false };
        let media =
            u64::try_from(timestamp - first).unwrap_or(0) * 1_000 / u64::from(VIDEO_CLOCK_HZ);
        // A clock that starts anew must not end, or prolong, the recording.
        let jumped = Duration::from_millis(media).abs_diff(at.elapsed()) > Duration::from_secs(10);
        let passed = if jumped { at.elapsed() } else { Duration::from_millis(media) };
        self.limit.is_some_and(|limit| passed >= limit)
    }
}

/// The sink without a file: takes units until the limit.
async fn count(
    mut source: Source,
    token: CancellationToken,
    bar: indicatif::ProgressBar,
) -> Result<(), CuError> {
    loop {
        let item = tokio::select! {
            () = token.cancelled() => return Ok(()),
            item = source.next() => item?,
        };
        match item {
            None => return Ok(()),
            Some(Item::Unit(_)) => bar.set_message("playing"),
            Some(Item::Away(why)) => bar.set_message(format!("no picture: {why}")),
            Some(Item::Form(_) | Item::Skipped(_)) => {}
        }
    }
}
