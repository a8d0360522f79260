//! Viewers over loopback: the first picture, many at once, the camera away, choices, the end.

mod webrtc_support;

use std::{collections::BTreeSet, time::Duration};

use sightline_model::{QualityChoice, StreamTier, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::{CuToPu, MediaTransport, PuToCu},
};
use tokio_util::task::TaskTracker;
use webrtc_support::{Seen, Tell, Unit, Viewer, is_video, picture_number};

#[tokio::test]
async fn begins_at_a_keyframe_and_tells_what_it_serves() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    let first = viewer.video_packet().await;
    assert_eq!(first.payload[0] & 0x1f, 24, "parameter sets come first");
    let (kind, number) = picture_number(&viewer.video_packet().await).expect("a first fragment");
    assert_eq!((kind, number % 25), (5, 0));
    let stream = viewer
        .message(|m| if let PuToCu::Serving { stream } = m { Some(stream) } else { None })
        .await;
    assert_eq!((stream.tier, stream.width, stream.transcoded), (StreamTier::Main, 1280, false));
    let path = viewer.right.path.borrow().clone().expect("the path is known");
    assert_eq!((path.transport, path.relayed), (MediaTransport::Webrtc, false));
    viewer.say(Tell::Send(CuToPu::Ping { cu_time: UnixMicros(42) }));
    viewer
        .message(|m| matches!(m, PuToCu::Pong { cu_time: UnixMicros(42), .. }).then_some(()))
        .await;
    let captured = viewer
        .message(|m| {
            if let PuToCu::FrameTime { captured_at, .. } = m { Some(captured_at) } else { None }
        })
        .await;
    assert!(webrtc_support::now().since(captured) < Duration::from_secs(5));
    viewer.message(|m| matches!(m, PuToCu::Path { .. }).then_some(())).await;
    viewer.say(Tell::Stop);
    unit.stop().await;
}

/// Reads `count` pictures and checks that none is missing, none is out of order.
async fn whole(mut viewer: Viewer, count: u32) -> Viewer {
    let mut expected_seq = None;
    let mut pictures = BTreeSet::new();
    let mut last_time = None;
    while (pictures.len() as u32) < count {
        let packet = viewer.video_packet().await;
        let seq = *packet.seq_no;
        if let Some(expected) = expected_seq {
            assert_eq!(seq, expected, "{} lost packets", viewer.session);
        }
        expected_seq = Some(seq + 1);
        let time = packet.header.timestamp;
        if let Some(last) = last_time {
            assert!(time.wrapping_sub(last) < 1 << 31, "timestamps go back");
        }
        last_time = Some(time);
        pictures.extend(picture_number(&packet).map(|(_, number)| number));
    }
    let (first, last) = (pictures.first().copied(), pictures.last().copied());
    assert_eq!(last.unwrap_or(0) - first.unwrap_or(0) + 1, count, "pictures are missing");
    viewer
}

#[tokio::test]
async fn twenty_viewers_of_whom_one_stalls() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut viewers = Vec::new();
    for i in 0..20 {
        viewers.push(Viewer::connect(&unit.engine, &format!("s{i}"), &unit.tasks).await);
    }
    let mut stalled = viewers.pop().expect("twenty");
    stalled.video_packet().await;
    stalled.say(Tell::Stall);
    let readers = TaskTracker::new();
    let handles: Vec<_> =
        viewers.into_iter().map(|viewer| readers.spawn(whole(viewer, 100))).collect();
    for handle in handles {
        handle.await.expect("nothing is lost").say(Tell::Stop);
    }
    let stats = unit.engine.stats().await.expect("runs");
    stalled.say(Tell::Stop);
    assert_eq!((stats.panics, stats.dropped), (0, 0));
    assert!(stats.sends < stats.datagrams_sent, "datagrams go out in trains: {stats:?}");
    unit.stop().await;
}

#[tokio::test]
async fn of_a_camera_that_is_recorded_for_another_device_live_pictures_come_when_they_are_asked_for()
 {
    let unit = Unit::of_another_device();
    unit.wait_for_picture().await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    let fault = viewer
        .message(|m| match m {
            PuToCu::Camera { online: false, fault } => fault,
            _ => None,
        })
        .await;
    assert!(fault.contains("only recordings"), "{fault}");
    assert_eq!(unit.main.readers(), 0, "its stream is taken for nobody");
    viewer.say(Tell::Send(CuToPu::SetQuality { quality: QualityChoice::Auto }));
    viewer.message(|m| matches!(m, PuToCu::Camera { online: true, .. }).then_some(())).await;
    viewer.video_packet().await;
    viewer.say(Tell::Stop);
    unit.stop().await;
}

#[tokio::test]
async fn the_camera_goes_and_comes_back() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    let before = viewer.video_packet().await.header.timestamp;
    unit.camera_on.send_replace(false);
    let fault = viewer
        .message(|m| match m {
            PuToCu::Camera { online: false, fault } => fault,
            _ => None,
        })
        .await;
    assert_eq!(fault, "the camera does not answer");
    unit.camera_on.send_replace(true);
    viewer.message(|m| matches!(m, PuToCu::Camera { online: true, .. }).then_some(())).await;
    let after = viewer.video_packet().await.header.timestamp;
    assert!(after.wrapping_sub(before) < 1 << 31, "timestamps go on");
    viewer.say(Tell::Stop);
    unit.stop().await;
}

async fn serving(viewer: &mut Viewer, tier: StreamTier, keyframes_only: bool) {
    viewer
        .message(|m| match m {
            PuToCu::Serving { stream } => {
                (stream.tier == tier && stream.keyframes_only == keyframes_only).then_some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn the_viewer_chooses() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    serving(&mut viewer, StreamTier::Main, false).await;
    for junk in [&b"{"[..], b"{\"type\":\"set_quality\"}", &[0xff; 9_000], b"null"] {
        viewer.say(Tell::Raw(junk.to_vec()));
    }
    let set = |quality| Tell::Send(CuToPu::SetQuality { quality });
    viewer.say(set(QualityChoice::Tier { tier: StreamTier::Sub }));
    serving(&mut viewer, StreamTier::Sub, false).await;
    viewer.say(set(QualityChoice::Keyframes));
    serving(&mut viewer, StreamTier::Sub, true).await;
    // Refused here, since this unit has no encoder: the viewer is told, and keeps a picture.
    viewer.say(set(QualityChoice::Exact { width: 352, height: 288, fps: 10 }));
    let reason = viewer
        .message(|m| match m {
            PuToCu::Serving { stream } if !stream.keyframes_only => Some(stream.reason),
            _ => None,
        })
        .await;
    assert!(reason.contains("does not re-encode"), "{reason}");
    let stats = unit.engine.stats().await.expect("runs");
    assert_eq!((stats.control_ignored, stats.panics), (4, 0));
    viewer.say(Tell::Stop);
    unit.stop().await;
}

#[tokio::test]
async fn ice_restarts_within_the_session() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    viewer.video_packet().await;
    viewer.say(Tell::RestartIce);
    let viewer = whole(viewer, 60).await;
    let stats = unit.engine.stats().await.expect("runs");
    assert_eq!((stats.sessions, stats.connected, stats.started), (1, 1, 1));
    viewer.say(Tell::Stop);
    unit.stop().await;
}

#[tokio::test]
async fn a_revoked_right_ends_the_session_at_once() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    viewer.message(|m| matches!(m, PuToCu::Serving { .. }).then_some(())).await;
    let revoked = Problem::new(ProblemKind::TokenRevoked, "the share was taken back");
    viewer.right.end.send_replace(Some(revoked.clone()));
    let told = viewer
        .message(|m| if let PuToCu::Ended { problem } = m { Some(problem) } else { None })
        .await;
    assert_eq!(told, revoked);
    viewer.wait(|seen| matches!(seen, Seen::Closed).then_some(())).await;
    let stats = unit.engine.stats().await.expect("runs");
    assert_eq!((stats.sessions, stats.panics), (0, 0));
    unit.stop().await;
}

#[tokio::test]
async fn sound_comes_as_the_camera_sends_it() {
    let unit = Unit::start();
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    let mut last: Option<u32> = None;
    for _ in 0..20 {
        let packet = viewer
            .wait(|seen| match seen {
                Seen::Packet(packet) if !is_video(&packet) && packet.payload.len() == 160 => {
                    Some(packet)
                }
                _ => None,
            })
            .await;
        let time = packet.header.timestamp;
        if let Some(last) = last {
            assert_eq!(time.wrapping_sub(last), 160);
        }
        last = Some(time);
    }
    viewer.say(Tell::Stop);
    unit.stop().await;
}
