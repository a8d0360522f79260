//! One stretch from the cloud storage: whole segments are fetched from the store, and played here as a
//! recorder plays its own.

mod archive;
mod page;

use std::{ops::Range, sync::Arc};

use sightline_media::{AccessUnit, StreamDescription, VIDEO_CLOCK_HZ};
use sightline_media_io::archive::{Archive, Due, Event, Player, Recording, Speed};
use sightline_model::UnixMicros;
use sightline_recording::{
    chain::time_text,
    replay::{Config, Delivery, Notice, Play, Scale, Selection, Way},
};
use tokio_util::sync::CancellationToken;

use self::archive::CloudArchive;
use super::{Tour, sink::Sink};
use crate::{
    error::CuError,
    output,
    play::session::{check_device, unpinned},
};

/// Plays a span until it is over, or `end` is cancelled; when it grows, also what is uploaded meanwhile.
///
/// # Errors
/// When portal or store do not give it, or it is not what the camera's unit has signed.
pub(super) async fn play(
    tour: &mut Tour<'_>,
    (span, grows): (Range<UnixMicros>, bool),
    sink: &mut Sink,
    end: &CancellationToken,
) -> Result<(), CuError> {
    let (camera, pins) = (&tour.camera, tour.home.pins()?);
    let pinned = check_device(camera, &camera.device_key, &pins, tour.require_pin)?;
    let (unit, warning) = (camera.id.pu.clone(), unpinned(&camera.name, &camera.id.pu));
    tour.warn(&unit, (!pinned).then_some(warning));
    let scale = Scale::nearest(tour.look.scale.value());
    let scale = scale.ok_or_else(|| CuError::usage("nothing is played at that speed"))?;
    let (at, until) = match scale.way() {
        Way::Forwards => (span.start, (!grows).then_some(span.end)),
        Way::Backwards => (span.end, Some(span.start)),
    };
    let archive = Arc::new(CloudArchive::new(tour.api, &tour.camera, span, grows));
    let shared: Arc<dyn Archive> = archive.clone();
    let of = Recording { channel: tour.camera.id.channel, tier: super::tier(tour.quality) };
    // As recorders play to us: every group once, whatever its length.
    let mut player = Player::new(shared, of, Config { group_bound: None, ..Config::default() });
    let delivery = if tour.look.at_once { Delivery::Free } else { Delivery::Paced };
    let selection = Selection::Budget;
    player.play(Play { at: Some(at), until, scale, selection, delivery }, Speed::NORMAL);
    tour.bar.set_message("fetching from the cloud");
    let mut form: Option<Arc<StreamDescription>> = None;
    loop {
        let event = tokio::select! {
            () = end.cancelled() => return Ok(()),
            event = player.next() => event,
        };
        match event {
            Event::Unit(due) => {
                if form.as_deref() != Some(&*due.stream) {
                    sink.describe((*due.stream).clone());
                    form = Some(Arc::clone(&due.stream));
                }
                sink.push(timed(*due)).await?;
            }
            Event::Notice(Notice::Unreadable { from, to }) => {
                let (from, to) = (time_text(from), time_text(to));
                output::note(&format!("Missing: {from} to {to}, which cannot be played."));
            }
            Event::Notice(Notice::LargeGroup { .. }) => {}
            Event::CaughtUp => tour.bar.set_message("waiting for what is being uploaded"),
            Event::Ended(_) => return Ok(()),
            Event::Failed(error) => {
                return Err(archive.why().unwrap_or_else(|| CuError::other(error.to_string())));
            }
        }
    }
}

/// The unit with the times of showing, as a recorder stamps it: what was not recorded takes no time.
fn timed(due: Due) -> AccessUnit {
    let Due { plan, unit, stream } = due;
    let captured_at = plan.wall;
    let ticks = |hz: u32| {
        let ticks = i128::from(plan.presentation_us) * i128::from(hz) / 1_000_000;
        i64::try_from(ticks).unwrap_or(i64::MAX)
    };
    match unit {
        AccessUnit::Video { keyframe, disposable, codec, data, .. } => {
            let timestamp = ticks(VIDEO_CLOCK_HZ);
            AccessUnit::Video { timestamp, captured_at, keyframe, disposable, codec, data }
        }
        AccessUnit::Audio { data, .. } => {
            let timestamp = ticks(stream.audio.as_ref().map_or(0, |audio| audio.clock_hz));
            AccessUnit::Audio { timestamp, captured_at, data }
        }
    }
}
