//! What the camera's unit has of the span that was asked for, checked before a segment is fetched.

use std::{ops::Range, time::Duration};

use serde_json::{Value, json};
use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{Absence, Expected, Proof, Report, StatedTime, time_text},
    statement::{Segment, Subject},
};

use crate::error::{CuError, Exit};

/// Less than this is not worth a word: segments begin and end at keyframes.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// A segment that the export is made of.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its file's name at the unit.
    pub name: String,
    pub segment: Segment,
}

/// What the unit has, and what proves it.
#[derive(Debug)]
pub(super) struct Checked {
    pub proof: Proof,
    pub parts: Vec<Part>,
    pub got: Got,
}

/// What of a span is there.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// From the first segment to the end of the last.
    span: Option<Range<UnixMicros>>,
    recorded_us: u64,
    /// What the recorder has let go in between.
    absences: Vec<Absence>,
}

/// Believes a proof, as far as it can be without the segments themselves.
///
/// # Errors
/// [`Exit::Security`] when it is not `subject`'s recording, or has holes; [`Exit::Refused`] when it
/// proves nothing.
pub(super) fn check(proof: Proof, subject: &Subject) -> Result<Checked, CuError> {
    let (mut parts, mut got) = (Vec::new(), Got::default());
    for chain in &proof.chains {
        let recorder = subject.recorder.clone();
        let expected = Expected { subject: Some(subject.clone()), ..Expected::of(recorder) };
        let mut verifier = chain.verifier(expected);
        for entry in &chain.entries {
            let Some((_, segment)) = verifier.push(&entry.entry()) else { continue };
            let Some(name) = entry.file.clone() else {
                return Err(CuError::security("the proof names no file for a segment"));
            };
            parts.push(Part { name, segment });
        }
        let report = verifier.finish();
        if !report.is_sound() {
            let first = report.findings.first().map(ToString::to_string);
            let first = first.unwrap_or_else(|| "too much is missing".into());
            return Err(CuError::security(format!(
                "what the camera gives is not a whole recording of what was asked for: {first}"
            )));
        }
        got.add(report);
    }
    if parts.is_empty() {
        return Err(CuError::new(Exit::Refused, "nothing of that is recorded"));
    }
    Ok(Checked { proof, parts, got })
}

impl Got {
    fn add(&mut self, report: Report) {
        self.recorded_us = self.recorded_us.saturating_add(report.recorded_us);
        self.absences.extend(report.absences);
        let Some((from, to)) = report.span.from.zip(report.span.to) else { return };
        self.span = Some(match self.span.take() {
            Some(span) => span.start.min(from.at)..span.end.max(to.at),
            None => from.at..to.at,
        });
    }

    /// In lines, beside what was asked for: the proof itself says nothing of what lies before and
    /// behind it.
    pub fn words(&self, asked: &Range<UnixMicros>) -> Vec<String> {
        let Some(span) = &self.span else { return Vec::new() };
        let text = |span: &Range<UnixMicros>| {
            format!("{} to {}", time_text(span.start), time_text(span.end))
        };
        let mut words = vec![format!("Asked for: {}. In the file: {}.", text(asked), text(span))];
        let before = span.start.since(asked.start);
        if before >= WORTH_SAYING {
            words.push(format!("Missing: the first {} s that were asked for.", before.as_secs()));
        }
        let recorded = Duration::from_micros(self.recorded_us);
        let between = span.end.since(span.start).saturating_sub(recorded);
        if between >= WORTH_SAYING {
            words.push(format!("Missing: {} s in between.", between.as_secs()));
        }
        let behind = asked.end.since(span.end);
        if behind >= WORTH_SAYING {
            words.push(format!("Missing: the last {} s that were asked for.", behind.as_secs()));
        }
        words.extend(self.absences.iter().map(|absence| format!("Expired: {absence}")));
        words
    }

    /// The same for scripts.
    pub fn json(&self, asked: &Range<UnixMicros>) -> Value {
        let span = |span: &Range<UnixMicros>| {
            let (from, to) = (time_text(span.start), time_text(span.end));
            json!({"from": from, "to": to})
        };
        let expired = |absence: &Absence| {
            let time = |time: Option<StatedTime>| time.map(|time| time_text(time.at));
            let within = json!({"from": time(absence.span.from), "to": time(absence.span.to)});
            json!({"first": absence.first, "last": absence.last, "span": within})
        };
        json!({
            "asked": span(asked),
            "span": self.span.as_ref().map(span),
            "recorded_us": self.recorded_us,
            "expired": self.absences.iter().map(expired).collect::<Vec<_>>(),
        })
    }
}
