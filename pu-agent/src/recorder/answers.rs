//! What the recorder answers the centre over Ps (A8.7.2 and A8.7.3: steps of setting up, searching and
//! locking).

use std::{ops::Range, time::Duration};

use sightline_model::{
    Absence, CameraId, ChannelId, RecordedDays, RecordingPlace, RecordingSource, ReportedHead,
    StorageState, StorageStatus, Timeline, UnixMicros, ZoneName,
};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{
        LockSpan, Locked, MAX_MESSAGE_SPANS, PuToScu, RecorderReport, RecordingQuery,
        RecordingReply, RecordingRequest,
    },
};
use sightline_recording::{
    coverage::{Calendar, Coverage, Missing, Recorded, SourceNumber, absence, rank},
    statement::Subject,
    strategy::{Input, StrategyError},
};
use sightline_recording_store::{MAX_PAGE, Piece, State, Store, StoreError};

use super::{Recorder, RecorderError};
use crate::uplink::Uplink;

/// Up to here a timeline is made of every single segment, beyond of an outline.
const FINE: Duration = Duration::from_secs(2 * 3_600);
/// A day, also the one on which clocks are set back: some twenty thousand segments.
const LONGEST_LOCK_US: i64 = 25 * 3_600 * 1_000_000;
/// What follows the newest segment within this is in the one that is being written: segments are closed
/// at the first keyframe after 4 s, and most cameras send one at least every 10 s.
const BEING_WRITTEN_US: i64 = 20_000_000;
/// How often the centre is told what the chains have come to.
const REPORT_EVERY: Duration = Duration::from_secs(3_600);
/// Steps of an outline for each span that may be told.
const STEPS_PER_SPAN: i64 = 10;

impl Recorder {
    /// Answers the centre.
    ///
    /// # Errors
    /// [`Problem`], in words for the person.
    pub async fn answer(&self, ask: RecordingRequest) -> Result<RecordingReply, Problem> {
        match ask {
            RecordingRequest::SetPlan { plan } => {
                let (channel, revision) = (self.own(&plan.camera)?, plan.revision);
                self.follows(channel, revision)?;
                self.tell(channel, Input::Plan(*plan)).await?;
                Ok(RecordingReply::PlanSet { revision })
            }
            RecordingRequest::ReadPlans { camera } => {
                let channel = self.own(&camera)?;
                let state = self.plan(channel).ok_or(RecorderError::NoSuchCamera(channel))?;
                let plans = vec![state.borrow().clone()];
                Ok(RecordingReply::Plans { plans })
            }
            RecordingRequest::Manual { camera, place, strategy, on } => {
                let channel = self.own_place(&camera, place)?;
                let input = match on {
                    true => Input::ManualStart { strategy },
                    false => Input::ManualStop { strategy },
                };
                self.tell(channel, input).await?;
                Ok(RecordingReply::Done)
            }
            RecordingRequest::List(query) => {
                self.own(&query.camera)?;
                let timeline = self.timeline(&self.opened()?, query).await?;
                Ok(RecordingReply::Timeline(Box::new(timeline)))
            }
            RecordingRequest::Days { camera, zone, year, month } => {
                self.own(&camera)?;
                let days = self.days(&self.opened()?, camera, &zone, (year, month)).await?;
                Ok(RecordingReply::Days(days))
            }
            RecordingRequest::Lock(lock) => {
                self.own_place(&lock.camera, lock.place)?;
                let locked = self.lock(&self.opened()?, lock).await?;
                Ok(RecordingReply::Locked(locked))
            }
            RecordingRequest::Status => Ok(RecordingReply::Status(Box::new(self.report().await))),
        }
    }

    /// How the storage is, and what the chains have come to.
    pub async fn report(&self) -> RecorderReport {
        let health = self.storage.borrow().state;
        let opened = self.store.borrow().clone();
        let mut storage = StorageStatus {
            state: state(health),
            capacity_bytes: None,
            recorded_bytes: 0,
            locked_bytes: 0,
            oldest: None,
        };
        let mut heads = Vec::new();
        if let Some(store) = opened {
            storage.recorded_bytes = store.used_bytes();
            storage.capacity_bytes = store.capacity_bytes().await;
            for subject in store.subjects() {
                let usage = store.usage(&subject).await.unwrap_or_default();
                storage.oldest = [storage.oldest, usage.oldest].into_iter().flatten().min();
                storage.locked_bytes += store.locked_bytes(&subject).await.unwrap_or_default();
                heads.extend(self.head(&store, &subject).await);
            }
        }
        RecorderReport { recorder: self.unit.clone(), storage, heads }
    }

    /// Reports after every registration and every change of the storage's state, and once an hour.
    pub async fn report_changes(self, uplink: Uplink) {
        let (mut status, mut storage) = (uplink.status(), self.storage.clone());
        let mut every = tokio::time::interval(REPORT_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut epoch = None;
        loop {
            let registered = status.borrow_and_update().registration();
            if registered.is_some() && registered != epoch {
                every.reset_immediately();
            }
            epoch = registered;
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                changed = storage.changed() => if changed.is_err() { return } else {
                    every.reset_immediately();
                },
                _ = every.tick() => {
                    let report = Box::new(self.report().await);
                    uplink.send(PuToScu::RecorderReport(report));
                }
            }
        }
    }

    /// Refuses a plan that skips revisions: its maker has not seen the one that holds, and the highest
    /// number would shut out every later plan.
    fn follows(&self, channel: ChannelId, revision: u64) -> Result<(), Problem> {
        let kept = self.planners.get(&channel).map_or(0, |own| own.plan.borrow().plan.revision);
        if revision <= kept.saturating_add(1) {
            return Ok(());
        }
        let why = format!("the plan has revision {revision}, but {kept} holds");
        Err(Problem::new(ProblemKind::PlanChanged, why))
    }

    async fn head(&self, store: &Store, subject: &Subject) -> Option<ReportedHead> {
        let head = store.head(subject, self.clock.now().time).await.ok().flatten()?;
        Some(ReportedHead {
            camera: subject.camera.clone(),
            source: source(subject),
            chain: head.chain.to_string(),
            sequence: head.sequence.0,
            hash: head.hash.to_string(),
            at: head.at,
        })
    }

    fn own(&self, camera: &CameraId) -> Result<ChannelId, Problem> {
        let own = camera.pu == self.unit && self.planners.contains_key(&camera.channel);
        own.then_some(camera.channel).ok_or_else(|| {
            let why = "this device does not record that camera";
            Problem::new(ProblemKind::NotFound, why)
        })
    }

    fn own_place(&self, camera: &CameraId, place: RecordingPlace) -> Result<ChannelId, Problem> {
        if place != RecordingPlace::Pu {
            let why = "this device records on its own storage only";
            return Err(Problem::new(ProblemKind::NotFound, why));
        }
        self.own(camera)
    }

    fn opened(&self) -> Result<Store, Problem> {
        let opened = self.store.borrow().clone();
        opened.ok_or_else(|| {
            let words = self.storage.borrow().state.words();
            Problem::new(ProblemKind::StorageAway, words)
        })
    }

    async fn timeline(
        &self,
        store: &Store,
        query: RecordingQuery,
    ) -> Result<Timeline, RecorderError> {
        let now = self.clock.now().time;
        // What lies in the future is nothing.
        let to = query.to.min(now).max(UnixMicros(query.from.0.saturating_add(1)));
        let max = query.max_spans.min(MAX_MESSAGE_SPANS);
        let mut coverage = Coverage::new(query.from, to, max.into())?;
        for subject in store.subjects() {
            let wanted = query.tier.is_none_or(|tier| tier == subject.tier);
            if subject.camera != query.camera || !wanted {
                continue;
            }
            let rank = rank(RecordingPlace::Pu, None, subject.tier);
            let number = coverage.add_source(source(&subject), rank)?;
            for span in self.within(query.from..to) {
                add(&mut coverage, number, store, &subject, (span.start, span.end), max).await?;
            }
        }
        Ok(coverage.finish(query.camera))
    }

    async fn days(
        &self,
        store: &Store,
        camera: CameraId,
        zone: &ZoneName,
        (year, month): (i16, u8),
    ) -> Result<RecordedDays, RecorderError> {
        let mut calendar = Calendar::new(zone, year, month)?;
        let midnights: Vec<_> = calendar.days().map(|(_, from, _)| from).collect();
        let (begin, end) = calendar.window();
        for subject in store.subjects().into_iter().filter(|subject| subject.camera == camera) {
            for span in self.within(begin..end) {
                let inside = midnights.iter().filter(|at| span.start < **at && **at < span.end);
                let mut bounds = vec![span.start];
                bounds.extend(inside);
                bounds.push(span.end);
                let recorded = store.recorded(&subject, &bounds).await?;
                for (pair, _) in bounds.windows(2).zip(recorded).filter(|(_, is)| *is) {
                    calendar.add(pair[0], pair[1]);
                }
            }
        }
        Ok(calendar.finish(camera))
    }

    async fn lock(&self, store: &Store, lock: LockSpan) -> Result<Locked, RecorderError> {
        if lock.to.0.saturating_sub(lock.from.0) > LONGEST_LOCK_US {
            return Err(RecorderError::LongLock);
        }
        let mut locked = Locked { segments: 0, bytes: 0 };
        for subject in store.subjects() {
            let wanted = lock.tier.is_none_or(|tier| tier == subject.tier);
            if subject.camera != lock.camera || !wanted {
                continue;
            }
            // An earlier owner's locks would stay for ever.
            if !lock.locked {
                store.lock(&subject, lock.from..lock.to, false).await?;
            }
            for span in self.within(lock.from..lock.to) {
                if lock.locked {
                    store.lock(&subject, span.clone(), true).await?;
                }
                let found = count(store, &subject, span).await?;
                locked.segments += found.segments;
                locked.bytes += found.bytes;
            }
        }
        Ok(locked)
    }

    /// What of a span may be shown to the unit's owner.
    fn within(&self, span: Range<UnixMicros>) -> Vec<Range<UnixMicros>> {
        let visible = self.visible().borrow().clone();
        let cut = |own: &Range<UnixMicros>| own.start.max(span.start)..own.end.min(span.end);
        visible.iter().map(cut).filter(|part| part.start < part.end).collect()
    }
}

/// The segments of a span, and their bytes.
async fn count(
    store: &Store,
    subject: &Subject,
    span: Range<UnixMicros>,
) -> Result<Locked, StoreError> {
    let mut found = Locked { segments: 0, bytes: 0 };
    let mut after = None;
    loop {
        let page = store.segments(subject, span.clone(), after, MAX_PAGE).await?;
        found.segments += page.rows.len() as u64;
        found.bytes += page.rows.iter().map(|row| row.segment.len).sum::<u64>();
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Tells `coverage` what one chain has.
async fn add(
    coverage: &mut Coverage,
    number: SourceNumber,
    store: &Store,
    subject: &Subject,
    (from, to): (UnixMicros, UnixMicros),
    max_spans: u16,
) -> Result<(), RecorderError> {
    let length = to.0 - from.0;
    if Duration::from_micros(length.unsigned_abs()) <= FINE {
        add_segments(coverage, number, store, subject, (from, to)).await?;
    } else {
        let step_us = length / (i64::from(max_spans) * STEPS_PER_SPAN) + 1;
        coverage.coarsen(2 * step_us);
        for piece in store.outline(subject, from..to, step_us).await? {
            let (from, to) = (piece.from.max(from), piece.to.min(to));
            let Piece { causes, time_known, .. } = piece;
            coverage.add_recorded(number, Recorded { from, to, causes, time_known });
        }
    }
    let (mut after, mut is_open) = (None, false);
    loop {
        let page = store.gaps(subject, from..to, after, MAX_PAGE).await?;
        for gap in &page.rows {
            let reason = absence(gap.gap.reason);
            is_open |= gap.to.is_none();
            let (from, to) = (gap.from().max(from), gap.to.map_or(to, |end| end.min(to)));
            let missing = Missing { from, to, reason };
            coverage.add_missing(number, missing);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let usage = store.usage(subject).await?;
    // Nobody misses what is being written.
    let newest = usage.newest.filter(|newest| from.max(*newest) < to && !is_open);
    if let Some(newest) = newest.filter(|newest| to.0 - newest.0 < BEING_WRITTEN_US) {
        let (from, reason) = (from.max(newest), Absence::BeingRecorded);
        coverage.add_missing(number, Missing { from, to, reason });
    }
    // What the chain began with has gone.
    if let (Some(oldest), true) = (usage.oldest, store.has_expired(subject).await?) {
        let reason = Absence::Expired;
        coverage.add_missing(number, Missing { from, to: oldest.min(to), reason });
    }
    Ok(())
}

async fn add_segments(
    coverage: &mut Coverage,
    number: SourceNumber,
    store: &Store,
    subject: &Subject,
    (from, to): (UnixMicros, UnixMicros),
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.segments(subject, from..to, after, MAX_PAGE).await?;
        for row in &page.rows {
            let (from, to) = (row.start().max(from), row.end().min(to));
            if row.damaged {
                coverage.add_missing(number, Missing { from, to, reason: Absence::Damaged });
            } else {
                let (causes, time_known) = (row.segment.causes, row.time_known);
                coverage.add_recorded(number, Recorded { from, to, causes, time_known });
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn source(subject: &Subject) -> RecordingSource {
    let Subject { recorder, tier, .. } = subject;
    RecordingSource { place: RecordingPlace::Pu, recorder: recorder.clone(), tier: *tier }
}

const fn state(of: State) -> StorageState {
    match of {
        State::Ok => StorageState::Ok,
        State::Slow => StorageState::Slow,
        State::Full => StorageState::Full,
        State::ReadOnly => StorageState::ReadOnly,
        State::Away => StorageState::Away,
        State::Failing => StorageState::Failing,
    }
}

impl From<RecorderError> for Problem {
    fn from(error: RecorderError) -> Self {
        let kind = match &error {
            RecorderError::NoSuchCamera(_)
            | RecorderError::Strategy(
                StrategyError::Elsewhere(..) | StrategyError::NoSuchStrategy(_),
            ) => ProblemKind::NotFound,
            RecorderError::Strategy(StrategyError::Stale { .. } | StrategyError::Conflict(_)) => {
                ProblemKind::PlanChanged
            }
            RecorderError::Strategy(
                StrategyError::Plan(_) | StrategyError::NoSuchZone(_) | StrategyError::NotManual(_),
            ) => ProblemKind::InvalidRequest,
            RecorderError::Strategy(StrategyError::KeptVersion(_)) | RecorderError::NotKept => {
                ProblemKind::Internal
            }
            RecorderError::Coverage(_) | RecorderError::LongLock => ProblemKind::InvalidRequest,
            RecorderError::Store(
                StoreError::Unavailable(_) | StoreError::Io { .. } | StoreError::Failed(_),
            ) => ProblemKind::StorageAway,
            RecorderError::Store(_) => ProblemKind::Internal,
            RecorderError::Ended => ProblemKind::DeviceOffline,
        };
        Self::new(kind, error.to_string())
    }
}
