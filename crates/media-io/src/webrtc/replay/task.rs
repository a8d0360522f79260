//! Plays one viewer's recording, beside the engine: the storage may be slow.

use std::sync::Arc;

use sightline_media::StreamDescription;
use sightline_model::{StreamTier, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::{PuToCuReplay, ReplayAudio, ReplayVideo},
};
use sightline_recording::replay::{Config, Notice, Play, Way};
use tokio::sync::{
    Notify,
    broadcast::{self, error::RecvError},
    mpsc,
};

use crate::archive::{Archive, Due, Event, Player, Recording, Speed};

/// What the viewer wants.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// Of the encoding, or the one before.
    Play(Play, Option<StreamTier>),
    Pause,
    Show(UnixMicros),
    Step(Way, Option<UnixMicros>),
}

/// What it gets.
#[derive(Debug)]
pub(super) enum Said {
    /// A unit, and the presentation time when it was due.
    Unit(Box<Due>, i64),
    Text(PuToCuReplay),
}

/// Until the session lets go of either end. `hears`: the viewer may hear the sound as well.
pub(super) async fn run(
    archive: Arc<dyn Archive>,
    (of, hears): (Recording, bool),
    mut orders: broadcast::Receiver<Order>,
    say: mpsc::Sender<Said>,
    wake: Arc<Notify>,
) {
    let mut player = Player::new(archive, of, Config::default());
    let mut told: Option<Arc<StreamDescription>> = None;
    loop {
        // Nothing is taken from the recording that nobody takes from us.
        let next = async {
            let room = say.reserve().await.ok()?;
            let event = player.next().await;
            Some((room, event, player.presentation_us()))
        };
        tokio::select! {
            order = orders.recv() => match order {
                Ok(order) => obey(&mut player, order),
                // What came later makes the lost ones void.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            next = next => {
                let Some((room, event, at_us)) = next else { return };
                if say_event((event, at_us), hears, &mut told, room, &say).await {
                    wake.notify_one();
                }
            }
        }
    }
}

fn obey(player: &mut Player, order: Order) {
    match order {
        Order::Play(play, tier) => {
            if let Some(tier) = tier {
                player.prefer(tier);
            }
            player.play(play, Speed::NORMAL);
        }
        Order::Pause => player.pause(),
        Order::Show(at) => player.show(at),
        Order::Step(way, from) => player.step(way, from),
    }
}

/// Hands an event over; whether there was anything to say.
async fn say_event(
    (event, at_us): (Event, i64),
    hears: bool,
    told: &mut Option<Arc<StreamDescription>>,
    room: mpsc::Permit<'_, Said>,
    say: &mpsc::Sender<Said>,
) -> bool {
    let text = match event {
        Event::Unit(due) if !hears && !due.unit.is_video() => return false,
        Event::Unit(due) => {
            let known = |told: &Arc<StreamDescription>| **told == *due.stream;
            if told.as_ref().is_some_and(known) {
                room.send(Said::Unit(due, at_us));
                return true;
            }
            room.send(Said::Text(stream(&due.stream, hears)));
            *told = Some(Arc::clone(&due.stream));
            return say.send(Said::Unit(due, at_us)).await.is_ok();
        }
        Event::Notice(Notice::Unreadable { from, to }) => PuToCuReplay::Unreadable { from, to },
        Event::Notice(Notice::LargeGroup { .. }) => return false,
        Event::CaughtUp => PuToCuReplay::CaughtUp,
        Event::Ended(_) => PuToCuReplay::Ended,
        Event::Failed(error) => {
            let problem = Problem::new(ProblemKind::StorageAway, error.to_string());
            PuToCuReplay::Failed { problem }
        }
    };
    room.send(Said::Text(text));
    true
}

fn stream(stream: &StreamDescription, hears: bool) -> PuToCuReplay {
    let video = stream.video.as_ref().map(|video| ReplayVideo {
        codec: video.codec(),
        codecs: video.parameter_sets.codecs(),
        width: video.width,
        height: video.height,
    });
    let audio = stream.audio.as_ref().filter(|_| hears).map(|audio| ReplayAudio {
        codec: audio.codec,
        clock_hz: audio.clock_hz,
        channels: audio.channels,
        config: audio.config.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    PuToCuReplay::Stream { video, audio }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveError;

    #[tokio::test]
    async fn a_storage_that_fails_is_not_told_as_the_camera_s_fault() {
        let (say, mut said) = mpsc::channel(1);
        let room = say.reserve().await.expect("nothing waits");
        let failed = Event::Failed(ArchiveError("their storage is away".into()));
        assert!(say_event((failed, 0), true, &mut None, room, &say).await);
        let Some(Said::Text(PuToCuReplay::Failed { problem })) = said.recv().await else {
            panic!("it was not told");
        };
        assert_eq!(problem.kind, ProblemKind::StorageAway);
    }
}
