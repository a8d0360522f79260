//! Sends what was recorded for the cloud storage (A6.1.13; A8.7.1 steps 7 to 11, decision 0096).
//!
//! A second [`Recorder`] records into a spool; [`Uploads`] carries out what
//! [`sightline_cloud::uploader`] decides: it asks the centre over the uplink, and sends segments to the
//! store with the requests that it is given. It never holds a key of the store.

pub mod config;
mod jobs;
mod spool;
mod way;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sightline_cloud::{
    budget::Spent,
    uploader::{Chain, Input, JobId, LaneId, Now, Outcome, Output, Settings, Uploader},
};
use sightline_model::{DeviceKind, UserId};
use sightline_protocol::cp::PutRequest;
use sightline_recording::statement::Sequence;
use sightline_recording_store::Store;
use sightline_service_kit::config::write_private;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    recorder::{Recorder, owners::Visible},
    uplink::{Status, Uplink},
};
use config::CheckedCloud;
use spool::Spool;

pub use way::Way;

/// How often the spool is looked at for something new: segments last four seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was sent of the budget.
const SPENT_FILE: &str = "cloud-budget.json";

/// See the module.
pub struct Uploads {
    parts: Arc<Parts>,
    uploader: Uploader,
    spool: watch::Receiver<Option<Store>>,
    visible: watch::Receiver<Visible>,
    status: watch::Receiver<Status>,
    recorder: Recorder,
    spent_file: PathBuf,
    jobs: JoinSet<(JobId, Outcome)>,
    started: Instant,
    owner: Option<UserId>,
    is_up: bool,
    /// The newest entry of each chain when it was looked at last.
    seen: HashMap<Chain, Sequence>,
    had_no_space: bool,
}

/// What jobs work with.
struct Parts {
    uplink: Uplink,
    way: Way,
    spool: Spool,
    /// Leave that was given for the segment of each lane that is on its way.
    leave: Mutex<HashMap<LaneId, PutRequest>>,
    owner: Mutex<Option<UserId>>,
    /// Who sends.
    kind: DeviceKind,
}

impl Uploads {
    /// Sends what `recorder`, that of a device of this kind, has in its spool.
    #[must_use]
    pub fn new(
        config: CheckedCloud,
        data_dir: &Path,
        (recorder, kind): (Recorder, DeviceKind),
        uplink: Uplink,
        way: Way,
    ) -> Self {
        let spent_file = data_dir.join(SPENT_FILE);
        let settings = Settings { budget: config.budget, ..Settings::default() };
        let (spool, visible) = (recorder.store(), recorder.visible());
        let status = uplink.status();
        let parts = Parts {
            uplink,
            way,
            spool: Spool::new(spool.clone(), visible.clone()),
            leave: Mutex::default(),
            owner: Mutex::default(),
            kind,
        };
        Self {
            parts: Arc::new(parts),
            uploader: Uploader::new(settings, read_spent(&spent_file)),
            spool,
            visible,
            status,
            recorder,
            spent_file,
            jobs: JoinSet::new(),
            started: Instant::now(),
            owner: None,
            is_up: false,
            seen: HashMap::new(),
            had_no_space: false,
        }
    }

    /// Never ends by itself.
    pub async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.status.mark_changed();
        loop {
            self.drain();
            let due = self.due();
            tokio::select! {
                Some(done) = self.jobs.join_next() => self.done(done),
                Ok(()) = self.status.changed() => self.follow(),
                Ok(()) = self.visible.changed() => {
                    self.visible.borrow_and_update();
                    self.seen.clear();
                }
                _ = looks.tick() => self.look().await,
                () = due => {
                    let now = self.now();
                    self.uploader.handle_timeout(now);
                }
            }
        }
    }

    fn now(&self) -> Now {
        let monotonic_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { monotonic_us, wall: self.recorder.now() }
    }

    fn due(&self) -> impl Future<Output = ()> + use<> {
        let at = self.uploader.poll_timeout();
        let at = at.map(|at_us| self.started + Duration::from_micros(at_us));
        async move {
            match at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        self.uploader.handle_input(now, input);
        let no_space = self.uploader.has_no_space();
        if no_space != self.had_no_space {
            self.had_no_space = no_space;
            metrics::gauge!("sightline_pu_cloud_full").set(f64::from(u8::from(no_space)));
            if no_space {
                tracing::warn!("the owner's space in the cloud is full of what may not go");
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.uploader.poll_output() {
            match output {
                Output::Do(id, job) => {
                    let parts = Arc::clone(&self.parts);
                    self.jobs.spawn(async move { (id, jobs::work(&parts, job).await) });
                }
                Output::Keep(spent) => self.keep(&spent),
                Output::PassedOver(lane, item) => {
                    let (chain, sequence) = (lane.chain.0, item.sequence.0);
                    metrics::counter!("sightline_pu_cloud_passed_over_total").increment(1);
                    tracing::warn!(chain, sequence, "a segment is not stored in the cloud");
                }
            }
        }
    }

    fn keep(&self, spent: &Spent) {
        let text = serde_json::to_vec(spent).unwrap_or_default();
        // A few bytes, once for each segment of a metered link.
        if let Err(error) = write_private(&self.spent_file, &text) {
            tracing::error!(%error, "what was sent of the budget cannot be kept");
        }
    }

    fn done(&mut self, done: Result<(JobId, Outcome), tokio::task::JoinError>) {
        match done {
            Ok((id, outcome)) => self.feed(Input::Done(id, outcome)),
            Err(error) => {
                // Our own fault. Its lane would wait for ever: everything is begun anew.
                tracing::error!(%error, "an upload has broken down");
                self.feed(Input::OwnerChanged);
            }
        }
    }

    /// Follows the uplink: whether the centre can be asked, and whose unit it is.
    fn follow(&mut self) {
        let (owner, registered) = {
            let status = self.status.borrow_and_update();
            let owner = status.lease.as_ref().and_then(|lease| lease.owner.clone());
            (owner, status.registration().is_some())
        };
        if owner != self.owner {
            self.owner.clone_from(&owner);
            *self.parts.owner.lock() = owner;
            self.seen.clear();
            self.feed(Input::OwnerChanged);
        }
        let is_up = registered && self.owner.is_some();
        if is_up != self.is_up {
            self.is_up = is_up;
            self.feed(if is_up { Input::Up } else { Input::Down });
        }
    }

    /// Looks which chains have something new.
    async fn look(&mut self) {
        if self.spool.borrow().is_none() {
            return;
        }
        for (chain, newest) in self.parts.spool.heads().await {
            if self.seen.insert(chain, newest) != Some(newest) {
                self.feed(Input::News(chain));
            }
        }
    }
}

fn read_spent(path: &Path) -> Spent {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
