//! Recording over Cm, Sm, Sc and Ps.

use sightline_protocol::{cm, ps::*, sc, sm};

use super::*;

fn camera() -> CameraId {
    CameraId { pu: pu(), channel: ChannelId(0) }
}

fn week(from: &str, to: &str) -> WeeklySchedule {
    let span = WeeklySpan { days: Weekday::ALL.into(), from: id(from), to: id(to) };
    WeeklySchedule { zone: id("Europe/Berlin"), spans: vec![span] }
}

fn plan() -> RecordingPlan {
    let strategy = |name, tier, trigger| Strategy { id: id(name), tier, trigger };
    let event = Trigger::Event {
        kinds: [EventKind::Motion, EventKind::Input].into(),
        pre_roll_s: 10,
        post_roll_s: 30,
        during: Some(week("22:00", "06:00")),
    };
    let schedule = Trigger::Schedule { schedule: week("00:00", "24:00") };
    let plan = RecordingPlan {
        camera: camera(),
        place: RecordingPlace::Pu,
        revision: 7,
        strategies: vec![
            strategy("always", StreamTier::Sub, Trigger::Continuous),
            strategy("button", StreamTier::Main, Trigger::Manual { limit_s: Some(600) }),
            strategy("hours", StreamTier::Sub, schedule),
            strategy("events", StreamTier::Main, event),
        ],
        keep: Keep {
            max_bytes: Some(64_000_000_000),
            max_age_s: Some(7 * 86_400),
            event_max_age_s: Some(30 * 86_400),
        },
    };
    plan.check().expect("a plan that can be carried out");
    plan
}

fn source() -> RecordingSource {
    RecordingSource { place: RecordingPlace::Pu, recorder: pu(), tier: StreamTier::Main }
}

fn causes() -> Causes {
    Causes { continuous: true, event: true, ..Causes::default() }
}

fn later(seconds: i64) -> UnixMicros {
    UnixMicros(NOW.0 + seconds * 1_000_000)
}

fn timeline() -> Timeline {
    let span = TimelineSpan {
        from: NOW,
        to: later(60),
        source: 0,
        others: vec![1],
        causes: causes(),
        time_known: true,
        twice: true,
    };
    let gap = TimelineGap { from: later(60), to: later(90), reason: Absence::CameraAway };
    let kind = EventKind::Motion;
    let sub = RecordingSource { tier: StreamTier::Sub, ..source() };
    Timeline {
        camera: camera(),
        from: NOW,
        to: later(90),
        resolution_us: 20_000,
        sources: vec![source(), sub],
        spans: vec![span],
        gaps: vec![gap],
        events: vec![EventMark { from: later(5), to: later(9), kind, count: 2 }],
    }
}

fn report() -> RecorderReport {
    let head = ReportedHead {
        camera: camera(),
        source: source(),
        chain: "0".repeat(32),
        sequence: 4_711,
        hash: "ab".repeat(32),
        at: NOW,
    };
    let storage = StorageStatus {
        state: StorageState::ReadOnly,
        capacity_bytes: Some(64_000_000_000),
        recorded_bytes: 32_000_000_000,
        locked_bytes: 1_000_000,
        oldest: Some(NOW),
    };
    RecorderReport { recorder: pu(), storage, heads: vec![head] }
}

fn query() -> RecordingQuery {
    let (from, to) = (NOW, later(86_400));
    RecordingQuery { camera: camera(), from, to, max_spans: 100, tier: Some(StreamTier::Main) }
}

fn lock() -> LockSpan {
    let (camera, place, tier) = (camera(), RecordingPlace::Nvr, None);
    LockSpan { camera, place, tier, from: NOW, to: later(60), locked: true }
}

fn requests() -> Vec<RecordingRequest> {
    let (camera, place) = (camera(), RecordingPlace::Pu);
    vec![
        RecordingRequest::SetPlan { plan: Box::new(plan()) },
        RecordingRequest::ReadPlans { camera: camera.clone() },
        RecordingRequest::Manual {
            camera: camera.clone(),
            place,
            strategy: id("button"),
            on: true,
        },
        RecordingRequest::List(query()),
        RecordingRequest::Days { camera, zone: id("Europe/Berlin"), year: 2026, month: 11 },
        RecordingRequest::Lock(lock()),
        RecordingRequest::Status,
        RecordingRequest::Relate { relations: Box::new(relations()) },
    ]
}

pub fn relations() -> Relations {
    let related = RelatedCamera {
        camera: camera(),
        channel: FIRST_RELATED,
        name: "Yard".into(),
        device_key: key(1),
    };
    let nvr = RelatedNvr { nvr: PuId::from_public_key(&key(9)), channel: ChannelId(0) };
    Relations { revision: 4, records: vec![related], recorded_by: vec![nvr] }
}

fn plan_state() -> PlanState {
    let recording = vec![TierState { tier: StreamTier::Sub, causes: causes() }];
    PlanState { plan: plan(), recording }
}

fn days() -> RecordedDays {
    let (zone, days) = (id("Europe/Berlin"), [1, 2, 30].into());
    RecordedDays { camera: camera(), zone, year: 2026, month: 11, days }
}

fn replies() -> Vec<RecordingReply> {
    vec![
        RecordingReply::PlanSet { revision: 7 },
        RecordingReply::Plans { plans: vec![plan_state()] },
        RecordingReply::Done,
        RecordingReply::Timeline(Box::new(timeline())),
        RecordingReply::Days(days()),
        RecordingReply::Locked(Locked { segments: 15, bytes: 30_000_000 }),
        RecordingReply::Status(Box::new(report())),
        RecordingReply::Related { revision: 4 },
    ]
}

fn file(interface: &str, message: &impl Named) -> String {
    format!("{interface}-recording-{}", message.name().replace('_', "-"))
}

#[test]
fn requests_and_answers_over_ps_and_sm() {
    for ask in requests() {
        let call = RecordingCall { request: 9, ask: ask.clone() };
        check(&file("ps", &ask), ScuToPu::Recording(call));
        check(&file("sm", &ask), sm::SmRequest::Recording { device: pu(), ask: Box::new(ask) });
    }
    for reply in replies() {
        let name = file("ps", &reply).replace("recording", "recording-reply");
        check(&name, PuToScu::Recorded(RecordingAnswer { request: 9, result: Ok(reply) }));
    }
    let refused = RecordingAnswer { request: 9, result: Err(problem()) };
    check("ps-recording-refused", PuToScu::Recorded(refused));
    let timeline = RecordingReply::Timeline(Box::new(timeline()));
    check("sm-recorded", sm::SmReply::Recorded { reply: Box::new(timeline) });
}

#[test]
fn reports_over_ps_and_sc() {
    check("ps-recorder-report", PuToScu::RecorderReport(Box::new(report())));
    let report = Box::new(report());
    check("sc-recorder-report", sc::ScRequest::RecorderReport { device: pu(), epoch: 3, report });
}

#[test]
fn recording_over_cm() {
    let RecordingPlan { strategies, keep, .. } = plan();
    check("cm-plan-change", cm::PlanChange { seen_revision: 6, strategies, keep });
    check("cm-plan-list", cm::PlanList { plans: vec![plan_state()], silent: Vec::new() });
    check("cm-manual-change", cm::ManualChange { on: true });
    let LockSpan { place, from, to, .. } = lock();
    let tier = Some(StreamTier::Main);
    check("cm-lock-change", cm::LockChange { place, tier, from, to, locked: true });
    check("cm-locked", cm::Locked { segments: 15, bytes: 30_000_000 });
    let silent = |place, reason| cm::SilentRecorder { place, recorder: pu(), reason };
    let (of_unit, of_nvr) = (RecordingPlace::Pu, RecordingPlace::Nvr);
    check("cm-timeline", cm::CameraTimeline { timeline: timeline(), silent: Vec::new() });
    let silent = vec![
        silent(of_unit, cm::SilenceReason::StorageAway),
        silent(of_nvr, cm::SilenceReason::NoAnswer),
    ];
    check("cm-days", cm::CameraDays { days: days(), silent });
}

#[test]
fn why_a_recorder_is_silent_has_a_stable_word() {
    use cm::SilenceReason::{Busy, Failed, NoAnswer, Offline, StorageAway};
    for (reason, word) in [
        (Offline, "offline"),
        (NoAnswer, "no_answer"),
        (StorageAway, "storage_away"),
        (Busy, "busy"),
        (Failed, "failed"),
    ] {
        assert_eq!(serde_json::to_value(reason).expect("JSON"), word);
    }
}

/// The word in a message's JSON is the one that traces use.
#[test]
fn traces_call_recording_as_its_json_does() {
    let word = |json: serde_json::Value| json["type"].as_str().expect("a word").to_owned();
    for ask in requests() {
        assert_eq!(word(serde_json::to_value(&ask).expect("JSON")), ask.name());
        let about = ask.about().unwrap_or(pu().as_str()).to_owned();
        assert_eq!(about, pu().as_str(), "{ask:?}");
    }
    for reply in replies() {
        assert_eq!(word(serde_json::to_value(&reply).expect("JSON")), reply.name());
    }
}

#[test]
fn the_largest_timeline_fits_one_message() {
    let most = usize::from(MAX_MESSAGE_SPANS);
    let small = timeline();
    let span = TimelineSpan { others: (1..64).collect(), source: 63, ..small.spans[0].clone() };
    let gap = TimelineGap { reason: Absence::StorageReadOnly, ..small.gaps[0].clone() };
    let mark = EventMark { count: u32::MAX, kind: EventKind::Motion, ..small.events[0].clone() };
    let largest = Timeline {
        sources: vec![source(); 64],
        spans: vec![span; most],
        gaps: vec![gap; most * 2],
        events: vec![mark; most * 5],
        ..small
    };
    let result = Ok(RecordingReply::Timeline(Box::new(largest)));
    let answer = PuToScu::Recorded(RecordingAnswer { request: u64::MAX, result });
    let bytes = encode(&answer, Some("x".repeat(55)));
    assert!(bytes.len() <= MAX_MESSAGE_BYTES, "{} bytes", bytes.len());
}

#[test]
fn plans_that_cannot_be_are_refused_with_words() {
    let json = serde_json::to_string(&plan()).expect("JSON");
    for (right, wrong, said) in [
        ("\"22:00\"", "\"22:60\"", "time of day"),
        ("\"Europe/Berlin\"", "\"../Berlin\"", "time zone"),
        ("\"button\"", "\"but ton\"", "strategy id"),
        ("\"continuous\"", "\"sometimes\"", "sometimes"),
        ("\"motion\"", "\"ghosts\"", "ghosts"),
        ("\"sub\"", "\"subsub\"", "subsub"),
        ("\"monday\"", "\"someday\"", "someday"),
        ("\"revision\":7", "\"revision\":-7", "-7"),
    ] {
        assert!(json.contains(right), "{right}");
        let error = serde_json::from_str::<RecordingPlan>(&json.replace(right, wrong));
        let error = error.expect_err(wrong).to_string();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}
