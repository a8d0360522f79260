//! Recordings in a connection: what is looked up for the player, and what is played.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_media::StreamDescription;
use sightline_model::UnixMicros;
use sightline_recording::replay::{Config, Delivery, Play, Scale, Selection, Way};
use sightline_rtsp::{
    replay::{Frames, ReplayExtension},
    server::{Carriage, NoReplay, Replayed, Replaying, Resource, Stamps, Wish},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info};

use super::{
    CameraDirectory,
    connection::{Connection, send_udp, udp_pause},
};
use crate::{
    archive::{ArchiveError, Due, Event, Look, Player, Recording, Speed},
    gate::BoxFuture,
};

/// How long the storage may take to find the first picture.
const SEEK: Duration = Duration::from_secs(10);
/// When nothing more is recorded yet, a picture that was found may still be on its way to us.
const CAUGHT_UP: Duration = Duration::from_millis(300);
/// Most stretches that are passed over to find one that can be described.
const MAX_UNREADABLE: usize = 16;

/// What is looked up for DESCRIBE and SETUP.
pub(super) struct Looking {
    pub(super) found: BoxFuture<'static, Result<Look, ArchiveError>>,
    resource: Resource,
}

/// What is played.
pub(super) struct Playback {
    pub(super) player: Player,
    stage: Stage,
    stamps: Stamps,
    /// For players that asked for ONVIF's extension: the low byte of the `CSeq`.
    onvif: Option<u8>,
    report_at: Instant,
    paced_until: Instant,
}

enum Stage {
    /// The first picture of what was asked for is looked for.
    Seeking {
        wish: Wish,
        until: Instant,
        caught_up: bool,
    },
    Playing,
    Paused,
    /// Its end was reached.
    Over,
}

impl Playback {
    /// Whether it may be asked for the next unit.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        match self.stage {
            Stage::Seeking { .. } => true,
            Stage::Playing => self.paced_until <= now,
            Stage::Paused | Stage::Over => false,
        }
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Seeking { until, .. } => Some(until),
            Stage::Playing if self.paced_until > now => Some(self.paced_until.min(self.report_at)),
            Stage::Playing => Some(self.report_at),
            Stage::Paused | Stage::Over => None,
        }
    }

    fn replayed(&self, due: &Due) -> Replayed {
        let plan = &due.plan;
        let time_us = match self.stamps {
            Stamps::Recorded => plan.wall.0,
            Stamps::Shown => plan.presentation_us,
        };
        let extension = self.onvif.map(|cseq| ReplayExtension {
            time: plan.wall,
            clean_point: plan.keyframe,
            section_end: plan.section_end,
            discontinuity: plan.discontinuity,
            last: plan.last,
            cseq,
        });
        Replayed { time_us, taken_at: plan.wall, extension }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Connection<S> {
    /// Finds what was recorded first in the span of a resource.
    pub(super) fn look_up(&mut self, resource: Resource) {
        let (Some(archive), Some(span)) = (self.shared.archive.clone(), resource.span) else {
            return self.tell_looked_up(Err(NoReplay::Nothing));
        };
        let of = recording(&resource);
        let found = Box::pin(async move {
            let mut at = span.from;
            for _ in 0..MAX_UNREADABLE {
                let look = Arc::clone(&archive).find(of, at, Way::Forwards).await?;
                let Look::Unreadable(window) = look else { return Ok(look) };
                at = window.end.max(UnixMicros(at.0.saturating_add(1)));
            }
            Ok(Look::End)
        });
        self.looking = Some(Looking { found, resource });
    }

    pub(super) fn looked(&mut self, look: Result<Look, ArchiveError>) {
        let Some(Looking { resource, .. }) = self.looking.take() else { return };
        let to = resource.span.and_then(|span| span.to);
        self.tell_looked_up(match look {
            Ok(Look::Found(found)) if to.is_none_or(|to| found.window.start < to) => {
                Ok(Arc::clone(found.loaded.stream()))
            }
            Ok(Look::Found(_) | Look::Unreadable(_) | Look::Later | Look::End) => {
                Err(NoReplay::Nothing)
            }
            Err(error) => Err(NoReplay::Failed(error.to_string())),
        });
    }

    fn tell_looked_up(&mut self, result: Result<Arc<StreamDescription>, NoReplay>) {
        let directory = CameraDirectory(&self.shared.cameras);
        self.server.looked_up(result, &directory, Instant::now());
    }

    /// Begins to look for what is wanted; the answer follows with its first unit.
    pub(super) fn replay(&mut self, wish: Wish) {
        let now = Instant::now();
        let play = play(&wish);
        let (Some(archive), Some((play, speed))) = (self.shared.archive.clone(), play) else {
            return self.tell_replaying(Err(NoReplay::Nothing));
        };
        let goes_on = wish.at.is_none();
        if goes_on && self.playback.is_none() {
            // What it went on from was not found.
            return self.tell_replaying(Err(NoReplay::Nothing));
        }
        let playback = self.playback.get_or_insert_with(|| Playback {
            // Every group is sent once, whatever its length (ONVIF).
            player: Player::new(
                archive,
                recording(&wish.resource),
                Config { group_bound: None, ..Config::default() },
            ),
            stage: Stage::Paused,
            stamps: Stamps::Shown,
            onvif: None,
            report_at: now,
            paced_until: now,
        });
        let was_over = matches!(playback.stage, Stage::Over);
        let in_reverse = play.scale.way() == Way::Backwards;
        playback.stamps = if wish.onvif || in_reverse { Stamps::Recorded } else { Stamps::Shown };
        playback.onvif = wish.onvif.then_some(wish.cseq);
        let position = playback.player.playhead();
        playback.player.play(play, speed);
        match position {
            Some(from) if goes_on && !was_over => {
                let time_us = match playback.stamps {
                    Stamps::Recorded => from.0,
                    Stamps::Shown => playback.player.presentation_us(),
                };
                self.begin(&wish, from, time_us, now);
            }
            Some(_) | None => {
                playback.stage = Stage::Seeking { wish, until: now + SEEK, caught_up: false };
            }
        }
    }

    pub(super) fn pause_playback(&mut self) {
        if let Some(playback) = &mut self.playback {
            playback.player.pause();
            playback.stage = Stage::Paused;
        }
    }

    pub(super) fn recorded(&mut self, event: Event, now: Instant) {
        let Some(playback) = &mut self.playback else { return };
        match (event, &mut playback.stage) {
            (Event::Unit(due), Stage::Seeking { wish, .. }) => {
                let wish = wish.clone();
                let (from, time_us) = beginning(&wish, &due, playback.stamps);
                self.begin(&wish, from, time_us, now);
                // The answer goes before the media; what came behind it may want something else.
                self.drain();
                if self.playback.as_ref().is_some_and(|p| matches!(p.stage, Stage::Playing)) {
                    self.recorded_unit(&due, now);
                    self.send_reports();
                }
            }
            (Event::Unit(due), _) => self.recorded_unit(&due, now),
            (Event::Notice(notice), _) => debug!(?notice, "replay"),
            (Event::CaughtUp, Stage::Seeking { until, caught_up, .. }) => {
                (*until, *caught_up) = ((*until).min(now + CAUGHT_UP), true);
            }
            (Event::CaughtUp, _) => debug!("the player has caught up with the recorder"),
            (Event::Ended(_), Stage::Seeking { .. }) => self.not_found(NoReplay::Nothing),
            (Event::Ended(reason), _) => {
                debug!(?reason, "the replay has ended");
                playback.stage = Stage::Over;
                self.say_goodbye();
                self.server.replay_ended(now);
            }
            (Event::Failed(error), Stage::Seeking { .. }) => {
                self.not_found(NoReplay::Failed(error.to_string()));
            }
            (Event::Failed(error), _) => {
                info!(%error, "a replay was broken off");
                self.end();
            }
        }
    }

    pub(super) fn playback_time(&mut self, now: Instant) {
        let Some(playback) = &mut self.playback else { return };
        match playback.stage {
            Stage::Seeking { until, caught_up, .. } if until <= now => {
                let why = "the storage does not answer in time";
                let why = if caught_up { NoReplay::Nothing } else { NoReplay::Failed(why.into()) };
                self.not_found(why);
            }
            Stage::Playing if playback.report_at <= now => {
                playback.report_at = now + self.shared.options.report_interval;
                self.send_reports();
            }
            Stage::Seeking { .. } | Stage::Playing | Stage::Paused | Stage::Over => {}
        }
    }

    /// Answers that it is played from `from` on, which `time_us` stands for.
    fn begin(&mut self, wish: &Wish, from: UnixMicros, time_us: i64, now: Instant) {
        let Some(playback) = &mut self.playback else { return };
        let Some((play, speed)) = play(wish) else { return };
        playback.stage = Stage::Playing;
        playback.report_at = now + self.shared.options.report_interval;
        self.playing = None;
        let replaying = Replaying {
            from,
            until: wish.until,
            scale: f64::from(play.scale.thousandths()) / 1_000.0,
            speed: f64::from(speed.thousandths()) / 1_000.0,
            stamps: playback.stamps,
            time_us,
        };
        self.tell_path();
        self.tell_replaying(Ok(replaying));
    }

    fn not_found(&mut self, why: NoReplay) {
        self.playback = None;
        self.tell_replaying(Err(why));
    }

    fn tell_replaying(&mut self, result: Result<Replaying, NoReplay>) {
        let directory = CameraDirectory(&self.shared.cameras);
        self.server.replaying(result, &directory, Instant::now());
    }

    fn recorded_unit(&mut self, due: &Due, now: Instant) {
        let Some(playback) = &mut self.playback else { return };
        let tracks = self.server.tracks_mut();
        let Some(track) = tracks.iter_mut().find(|t| t.takes(&due.unit)) else { return };
        if !track.fits(&due.stream) {
            // Sound of another form is left out; nothing stands in for the picture.
            if due.unit.is_video() {
                info!("the recording's coding changes here; RTSP players must ask anew");
                self.end();
            }
            return;
        }
        if self.unsent.is_empty() {
            self.stalled = now;
        }
        let replayed = playback.replayed(due);
        match (track.carriage, self.pairs.get(&track.kind)) {
            (Carriage::Interleaved { .. }, _) => {
                track.write_replayed(&due.unit, &replayed, &mut self.unsent, |_| {});
            }
            (Carriage::Udp, Some(pair)) => {
                let bytes = send_udp(pair, due.unit.len(), |out, lengths| {
                    track.write_replayed(&due.unit, &replayed, out, |len| lengths.push(len));
                });
                playback.paced_until = playback.paced_until.max(now) + udp_pause(bytes);
            }
            (Carriage::Udp, None) => {}
        }
        if due.plan.shown {
            self.server.replayed(due.plan.wall);
        }
    }
}

const fn recording(resource: &Resource) -> Recording {
    Recording { channel: resource.channel, tier: resource.tier }
}

/// The nearest that is played; none for what is no scale.
fn play(wish: &Wish) -> Option<(Play, Speed)> {
    let selection = match wish.frames {
        None => Selection::Budget,
        Some(Frames::All) => Selection::All,
        Some(Frames::Predicted) => Selection::Referenced,
        Some(Frames::Intra { interval_ms }) => {
            Selection::Keyframes { interval_us: i64::from(interval_ms) * 1_000 }
        }
    };
    let play = Play {
        at: wish.at,
        until: wish.until,
        scale: Scale::nearest(wish.scale)?,
        selection,
        delivery: if wish.rate_control { Delivery::Paced } else { Delivery::Free },
    };
    Some((play, Speed::nearest(wish.speed)?))
}

/// When what is played begins, and what stands for that.
fn beginning(wish: &Wish, due: &Due, stamps: Stamps) -> (UnixMicros, i64) {
    let plan = &due.plan;
    let in_reverse = wish.scale < 0.0;
    let bounded = wish.at.filter(|at| at.0 != i64::MAX && at.0 != i64::MIN);
    // In reverse, and where pictures are only decoded, the first that is sent is not the first that
    // is shown.
    let from = match bounded {
        Some(at) if in_reverse || !plan.shown => at.max(plan.wall),
        Some(_) | None => plan.wall,
    };
    let time_us = match stamps {
        Stamps::Recorded => from.0,
        Stamps::Shown => plan.presentation_us,
    };
    (from, time_us)
}
