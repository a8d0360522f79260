//! Units on their way into a hub, counted.

use std::sync::Arc;

use sightline_media::{AccessUnit, AudioTrack, StreamDescription};
use sightline_media_io::{assembler, hub::Publisher};
use sightline_model::VideoCodec;

pub(super) use sightline_media_io::assembler::track_of;

use super::figures::Figures;

/// An [`assembler::Assembler`] whose units are counted.
pub struct Assembler {
    inner: assembler::Assembler,
    figures: Arc<Figures>,
}

impl Assembler {
    pub(crate) fn new(publisher: Publisher, figures: Arc<Figures>) -> Self {
        Self { inner: assembler::Assembler::new(publisher), figures }
    }

    /// What the other side says of the stream; parameter sets may still be missing.
    pub fn describe(&mut self, description: StreamDescription) {
        self.inner.describe(description);
    }

    /// The stream has sound of this form.
    pub fn set_audio(&mut self, audio: AudioTrack) {
        self.inner.set_audio(audio);
    }

    /// The picture has this coding.
    pub const fn set_codec(&mut self, codec: VideoCodec) {
        self.inner.set_codec(codec);
    }

    /// The source is away, for this reason.
    pub fn offline(&mut self, reason: &str) {
        self.inner.offline(reason);
    }

    /// Takes a unit. What comes before the form is known is dropped: nobody could decode it.
    pub fn push(&mut self, unit: AccessUnit) {
        self.figures.unit(&unit);
        self.inner.push(unit);
    }
}
