//! `record`: what is recorded, and what is to be.

mod cloud;

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use jiff::Timestamp;
use serde_json::json;
use sightline_model::{
    Absence, RecordingPlace, Strategy, StreamTier, Timeline, TimelineSpan, Trigger, UnixMicros,
};
use sightline_protocol::{cm, ps::PlanState};

use super::{Context, find_camera};
use crate::{
    api::{SignedInApi, now},
    cli::{Record, RecordSpan, RecordWhat},
    error::CuError,
    output,
    play::export,
    silent,
};

/// What is listed when nothing is said.
const A_DAY: Duration = Duration::from_secs(86_400);
const DAY_US: i64 = 86_400_000_000;

pub(super) async fn run(context: &Context, record: Record) -> Result<(), CuError> {
    match record {
        Record::List { camera, from, to } => list(context, &camera, (from, to)).await,
        Record::Lock(span) => lock(context, span, true).await,
        Record::Unlock(span) => lock(context, span, false).await,
        Record::Export(options) => export::run(&context.home, context.json, options).await,
        Record::Plan { camera, set, keep_days, on } => {
            plan(context, &camera, on.into(), set, keep_days).await
        }
        Record::Playlist(options) => cloud::playlist(context, options).await,
        Record::Space => cloud::space(context).await,
        Record::Erase { device, yes } => cloud::erase(context, &device, yes).await,
    }
}

async fn list(
    context: &Context,
    camera: &str,
    (from, to): (Option<UnixMicros>, Option<UnixMicros>),
) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    let to = to.unwrap_or_else(now);
    let day_us = i64::try_from(A_DAY.as_micros()).unwrap_or(i64::MAX);
    let from = from.unwrap_or(UnixMicros(to.0.saturating_sub(day_us)));
    if to <= from {
        return Err(CuError::usage("--to lies before --from"));
    }
    let told = api.recordings(&camera.id, (&time(from), &time(to)), None).await?;
    if context.json {
        // With who is silent, as the portal tells it.
        output::json(&json!({ "timeline": told }));
    } else {
        output::line(&table(&told.timeline).to_string());
        told.silent.iter().for_each(|silent| output::line(&not_asked(silent)));
    }
    Ok(())
}

/// Where the table has a gap, there may be a recording all the same.
fn not_asked(silent: &cm::SilentRecorder) -> String {
    format!("Not in this list: {}. What it has is missing here.", silent::words(silent))
}

fn table(timeline: &Timeline) -> Table {
    let mut rows: Vec<(UnixMicros, UnixMicros, String, String)> = Vec::new();
    for span in &timeline.spans {
        let causes = span.causes;
        let why = [
            (causes.continuous, "always"),
            (causes.schedule, "schedule"),
            (causes.event, "event"),
            (causes.manual, "by hand"),
        ];
        let why: Vec<_> = why.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        let doubt = if span.time_known { "" } else { ", its clock was not confirmed" };
        let what = format!("recorded ({}){doubt}", why.join(", "));
        rows.push((span.from, span.to, what, places(timeline, span)));
    }
    let gaps = timeline
        .gaps
        .iter()
        .map(|gap| (gap.from, gap.to, words(gap.reason).to_owned(), String::new()));
    rows.extend(gaps);
    rows.sort_by_key(|(from, ..)| *from);
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["From", "To", "What", "Where"]);
    for (from, to, what, place) in rows {
        table.add_row([time(from), time(to), what, place]);
    }
    table
}

/// Where a stretch can be played from, the best first.
fn places(timeline: &Timeline, span: &TimelineSpan) -> String {
    let mut words: Vec<&str> = Vec::new();
    for source in std::iter::once(&span.source).chain(&span.others) {
        let word = match timeline.sources.get(usize::from(*source)).map(|source| source.place) {
            Some(RecordingPlace::Pu) => "unit",
            Some(RecordingPlace::Nvr) => "NVR",
            Some(RecordingPlace::Cs) => "cloud",
            None => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

const fn words(reason: Absence) -> &'static str {
    match reason {
        Absence::NotPlanned => "not to be recorded",
        Absence::CameraAway => "gap: the camera gave no picture",
        Absence::RecorderOff => "gap: the recorder was off",
        Absence::StorageFull => "gap: the storage was full",
        Absence::StorageReadOnly => "gap: the storage could not be written to",
        Absence::StorageAway => "gap: the storage was gone",
        Absence::StorageFailed => "gap: the storage failed or was too slow",
        Absence::UnusableStream => "gap: the stream could not be recorded",
        Absence::Expired => "overwritten by newer recordings",
        Absence::Damaged => "damaged",
        Absence::BeingRecorded => "being recorded",
        Absence::Unknown => "not recorded",
    }
}

/// RFC 3339, to the second.
fn time(at: UnixMicros) -> String {
    let seconds = at.0.div_euclid(1_000_000);
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

async fn lock(context: &Context, span: RecordSpan, locked: bool) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, &span.camera).await?;
    let RecordSpan { from, to, .. } = span;
    let place = RecordingPlace::from(span.on);
    let (mut segments, mut bytes, mut at) = (0, 0, from);
    // A recorder takes about a day at a time. A segment across midnight counts on both days.
    loop {
        let day = UnixMicros(at.0.saturating_add(DAY_US).min(to.0));
        let change = cm::LockChange { place, tier: None, from: at, to: day, locked };
        let done = api.lock(&camera.id, &change).await?;
        (segments, bytes, at) = (segments + done.segments, bytes + done.bytes, day);
        if at >= to {
            break;
        }
    }
    if context.json {
        output::json(&json!({ "segments": segments, "bytes": bytes, "locked": locked }));
        return Ok(());
    }
    let what = if locked { "kept until they are unlocked" } else { "free to be overwritten" };
    output::line(&format!("{segments} segments of {bytes} bytes are {what}."));
    Ok(())
}

async fn plan(
    context: &Context,
    camera: &str,
    place: RecordingPlace,
    set: Option<RecordWhat>,
    keep_days: Option<u32>,
) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    let mut state = at(place, api.plans(&camera.id).await?)?;
    if set.is_some() || keep_days.is_some() {
        let mut keep = state.plan.keep.clone();
        if let Some(days) = keep_days {
            keep.max_age_s = (days > 0).then(|| days.saturating_mul(86_400));
        }
        let strategies = set.map_or_else(|| state.plan.strategies.clone(), strategies);
        let change = cm::PlanChange { seen_revision: state.plan.revision, strategies, keep };
        api.set_plan(&camera.id, place, &change).await?;
        state = at(place, api.plans(&camera.id).await?)?;
    }
    if context.json {
        output::json(&json!({ "plan": state.plan, "recording": state.recording }));
        return Ok(());
    }
    output::line(&format!("Revision {} of the plan:", state.plan.revision));
    for strategy in &state.plan.strategies {
        output::line(&format!("  {}  {}", strategy.id, describe(strategy)));
    }
    if state.plan.strategies.is_empty() {
        output::line("  nothing is to be recorded");
    }
    if let Some(age_s) = state.plan.keep.max_age_s {
        output::line(&format!("  recordings stay {} at most", how_long(age_s)));
    }
    let now = if state.recording.is_empty() { "Nothing is" } else { "It is" };
    output::line(&format!("{now} being recorded now."));
    Ok(())
}

fn at(place: RecordingPlace, plans: cm::PlanList) -> Result<PlanState, CuError> {
    let found = plans.plans.into_iter().find(|state| state.plan.place == place);
    // The plan for the cloud is carried out by the unit.
    let asked = if place == RecordingPlace::Cs { RecordingPlace::Pu } else { place };
    found.ok_or_else(|| match plans.silent.iter().find(|silent| silent.place == asked) {
        Some(silent) => {
            let words = format!("the plan is not known now: {}", silent::words(silent));
            CuError::unreachable(words)
        }
        None => CuError::other(match place {
            RecordingPlace::Pu => "the device of this camera does not record",
            RecordingPlace::Nvr => "no NVR records this camera; see: cu nvr relate --help",
            RecordingPlace::Cs => "the device of this camera is not set up for the cloud",
        }),
    })
}

fn strategies(what: RecordWhat) -> Vec<Strategy> {
    let tiers: &[(StreamTier, &str)] = match what {
        RecordWhat::Nothing => &[],
        RecordWhat::Main => &[(StreamTier::Main, "always-main")],
        RecordWhat::Sub => &[(StreamTier::Sub, "always-sub")],
        RecordWhat::Both => &[(StreamTier::Main, "always-main"), (StreamTier::Sub, "always-sub")],
    };
    let strategy = |(tier, id): &(StreamTier, &str)| {
        let id = id.parse().expect("the names above are short, and of letters and dashes");
        Strategy { id, tier: *tier, trigger: Trigger::Continuous }
    };
    tiers.iter().map(strategy).collect()
}

/// In the largest unit that tells it all.
fn how_long(seconds: u32) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let whole =
        units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

fn describe(strategy: &Strategy) -> String {
    let tier = match strategy.tier {
        StreamTier::Main => "the full picture",
        StreamTier::Sub => "the small picture",
    };
    let when = match &strategy.trigger {
        Trigger::Continuous => "always".to_owned(),
        Trigger::Manual { limit_s: None } => "when started by hand".to_owned(),
        Trigger::Manual { limit_s: Some(limit) } => format!("when started by hand, for {limit} s"),
        Trigger::Schedule { schedule } => format!("in {} hours of the week", schedule.spans.len()),
        Trigger::Event { pre_roll_s, post_roll_s, .. } => {
            format!(
                "around events, {pre_roll_s} s before and {post_roll_s} s after (no camera reports \
                 events yet, so nothing is recorded by it)"
            )
        }
    };
    format!("{tier}, {when}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(time(UnixMicros(1_763_744_400_000_000)), "2025-11-21T17:00:00Z");
        assert_eq!(time(UnixMicros(1_763_744_400_999_999)), "2025-11-21T17:00:00Z");
    }

    #[test]
    fn what_is_to_be_recorded_is_a_good_plan() {
        use StreamTier::{Main, Sub};
        for (what, tiers, words) in [
            (RecordWhat::Nothing, &[][..], &[][..]),
            (RecordWhat::Main, &[Main][..], &["the full picture, always"][..]),
            (RecordWhat::Sub, &[Sub][..], &["the small picture, always"][..]),
            (
                RecordWhat::Both,
                &[Main, Sub][..],
                &["the full picture, always", "the small picture, always"][..],
            ),
        ] {
            let found = strategies(what);
            assert_eq!(found.iter().map(|s| s.tier).collect::<Vec<_>>(), tiers, "{what:?}");
            assert_eq!(found.iter().map(describe).collect::<Vec<_>>(), words, "{what:?}");
            let names: std::collections::BTreeSet<_> = found.iter().map(|s| &s.id).collect();
            assert_eq!(names.len(), found.len(), "{what:?}: a plan names each of them once");
        }
    }

    #[test]
    fn a_recorder_that_is_away_is_told_apart_from_one_that_is_not_there() {
        use sightline_model::{PuId, PublicKey};
        let recorder = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let (place, reason) = (RecordingPlace::Nvr, cm::SilenceReason::Offline);
        let silent = cm::SilentRecorder { place, recorder, reason };
        let line = not_asked(&silent);
        assert!(line.starts_with("Not in this list: the NVR "), "{line}");
        assert!(line.contains(" is not connected. What it has is missing"), "{line}");
        let none = || cm::PlanList { plans: Vec::new(), silent: Vec::new() };
        let away = cm::PlanList { silent: vec![silent], ..none() };
        let error = at(place, away.clone()).expect_err("no plan");
        assert_eq!(error.exit, crate::error::Exit::Unreachable);
        assert!(error.message.contains("is not connected"), "{error}");
        let error = at(place, none()).expect_err("no NVR");
        assert!(error.message.contains("no NVR records"), "{error}");
        let error = at(RecordingPlace::Pu, away).expect_err("the unit does not record");
        assert!(error.message.contains("does not record"), "{error}");
    }

    #[test]
    fn ages_are_told_as_they_are() {
        for (seconds, words) in [
            (86_400, "1 day"),
            (30 * 86_400, "30 days"),
            (12 * 3_600, "12 hours"),
            (36 * 3_600, "36 hours"),
            (3_600, "1 hour"),
            (5_400, "90 minutes"),
            (3_601, "3601 seconds"),
            (0, "0 seconds"),
        ] {
            assert_eq!(how_long(seconds), words);
        }
    }
}
