//! A unit's owner sees of its recordings what may be shown and nothing else: what is hidden is not even
//! sent so that something else can be decoded. Every picture carries its number, which is read from what
//! was decoded.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/film.rs"]
mod film;

use std::{sync::Arc, time::Duration};

use film::{COUNT, Film, numbers, recorder, taken};
use sightline_archive::{StoreArchive, Visible};
use sightline_media_io::archive::{Archive, Due, Event, Player, Recording, Speed};
use sightline_model::{ChannelId, StreamTier, UnixMicros};
use sightline_recording::replay::{Config, Delivery, Play, Scale};
use tokio::sync::watch;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What may be seen, by the numbers of pictures: on both sides of the film's gap, each time from or to
/// the middle of a segment of 20 pictures and of a group of 10.
const SHOWN: [(u32, u32); 2] = [(40, 105), (155, 185)];
/// Segments that lie in it whole.
const WHOLE: [(u32, u32); 2] = [(40, 100), (160, 180)];

fn may_be_seen(number: u32) -> bool {
    SHOWN.iter().any(|(from, to)| (*from..*to).contains(&number))
}

/// They begin and end half a picture before the numbers.
fn spans(of: &[(u32, u32)]) -> Visible {
    let before = |number: u32| UnixMicros(taken(number).0 - 50_000);
    of.iter().map(|(from, to)| before(*from)..before(*to)).collect()
}

struct World {
    film: Film,
    archive: Arc<StoreArchive>,
    visible: watch::Sender<Visible>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(shown: Visible) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let film = Film::shoot(folder.path()).await;
        let (_, store) = watch::channel(Some(film.store.clone()));
        let (visible, told) = watch::channel(shown);
        let archive = StoreArchive::of_unit(store, recorder(), told);
        Self { film, archive, visible, _folder: folder }
    }

    fn player(&self) -> Player {
        let archive: Arc<dyn Archive> = self.archive.clone();
        let of = Recording { channel: ChannelId(0), tier: StreamTier::Main };
        Player::new(archive, of, Config::default())
    }

    /// One that plays as fast as pictures are taken from it.
    fn playing(&self, at: UnixMicros, scale: Scale) -> Player {
        let mut player = self.player();
        let play = Play { delivery: Delivery::Free, ..Play::from(at, scale) };
        player.play(play, Speed::NORMAL);
        player
    }

    fn numbers(&self, sent: &[Due]) -> Vec<u32> {
        numbers(self.film.video(), sent.iter().map(|due| &due.unit))
    }
}

/// The next picture; none at the end.
async fn picture(player: &mut Player) -> Option<Due> {
    loop {
        match tokio::time::timeout(PATIENCE, player.next()).await.expect("in time") {
            Event::Unit(due) => return Some(*due),
            Event::Ended(_) => return None,
            Event::Notice(_) | Event::CaughtUp => {}
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

async fn all(player: &mut Player) -> Vec<Due> {
    let mut sent = Vec::new();
    while let Some(due) = picture(player).await {
        sent.push(due);
    }
    sent
}

/// Numbers of what was shown, in the order of showing.
fn shown(sent: &[Due], numbers: &[u32]) -> Vec<u32> {
    let both = sent.iter().zip(numbers).filter(|(due, _)| due.plan.shown);
    let mut shown: Vec<_> = both.map(|(due, n)| (due.plan.presentation_us, *n)).collect();
    shown.sort_unstable();
    shown.into_iter().map(|(_, n)| n).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_is_neither_shown_nor_sent_in_either_direction() {
    let world = World::new(spans(&SHOWN)).await;
    let (start, end) = (taken(0), taken(COUNT));
    for (from, scale) in [(start, Scale::NORMAL), (end, Scale::REVERSE)] {
        let sent = all(&mut world.playing(from, scale)).await;
        let numbers = world.numbers(&sent);
        assert!(numbers.iter().all(|n| may_be_seen(*n)), "sent from {from:?}: {numbers:?}");
        let mut shown = shown(&sent, &numbers);
        if scale == Scale::REVERSE {
            shown.reverse();
        }
        assert!(shown.is_sorted_by(|a, b| a < b), "in order, each once: {shown:?}");
        for (from, to) in WHOLE {
            assert!((from..to).all(|n| shown.contains(&n)), "{from} to {to} of {shown:?}");
        }
    }
    world.film.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_to_what_is_hidden_shows_something_else_or_nothing() {
    let world = World::new(spans(&SHOWN)).await;
    let jump = async |number: u32| {
        let mut player = world.player();
        player.show(taken(number));
        let mut sent = Vec::new();
        while let Some(due) = picture(&mut player).await {
            let is_shown = due.plan.shown;
            sent.push(due);
            if is_shown {
                break;
            }
        }
        world.numbers(&sent)
    };
    // Before the first span, between the two, and behind the last.
    for hidden in [0, 20, 39, 105, 110, 119, 120, 140, 154, 185, 190, COUNT - 1] {
        let sent = jump(hidden).await;
        assert!(sent.iter().all(|n| may_be_seen(*n)), "{hidden}: {sent:?}");
        assert!(!sent.is_empty(), "{hidden}: nothing is shown");
    }
    // What may be seen is found all the same.
    assert_eq!(jump(57).await.last(), Some(&57));
    world.visible.send_replace(spans(&[]));
    assert!(jump(57).await.is_empty(), "nobody may see anything");
    assert!(all(&mut world.playing(taken(0), Scale::NORMAL)).await.is_empty());
    world.film.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_hidden_while_it_is_played_is_not_read_any_more() {
    let world = World::new(spans(&[(0, COUNT)])).await;
    let mut player = world.playing(taken(0), Scale::NORMAL);
    let mut sent = Vec::new();
    while sent.len() < 5 {
        sent.extend(picture(&mut player).await);
    }
    world.visible.send_replace(spans(&[(140, COUNT)]));
    sent.extend(all(&mut player).await);
    let numbers = world.numbers(&sent);
    // Two segments at most had been read, the second ahead of time.
    let (before, after): (Vec<u32>, Vec<u32>) = numbers.into_iter().partition(|n| *n < 140);
    let read = [20, 40].map(|end| (0..end).collect::<Vec<u32>>());
    assert!(read.contains(&before), "{before:?}");
    assert_eq!(after, (140..COUNT).collect::<Vec<_>>());
    world.film.store.close().await;
}
