//! Exactly the picture size and rate that a viewer asks for (A6.1.3), made on demand.
//!
//! One transcoder serves all viewers who want the same of the same stream; it ends some seconds
//! after the last of them. How many there can be is bounded: each takes a good part of a core.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sightline_media::{
    AccessUnit, ParameterSets, StreamDescription, VIDEO_CLOCK_HZ, VideoTrack, packetize::nal_units,
    ring::Limits,
};
use sightline_model::VideoCodec;
use sightline_protocol::{Problem, ProblemKind};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    codec::{H264Decoder, H264Encoder, I420, PictureError, Scaler, scale_decoded},
    hub::{Hub, Next, Publisher, Reader, SourceState},
};

/// How long a transcoder goes on without readers.
const LINGER: Duration = Duration::from_secs(5);
/// One that was asked for just now is about to get a reader.
const JUST_ASKED: Duration = Duration::from_millis(300);
/// Before its first picture a transcoder catches up with the source for at most this long: a viewer
/// can go over to a picture of now at once, to an older one not at all.
const PREPARE_AT_MOST: Duration = Duration::from_secs(3);
/// Time from keyframe to keyframe.
const GOP: Duration = Duration::from_secs(2);
/// More units waiting than this: pictures are decoded only, until the reader has caught up.
const CATCHING_UP: u64 = 8;
/// While catching up, a picture is shown at least so often.
const SHOW_AT_LEAST: Duration = Duration::from_millis(500);
/// Bits per pixel and picture: low-complexity H.264 of a quiet scene.
const BITS_PER_PIXEL: f64 = 0.1;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    width: u32,
    height: u32,
    fps: u32,
}

impl Form {
    fn check(self) -> Result<Self, Problem> {
        let even = self.width.is_multiple_of(2) && self.height.is_multiple_of(2);
        let possible = (16..=3840).contains(&self.width) && (16..=2160).contains(&self.height);
        if even && possible && (1..=60).contains(&self.fps) {
            return Ok(self);
        }
        Err(Problem::new(
            ProblemKind::InvalidRequest,
            "the picture must be of even size, 16x16 to 3840x2160, at 1 to 60 per second",
        ))
    }

    fn bitrate_bps(self) -> u32 {
        let pixels = f64::from(self.width) * f64::from(self.height) * f64::from(self.fps);
        (pixels * BITS_PER_PIXEL).clamp(64_000.0, 8_000_000.0) as u32
    }
}

struct Entry {
    source: Hub,
    form: Form,
    hub: Hub,
    /// When somebody last asked for it.
    wanted: Instant,
    stop: CancellationToken,
}

impl Entry {
    /// Whether it may give way to another form.
    fn is_idle(&self) -> bool {
        self.hub.readers() == 0 && self.wanted.elapsed() > JUST_ASKED
    }
}

/// The transcoders of one unit; cheap to clone.
#[derive(Clone)]
pub struct TranscodePool {
    most: usize,
    entries: Arc<Mutex<Vec<Entry>>>,
    tasks: TaskTracker,
    token: CancellationToken,
}

impl TranscodePool {
    /// A pool of at most `most` transcoders at a time, whose threads are tracked by `tasks` and end
    /// with `token`.
    #[must_use]
    pub fn new(most: usize, tasks: TaskTracker, token: CancellationToken) -> Self {
        Self { most, entries: Arc::default(), tasks, token }
    }

    /// The stream of `source` at exactly this size and at most this rate (a source that gives fewer
    /// pictures is not given more); its sound passes unchanged. Subscribe within some seconds, or
    /// it ends again.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidRequest`] for an impossible form, [`ProblemKind::NotDecodable`] for a
    /// source other than H.264, [`ProblemKind::Busy`] when all transcoders are taken. To be called
    /// within a tokio runtime.
    pub fn get(&self, source: &Hub, width: u32, height: u32, fps: u32) -> Result<Hub, Problem> {
        let form = Form { width, height, fps }.check()?;
        if let Some(description) = source.state().description() {
            check_source(description)?;
        }
        let mut entries = self.entries.lock();
        let same = |entry: &&mut Entry| entry.form == form && entry.source.is_same(source);
        if let Some(entry) = entries.iter_mut().find(same) {
            entry.wanted = Instant::now();
            return Ok(entry.hub.clone());
        }
        if entries.len() >= self.most && !end_idle(&mut entries) {
            return Err(Problem::new(
                ProblemKind::Busy,
                "the unit is re-encoding for as many viewers as it can; choose one of the \
                 camera's own sizes",
            ));
        }
        let (publisher, hub) = Hub::new(Limits::default());
        let wanted = Instant::now();
        let stop = self.token.child_token();
        let entry =
            Entry { source: source.clone(), form, hub: hub.clone(), wanted, stop: stop.clone() };
        entries.push(entry);
        drop(entries);
        let transcoder = Transcoder::new(source, form, publisher);
        let pool = self.clone();
        let runtime = Handle::current();
        self.tasks.spawn_blocking(move || pool.work(transcoder, &stop, &runtime));
        Ok(hub)
    }

    /// Transcoders now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.entries.lock().len()
    }

    fn work(&self, mut transcoder: Transcoder, stop: &CancellationToken, runtime: &Handle) {
        // Whatever ends the thread, a panic included, frees its place.
        let place = Place { pool: self, hub: transcoder.publisher.hub() };
        loop {
            match runtime.block_on(transcoder.event(stop)) {
                Event::Next(next) => transcoder.handle(next),
                Event::KeyframeWanted => transcoder.keyframe_wanted = true,
                Event::Tick if place.is_wanted() => {}
                Event::Tick | Event::Stop => break,
            }
        }
    }
}

/// Ends the one that has had no reader for longest; false when all are in use.
fn end_idle(entries: &mut Vec<Entry>) -> bool {
    let idle = entries.iter().enumerate().filter(|(_, entry)| entry.is_idle());
    let Some((i, _)) = idle.min_by_key(|(_, entry)| entry.wanted) else { return false };
    entries.swap_remove(i).stop.cancel();
    true
}

struct Place<'a> {
    pool: &'a TranscodePool,
    hub: Hub,
}

impl Place<'_> {
    /// Whether anybody reads or has just asked; gives the place up when not, so that nobody can
    /// ask in between.
    fn is_wanted(&self) -> bool {
        let mut entries = self.pool.entries.lock();
        let Some(i) = entries.iter().position(|entry| entry.hub.is_same(&self.hub)) else {
            return false;
        };
        if self.hub.readers() > 0 {
            entries[i].wanted = Instant::now();
        }
        let wanted = entries[i].wanted.elapsed() < LINGER;
        if !wanted {
            entries.swap_remove(i);
        }
        wanted
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.entries.lock().retain(|entry| !entry.hub.is_same(&self.hub));
    }
}

fn check_source(description: &StreamDescription) -> Result<&VideoTrack, Problem> {
    match &description.video {
        Some(video) if video.codec() == VideoCodec::H264 => Ok(video),
        Some(_) => Err(Problem::new(
            ProblemKind::NotDecodable,
            "the camera sends H.265, which the unit cannot re-encode",
        )),
        None => Err(Problem::new(ProblemKind::NotDecodable, "the camera sends no picture")),
    }
}

enum Event {
    Next(Next),
    KeyframeWanted,
    Tick,
    Stop,
}

struct Transcoder {
    reader: Reader,
    publisher: Publisher,
    form: Form,
    scaler: Scaler,
    picture: I420,
    codec: Option<Codec>,
    keyframe_wanted: bool,
    tick: tokio::time::Interval,
}

/// What belongs to one form of the source.
struct Codec {
    description: Arc<StreamDescription>,
    decoder: H264Decoder,
    encoder: H264Encoder,
    /// Whether decoding has begun, at a keyframe.
    begun: bool,
    pace: Pace,
    last_keyframe: Option<i64>,
    last_shown: Instant,
}

impl Transcoder {
    fn new(source: &Hub, form: Form, publisher: Publisher) -> Self {
        let mut transcoder = Self {
            reader: source.subscribe(),
            publisher,
            form,
            scaler: Scaler::default(),
            picture: I420::new(form.width as usize, form.height as usize),
            codec: None,
            keyframe_wanted: false,
            tick: tokio::time::interval(Duration::from_secs(1)),
        };
        transcoder.source_state(&source.state());
        transcoder
    }

    async fn event(&mut self, token: &CancellationToken) -> Event {
        tokio::select! {
            biased;
            () = token.cancelled() => Event::Stop,
            _ = self.tick.tick() => Event::Tick,
            () = self.publisher.keyframe_wanted() => Event::KeyframeWanted,
            next = self.reader.next() => Event::Next(next),
        }
    }

    fn handle(&mut self, next: Next) {
        match next {
            Next::State(state) => self.source_state(&state),
            Next::Skipped(_) => {
                if let Some(codec) = &mut self.codec {
                    codec.begun = false;
                }
            }
            Next::Unit(unit) => {
                if !unit.is_video() {
                    self.sound(&unit);
                } else if let Err(error) = self.picture(&unit) {
                    tracing::debug!(%error, "transcoder");
                    if let Some(codec) = &mut self.codec {
                        codec.begun = false;
                    }
                }
            }
        }
    }

    fn source_state(&mut self, state: &SourceState) {
        self.codec = None;
        match state {
            SourceState::Offline(reason) => self.publisher.offline(reason.clone()),
            SourceState::Online(description) => match Codec::new(description, self.form) {
                Ok(codec) => self.codec = Some(codec),
                Err(reason) => self.publisher.offline(reason),
            },
        }
    }

    fn sound(&self, unit: &AccessUnit) {
        // Before the first picture nothing is announced; old sound is not wanted.
        let online = self.codec.as_ref().is_some_and(|codec| codec.last_keyframe.is_some());
        if online && self.reader.behind() <= CATCHING_UP * 4 {
            self.publisher.publish(unit.clone());
        }
    }

    fn picture(&mut self, unit: &AccessUnit) -> Result<(), PictureError> {
        let Some(codec) = &mut self.codec else { return Ok(()) };
        let AccessUnit::Video { timestamp, captured_at, keyframe, data, .. } = unit else {
            return Ok(());
        };
        if !*keyframe && !codec.begun {
            return Ok(());
        }
        codec.begun = true;
        let Some(decoded) = codec.decoder.decode(data)? else { return Ok(()) };
        let behind = self.reader.behind();
        let (late, patience) = match codec.last_keyframe {
            Some(_) => (behind > CATCHING_UP, SHOW_AT_LEAST),
            None => (behind > 1, PREPARE_AT_MOST),
        };
        if late && codec.last_shown.elapsed() < patience {
            return Ok(());
        }
        if !codec.pace.is_due(*timestamp) {
            return Ok(());
        }
        scale_decoded(&mut self.scaler, &decoded, &mut self.picture);
        let gop = GOP.as_secs() as i64 * i64::from(VIDEO_CLOCK_HZ);
        let due = codec.last_keyframe.is_none_or(|last| timestamp - last >= gop);
        let keyframe = std::mem::take(&mut self.keyframe_wanted) || due;
        let Some(data) = codec.encoder.encode(&self.picture, keyframe)? else { return Ok(()) };
        let unit = AccessUnit::h264(*timestamp, *captured_at, data);
        if unit.is_keyframe() {
            if codec.last_keyframe.is_none() {
                let waited = codec.last_shown.elapsed();
                tracing::debug!(?waited, behind, "first re-encoded picture");
            }
            codec.last_keyframe = Some(*timestamp);
            if let Some(description) = codec.describe(&unit, self.form) {
                self.publisher.online(description);
            }
        }
        codec.last_shown = Instant::now();
        self.publisher.publish(unit);
        Ok(())
    }
}

impl Codec {
    /// Fails with words for the person.
    fn new(description: &Arc<StreamDescription>, form: Form) -> Result<Self, String> {
        let video = check_source(description).map_err(|problem| problem.detail)?;
        let make = || {
            Ok::<_, PictureError>((
                H264Decoder::new(video)?,
                H264Encoder::new(form.fps, form.bitrate_bps())?,
            ))
        };
        let (decoder, encoder) = make().map_err(|error| error.to_string())?;
        Ok(Self {
            description: Arc::clone(description),
            decoder,
            encoder,
            begun: false,
            pace: Pace::new(form.fps),
            last_keyframe: None,
            last_shown: Instant::now(),
        })
    }

    fn describe(&self, keyframe: &AccessUnit, form: Form) -> Option<StreamDescription> {
        const SPS: u8 = 7;
        const PPS: u8 = 8;
        let AccessUnit::Video { data, .. } = keyframe else { return None };
        let find = |kind: u8| nal_units(data).find(|nal| nal[0] & 0x1f == kind);
        let source_fps = self.description.video.as_ref().map_or(0.0, |video| video.fps);
        let fps = if source_fps > 0.0 { source_fps.min(form.fps as f32) } else { form.fps as f32 };
        Some(StreamDescription {
            video: Some(VideoTrack {
                width: form.width,
                height: form.height,
                fps,
                parameter_sets: ParameterSets::H264 { sps: find(SPS)?, pps: find(PPS)? },
            }),
            audio: self.description.audio.clone(),
        })
    }
}

/// Chooses pictures so that the wanted rate comes out, whatever the source's.
struct Pace {
    period_90k: f64,
    next: Option<f64>,
}

impl Pace {
    fn new(fps: u32) -> Self {
        Self { period_90k: f64::from(VIDEO_CLOCK_HZ) / f64::from(fps), next: None }
    }

    /// Whether the picture of this time is wanted.
    fn is_due(&mut self, timestamp: i64) -> bool {
        let time = timestamp as f64;
        let jumped = self.next.is_none_or(|next| (time - next).abs() > 10.0 * self.period_90k);
        let next = if jumped { time } else { self.next.unwrap_or(time) };
        // A camera's clock trembles: a picture slightly early is in time.
        if time + self.period_90k * 0.1 < next {
            return false;
        }
        // The debt of a late picture stays, so that the rate comes out, but never grows.
        self.next = Some((next + self.period_90k).max(time));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_comes_out() {
        for (from, to, expected) in
            [(25, 25, 25), (25, 10, 10), (25, 1, 1), (30, 25, 25), (15, 25, 15)]
        {
            let mut pace = Pace::new(to);
            let trembling = |i: i64| i * 90_000 / from + (i * 37 % 11 - 5) * 40;
            let taken = (0..from * 20).filter(|i| pace.is_due(trembling(*i))).count() as i64;
            assert!((taken - expected * 20).abs() <= 1, "{from} to {to}: {taken} in 20 s");
        }
    }

    #[test]
    fn a_jump_in_time_does_not_stop_it() {
        let mut pace = Pace::new(10);
        assert!(pace.is_due(0) && pace.is_due(9_000) && pace.is_due(-5_000_000));
        assert!(pace.is_due(5_000_000) && !pace.is_due(5_003_000));
    }
}
