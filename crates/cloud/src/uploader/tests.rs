//! Thousands of seeded histories: centre, store and link go away and come back, answers are lost, the
//! agent is killed in the middle of anything, the spool overflows, the owner's space is small.

mod world;

use sightline_model::UnixMicros;

use super::*;
use crate::budget::{Budget, Per};
use world::{Trouble, World};

const HISTORIES: u64 = 3_000;

#[test]
fn nothing_acknowledged_is_lost_and_no_orphan_is_left() {
    for seed in 0..HISTORIES {
        let mut world = World::new(seed, Trouble::all());
        world.live(400);
        world.heal();
        world.check_all_stored();
        world.check_all_told();
        world.check_no_orphans();
    }
}

#[test]
fn without_trouble_each_segment_travels_once() {
    for seed in 0..200 {
        let mut world = World::new(seed, Trouble::none());
        world.live(200);
        world.heal();
        world.check_all_stored();
        assert_eq!(world.sent, world.recorded(), "seed {seed}: something was sent twice");
        assert!(world.spooled() < 2 * 3 * 16, "seed {seed}: the spool is not emptied");
    }
}

#[test]
fn a_small_space_holds_the_newest() {
    for seed in 0..500 {
        let trouble = Trouble { space: Some(20), ..Trouble::all() };
        let mut world = World::new(seed, trouble);
        world.live(400);
        world.heal();
        world.check_no_orphans();
        assert!(world.used() <= 20, "seed {seed}: more is stored than the owner has");
    }
}

fn now(s: u64) -> Now {
    let wall = UnixMicros(1_800_000_000_000_000 + s.cast_signed() * 1_000_000);
    Now { monotonic_us: s * 1_000_000, wall }
}

fn jobs(uploader: &mut Uploader) -> Vec<(JobId, Job)> {
    std::iter::from_fn(|| uploader.poll_output())
        .filter_map(|output| match output {
            Output::Do(id, job) => Some((id, job)),
            Output::Keep(_) | Output::PassedOver(..) => None,
        })
        .collect()
}

/// An uploader of one open chain.
fn opened(settings: Settings) -> (Uploader, Vec<(JobId, Job)>) {
    let mut uploader = Uploader::new(settings, Spent::default());
    uploader.handle_input(now(0), Input::News(Chain(1)));
    assert_eq!(uploader.poll_output(), None, "nothing is asked while the centre is away");
    uploader.handle_input(now(0), Input::Up);
    let [(open, Job::Open(Chain(1)))] = jobs(&mut uploader)[..] else { panic!("not opened") };
    uploader.handle_input(now(0), Input::Done(open, Outcome::Done));
    let asked = jobs(&mut uploader);
    (uploader, asked)
}

fn look_of(jobs: &[(JobId, Job)], event: bool) -> (JobId, LaneId) {
    let found = jobs.iter().find_map(|(id, job)| match job {
        Job::Look { lane, .. } if lane.is_event == event => Some((*id, *lane)),
        _ => None,
    });
    found.expect("the lane is looked at")
}

#[test]
fn clips_of_events_go_first_and_have_the_last_of_the_budget() {
    let budget = Some(Budget { bytes: 100, per: Per::Day });
    let (mut uploader, asked) = opened(Settings { budget, at_once: 1, ..Settings::default() });
    let item = |sequence, len| Item { sequence: Sequence(sequence), len };
    // The rest was found first, and takes the only place.
    let (rest, _) = look_of(&asked, false);
    uploader.handle_input(now(1), Input::Done(rest, Outcome::Found(Some(item(1, 70)))));
    let [(ask, Job::Ask { .. })] = jobs(&mut uploader)[..] else { panic!("it is asked for") };
    let (event, lane) = look_of(&asked, true);
    uploader.handle_input(now(1), Input::Done(event, Outcome::Found(Some(item(9, 20)))));
    assert_eq!(jobs(&mut uploader), [], "one at a time");
    uploader.handle_input(now(2), Input::Done(ask, Outcome::Stored));
    let next = jobs(&mut uploader);
    let asks = next.iter().filter(|(_, job)| matches!(job, Job::Ask { lane: l, .. } if *l == lane));
    assert_eq!(asks.count(), 1, "{next:?}");
    // Ten more are beyond three quarters of the budget: put off, whatever else there is.
    let (rest, _) = look_of(&next, false);
    uploader.handle_input(now(3), Input::Done(rest, Outcome::Found(Some(item(2, 10)))));
    let (done, _) = next.into_iter().find(|(_, j)| matches!(j, Job::Ask { .. })).expect("asked");
    uploader.handle_input(now(3), Input::Done(done, Outcome::Stored));
    let after = jobs(&mut uploader);
    assert!(after.iter().all(|(_, job)| !matches!(job, Job::Ask { .. })), "{after:?}");
}

#[test]
fn an_answer_for_an_earlier_owner_changes_nothing() {
    let (mut uploader, asked) = opened(Settings::default());
    let (look, _) = look_of(&asked, false);
    uploader.handle_input(now(1), Input::OwnerChanged);
    let again = jobs(&mut uploader);
    assert!(matches!(again[..], [(_, Job::Open(_))]), "{again:?}");
    let item = Item { sequence: Sequence(1), len: 1 };
    uploader.handle_input(now(2), Input::Done(look, Outcome::Found(Some(item))));
    assert_eq!(jobs(&mut uploader), [], "the earlier owner's segment");
}

#[test]
fn what_can_never_be_stored_holds_nobody_up() {
    let (mut uploader, asked) = opened(Settings::default());
    let (look, lane) = look_of(&asked, false);
    let item = Item { sequence: Sequence(5), len: 1 };
    uploader.handle_input(now(1), Input::Done(look, Outcome::Found(Some(item))));
    let [(ask, Job::Ask { .. })] = jobs(&mut uploader)[..] else { panic!("asked") };
    let refused = Outcome::Failed(Failure::Unacceptable);
    uploader.handle_input(now(1), Input::Done(ask, refused));
    assert_eq!(uploader.poll_output(), Some(Output::PassedOver(lane, item)));
    let next = jobs(&mut uploader);
    let after = Some(Sequence(5));
    assert!(matches!(next[..], [(_, Job::Look { after: a, .. })] if a == after), "{next:?}");
}

/// What lies between segments goes with them, and nobody could tell of it any more.
#[test]
fn nothing_is_let_go_before_the_centre_knows_what_lies_between() {
    let (mut uploader, asked) = opened(Settings::default());
    let note = |jobs: &[(JobId, Job)]| {
        let is_note = |(id, job): &(JobId, Job)| matches!(job, Job::Note { .. }).then_some(*id);
        jobs.iter().find_map(is_note)
    };
    let releases = |jobs: &[(JobId, Job)]| {
        jobs.iter().filter(|(_, job)| matches!(job, Job::Release { .. })).count()
    };
    let (look, _) = look_of(&asked, false);
    let item = Item { sequence: Sequence(7), len: 1 };
    uploader.handle_input(now(1), Input::Done(look, Outcome::Found(Some(item))));
    let [(ask, Job::Ask { .. })] = jobs(&mut uploader)[..] else { panic!("asked") };
    uploader.handle_input(now(1), Input::Done(ask, Outcome::Stored));
    let next = jobs(&mut uploader);
    uploader.handle_timeout(now(100));
    assert_eq!((releases(&next), jobs(&mut uploader)), (0, Vec::new()), "it is let go untold");
    // Told as far as that, it goes when its time is over.
    let told = Outcome::Noted { through: Some(Sequence(7)), more: false };
    let first = note(&asked).expect("the centre is told");
    uploader.handle_input(now(101), Input::Done(first, told));
    assert_eq!(releases(&jobs(&mut uploader)), 1);
}

#[test]
fn retries_wait_longer_and_end_when_the_centre_is_back() {
    let (mut uploader, asked) = opened(Settings::default());
    let (mut job, _) = look_of(&asked, false);
    let mut at = 0;
    for wait in [1, 2, 4, 8, 15, 15] {
        let away = Outcome::Failed(Failure::Away);
        uploader.handle_input(now(at), Input::Done(job, away));
        assert_eq!(uploader.poll_timeout(), Some((at + wait) * 1_000_000));
        uploader.handle_timeout(now(at + wait - 1));
        assert_eq!(jobs(&mut uploader), []);
        at += wait;
        uploader.handle_timeout(now(at));
        (job, _) = look_of(&jobs(&mut uploader), false);
    }
    uploader.handle_input(now(at), Input::Done(job, Outcome::Failed(Failure::Away)));
    uploader.handle_input(now(at), Input::Up);
    look_of(&jobs(&mut uploader), false);
}
