//! One timeline of a camera from those of everybody who records it (decision 0099).

use sightline_model::{
    CameraId, RecordedDays, RecordingPlace, RecordingSource, Rung, StreamTier, Timeline,
};
use sightline_protocol::ps::RecordingQuery;
use sightline_recording::coverage::{Coverage, CoverageError, Missing, Recorded, rank};

/// Joins what several recorders have; between equals the first is the better one. Each is asked for no more
/// spans than the query names, and so the whole is bounded.
///
/// # Errors
/// [`CoverageError`], the caller's fault; recorders have mostly found it before.
pub fn join(
    camera: CameraId,
    query: &RecordingQuery,
    timelines: &[Timeline],
) -> Result<Timeline, CoverageError> {
    let Some(to) = timelines.iter().map(|timeline| timeline.to).max() else {
        return Coverage::new(query.from, query.to, query.max_spans.into())
            .map(|nothing| nothing.finish(camera));
    };
    let mut coverage = Coverage::new(query.from, to, query.max_spans.into())?;
    for timeline in timelines {
        add(&mut coverage, timeline, None)?;
    }
    Ok(coverage.finish(camera))
}

/// Adds what recorders have told; `reach`: by what path they can be reached, where that is known.
///
/// # Errors
/// [`CoverageError::TooManySources`].
pub fn add(
    coverage: &mut Coverage,
    timeline: &Timeline,
    reach: Option<Rung>,
) -> Result<(), CoverageError> {
    coverage.coarsen(i64::try_from(timeline.resolution_us).unwrap_or(i64::MAX));
    let mut numbers = Vec::with_capacity(timeline.sources.len());
    for source in &timeline.sources {
        let rank = rank(source.place, reach, source.tier);
        numbers.push(coverage.add_source(source.clone(), rank)?);
    }
    for span in &timeline.spans {
        let (from, to) = (span.from, span.to);
        let piece = Recorded { from, to, causes: span.causes, time_known: span.time_known };
        for number in std::iter::once(&span.source).chain(&span.others) {
            // A number that stands for no source is left out: a recorder's mistake.
            let Some(number) = numbers.get(usize::from(*number)) else { continue };
            coverage.add_recorded(*number, piece);
        }
        if let Some(number) = numbers.get(usize::from(span.source)).filter(|_| span.twice) {
            coverage.add_recorded(*number, piece);
        }
    }
    // A gap says what the best of them could have had.
    let best = match numbers.first() {
        Some(best) => *best,
        // It has nothing, and says why.
        None => {
            let (place, tier) = (RecordingPlace::Pu, StreamTier::Main);
            let source = RecordingSource { place, recorder: timeline.camera.pu.clone(), tier };
            coverage.add_source(source, rank(place, reach, tier))?
        }
    };
    for gap in &timeline.gaps {
        let missing = Missing { from: gap.from, to: gap.to, reason: gap.reason };
        coverage.add_missing(best, missing);
    }
    for mark in &timeline.events {
        coverage.add_event(mark.clone());
    }
    Ok(())
}

/// The days on which anybody has recorded; none where nobody was asked.
#[must_use]
pub fn join_days(all: Vec<RecordedDays>) -> Option<RecordedDays> {
    all.into_iter().reduce(|mut joined, more| {
        joined.days.extend(more.days);
        joined
    })
}

#[cfg(test)]
mod tests {
    use sightline_model::{
        Absence, Causes, ChannelId, PuId, PublicKey, TimelineGap, TimelineSpan, UnixMicros,
    };

    use super::*;

    const S: i64 = 1_000_000;

    fn device(n: u8) -> PuId {
        PuId::from_public_key(&PublicKey::from_bytes([n; 32]))
    }

    fn camera() -> CameraId {
        CameraId { pu: device(1), channel: ChannelId(0) }
    }

    fn query(to: i64) -> RecordingQuery {
        let (from, to) = (UnixMicros(0), UnixMicros(to * S));
        RecordingQuery { camera: camera(), from, to, max_spans: 100, tier: None }
    }

    fn timeline(
        place: RecordingPlace,
        tier: StreamTier,
        spans: &[(i64, i64)],
        gaps: &[(i64, i64, Absence)],
    ) -> Timeline {
        let recorder = device(if place == RecordingPlace::Nvr { 2 } else { 1 });
        let at = |s: i64| UnixMicros(s * S);
        let causes = Causes { continuous: true, ..Causes::default() };
        let span = |(from, to): &(i64, i64)| TimelineSpan {
            from: at(*from),
            to: at(*to),
            source: 0,
            others: Vec::new(),
            causes,
            time_known: true,
            twice: false,
        };
        let gap = |(from, to, reason): &(i64, i64, Absence)| TimelineGap {
            from: at(*from),
            to: at(*to),
            reason: *reason,
        };
        Timeline {
            camera: camera(),
            from: at(0),
            to: at(60),
            resolution_us: 20_000,
            sources: vec![RecordingSource { place, recorder, tier }],
            spans: spans.iter().map(span).collect(),
            gaps: gaps.iter().map(gap).collect(),
            events: Vec::new(),
        }
    }

    /// From, to, the place of the best, how many others: in seconds.
    fn shown(timeline: &Timeline) -> Vec<(i64, i64, RecordingPlace, usize)> {
        let of = |span: &TimelineSpan| {
            let place = timeline.sources[usize::from(span.source)].place;
            (span.from.0 / S, span.to.0 / S, place, span.others.len())
        };
        timeline.spans.iter().map(of).collect()
    }

    #[test]
    fn what_the_unit_lacks_is_the_nvrs_and_only_what_nobody_has_is_a_gap() {
        use RecordingPlace::{Nvr, Pu};
        let main = StreamTier::Main;
        let away = [(20, 40, Absence::StorageAway), (40, 60, Absence::StorageAway)];
        let unit = timeline(Pu, main, &[(0, 20)], &away);
        let off = [(0, 10, Absence::RecorderOff), (50, 60, Absence::CameraAway)];
        let nvr = timeline(Nvr, main, &[(10, 50)], &off);
        let joined = join(camera(), &query(60), &[unit, nvr]).expect("joined");
        let spans = shown(&joined);
        assert_eq!((spans[0].0, spans.last().expect("some").1), (0, 50));
        let best = |s: i64| {
            let span = spans.iter().find(|span| span.0 <= s && s < span.1);
            span.map(|span| span.2)
        };
        assert_eq!([5, 15, 30].map(best), [Some(Pu), Some(Pu), Some(Nvr)]);
        assert_eq!(joined.gaps.len(), 1, "{:?}", joined.gaps);
        assert_eq!((joined.gaps[0].from.0 / S, joined.gaps[0].to.0 / S), (50, 60));
    }

    #[test]
    fn the_main_encoding_of_the_nvr_is_better_than_the_small_one_of_the_unit() {
        use RecordingPlace::{Nvr, Pu};
        let unit = timeline(Pu, StreamTier::Sub, &[(0, 60)], &[]);
        let nvr = timeline(Nvr, StreamTier::Main, &[(0, 60)], &[]);
        let joined = join(camera(), &query(60), &[unit, nvr]).expect("joined");
        assert_eq!(shown(&joined), [(0, 60, Nvr, 1)]);
    }

    #[test]
    fn why_a_recorder_has_nothing_is_told_too() {
        let off = [(0, 60, Absence::RecorderOff)];
        let unit = timeline(RecordingPlace::Pu, StreamTier::Main, &[], &off);
        let nothing = Timeline { sources: Vec::new(), ..unit };
        let joined = join(camera(), &query(60), &[nothing.clone(), nothing]).expect("joined");
        assert_eq!((joined.spans.len(), joined.sources.len()), (0, 0));
        assert_eq!(joined.gaps.len(), 1, "{:?}", joined.gaps);
        assert_eq!(joined.gaps[0].reason, Absence::RecorderOff);
    }

    #[test]
    fn a_recorder_that_names_a_source_it_has_not_told_is_not_believed() {
        let mut nvr = timeline(RecordingPlace::Nvr, StreamTier::Main, &[(0, 60)], &[]);
        nvr.spans[0].source = 7;
        let joined = join(camera(), &query(60), &[nvr]).expect("joined");
        assert!(joined.spans.is_empty());
    }
}
