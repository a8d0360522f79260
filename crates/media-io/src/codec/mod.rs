//! Turning coded media into other coded media or pictures.

mod opus;
mod picture;
mod scale;

use std::time::Duration;

pub(crate) use self::picture::scale_decoded;

pub use self::{
    opus::AacToOpus,
    picture::{H264Decoder, H264Encoder, PictureError, jpeg},
    scale::{I420, Scaler},
};

use sightline_media::{AccessUnit, StreamDescription, ring::Limits};
use sightline_model::AudioCodec;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::hub::{Hub, Next, Publisher, SourceState};

/// What the sound's hub holds at most: some seconds of Opus.
const SOUND_LIMITS: Limits = Limits { bytes: 128 << 10, units: 256, lag: Duration::from_secs(2) };

/// Why sound could not be turned into Opus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoundError {
    /// The source's sound is of a kind that cannot be decoded here.
    #[error("this kind of AAC cannot be decoded: {0}")]
    Unsupported(String),
    /// A broken piece; the next may be whole.
    #[error("a piece of sound is broken: {0}")]
    Broken(String),
    /// Our fault.
    #[error("the Opus encoder failed: {0}")]
    Encoder(String),
}

/// A hub with the sound of `hub` in a form that WebRTC carries: AAC is turned into Opus, any other
/// coding is handed on as it is. It has no picture, and its units keep the source's time.
///
/// Work is done only while the new hub has readers. The task ends with `token`.
#[must_use]
pub fn opus_audio(hub: &Hub, tasks: &TaskTracker, token: CancellationToken) -> Hub {
    let (publisher, sound) = Hub::new(SOUND_LIMITS);
    let source = hub.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = carry_sound(&source, &publisher) => {}
        }
    });
    sound
}

/// Never returns.
async fn carry_sound(source: &Hub, publisher: &Publisher) {
    let mut converter = None;
    let mut states = source.watch_state();
    converter_for(&states.borrow_and_update().clone(), publisher, &mut converter);
    loop {
        // Without readers there is nothing to do but to follow the source's form.
        loop {
            tokio::select! {
                () = publisher.wanted() => break,
                Ok(()) = states.changed() => {
                    converter_for(&states.borrow_and_update().clone(), publisher, &mut converter);
                }
            }
        }
        let mut reader = source.subscribe();
        states.borrow_and_update();
        converter_for(&source.state(), publisher, &mut converter);
        // A reader starts at a keyframe, which may be seconds old: sound that old is not wanted.
        let mut backlog = reader.behind();
        loop {
            let next = tokio::select! {
                () = publisher.unwanted() => break,
                next = reader.next() => next,
            };
            match next {
                Next::Unit(_) if backlog > 0 => backlog -= 1,
                Next::Unit(unit) => carry_unit(&unit, publisher, &mut converter),
                Next::Skipped(_) => {}
                Next::State(state) => {
                    backlog = 0;
                    converter_for(&state, publisher, &mut converter);
                }
            }
        }
    }
}

/// Announces the sound of a source in this state and prepares for it.
fn converter_for(state: &SourceState, publisher: &Publisher, converter: &mut Option<AacToOpus>) {
    *converter = None;
    let description = match state {
        SourceState::Offline(reason) => return publisher.offline(reason.clone()),
        SourceState::Online(description) => description,
    };
    let audio = match &description.audio {
        Some(track) if track.codec == AudioCodec::Aac => match AacToOpus::new(track) {
            Ok(made) => {
                let track = made.track();
                *converter = Some(made);
                Some(track)
            }
            Err(error) => {
                tracing::warn!(%error, "the camera's sound is left out");
                None
            }
        },
        other => other.clone(),
    };
    match audio {
        Some(audio) => publisher.online(StreamDescription { video: None, audio: Some(audio) }),
        None => publisher.offline("the camera gives no sound that can be carried"),
    }
}

fn carry_unit(unit: &AccessUnit, publisher: &Publisher, converter: &mut Option<AacToOpus>) {
    let AccessUnit::Audio { timestamp, captured_at, data } = unit else { return };
    let Some(converter) = converter else {
        if publisher.hub().state().description().is_some() {
            publisher.publish(unit.clone());
        }
        return;
    };
    match converter.push(*timestamp, data) {
        Ok(packets) => {
            for (timestamp, data) in packets {
                publisher.publish(AccessUnit::Audio { timestamp, captured_at: *captured_at, data });
            }
        }
        Err(error) => tracing::debug!(%error, "sound"),
    }
}
