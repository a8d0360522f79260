//! Viewers that go while the pace holds a picture back. [`World::tick`] sees that the engine may
//! sleep after every step.

use sightline_protocol::{Problem, ProblemKind};

use super::{Setting, World};

fn is_blocked(world: &World) -> bool {
    world.session.video.as_ref().is_some_and(|video| video.blocked_until.is_some())
}

/// Keyframes that the pace spreads over more than the time of a picture, in one of four phases.
async fn watching(phase: u32) -> World {
    let setting = Setting { main_kbps: 4_000, gop: 4, ..Setting::new(6e6, 20, 0.0) };
    let mut world = World::new(&setting);
    world.main.next_keyframe = phase;
    world.run_until(3.0, |_| false).await;
    assert!(world.session.is_connected());
    world
}

#[tokio::test]
async fn a_viewer_that_vanishes_leaves_the_engine_asleep() {
    let mut blocked = 0;
    for phase in 0..4 {
        let mut world = watching(phase).await;
        (world.down.loss, world.up.loss) = (1.0, 1.0);
        // More than the estimate, which stays as it was: the pace follows what the camera gives.
        world.main.frame_bytes *= 4;
        let gone = world.run_until(30.0, |w| !w.session.is_connected()).await;
        blocked += u32::from(is_blocked(&world));
        let closed = world.run_until(gone + 40.0, |w| w.session.is_closed()).await;
        assert!((29.0..31.0).contains(&(closed - gone)), "{closed} s after {gone} s");
    }
    assert!(blocked > 0, "no picture was held back in any phase");
}

#[tokio::test]
async fn a_farewell_while_a_picture_is_held_back_leaves_the_engine_asleep() {
    let mut world = watching(0).await;
    world.run_until(4.0, is_blocked).await;
    assert!(is_blocked(&world));
    let problem = Problem::new(ProblemKind::Forbidden, "no more");
    world.session.end(Some(problem), world.now, &mut world.feeds);
    assert!(!world.session.is_closed(), "the viewer is told");
    let ended = world.elapsed();
    world.run_until(ended + 1.0, |w| w.session.is_closed()).await;
    assert!(world.session.is_closed());
}
