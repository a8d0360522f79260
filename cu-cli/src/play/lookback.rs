//! `--from`: what was recorded of a camera, into a file or a count.
//!
//! It is played from whoever has it: the camera's own unit, its NVR, or the cloud storage; where one of
//! them has a gap that another does not have, the other goes on. Nothing is left out here when the disk is
//! slow: what is not written yet is not taken from the connection, and whoever sends waits.

mod cloud;
mod recorder;
mod sink;

use std::{collections::VecDeque, ops::Range, time::Duration};

use indicatif::ProgressBar;
use sightline_model::{PuId, QualityChoice, Right, StreamTier, UnixMicros};
use sightline_protocol::cm::{Camera, SilentRecorder};
use sightline_recording::{chain::time_text, replay::Way};
use sightline_rtsp::{replay::Scale, server::Span};
use tokio_util::sync::CancellationToken;

use self::sink::Sink;
use super::{
    place::{self, Held},
    stop::{self, Stop},
    survey::{Leg, Survey, Surveyor},
};
use crate::{
    api::{SignedInApi, now},
    cli::{Play, Via},
    cmd::find_camera,
    error::{CuError, Exit},
    home::Home,
    output, silent,
};

/// What ends so shortly before now may still grow in the cloud: segments are uploaded when they are
/// complete.
const MAY_GROW: Duration = Duration::from_secs(120);

/// What is wanted of the recording.
#[derive(Debug, Clone, Copy)]
struct Look {
    span: Span,
    scale: Scale,
    /// Whether it is taken as fast as it comes.
    at_once: bool,
}

impl Look {
    fn way(self) -> Way {
        if self.scale.value() < 0.0 { Way::Backwards } else { Way::Forwards }
    }
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
    let named = match options.on {
        Some(on) => Some(place::named(&api, &camera, on).await?),
        None => None,
    };
    let mut tour = Tour {
        api: &api,
        home,
        camera,
        named,
        look,
        quality: options.quality,
        require_pin: options.require_pin,
        bar: &bar,
        warned: Vec::new(),
        noted: Vec::new(),
    };
    let mut sink = Sink::new(options.out.clone(), look.span.from, bar.clone());
    let mut stop = Stop::listen()?;
    let end = CancellationToken::new();
    let playing = async {
        let played = tour.play(&mut sink, &end).await;
        // What came before it broke is kept.
        played.and(sink.finish(json).await)
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

/// The encoding that is asked for first.
const fn tier(quality: QualityChoice) -> StreamTier {
    match quality {
        QualityChoice::Tier { tier } => tier,
        QualityChoice::Auto | QualityChoice::Keyframes | QualityChoice::Exact { .. } => {
            StreamTier::Main
        }
    }
}

/// From one to the other, until all is played.
struct Tour<'a> {
    api: &'a SignedInApi,
    home: &'a Home,
    camera: Camera,
    /// Whom the person has named; none: whoever has it.
    named: Option<Held>,
    look: Look,
    quality: QualityChoice,
    require_pin: bool,
    bar: &'a ProgressBar,
    /// Devices whose warning the person has seen.
    warned: Vec<PuId>,
    /// Recorders of which the person knows that they could not be asked.
    noted: Vec<SilentRecorder>,
}

impl Tour<'_> {
    async fn play(&mut self, sink: &mut Sink, end: &CancellationToken) -> Result<(), CuError> {
        let way = self.look.way();
        let mut rest = self.look.span.from..self.look.span.to.unwrap_or_else(now);
        let mut playing = None;
        while rest.start < rest.end && !end.is_cancelled() {
            let survey = match &self.named {
                Some(named) => Survey::of_one(named.clone(), rest.clone(), way),
                None => self.survey(rest.clone()).await?,
            };
            let until = survey.until;
            rest = match way {
                Way::Forwards => until..rest.end,
                Way::Backwards => rest.start..until,
            };
            let is_last = rest.start >= rest.end;
            playing = self.legs(survey, (playing, is_last), sink, end).await?;
        }
        if sink.pictures() == 0 && !end.is_cancelled() { Err(self.nothing()) } else { Ok(()) }
    }

    async fn survey(&mut self, span: Range<UnixMicros>) -> Result<Survey, CuError> {
        self.bar.set_message("asking who has it");
        let surveyor = Surveyor {
            api: self.api,
            camera: &self.camera.id,
            tier: tier(self.quality),
            only: false,
            way: self.look.way(),
        };
        let survey = surveyor.survey(span).await?;
        for one in &survey.silent {
            if !self.noted.contains(one) {
                let words = silent::words(one);
                output::note(&format!("note: {words}; what nobody else has is left out"));
                self.noted.push(one.clone());
            }
        }
        Ok(survey)
    }

    /// Plays what a survey has found; who played last. Where somebody gives nothing of what they have,
    /// others are asked; what is missing in the end is told.
    async fn legs(
        &mut self,
        mut survey: Survey,
        (mut playing, is_last): (Option<Held>, bool),
        sink: &mut Sink,
        end: &CancellationToken,
    ) -> Result<Option<Held>, CuError> {
        let way = self.look.way();
        let mut queue = VecDeque::from(survey.legs(way, playing.as_ref()));
        let mut failed = None;
        while let Some(leg) = queue.pop_front() {
            if end.is_cancelled() {
                break;
            }
            let before = sink.pictures();
            let is_open = is_last && queue.is_empty() && self.look.span.to.is_none();
            let Err(error) = self.leg(&leg, is_open, sink, end).await else {
                playing = Some(leg.held);
                continue;
            };
            // Nobody else is asked once somebody has lied, nor in the middle of a stretch.
            let is_final = matches!(error.exit, Exit::Security | Exit::NotSignedIn | Exit::Other);
            if self.named.is_some() || is_final || sink.pictures() > before {
                return Err(error);
            }
            let lost = lose(&mut survey, &leg, way, &error);
            queue = survey.legs(way, playing.as_ref()).into();
            if lost.is_empty() {
                output::note(&format!("note: {}: {error}; going on elsewhere", leg.held.words()));
                continue;
            }
            for span in lost {
                let (from, to) = (time_text(span.start), time_text(span.end));
                let who = leg.held.words();
                output::note(&format!("Missing: {from} to {to}, which only {who} has."));
            }
            failed.get_or_insert(error);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(playing),
        }
    }

    /// Plays one stretch; when it is open, also what is recorded meanwhile.
    async fn leg(
        &mut self,
        leg: &Leg,
        is_open: bool,
        sink: &mut Sink,
        end: &CancellationToken,
    ) -> Result<(), CuError> {
        sink.leg_begins();
        let Range { start: from, end: to } = leg.span;
        match &leg.held {
            Held::InCloud => {
                let grows = is_open && now().since(to) < MAY_GROW;
                cloud::play(self, (from..to, grows), sink, end).await
            }
            held @ (Held::ByUnit | Held::ByNvr(_)) => {
                let span = Span { from, to: (!is_open).then_some(to) };
                recorder::play(self, held.clone(), span, sink, end).await
            }
        }
    }

    /// Says once of each device what the person should know of its key.
    fn warn(&mut self, device: &PuId, warning: Option<String>) {
        if let Some(warning) = warning.filter(|_| !self.warned.contains(device)) {
            output::note(&warning);
            self.warned.push(device.clone());
        }
    }

    /// Why there is nothing to be played.
    fn nothing(&self) -> CuError {
        match self.noted.first() {
            None => CuError::new(Exit::Refused, "nothing of that is recorded"),
            Some(one) => CuError::unreachable(format!(
                "nothing of that is recorded where it could be looked for: {}",
                silent::words(one)
            )),
        }
    }
}

/// Takes a stretch from who has not given it, and all of theirs when they cannot be reached; what of the
/// stretch nobody else has. What lies before it was played.
fn lose(survey: &mut Survey, leg: &Leg, way: Way, error: &CuError) -> Vec<Range<UnixMicros>> {
    let everything = match way {
        Way::Forwards => leg.span.start..UnixMicros(i64::MAX),
        Way::Backwards => UnixMicros(i64::MIN)..leg.span.end,
    };
    survey.keep(&everything);
    match error.exit {
        Exit::Unreachable | Exit::Timeout => survey.lose(&leg.held, &everything),
        Exit::Other | Exit::Usage | Exit::NotSignedIn | Exit::Refused | Exit::Security => {
            survey.lose(&leg.held, &leg.span)
        }
    }
}

#[cfg(test)]
mod tests;
