//! Units that another device sends, on their way into a hub: notices when the stream changes its form.
//!
//! Neither WebRTC nor a running RTSP session says when the parameter sets change; the keyframes
//! carry them, so the description is made from there.

use bytes::Bytes;
use shiguredo_mp4::bitstream::{h264, h265};
use sightline_media::{
    AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack, packetize::nal_units,
};
use sightline_model::VideoCodec;

use crate::hub::Publisher;

/// See the module.
pub struct Assembler {
    publisher: Publisher,
    known: StreamDescription,
    codec: Option<VideoCodec>,
    online: bool,
}

impl Assembler {
    /// Nothing is known of the stream yet.
    #[must_use]
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher, known: StreamDescription::default(), codec: None, online: false }
    }

    /// Whom it publishes by.
    #[must_use]
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// What the other side says of the stream; parameter sets may still be missing.
    pub fn describe(&mut self, description: StreamDescription) {
        self.codec = description.video.as_ref().map(VideoTrack::codec);
        let complete = description.video.as_ref().is_none_or(|v| match &v.parameter_sets {
            ParameterSets::H264 { sps, pps } => !sps.is_empty() && !pps.is_empty(),
            ParameterSets::H265 { vps, sps, pps } => {
                !vps.is_empty() && !sps.is_empty() && !pps.is_empty()
            }
        });
        self.known = description;
        if complete {
            self.announce();
        }
    }

    /// The stream has sound of this form.
    pub fn set_audio(&mut self, audio: AudioTrack) {
        self.known.audio = Some(audio);
    }

    /// The picture has this coding.
    pub const fn set_codec(&mut self, codec: VideoCodec) {
        self.codec = Some(codec);
    }

    fn announce(&mut self) {
        self.online = true;
        self.publisher.online(self.known.clone());
    }

    /// The source is away, for this reason.
    pub fn offline(&mut self, reason: &str) {
        self.online = false;
        self.publisher.offline(reason);
    }

    /// Takes a unit. What comes before the form is known is dropped: nobody could decode it.
    pub fn push(&mut self, unit: AccessUnit) {
        if let AccessUnit::Video { keyframe: true, data, .. } = &unit
            && let Some(track) = self.codec.and_then(|c| track_of(c, data))
        {
            let same =
                self.known.video.as_ref().is_some_and(|v| v.parameter_sets == track.parameter_sets);
            if !same || !self.online {
                let fps = self.known.video.as_ref().map_or(0.0, |v| v.fps);
                self.known.video = Some(VideoTrack { fps, ..track });
                self.announce();
            }
        }
        if self.online {
            self.publisher.publish(unit);
        }
    }
}

/// The form of the picture by the parameter sets in front of a keyframe.
#[must_use]
pub fn track_of(codec: VideoCodec, data: &Bytes) -> Option<VideoTrack> {
    let find = |kind: u8| {
        nal_units(data).find(|nal| match codec {
            VideoCodec::H264 => nal[0] & 0x1f == kind,
            VideoCodec::H265 => nal[0] >> 1 & 0x3f == kind,
        })
    };
    let (parameter_sets, width, height) = match codec {
        VideoCodec::H264 => {
            let (sps, pps) = (find(7)?, find(8)?);
            let size = h264::parse_sps(&sps).ok()?;
            (ParameterSets::H264 { sps, pps }, size.width, size.height)
        }
        VideoCodec::H265 => {
            let (vps, sps, pps) = (find(32)?, find(33)?, find(34)?);
            let size = h265::parse_sps(&sps).ok()?;
            (ParameterSets::H265 { vps, sps, pps }, size.width, size.height)
        }
    };
    Some(VideoTrack { width: width.into(), height: height.into(), fps: 0.0, parameter_sets })
}
