//! Where a recording is played from: the camera's own unit, the NVR that records it, or the cloud storage.

use jiff::Timestamp;
use sightline_model::{PuId, RecordingPlace, Timeline, UnixMicros};
use sightline_protocol::cm::{Camera, Nvr};

use crate::{
    api::{SignedInApi, now},
    cli::RecordPlace,
    error::{CuError, Exit},
};

/// How far ahead is looked when no end is named, in microseconds.
const AHEAD_US: i64 = 86_400_000_000;

/// Who holds what is to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// The camera's own unit.
    ByUnit,
    /// This NVR.
    ByNvr(PuId),
    /// The cloud storage.
    InCloud,
}

impl Held {
    /// The NVR to be asked; none for the camera's own unit.
    pub(crate) fn recorder(self) -> Option<PuId> {
        match self {
            Self::ByNvr(nvr) => Some(nvr),
            Self::ByUnit | Self::InCloud => None,
        }
    }
}

/// The NVR that a camera is related to.
///
/// # Errors
/// When it is none, or the portal cannot be asked.
pub(crate) async fn nvr_of(api: &SignedInApi, camera: &Camera) -> Result<Nvr, CuError> {
    let records = |nvr: &Nvr| nvr.records.iter().any(|relation| relation.camera == camera.id);
    api.nvrs().await?.into_iter().find(records).ok_or_else(|| {
        let words = format!("no NVR records {}; see: cu nvr relate --help", camera.name);
        CuError::new(Exit::Refused, words)
    })
}

/// Who is to be asked for a recording. Where nothing is said, whoever the centre's timeline calls the best
/// where playing begins.
///
/// # Errors
/// When the NVR is meant and there is none, or the portal cannot be asked.
pub(crate) async fn find(
    api: &SignedInApi,
    camera: &Camera,
    on: Option<RecordPlace>,
    (from, to): (UnixMicros, Option<UnixMicros>),
    in_reverse: bool,
) -> Result<Held, CuError> {
    match on {
        Some(RecordPlace::Unit) => Ok(Held::ByUnit),
        Some(RecordPlace::Nvr) => Ok(Held::ByNvr(nvr_of(api, camera).await?.device.pu)),
        Some(RecordPlace::Cloud) => Ok(Held::InCloud),
        None => {
            let ahead = UnixMicros(from.0.saturating_add(AHEAD_US));
            let until = to.unwrap_or(ahead).min(now()).max(UnixMicros(from.0.saturating_add(1)));
            let Some(window) = time(from).zip(time(until)) else { return Ok(Held::ByUnit) };
            match api.recordings(&camera.id, (&window.0, &window.1)).await {
                Ok(timeline) => Ok(best(&timeline, in_reverse)),
                // The unit says by itself what it lacks.
                Err(error) => {
                    tracing::debug!(%error, "the timeline does not say who has it");
                    Ok(Held::ByUnit)
                }
            }
        }
    }
}

/// Who has what is played first; the unit where nobody has anything.
fn best(timeline: &Timeline, in_reverse: bool) -> Held {
    let span = if in_reverse { timeline.spans.last() } else { timeline.spans.first() };
    let source = span.and_then(|span| timeline.sources.get(usize::from(span.source)));
    match source.map(|source| (source.place, &source.recorder)) {
        Some((RecordingPlace::Nvr, nvr)) => Held::ByNvr(nvr.clone()),
        Some((RecordingPlace::Cs, _)) => Held::InCloud,
        Some((RecordingPlace::Pu, _)) | None => Held::ByUnit,
    }
}

fn time(at: UnixMicros) -> Option<String> {
    Timestamp::from_microsecond(at.0).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use sightline_model::{
        CameraId, Causes, ChannelId, PublicKey, RecordingSource, StreamTier, TimelineSpan,
    };

    use super::*;

    #[test]
    fn the_best_where_playing_begins_is_taken() {
        let pu = |n: u8| PuId::from_public_key(&PublicKey::from_bytes([n; 32]));
        let source = |place, n| {
            let tier = StreamTier::Main;
            RecordingSource { place, recorder: pu(n), tier }
        };
        let span = |from, to, source| TimelineSpan {
            from: UnixMicros(from),
            to: UnixMicros(to),
            source,
            others: Vec::new(),
            causes: Causes::default(),
            time_known: true,
            twice: false,
        };
        let mut timeline = Timeline {
            camera: CameraId { pu: pu(1), channel: ChannelId(0) },
            from: UnixMicros(0),
            to: UnixMicros(9),
            resolution_us: 1,
            sources: vec![source(RecordingPlace::Pu, 1), source(RecordingPlace::Nvr, 2)],
            spans: vec![span(0, 4, 0), span(4, 9, 1)],
            gaps: Vec::new(),
            events: Vec::new(),
        };
        assert_eq!(best(&timeline, false), Held::ByUnit);
        assert_eq!(best(&timeline, true), Held::ByNvr(pu(2)));
        timeline.spans.remove(0);
        assert_eq!(best(&timeline, false), Held::ByNvr(pu(2)));
        timeline.sources[1].place = RecordingPlace::Cs;
        assert_eq!(best(&timeline, false), Held::InCloud);
        timeline.spans.clear();
        assert_eq!(best(&timeline, false), Held::ByUnit);
    }
}
