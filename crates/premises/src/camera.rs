//! The unit's cameras: their hubs, their sources, and what the centre hears of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sightline_media::ring::Limits;
use sightline_media_io::{
    camera::{Camera, Cameras, Table},
    hub::{Hub, SourceState},
    source::{
        rtsp::{self, RtspSourceConfig},
        synthetic::{self, SyntheticConfig},
    },
};
use sightline_model::{ChannelId, StreamInfo, StreamTier};
use sightline_protocol::ps::ChannelStatus;
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::{Notify, watch};

use crate::{
    config::{BufferMib, CameraSource, CheckedCamera},
    discovery::Finder,
    supervisor::supervise,
};

/// Changes that come within this time are told at once: a camera that starts changes twice.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Starts every camera's sources.
#[must_use]
pub fn start(cameras: Vec<CheckedCamera>, lifecycle: &Lifecycle) -> Cameras {
    let started = cameras.into_iter().zip(0u16..).map(|(camera, number)| {
        let channel = ChannelId(number);
        (channel, start_one(channel, camera, lifecycle))
    });
    started.collect()
}

fn start_one(channel: ChannelId, camera: CheckedCamera, lifecycle: &Lifecycle) -> Camera {
    let CheckedCamera { name, source, buffer } = camera;
    let (main, sub) = (new_hub(buffer, StreamTier::Main), new_hub(buffer, StreamTier::Sub));
    let has_sub = match source {
        CameraSource::Synthetic(config) => {
            synthetic(&name, config.sub(), &sub, lifecycle);
            synthetic(&name, config, &main, lifecycle);
            true
        }
        CameraSource::Rtsp { main: best, sub: small } => {
            from_rtsp(&name, *best, &main, lifecycle);
            let small = small.map(|config| from_rtsp(&name, *config, &sub, lifecycle));
            small.is_some()
        }
        CameraSource::Discovered(finder) => {
            discovered(&name, StreamTier::Main, &finder, &main, lifecycle);
            if finder.has_sub {
                discovered(&name, StreamTier::Sub, &finder, &sub, lifecycle);
            }
            finder.has_sub
        }
    };
    Camera { channel, name: name.into(), main, sub: has_sub.then_some(sub) }
}

fn synthetic(name: &str, config: SyntheticConfig, hub: &Hub, lifecycle: &Lifecycle) {
    supervise(lifecycle, name.to_owned(), hub.clone(), move |publisher, token| {
        let run = synthetic::run(config.clone(), publisher, token);
        async move { run.await.map_err(|error| error.to_string()) }
    });
}

fn from_rtsp(name: &str, config: RtspSourceConfig, hub: &Hub, lifecycle: &Lifecycle) {
    supervise(lifecycle, name.to_owned(), hub.clone(), move |publisher, token| {
        let run = rtsp::run(config.clone(), publisher, token);
        async move {
            run.await;
            Ok(())
        }
    });
}

fn discovered(name: &str, tier: StreamTier, finder: &Finder, hub: &Hub, lifecycle: &Lifecycle) {
    let finder = finder.clone();
    supervise(lifecycle, name.to_owned(), hub.clone(), move |publisher, token| {
        finder.clone().run(tier, publisher, token)
    });
}

fn new_hub(buffer: BufferMib, tier: StreamTier) -> Hub {
    // The supervisor makes the writer anew for every run.
    Hub::unwritten(Limits { bytes: buffer.bytes(tier), ..Limits::default() })
}

/// Follows the state of the cameras that there are now.
#[must_use]
pub fn watch(cameras: &Cameras, lifecycle: &Lifecycle) -> watch::Receiver<Vec<ChannelStatus>> {
    let changed = Arc::new(Notify::new());
    for hub in cameras.all().values().flat_map(|c| std::iter::once(&c.main).chain(&c.sub)) {
        let (mut state, changed) = (hub.watch_state(), Arc::clone(&changed));
        lifecycle.spawn(async move {
            while state.changed().await.is_ok() {
                state.borrow_and_update();
                changed.notify_one();
            }
        });
    }
    let mut known = Known::new(cameras);
    let (sender, receiver) = watch::channel(known.look());
    lifecycle.spawn(async move {
        loop {
            changed.notified().await;
            tokio::time::sleep(DEBOUNCE).await;
            let now = known.look();
            sender.send_if_modified(|told| {
                let modified = *told != now;
                *told = now;
                modified
            });
        }
    });
    receiver
}

/// What was last seen of each camera; a camera that is away keeps its form.
struct Known {
    cameras: Table,
    status: BTreeMap<ChannelId, ChannelStatus>,
}

impl Known {
    fn new(cameras: &Cameras) -> Self {
        Self { cameras: cameras.all(), status: BTreeMap::new() }
    }

    fn look(&mut self) -> Vec<ChannelStatus> {
        for camera in self.cameras.values() {
            let before = self.status.remove(&camera.channel);
            self.status.insert(camera.channel, status(camera, before));
        }
        self.status.values().cloned().collect()
    }
}

fn status(camera: &Camera, before: Option<ChannelStatus>) -> ChannelStatus {
    // In this order: the source may be found between the two, and is no broken one then.
    let is_starting = camera.main.is_starting();
    let main = camera.main.state();
    let before = before.as_ref();
    let mut streams = Vec::new();
    let hubs = [(StreamTier::Main, Some(&camera.main)), (StreamTier::Sub, camera.sub.as_ref())];
    for (tier, hub) in hubs {
        let seen = hub.and_then(|hub| stream_info(tier, &hub.state()));
        let kept = || before?.streams.iter().find(|info| info.tier == tier).cloned();
        streams.extend(seen.or_else(|| hub.and_then(|_| kept())));
    }
    let (online, fault, audio) = match &main {
        SourceState::Online(form) => (true, None, form.audio.as_ref().map(|a| a.codec)),
        SourceState::Offline(why) => {
            let fault = (!is_starting).then(|| why.clone());
            (false, fault, before.and_then(|b| b.audio))
        }
    };
    let name = camera.name.to_string();
    ChannelStatus { channel: camera.channel, name, online, fault, streams, audio }
}

fn stream_info(tier: StreamTier, state: &SourceState) -> Option<StreamInfo> {
    let video = state.description()?.video.as_ref()?;
    let (codec, fps) = (video.codec(), video.fps);
    Some(StreamInfo { tier, codec, width: video.width, height: video.height, fps })
}

#[cfg(test)]
mod tests {
    use sightline_media::{AccessUnit, StreamDescription};
    use sightline_model::{AudioCodec, UnixMicros};

    use super::*;

    fn synthetic_camera() -> CheckedCamera {
        let config = SyntheticConfig { width: 320, height: 180, ..SyntheticConfig::default() };
        let source = CameraSource::Synthetic(config);
        CheckedCamera { name: "Yard".into(), source, buffer: BufferMib::default() }
    }

    #[tokio::test]
    async fn a_camera_that_starts_has_no_fault_until_it_was_found_out_of_reach() {
        let lifecycle = Lifecycle::new();
        let found = async |camera: CheckedCamera| {
            let cameras = start(vec![camera], &lifecycle);
            let camera = cameras.get(&ChannelId(0)).expect("started");
            let first = status(&camera, None);
            let mut state = camera.main.watch_state();
            let away =
                |s: &SourceState| matches!(s, SourceState::Offline(why) if why.contains("reached"));
            let settled = |s: &SourceState| s.description().is_some() || away(s);
            state.wait_for(settled).await.expect("the hub lives");
            (first, status(&camera, None))
        };
        let (first, then) = found(synthetic_camera()).await;
        assert_eq!((first.fault, then.fault, then.online), (None, None, true));
        let url = "rtsp://127.0.0.1:1/".parse().expect("a URL");
        let main = Box::new(RtspSourceConfig::new(url));
        let source = CameraSource::Rtsp { main, sub: None };
        let (first, then) = found(CheckedCamera { source, ..synthetic_camera() }).await;
        assert_eq!(first.fault, None);
        assert!(!then.online && then.fault.is_some_and(|why| why.contains("reached")));
        assert!(lifecycle.shutdown().await);
    }

    /// A viewer of a camera with a fault is refused at once, one of a starting camera waits.
    #[test]
    fn a_camera_that_comes_up_while_it_is_looked_at_has_no_fault() {
        for _ in 0..2_000 {
            let (publisher, main) = Hub::new(Limits::default());
            let camera = Camera { channel: ChannelId(0), name: "Yard".into(), main, sub: None };
            std::thread::scope(|scope| {
                scope.spawn(|| publisher.online(StreamDescription::default()));
                loop {
                    let seen = status(&camera, None);
                    assert_eq!(seen.fault, None);
                    if seen.online {
                        break;
                    }
                }
            });
        }
    }

    /// 16 Mbit/s with a keyframe every 4 s, 3.5 s after the keyframe; and more than is allowed.
    #[test]
    fn a_newcomer_begins_at_once_with_as_much_as_the_camera_may_have_in_memory() {
        for (tier, pictures, begins) in [
            (StreamTier::Main, 87, true),
            (StreamTier::Sub, 87, true),
            (StreamTier::Sub, 120, false),
        ] {
            let hub = new_hub(BufferMib::default(), tier);
            let publisher = hub.publisher();
            for number in 0..pictures {
                let mut data = vec![0; 80_000];
                let header = if number == 0 { 0x65 } else { 0x61 };
                data[..5].copy_from_slice(&[0, 1, 0x38, 0x7c, header]);
                let captured_at = UnixMicros(number * 40_000);
                publisher.publish(AccessUnit::h264(number, captured_at, data.into()));
            }
            assert!(hub.bytes() <= BufferMib::default().bytes(tier));
            assert_eq!(hub.subscribe().try_next().is_some(), begins, "{tier:?} {pictures}");
        }
    }

    #[tokio::test]
    async fn the_centre_hears_when_a_camera_comes_and_what_it_gives() {
        let lifecycle = Lifecycle::new();
        let cameras = start(vec![synthetic_camera()], &lifecycle);
        let mut channels = watch(&cameras, &lifecycle);
        let complete = |c: &Vec<ChannelStatus>| c[0].online && c[0].streams.len() == 2;
        let told = channels.wait_for(complete).await.expect("watched").clone();
        assert_eq!(told[0].channel, ChannelId(0));
        assert_eq!((told[0].streams[0].width, told[0].streams[0].tier), (320, StreamTier::Main));
        assert_eq!(told[0].audio, Some(AudioCodec::Pcmu));
        assert_eq!(told[0].fault, None);
    }

    #[tokio::test]
    async fn a_camera_that_goes_keeps_its_form_and_says_why() {
        let (publisher, main) = Hub::new(Limits::default());
        let camera = Camera { channel: ChannelId(3), name: "Yard".into(), main, sub: None };
        let cameras = Cameras::from_iter([(ChannelId(3), camera)]);
        let lifecycle = Lifecycle::new();
        let mut channels = watch(&cameras, &lifecycle);
        let starting = channels.borrow()[0].clone();
        assert!(!starting.online && starting.fault.is_none(), "{starting:?}");
        let source = start(vec![synthetic_camera()], &lifecycle);
        let mut state = source.get(&ChannelId(0)).expect("started").main.watch_state();
        let online = state.wait_for(|s| s.description().is_some()).await.expect("lives").clone();
        let SourceState::Online(form) = online else { unreachable!("waited for it") };
        publisher.online((*form).clone());
        channels.wait_for(|c| c[0].online).await.expect("watched");
        publisher.offline("unplugged");
        let told = channels.wait_for(|c| !c[0].online).await.expect("watched").clone();
        assert_eq!(told[0].fault.as_deref(), Some("unplugged"));
        assert_eq!(told[0].streams.len(), 1);
    }
}
