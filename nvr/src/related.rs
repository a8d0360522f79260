//! Follows the relations that the centre has told (A8.7.2 steps 3 and 5): each camera that is related gets a
//! number, hubs, intakes and a recording of its own; one that is not any more loses them.

use std::{collections::BTreeMap, sync::Arc};

use sightline_media::ring::Limits;
use sightline_media_io::{
    camera::{Camera, Cameras},
    hub::Hub,
};
use sightline_model::{ChannelId, StreamTier};
use sightline_premises::{
    Numbers,
    recorder::{Recorder, config::FirstPlan},
    supervisor::supervise,
};
use sightline_protocol::ps::{RelatedCamera, Relations};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::watch;

use crate::intake::{Intake, Shared};

/// Most memory for the pictures of each encoding since its newest keyframe, in bytes: 16 s of 16 Mbit/s, and
/// a quarter for the small one.
const MAIN_BYTES: usize = 32 << 20;
const SUB_BYTES: usize = MAIN_BYTES / 4;

/// What cameras are put into.
pub struct Related {
    /// What all intakes have in common.
    pub shared: Arc<Shared>,
    /// All cameras of the NVR, its own too.
    pub cameras: Cameras,
    /// Which camera each number stands for.
    pub numbers: Numbers,
    /// What records them.
    pub recorder: Recorder,
    /// Whom their tasks belong to.
    pub lifecycle: Lifecycle,
}

struct Running {
    related: RelatedCamera,
    camera: Camera,
    intakes: [Intake; 2],
    /// Ends with the relation.
    lifecycle: Lifecycle,
}

impl Related {
    /// Follows the relations for ever.
    pub async fn run(self, mut relations: watch::Receiver<Relations>) {
        let mut running = BTreeMap::new();
        loop {
            let now = relations.borrow_and_update().clone();
            self.apply(&mut running, &now);
            self.recorder.all_taken();
            if relations.changed().await.is_err() {
                return;
            }
        }
    }

    fn apply(&self, running: &mut BTreeMap<ChannelId, Running>, now: &Relations) {
        let still = |channel: &ChannelId, held: &mut Running| {
            let found = now.records.iter().find(|related| related.channel == *channel);
            found.is_some_and(|related| {
                related.camera == held.related.camera
                    && related.device_key == held.related.device_key
            })
        };
        for (channel, gone) in running.extract_if(.., |channel, held| !still(channel, held)) {
            self.end(channel, &gone);
        }
        for related in &now.records {
            match running.get_mut(&related.channel) {
                None => {
                    if let Some(begun) = self.begin(related) {
                        running.insert(related.channel, begun);
                    }
                }
                Some(held) if held.related.name != related.name => {
                    held.related.name.clone_from(&related.name);
                    held.camera.name = related.name.as_str().into();
                    self.cameras.put(held.camera.clone());
                }
                Some(_) => {}
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("sightline_nvr_related_cameras").set(running.len() as f64);
    }

    fn begin(&self, related: &RelatedCamera) -> Option<Running> {
        let hub = |bytes| Hub::unwritten(Limits { bytes, ..Limits::default() });
        let (main, sub) = (hub(MAIN_BYTES), hub(SUB_BYTES));
        let camera = Camera {
            channel: related.channel,
            name: related.name.as_str().into(),
            main: main.clone(),
            sub: Some(sub.clone()),
        };
        // Without a plan nothing is recorded.
        let first = FirstPlan::default();
        if let Err(error) = self.recorder.take(related.camera.clone(), &camera, &first) {
            tracing::error!(camera = %related.camera, %error, "a related camera is not recorded");
            return None;
        }
        let lifecycle = self.lifecycle.child();
        let intakes = [(StreamTier::Main, main), (StreamTier::Sub, sub)].map(|(tier, hub)| {
            let intake = Intake::new(Arc::clone(&self.shared), related.clone(), tier);
            let source = intake.clone();
            supervise(&lifecycle, related.name.clone(), hub, move |publisher, token| {
                source.clone().run(publisher, token)
            });
            intake
        });
        self.numbers.write().insert(related.channel, related.camera.clone());
        self.cameras.put(camera.clone());
        tracing::info!(camera = %related.camera, channel = %related.channel, "a camera is related");
        Some(Running { related: related.clone(), camera, intakes, lifecycle })
    }

    fn end(&self, channel: ChannelId, gone: &Running) {
        // First nobody finds it any more, then it ends.
        self.cameras.remove(channel);
        self.numbers.write().remove(&channel);
        self.recorder.let_go(channel);
        gone.lifecycle.token.cancel();
        for intake in &gone.intakes {
            intake.ticket_file().remove();
        }
        tracing::info!(camera = %gone.related.camera, "a camera is not related any more");
    }
}
