//! Viewers look back over WebRTC: what was recorded comes over the data channel, in the order and at
//! the times asked for. Every picture carries its number, which is read from what was decoded.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/film.rs"]
mod film;
#[path = "../../media-io/tests/webrtc_support/mod.rs"]
mod webrtc_support;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use film::{BEHIND_GAP, COUNT, Film, GROUP, numbers, recorder, taken};
use sightline_archive::StoreArchive;
use sightline_media::AccessUnit;
use sightline_media_io::hub::Next;
use sightline_model::{CameraId, ChannelId, Right, Rights, UnixMicros};
use sightline_protocol::{
    ProblemKind,
    pc::{CuToPuReplay, NEXT, PuToCuReplay, ReplayPictures, UnitHead},
};
use tokio::sync::watch;
use webrtc_support::{Seen, Tell, Unit, Viewer, is_video, now};

struct World {
    film: Film,
    unit: Unit,
    viewer: Viewer,
    _folder: tempfile::TempDir,
}

enum Said {
    Text(PuToCuReplay),
    Unit(UnitHead, Bytes),
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let film = Film::shoot(folder.path()).await;
        let (_, store) = watch::channel(Some(film.store.clone()));
        let filmed = CameraId { pu: recorder(), channel: ChannelId(0) };
        let archive = StoreArchive::new(store, recorder(), move |_| Some(filmed.clone()));
        let unit = Unit::recorded(archive);
        unit.wait_for_picture().await;
        let viewer = Viewer::connect_with(&unit.engine, "s1", &unit.tasks, Rights::owner()).await;
        let mut viewer = viewer.expect("answered");
        viewer.open_replay().await;
        Self { film, unit, viewer, _folder: folder }
    }

    fn play(&self, scale_permille: i32, at: UnixMicros, until: Option<UnixMicros>) {
        self.viewer.say(Tell::Replay(CuToPuReplay::Play {
            at: Some(at),
            until,
            scale_permille,
            pictures: ReplayPictures::default(),
            tier: None,
        }));
    }

    async fn said(&mut self) -> Said {
        let first = self.viewer.replay().await;
        let Some((head, rest)) = UnitHead::decode(&first) else {
            return Said::Text(serde_json::from_slice(&first).expect("text"));
        };
        let mut data = BytesMut::from(rest);
        while data.len() < head.len as usize {
            let next = self.viewer.replay().await;
            assert_eq!(next[0], NEXT, "a unit is not interrupted");
            data.extend_from_slice(&next[1..]);
        }
        assert_eq!(data.len(), head.len as usize);
        Said::Unit(head, data.freeze())
    }

    /// Pictures until the replay ends.
    async fn all(&mut self) -> Vec<(UnitHead, Bytes)> {
        let mut units = Vec::new();
        loop {
            match self.said().await {
                Said::Unit(head, data) if !head.sound => units.push((head, data)),
                Said::Unit(..) | Said::Text(PuToCuReplay::Stream { .. }) => {}
                Said::Text(PuToCuReplay::Ended) => return units,
                Said::Text(text) => panic!("{text:?}"),
            }
        }
    }

    fn numbers(&self, units: &[(UnitHead, Bytes)]) -> Vec<u32> {
        let units: Vec<_> = units.iter().map(|(head, data)| unit(head, data)).collect();
        numbers(self.film.video(), &units)
    }

    /// Waits until the camera has taken pictures for so long, from now on.
    async fn camera_takes(&self, length: Duration) {
        let until = now().plus(length);
        let mut camera = self.unit.main.subscribe();
        loop {
            if let Next::Unit(unit) = camera.next().await
                && unit.captured_at() >= until
            {
                return;
            }
        }
    }

    async fn end(self) {
        self.viewer.say(Tell::Stop);
        self.unit.stop().await;
    }
}

/// The byte stream as the decoder of the tests takes it.
fn unit(head: &UnitHead, stream: &Bytes) -> AccessUnit {
    let mut data = BytesMut::new();
    let starts: Vec<usize> =
        (0..stream.len()).filter(|at| stream[*at..].starts_with(&[0, 0, 0, 1])).collect();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(stream.len());
        let nal = &stream[start + 4..end];
        data.put_u32(nal.len() as u32);
        data.extend_from_slice(nal);
    }
    AccessUnit::h264(0, head.wall, data.freeze())
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_every_picture_once_at_its_time_and_over_the_gap() {
    let mut world = World::new().await;
    // From within a group, around the gap, four times as fast.
    world.play(4_000, taken(BEHIND_GAP - 15), Some(taken(BEHIND_GAP + 10)));
    let units = world.all().await;
    let first = BEHIND_GAP - 20;
    assert_eq!(world.numbers(&units), (first..BEHIND_GAP + 10).collect::<Vec<_>>());
    for (n, (head, _)) in units.iter().enumerate() {
        let number = first + n as u32;
        assert_eq!(head.wall, taken(number));
        assert_eq!(head.shown, number >= BEHIND_GAP - 15, "{number}");
        assert_eq!(head.keyframe, number.is_multiple_of(GROUP), "{number}");
        assert_eq!(head.section_end, number == BEHIND_GAP - 1, "{number}");
    }
    let shown: Vec<_> =
        units.iter().filter(|(h, _)| h.shown).map(|(h, _)| h.presentation_us).collect();
    assert!(shown.is_sorted_by(|a, b| a < b), "{shown:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_reverse_groups_come_newest_first_and_are_shown_from_their_ends() {
    let mut world = World::new().await;
    world.play(-16_000, UnixMicros(i64::MAX), None);
    let units = world.all().await;
    let walls: Vec<_> = units.iter().filter(|(h, _)| h.keyframe).map(|(h, _)| h.wall).collect();
    assert!(walls.is_sorted_by(|a, b| a > b), "the newest group first: {walls:?}");
    let mut shown: Vec<_> =
        units.iter().filter(|(h, _)| h.shown).map(|(h, _)| (h.presentation_us, h.wall)).collect();
    shown.sort_unstable();
    assert!(shown.is_sorted_by(|a, b| a.1 > b.1), "time runs back: {shown:?}");
    let keyframes = (COUNT / GROUP) as usize;
    assert!(shown.len() >= keyframes, "{} of {keyframes} keyframes", shown.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_pictures_jumps_and_live_again() {
    let mut world = World::new().await;
    let shown = async |world: &mut World| loop {
        if let Said::Unit(head, _) = world.said().await
            && head.shown
            && !head.sound
        {
            return head;
        }
    };
    world.viewer.say(Tell::Replay(CuToPuReplay::Show { at: taken(57) }));
    let one = shown(&mut world).await;
    assert_eq!(one.wall, taken(57));
    world.viewer.say(Tell::Replay(CuToPuReplay::Step { backwards: false, from: Some(one.wall) }));
    let two = shown(&mut world).await;
    assert_eq!(two.wall, taken(58));
    assert!(two.command > one.command);
    world.viewer.say(Tell::Replay(CuToPuReplay::Step { backwards: true, from: Some(two.wall) }));
    assert_eq!(shown(&mut world).await.wall, taken(57));
    // Live pictures had stopped: what the camera takes now is sent only when it is wanted again.
    while world.viewer.seen.try_recv().is_ok() {}
    world.camera_takes(Duration::from_millis(500)).await;
    while let Ok(seen) = world.viewer.seen.try_recv() {
        assert!(!matches!(&seen, Seen::Packet(packet) if is_video(packet)), "a live picture came");
    }
    world.viewer.say(Tell::Replay(CuToPuReplay::Live));
    world.viewer.video_packet().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_and_what_cannot_be_read_gets_nothing() {
    let mut world = World::new().await;
    let guest = Rights([Right::View].into());
    let viewer = Viewer::connect_with(&world.unit.engine, "s2", &world.unit.tasks, guest).await;
    let mut viewer = viewer.expect("live is allowed");
    viewer.open_replay().await;
    let show = CuToPuReplay::Show { at: taken(3) };
    viewer.say(Tell::Replay(show));
    let PuToCuReplay::Failed { problem } =
        serde_json::from_slice(&viewer.replay().await).expect("text")
    else {
        panic!("not refused");
    };
    assert_eq!(problem.kind, ProblemKind::Forbidden);
    viewer.video_packet().await;
    viewer.say(Tell::Stop);
    // Bad words are ignored, bad wishes refused; what follows is served.
    world.viewer.say(Tell::RawReplay(b"{\"type\":\"show\"}".to_vec()));
    world.viewer.say(Tell::RawReplay(vec![b'x'; 9_000]));
    world.play(1, taken(0), None);
    let Said::Text(PuToCuReplay::Failed { problem }) = world.said().await else {
        panic!("a scale that is none was taken");
    };
    assert_eq!(problem.kind, ProblemKind::InvalidRequest);
    world.viewer.say(Tell::Replay(show));
    loop {
        match world.said().await {
            Said::Unit(head, _) if head.shown => break assert_eq!(head.wall, taken(3)),
            Said::Unit(..) | Said::Text(PuToCuReplay::Stream { .. }) => {}
            Said::Text(text) => panic!("{text:?}"),
        }
    }
    let stats = world.unit.engine.stats().await.expect("it runs");
    assert!(stats.control_ignored >= 2, "{stats:?}");
    world.end().await;
}
