//! One camera's plan, carried out: tells its tracks when to record, and keeps what must outlive a
//! restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sightline_model::{CameraId, StreamTier};
use sightline_protocol::ps::{PlanState, TierState};
use sightline_recording::{
    statement::Subject,
    strategy::{Engine, Input, Kept, Output},
};
use sightline_recording_store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    RecorderError,
    clock::SharedClock,
    config::FirstPlan,
    plans::{self, PlanFile},
    track::Order,
};

/// Timers do not go on while the machine sleeps; the plan is looked at again after this at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Something for a camera's plan, and who waits for what became of it.
#[derive(Debug)]
pub struct Request {
    pub input: Input,
    pub reply: oneshot::Sender<Result<(), RecorderError>>,
}

/// What a planner is made of.
pub struct Parts {
    pub camera: CameraId,
    pub first: FirstPlan,
    pub file: PlanFile,
    pub clock: SharedClock,
    pub tracks: BTreeMap<StreamTier, mpsc::Sender<Order>>,
    pub store: watch::Receiver<Option<Store>>,
    /// What each track may use before it gives for others, in bytes.
    pub share_bytes: u64,
    pub plan: watch::Sender<PlanState>,
}

/// See the module.
pub struct Planner {
    parts: Parts,
    engine: Engine,
}

impl Planner {
    /// Goes on with the plan that was kept.
    pub async fn restore(parts: Parts) -> Self {
        let (file, camera) = (parts.file.clone(), parts.camera.clone());
        // Without it the configured plan holds.
        let kept = tokio::task::spawn_blocking(move || file.read(&camera)).await.unwrap_or(None);
        let now = parts.clock.now();
        let engine = plans::engine(&parts.camera, kept, &parts.first, now);
        Self { parts, engine }
    }

    /// Until `token` is cancelled.
    pub async fn run(
        mut self,
        requests: Arc<tokio::sync::Mutex<mpsc::Receiver<Request>>>,
        token: CancellationToken,
    ) {
        // One that was started again after a failure takes over.
        let mut requests = requests.lock().await;
        let mut news = self.parts.clock.news();
        let mut store = self.parts.store.clone();
        store.mark_changed();
        self.carry_out().await;
        self.rest().await;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                // Where nobody is left who could ask, the plan goes on all the same.
                Some(request) = requests.recv() => self.answer(request).await,
                _ = news.changed() => self.look(),
                Ok(()) = store.changed() => {
                    store.borrow_and_update();
                    self.tell_keep();
                }
                () = self.due() => self.look(),
            }
            self.carry_out().await;
        }
    }

    fn look(&mut self) {
        self.engine.handle_timeout(self.parts.clock.now());
    }

    async fn due(&self) {
        let now_us = self.parts.clock.now().monotonic_us;
        let wait = self.engine.poll_timeout().map_or(LOOK_AGAIN, |due_us| {
            Duration::from_micros(due_us.saturating_sub(now_us)).min(LOOK_AGAIN)
        });
        tokio::time::sleep(wait).await;
    }

    async fn answer(&mut self, request: Request) {
        let Request { input, reply } = request;
        let now = self.parts.clock.now();
        let taken = self.engine.handle_input(now, input).map_err(RecorderError::from);
        let kept = if self.carry_out().await { Ok(()) } else { Err(RecorderError::NotKept) };
        // Whoever asked may be gone.
        let _ = reply.send(taken.and(kept));
    }

    /// Does what the engine wants; says whether all of it was kept.
    async fn carry_out(&mut self) -> bool {
        let mut kept = true;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Keep(state) => {
                    kept = self.keep(state).await;
                    self.tell_keep();
                }
                Output::PreRoll { tier, length } => {
                    self.order(tier, Order::PreRoll(length)).await;
                }
                Output::Begin { tier, causes, back_to_us }
                | Output::GoOn { tier, causes, back_to_us } => {
                    self.order(tier, Order::Record { causes, back_to_us }).await;
                }
                Output::End { tier } => self.order(tier, Order::Stop).await,
            }
        }
        self.tell_state();
        kept
    }

    /// Says what holds.
    fn tell_state(&self) {
        let tiers = self.parts.tracks.keys().copied();
        let recorded = tiers
            .filter_map(|tier| self.engine.causes(tier).map(|causes| TierState { tier, causes }));
        let now = PlanState { plan: self.engine.plan().clone(), recording: recorded.collect() };
        self.parts.plan.send_if_modified(|known| {
            let changed = *known != now;
            known.clone_from(&now);
            changed
        });
    }

    /// Says of which tracks nothing is wanted: an earlier run may have ended in the middle of it.
    async fn rest(&self) {
        for tier in self.parts.tracks.keys().copied() {
            if self.engine.causes(tier).is_none() {
                self.order(tier, Order::Stop).await;
            }
        }
    }

    async fn order(&self, tier: StreamTier, order: Order) {
        let Some(track) = self.parts.tracks.get(&tier) else {
            tracing::warn!(camera = %self.parts.camera, ?tier, "it has no such encoding to record");
            return;
        };
        // A track takes its orders within moments. One that has ended is started again with its
        // planner.
        let _ = track.send(order).await;
    }

    async fn keep(&self, kept: Kept) -> bool {
        let file = self.parts.file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&kept)).await;
        let error = match written {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(error) => std::io::Error::other(error),
        };
        tracing::error!(camera = %self.parts.camera, %error, "the recording plan cannot be kept");
        false
    }

    /// Says how long recordings stay.
    fn tell_keep(&self) {
        let plan = self.engine.plan();
        let store = self.parts.store.borrow();
        let Some(store) = &*store else { return };
        for tier in self.parts.tracks.keys() {
            let camera = self.parts.camera.clone();
            let subject = Subject { recorder: camera.pu.clone(), camera, tier: *tier };
            store.set_keep(&subject, plans::chain_keep(&plan.keep, self.parts.share_bytes));
        }
    }
}
