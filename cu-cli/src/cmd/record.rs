//! `record`: what is recorded, and what is to be.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use jiff::Timestamp;
use serde_json::json;
use sightline_model::{
    Absence, RecordingPlace, Strategy, StreamTier, Timeline, Trigger, UnixMicros,
};
use sightline_protocol::{cm, ps::PlanState};

use super::{Context, find_camera};
use crate::{
    api::{SignedInApi, now},
    cli::{Record, RecordSpan, RecordWhat},
    error::CuError,
    output,
    play::export,
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
        Record::Plan { camera, set, keep_days } => plan(context, &camera, set, keep_days).await,
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
    let timeline = api.recordings(&camera.id, (&time(from), &time(to))).await?;
    if context.json {
        output::json(&json!({ "timeline": timeline }));
    } else {
        output::line(&table(&timeline).to_string());
    }
    Ok(())
}

fn table(timeline: &Timeline) -> Table {
    let mut rows: Vec<(UnixMicros, UnixMicros, String)> = Vec::new();
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
        rows.push((span.from, span.to, format!("recorded ({}){doubt}", why.join(", "))));
    }
    let gaps = timeline.gaps.iter().map(|gap| (gap.from, gap.to, words(gap.reason).to_owned()));
    rows.extend(gaps);
    rows.sort_by_key(|(from, ..)| *from);
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["From", "To", "What"]);
    for (from, to, what) in rows {
        table.add_row([time(from), time(to), what]);
    }
    table
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
    let place = RecordingPlace::Pu;
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
    set: Option<RecordWhat>,
    keep_days: Option<u32>,
) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    let mut state = own(api.plans(&camera.id).await?)?;
    if set.is_some() || keep_days.is_some() {
        let mut keep = state.plan.keep.clone();
        if let Some(days) = keep_days {
            keep.max_age_s = (days > 0).then(|| days.saturating_mul(86_400));
        }
        let strategies = set.map_or_else(|| state.plan.strategies.clone(), strategies);
        let change = cm::PlanChange { seen_revision: state.plan.revision, strategies, keep };
        api.set_plan(&camera.id, RecordingPlace::Pu, &change).await?;
        state = own(api.plans(&camera.id).await?)?;
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

fn own(plans: cm::PlanList) -> Result<PlanState, CuError> {
    let own = plans.plans.into_iter().find(|state| state.plan.place == RecordingPlace::Pu);
    own.ok_or_else(|| CuError::other("the device of this camera does not record"))
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
            format!("around events, {pre_roll_s} s before and {post_roll_s} s after")
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
