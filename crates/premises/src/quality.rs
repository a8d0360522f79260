//! Encodings that a camera does not give itself, made while somebody watches them.

use std::collections::HashMap;

use parking_lot::Mutex;
use sightline_media_io::{
    camera::Cameras, codec, hub::Hub, transcode::TranscodePool, webrtc::QualitySource,
};
use sightline_model::{AudioCodec, ChannelId, VideoCodec};
use sightline_protocol::{Problem, ProblemKind};
use sightline_service_kit::lifecycle::Lifecycle;

/// The unit's [`QualitySource`].
pub struct Quality {
    cameras: Cameras,
    pool: TranscodePool,
    /// Hubs of sound made so far, with the stream that each is made from.
    sound: Mutex<HashMap<ChannelId, Hub>>,
    lifecycle: Lifecycle,
}

impl Quality {
    /// At most `most` pictures are re-encoded at a time.
    #[must_use]
    pub fn new(cameras: Cameras, most: usize, lifecycle: &Lifecycle) -> Self {
        let (tasks, token) = (lifecycle.tasks.clone(), lifecycle.token.child_token());
        let pool = TranscodePool::new(most, tasks, token);
        Self { cameras, pool, sound: Mutex::default(), lifecycle: lifecycle.clone() }
    }
}

impl QualitySource for Quality {
    fn exact(&self, channel: ChannelId, width: u32, height: u32, fps: u32) -> Result<Hub, Problem> {
        let camera = self
            .cameras
            .get(&channel)
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "there is no such camera"))?;
        // The small encoding costs less to decode, where it has enough to give.
        let enough = |hub: &&Hub| {
            hub.state().description().and_then(|d| d.video.as_ref()).is_some_and(|video| {
                video.codec() == VideoCodec::H264
                    && video.width >= width
                    && video.height >= height
                    && f64::from(video.fps) >= f64::from(fps)
            })
        };
        let source = camera.sub.as_ref().filter(enough).unwrap_or(&camera.main);
        self.pool.get(source, width, height, fps)
    }

    fn opus_audio(&self, channel: ChannelId) -> Option<Hub> {
        let camera = self.cameras.get(&channel)?;
        let state = camera.main.state();
        // Every browser plays the others as they are.
        if state.description()?.audio.as_ref()?.codec != AudioCodec::Aac {
            return None;
        }
        let mut sound = self.sound.lock();
        let hub = sound.entry(channel).or_insert_with(|| {
            let token = self.lifecycle.token.child_token();
            codec::opus_audio(&camera.main, &self.lifecycle.tasks, token)
        });
        Some(hub.clone())
    }
}
