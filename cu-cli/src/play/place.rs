//! Where a recording is played from: the camera's own unit, or the NVR that records it.

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

/// Whose recording is to be played: the NVR's id, or none for the camera's own unit. Where nothing is said,
/// whoever the centre's timeline calls the best where playing begins.
///
/// # Errors
/// When the NVR is meant and there is none, or the portal cannot be asked.
pub(crate) async fn recorder(
    api: &SignedInApi,
    camera: &Camera,
    on: Option<RecordPlace>,
    (from, to): (UnixMicros, Option<UnixMicros>),
    in_reverse: bool,
) -> Result<Option<PuId>, CuError> {
    match on {
        Some(RecordPlace::Unit) => Ok(None),
        Some(RecordPlace::Nvr) => Ok(Some(nvr_of(api, camera).await?.device.pu)),
        None => {
            let ahead = UnixMicros(from.0.saturating_add(AHEAD_US));
            let until = to.unwrap_or(ahead).min(now()).max(UnixMicros(from.0.saturating_add(1)));
            let Some(window) = time(from).zip(time(until)) else { return Ok(None) };
            match api.recordings(&camera.id, (&window.0, &window.1)).await {
                Ok(timeline) => Ok(best(&timeline, in_reverse)),
                // The unit says by itself what it lacks.
                Err(error) => {
                    tracing::debug!(%error, "the timeline does not say who has it");
                    Ok(None)
                }
            }
        }
    }
}

/// The NVR, if it has what is played first.
fn best(timeline: &Timeline, in_reverse: bool) -> Option<PuId> {
    let span = if in_reverse { timeline.spans.last() } else { timeline.spans.first() }?;
    let source = timeline.sources.get(usize::from(span.source))?;
    (source.place == RecordingPlace::Nvr).then(|| source.recorder.clone())
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
        assert_eq!(best(&timeline, false), None);
        assert_eq!(best(&timeline, true), Some(pu(2)));
        timeline.spans.remove(0);
        assert_eq!(best(&timeline, false), Some(pu(2)));
        timeline.spans.clear();
        assert_eq!(best(&timeline, false), None);
    }
}
