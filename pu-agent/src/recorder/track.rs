//! One camera's recording of one tier: from the hub to the chain's writer.

use std::{sync::Arc, time::Duration};

use sightline_media::{AccessUnit, StreamDescription};
use sightline_media_io::hub::{Hub, Next, Reader, SourceState};
use sightline_recording::{
    segmenter::{Config, RunEnd, Segmenter},
    statement::{Causes, ClockStep, GapReason, Subject},
    strategy::{PreRoll, PreRollLimits, Pushed},
};
use sightline_recording_store::Store;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    clock::Dates,
    figures::Figures,
    lending::{self, Lending, Lent},
    tape::{Carried, Tape},
};

/// For so long pictures are held while the storage gives no writer yet.
const HOLD: Duration = Duration::from_secs(10);

/// What the plan wants of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Hold the pictures of so long.
    PreRoll(Duration),
    /// Record for these causes, from this moment on by the monotonic clock, in microseconds.
    Record { causes: Causes, back_to_us: u64 },
    /// Stop, at the next keyframe. What is not recorded anyhow ends with words then: a chain that ends
    /// with a segment counts as going on.
    Stop,
}

/// What a track is made of.
pub struct Parts {
    pub subject: Subject,
    pub hub: Hub,
    pub store: watch::Receiver<Option<Store>>,
    pub dates: Dates,
    pub config: Config,
    pub figures: Figures,
}

/// See the module.
pub struct Track {
    parts: Parts,
    reader: Option<Reader>,
    lending: Option<Lending>,
    pre_roll: PreRoll,
    held: Duration,
    segmenter: Segmenter,
    tape: Tape,
    /// From when on it is to be recorded, by the monotonic clock.
    wanted: Option<u64>,
    /// The pre-roll has been told so.
    begun: bool,
    online: bool,
    usable: bool,
    left_out: Option<&'static str>,
}

impl Track {
    pub fn new(parts: Parts) -> Self {
        let boot = parts.dates.boot();
        Self {
            reader: None,
            lending: None,
            pre_roll: PreRoll::new(PreRollLimits::of(Duration::ZERO), true),
            held: Duration::ZERO,
            segmenter: Segmenter::new(boot, parts.config),
            tape: Tape::new(boot, parts.figures.clone()),
            wanted: None,
            begun: false,
            online: false,
            usable: true,
            left_out: None,
            parts,
        }
    }

    /// Records until `token` is cancelled or nobody gives orders any more; then what is open is closed
    /// and durable.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, token: CancellationToken) {
        let mut news = self.parts.dates.news();
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                _ = news.changed() => self.take_steps(),
                lent = lend(&mut self.lending) => self.begin_chain(lent),
                () = self.tape.acknowledged() => {}
                next = read(&mut self.reader) => self.take(next),
            }
        }
        self.end_run(RunEnd::Stopped);
        self.tape.finish().await;
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::PreRoll(length) => {
                self.held = length;
                self.hold();
            }
            Order::Record { causes, back_to_us } => {
                if self.tape.is_recording() {
                    self.segmenter.handle_cut();
                }
                self.tape.set_causes(causes);
                let before = self.wanted.replace(back_to_us);
                self.follow_hub();
                if before.is_none() {
                    self.want();
                }
            }
            Order::Stop => self.stop(),
        }
        self.follow_hub();
    }

    fn want(&mut self) {
        if self.tape.is_loaded() {
            self.begin();
        } else if self.lending.is_none() {
            self.borrow_writer();
        }
        self.hold();
    }

    fn borrow_writer(&mut self) {
        let Parts { store, subject, dates, .. } = &self.parts;
        let lending = lending::writer(store.clone(), subject.clone(), dates.clone());
        self.lending = Some(Box::pin(lending));
    }

    fn begin_chain(&mut self, lent: Option<Lent>) {
        self.lending = None;
        let Some(Lent { writer, end }) = lent else {
            // It may have become wanted meanwhile.
            if self.wanted.is_some() {
                self.borrow_writer();
            }
            return;
        };
        self.tape.load(writer, end.gap);
        if let Some(step) = end.newest.and_then(|newest| self.parts.dates.missed_step(&newest)) {
            self.tape.step(step);
        }
        match self.wanted {
            Some(_) => self.begin(),
            None => self.not_planned(),
        }
        self.hold();
        self.follow_hub();
    }

    fn begin(&mut self) {
        let Some(back_to_us) = self.wanted else { return };
        self.begun = true;
        for unit in self.pre_roll.begin(back_to_us) {
            self.record(&unit);
        }
        match (self.tape.is_recording(), self.online, self.usable) {
            (false, false, _) => self.camera_is_away(),
            (false, true, false) => self.gap(GapReason::UnusableStream),
            (true, _, _) | (false, true, true) => {}
        }
    }

    fn stop(&mut self) {
        self.wanted = None;
        if std::mem::take(&mut self.begun) {
            self.pre_roll.end();
            if !self.tape.is_recording() {
                self.interrupt();
                self.not_planned();
            }
        } else if !self.tape.is_loaded() && self.lending.is_none() {
            let Parts { store, subject, dates, .. } = &self.parts;
            let lending = lending::writer_of_begun(store.clone(), subject.clone(), dates.clone());
            self.lending = Some(Box::pin(lending));
        }
    }

    /// How much is held while nothing is recorded.
    fn hold(&mut self) {
        let waits = self.wanted.is_some() && !self.begun;
        let length = if waits { self.held.max(HOLD) } else { self.held };
        self.pre_roll.set_limits(PreRollLimits::of(length));
    }

    /// Reads the hub as long as anything of it is needed.
    fn follow_hub(&mut self) {
        let is_ending = self.tape.is_recording();
        let needed = self.wanted.is_some() || is_ending || !self.held.is_zero();
        match (needed, self.reader.is_some()) {
            (true, false) => {
                self.reader = Some(self.parts.hub.subscribe());
                let state = self.parts.hub.state();
                self.describe(&state);
            }
            (false, true) => {
                self.reader = None;
                self.interrupt();
                self.not_planned();
            }
            (true, true) | (false, false) => {}
        }
    }

    fn take(&mut self, next: Next) {
        match next {
            Next::Unit(unit) => self.push(unit),
            Next::Skipped(units) => {
                tracing::warn!(
                    channel = self.parts.figures.channel(),
                    units,
                    "this machine is too slow: pictures were not recorded"
                );
                self.interrupt();
                self.gap(if self.begun { GapReason::RecorderOff } else { GapReason::NotPlanned });
            }
            Next::State(state) => {
                match (&state, self.begun) {
                    (SourceState::Offline(_), true) => {
                        self.interrupt();
                        self.camera_is_away();
                    }
                    // A recording that was to end at the next keyframe ends here.
                    (SourceState::Offline(_) | SourceState::Online(_), false) => {
                        self.interrupt();
                        self.not_planned();
                    }
                    // Another form does not end the run.
                    (SourceState::Online(_), true) => self.pre_roll.interrupt(),
                }
                self.describe(&state);
            }
        }
        if self.wanted.is_none() {
            self.follow_hub();
        }
    }

    fn push(&mut self, unit: Arc<AccessUnit>) {
        let (steps, moment) = self.parts.dates.date(unit.captured_at());
        self.handle_steps(steps);
        match self.pre_roll.push(unit, moment.monotonic_us) {
            Pushed::Held | Pushed::Skipped => {}
            Pushed::Record(unit) => {
                if let Err(error) = self.segmenter.handle_unit(&unit, &moment) {
                    tracing::error!(%error, "a picture could not be put into its segment");
                }
                self.carry();
            }
            Pushed::Ended => {
                self.end_run(RunEnd::Stopped);
                self.not_planned();
            }
        }
    }

    /// A unit that was held.
    fn record(&mut self, unit: &AccessUnit) {
        let (steps, moment) = self.parts.dates.date(unit.captured_at());
        self.handle_steps(steps);
        if let Err(error) = self.segmenter.handle_unit(unit, &moment) {
            tracing::error!(%error, "a picture could not be put into its segment");
        }
        self.carry();
    }

    fn describe(&mut self, state: &SourceState) {
        self.online = matches!(state, SourceState::Online(_));
        let Some(description) = state.description() else { return };
        let channel = self.parts.figures.channel();
        let described = self.segmenter.handle_description(description);
        if let Err(error) = &described {
            let form = form(description);
            tracing::warn!(channel, form, %error, "this stream cannot be recorded");
        }
        self.usable = described.is_ok();
        self.carry();
        if !self.usable && self.begun {
            self.gap(GapReason::UnusableStream);
        }
    }

    fn take_steps(&mut self) {
        let steps = self.parts.dates.steps();
        self.handle_steps(steps);
    }

    fn handle_steps(&mut self, steps: Vec<ClockStep>) {
        if !steps.is_empty() {
            steps.into_iter().for_each(|step| self.segmenter.handle_step(step));
            self.carry();
        }
    }

    /// The stream was interrupted.
    fn interrupt(&mut self) {
        self.pre_roll.interrupt();
        self.end_run(RunEnd::SourceAway);
    }

    fn end_run(&mut self, why: RunEnd) {
        self.segmenter.handle_end(why);
        self.carry();
    }

    fn carry(&mut self) {
        while let Some(output) = self.segmenter.poll_output() {
            match self.tape.carry(output) {
                Carried::Done => {}
                Carried::Refused => self.segmenter.handle_end(RunEnd::Stopped),
                Carried::Lost => self.borrow_writer(),
            }
        }
        let left_out = self.segmenter.left_out();
        if left_out.is_some() && left_out != self.left_out {
            self.left_out = left_out;
            tracing::warn!(channel = self.parts.figures.channel(), left_out, "not all is recorded");
        }
    }

    fn camera_is_away(&mut self) {
        // One that was never tried may be there: the next moments tell.
        if !self.parts.hub.is_starting() {
            self.gap(GapReason::CameraAway);
        }
    }

    fn not_planned(&mut self) {
        self.gap(GapReason::NotPlanned);
    }

    fn gap(&mut self, reason: GapReason) {
        self.tape.gap(reason, &self.parts.dates.now());
    }
}

fn form(description: &StreamDescription) -> String {
    let video = description.video.as_ref();
    video.map_or("no picture".into(), |video| format!("{:?}", video.codec()))
}

async fn lend(lending: &mut Option<Lending>) -> Option<Lent> {
    match lending {
        Some(lending) => lending.await,
        None => std::future::pending().await,
    }
}

async fn read(reader: &mut Option<Reader>) -> Next {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}
