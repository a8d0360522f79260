use sightline_model::{Keep, PlanError};

use super::*;
use EventKind::{Input as Contact, Motion};

fn at(seconds: u64) -> Moment {
    let time = UnixMicros(utc("2026-07-06T00:00:00Z").0 + (seconds * SECOND_US) as i64);
    Moment { monotonic_us: seconds * SECOND_US, time, authority: Authority::Centre }
}

fn engine(strategies: Vec<Strategy>) -> Engine {
    let mut engine = Engine::new(camera(), RecordingPlace::Pu);
    engine.handle_input(at(0), Input::Plan(plan(1, strategies))).expect("a plan");
    engine
}

/// Everything that waits, without what is only to be kept.
fn outputs(engine: &mut Engine) -> Vec<Output> {
    let all = std::iter::from_fn(|| engine.poll_output());
    all.filter(|output| !matches!(output, Output::Keep(_))).collect()
}

fn keeps(engine: &mut Engine) -> Vec<Kept> {
    let all = std::iter::from_fn(|| engine.poll_output());
    all.filter_map(|output| if let Output::Keep(kept) = output { Some(kept) } else { None })
        .collect()
}

fn started(event: u64, kind: EventKind) -> Input {
    Input::EventStarted { event: EventId(event), kind }
}

fn ended(event: u64) -> Input {
    Input::EventEnded { event: EventId(event) }
}

fn event() -> Causes {
    Causes { event: true, ..Causes::default() }
}

fn begin(causes: Causes, back_s: u64) -> Output {
    Output::Begin { tier: StreamTier::Main, causes, back_to_us: back_s * SECOND_US }
}

const END: Output = Output::End { tier: StreamTier::Main };

/// Lets time pass as a caller does, up to `until_s`.
fn wait(engine: &mut Engine, until_s: u64) {
    while let Some(due) = engine.poll_timeout().filter(|due| *due <= until_s * SECOND_US) {
        let mut now = at(due / SECOND_US);
        now.time.0 += (due % SECOND_US) as i64;
        now.monotonic_us = due;
        engine.handle_timeout(now);
        assert!(engine.poll_timeout().is_none_or(|next| next > due), "stands still at {due}");
    }
    engine.handle_timeout(at(until_s));
}

#[test]
fn an_event_is_recorded_with_what_came_before_and_after() {
    let mut engine = engine(vec![strategy("e", on_event(&[Motion], 10, 20))]);
    let length = Duration::from_secs(10);
    assert_eq!(outputs(&mut engine), [Output::PreRoll { tier: StreamTier::Main, length }]);
    engine.handle_input(at(100), started(1, Motion)).expect("taken");
    assert_eq!(outputs(&mut engine), [begin(event(), 90)]);
    engine.handle_input(at(130), ended(1)).expect("taken");
    wait(&mut engine, 149);
    assert_eq!(outputs(&mut engine), []);
    wait(&mut engine, 150);
    assert_eq!(outputs(&mut engine), [END]);
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn overlapping_and_repeated_events_extend_one_recording() {
    let mut engine = engine(vec![strategy("e", on_event(&[Motion, Contact], 5, 20))]);
    for (second, input) in [
        (100, started(1, Motion)),
        (110, started(2, Contact)),
        (115, started(1, Motion)),
        (120, ended(1)),
        (121, ended(1)),
        (125, ended(2)),
        (144, started(3, Motion)),
        (144, ended(3)),
    ] {
        wait(&mut engine, second);
        engine.handle_input(at(second), input).expect("taken");
    }
    wait(&mut engine, 163);
    let told = outputs(&mut engine);
    assert_eq!(told[1..], [begin(event(), 95)], "one recording: {told:?}");
    wait(&mut engine, 164);
    assert_eq!(outputs(&mut engine), [END]);
    // Another kind is nobody's business, nor is an end without a beginning.
    engine.handle_input(at(170), started(4, EventKind::Sound)).expect("taken");
    engine.handle_input(at(171), ended(9)).expect("taken");
    assert_eq!(outputs(&mut engine), []);
}

#[test]
fn an_event_during_a_schedule_adds_its_cause_and_its_pre_roll() {
    let morning = week("UTC", &[(&Weekday::ALL, "00:01", "01:00")]);
    let mut engine = engine(vec![
        strategy("w", Trigger::Schedule { schedule: morning }),
        strategy("e", on_event(&[Motion], 10, 600)),
    ]);
    wait(&mut engine, 3_590);
    let schedule = Causes { schedule: true, ..Causes::default() };
    assert_eq!(outputs(&mut engine)[1..], [begin(schedule, 60)]);
    engine.handle_input(at(3_590), started(1, Motion)).expect("taken");
    let both = schedule.and(event());
    let tier = StreamTier::Main;
    let go_on = |causes, s: u64| Output::GoOn { tier, causes, back_to_us: s * SECOND_US };
    assert_eq!(outputs(&mut engine), [go_on(both, 3_580)]);
    wait(&mut engine, 3_600);
    assert_eq!(outputs(&mut engine), [go_on(event(), 3_600)]);
    engine.handle_input(at(3_605), ended(1)).expect("taken");
    wait(&mut engine, 4_205);
    assert_eq!(outputs(&mut engine), [END]);
}

#[test]
fn events_count_only_in_their_hours_but_are_recorded_to_their_end() {
    let hour = week("UTC", &[(&Weekday::ALL, "01:00", "02:00")]);
    let during = Some(hour);
    let kinds = [Motion].into();
    let trigger = Trigger::Event { kinds, pre_roll_s: 10, post_roll_s: 60, during };
    let mut engine = engine(vec![strategy("e", trigger)]);
    outputs(&mut engine);
    engine.handle_input(at(1_000), started(1, Motion)).expect("taken");
    engine.handle_input(at(1_010), ended(1)).expect("taken");
    wait(&mut engine, 3_000);
    assert_eq!(outputs(&mut engine), [], "before its hour");
    // One that began before counts from the hour on, and goes on after it.
    engine.handle_input(at(3_500), started(2, Motion)).expect("taken");
    wait(&mut engine, 3_600);
    assert_eq!(outputs(&mut engine), [begin(event(), 3_600)]);
    wait(&mut engine, 7_000);
    engine.handle_input(at(7_000), started(2, Motion)).expect("still there");
    wait(&mut engine, 7_300);
    engine.handle_input(at(7_300), ended(2)).expect("taken");
    wait(&mut engine, 7_359);
    assert_eq!(outputs(&mut engine), []);
    wait(&mut engine, 7_360);
    assert_eq!(outputs(&mut engine), [END]);
}

#[test]
fn an_event_that_nobody_ends_does_not_record_for_ever() {
    let mut engine = engine(vec![strategy("e", on_event(&[Motion], 0, 60))]);
    engine.handle_input(at(100), started(1, Motion)).expect("taken");
    wait(&mut engine, 3_759);
    assert_eq!(engine.causes(StreamTier::Main), Some(event()));
    wait(&mut engine, 3_760);
    assert_eq!(engine.causes(StreamTier::Main), None);
    // Nor do very many of them cost ever more memory; each is recorded all the same.
    for n in 0..2_000 {
        engine.handle_input(at(5_000), started(10 + n, Motion)).expect("taken");
    }
    for n in 0..2_000 {
        engine.handle_input(at(5_001), ended(10 + n)).expect("taken");
    }
    wait(&mut engine, 5_060);
    assert_eq!(engine.causes(StreamTier::Main), Some(event()));
    wait(&mut engine, 5_061);
    assert_eq!(engine.causes(StreamTier::Main), None);
}

#[test]
fn an_unconfirmed_clock_records_all_week() {
    let never = week("UTC", &[(&[Weekday::Sunday], "00:00", "00:01")]);
    let mut engine = engine(vec![strategy("w", Trigger::Schedule { schedule: never })]);
    assert_eq!(engine.causes(StreamTier::Main), None, "it is Monday");
    let doubtful = Moment { authority: Authority::Unconfirmed, ..at(10) };
    engine.handle_timeout(doubtful);
    assert!(engine.causes(StreamTier::Main).is_some_and(|causes| causes.schedule));
    engine.handle_timeout(at(11));
    assert_eq!(engine.causes(StreamTier::Main), None);
}

#[test]
fn only_newer_plans_for_this_camera_and_place_are_taken() {
    let always = || strategy("a", Trigger::Continuous);
    let mut engine = engine(vec![always()]);
    let two = plan(2, vec![]);
    engine.handle_input(at(1), Input::Plan(two.clone())).expect("newer");
    engine.handle_input(at(2), Input::Plan(two.clone())).expect("the same once more");
    let refused = |engine: &mut Engine, plan| {
        let error = engine.handle_input(at(3), Input::Plan(plan)).expect_err("not to be taken");
        assert_eq!(*engine.plan(), two, "{error}");
        error
    };
    let stale = refused(&mut engine, plan(1, vec![always()]));
    assert_eq!(stale, StrategyError::Stale { kept: 2, offered: 1 });
    assert_eq!(refused(&mut engine, plan(2, vec![always()])), StrategyError::Conflict(2));
    let there = RecordingPlan { place: RecordingPlace::Cs, ..plan(3, vec![]) };
    assert_eq!(refused(&mut engine, there), StrategyError::Elsewhere(camera(), RecordingPlace::Cs));
    let twice = refused(&mut engine, plan(3, vec![always(), always()]));
    assert_eq!(twice, StrategyError::Plan(PlanError::Twice(id("a"))));
    let schedule = week("Mars/Olympus", &[(&Weekday::ALL, "00:00", "24:00")]);
    let nowhere =
        refused(&mut engine, plan(3, vec![strategy("w", Trigger::Schedule { schedule })]));
    assert!(matches!(nowhere, StrategyError::NoSuchZone(_)), "{nowhere}");
    let keep = Keep { max_bytes: Some(1), ..Keep::default() };
    let tiny = refused(&mut engine, RecordingPlan { keep, ..plan(3, vec![]) });
    assert!(tiny.to_string().contains("64 MiB"), "{tiny}");
}

#[test]
fn a_change_of_plan_amid_an_event_loses_nothing() {
    let mut engine = engine(vec![strategy("e", on_event(&[Motion], 5, 300))]);
    engine.handle_input(at(100), started(1, Motion)).expect("taken");
    outputs(&mut engine);
    let longer = plan(2, vec![strategy("e", on_event(&[Motion], 10, 600))]);
    engine.handle_input(at(110), Input::Plan(longer)).expect("newer");
    let length = Duration::from_secs(10);
    let pre_roll = Output::PreRoll { tier: StreamTier::Main, length };
    assert_eq!(outputs(&mut engine), [pre_roll], "the recording just goes on");
    engine.handle_input(at(120), ended(1)).expect("taken");
    let shorter = plan(3, vec![strategy("e", on_event(&[Motion], 10, 60))]);
    engine.handle_input(at(200), Input::Plan(shorter)).expect("newer");
    wait(&mut engine, 259);
    assert_eq!(outputs(&mut engine), []);
    wait(&mut engine, 260);
    assert_eq!(outputs(&mut engine), [END]);
    // A new strategy takes an event that goes on from then on; one that is gone lets go.
    engine.handle_input(at(300), started(2, Contact)).expect("taken");
    let contact = plan(4, vec![strategy("c", on_event(&[Contact], 0, 5))]);
    engine.handle_input(at(310), Input::Plan(contact)).expect("newer");
    assert_eq!(outputs(&mut engine)[1..], [begin(event(), 310)]);
    engine.handle_input(at(320), Input::Plan(plan(5, vec![]))).expect("newer");
    assert_eq!(outputs(&mut engine), [END]);
}

#[test]
fn manual_recordings_survive_restarts_and_end_in_time() {
    let limited = || strategy("m", Trigger::Manual { limit_s: Some(600) });
    let mut engine = engine(vec![limited(), strategy("a", Trigger::Continuous)]);
    let start = |name| Input::ManualStart { strategy: id(name) };
    let error = engine.handle_input(at(1), start("x")).expect_err("no such");
    assert_eq!(error, StrategyError::NoSuchStrategy(id("x")));
    let error = engine.handle_input(at(1), start("a")).expect_err("by itself");
    assert_eq!(error, StrategyError::NotManual(id("a")));
    engine.handle_input(at(100), start("m")).expect("taken");
    let kept = keeps(&mut engine).pop().expect("something to keep");
    let text = serde_json::to_string(&kept).expect("JSON");
    let kept: Kept = serde_json::from_str(&text).expect("JSON");
    let manual = |engine: &Engine| engine.causes(StreamTier::Main).is_some_and(|c| c.manual);

    // The machine starts anew: its monotonic clock too.
    let anew = |utc_s, authority| Moment { monotonic_us: 7, authority, ..at(utc_s) };
    let mut later = Engine::restore(kept.clone(), anew(400, Authority::System)).expect("restored");
    assert!(manual(&later));
    assert_eq!(later.poll_timeout(), Some(7 + 300 * SECOND_US));
    later.handle_timeout(Moment { monotonic_us: 7 + 300 * SECOND_US, ..at(700) });
    assert!(!manual(&later));
    assert_eq!(keeps(&mut later).pop().map(|kept| kept.manual), Some(vec![]));
    let over = Engine::restore(kept.clone(), anew(701, Authority::System)).expect("restored");
    assert!(!manual(&over), "its time was over");
    let unsure =
        Engine::restore(kept.clone(), anew(701, Authority::Unconfirmed)).expect("restored");
    assert!(manual(&unsure), "nobody knows whether its time is over");

    let from_the_future = Kept { version: 2, ..kept.clone() };
    let error = Engine::restore(from_the_future, at(0)).expect_err("unknown form");
    assert_eq!(error, StrategyError::KeptVersion(2));
    engine.handle_input(at(200), Input::ManualStop { strategy: id("m") }).expect("taken");
    assert!(!manual(&engine));
    assert_eq!(keeps(&mut engine).pop().map(|kept| kept.manual), Some(vec![]));
}

#[test]
fn tiers_are_recorded_apart() {
    let sub = Strategy { tier: StreamTier::Sub, ..strategy("s", Trigger::Continuous) };
    let engine = engine(vec![sub, strategy("m", Trigger::Manual { limit_s: None })]);
    assert_eq!(engine.causes(StreamTier::Main), None);
    assert!(engine.causes(StreamTier::Sub).is_some_and(|causes| causes.continuous));
}

#[test]
fn spoilt_plans_say_what_is_wrong() {
    let text = serde_json::to_string(&engine(vec![]).kept()).expect("JSON");
    let spoilt = text.replace("\"revision\":1", "\"revision\":-1");
    let error = serde_json::from_str::<Kept>(&spoilt).expect_err("no revision");
    assert!(error.to_string().contains("-1"), "{error}");
}
