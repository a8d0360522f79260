//! From retina's frames to access units.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use retina::{
    PacketContext,
    client::Stream,
    codec::{AudioFrame, ParametersRef, VideoFrame, VideoParameters, VideoParametersCodec},
};
use sightline_media::{
    AccessUnit, AudioTrack, MAX_RTP_PAYLOAD, ParameterSets, StreamDescription, VideoTrack,
    packetize::nal_units,
};
use sightline_model::{AudioCodec, UnixMicros, VideoCodec};

use super::SourceError;

/// The streams of a camera that are carried.
pub(super) struct Tracks {
    /// Index of the picture's stream.
    pub(super) video: usize,
    codec: VideoCodec,
    audio: Option<(usize, AudioCodec)>,
    /// The picture's, as last described.
    parameter_sets: Option<ParameterSets>,
}

impl Tracks {
    /// The first picture and the first sound that can be carried.
    pub(super) fn choose(streams: &[Stream]) -> Result<Self, SourceError> {
        let of = |media: &'static str| {
            streams.iter().enumerate().filter(move |(_, stream)| stream.media() == media)
        };
        let (video, codec) = of("video")
            .find_map(|(i, stream)| Some((i, video_codec(stream.encoding_name())?)))
            .ok_or_else(|| match of("video").next() {
                Some((_, stream)) => {
                    SourceError::UnsupportedVideo(stream.encoding_name().to_ascii_uppercase())
                }
                None => SourceError::NoVideo,
            })?;
        let audio =
            of("audio").find_map(|(i, stream)| Some((i, audio_codec(stream.encoding_name())?)));
        Ok(Self { video, codec, audio, parameter_sets: None })
    }

    pub(super) fn audio_index(&self) -> Option<usize> {
        self.audio.map(|(index, _)| index)
    }

    /// What the stream consists of; `None` while the picture's parameters are not known.
    pub(super) fn describe(&mut self, streams: &[Stream]) -> Option<StreamDescription> {
        let stream = streams.get(self.video)?;
        let Some(ParametersRef::Video(parameters)) = stream.parameters() else { return None };
        let (width, height) = parameters.pixel_dimensions();
        let video = VideoTrack {
            width,
            height,
            fps: stream.framerate().unwrap_or_else(|| frame_rate(parameters)),
            parameter_sets: parameter_sets(parameters)?,
        };
        self.parameter_sets = Some(video.parameter_sets.clone());
        let audio = self.audio.and_then(|(i, codec)| audio_track(streams.get(i)?, codec));
        Some(StreamDescription { video: Some(video), audio })
    }

    /// A picture.
    pub(super) fn video(&self, frame: VideoFrame) -> Option<AccessUnit> {
        let timestamp = frame.timestamp().timestamp();
        let captured_at = arrival(frame.start_ctx());
        let data = Bytes::from(frame.into_data());
        let make = |data| match self.codec {
            VideoCodec::H264 => AccessUnit::h264(timestamp, captured_at, data),
            VideoCodec::H265 => AccessUnit::h265(timestamp, captured_at, data),
        };
        // retina puts them in front of IDR pictures, not of H.265's other keyframes.
        let complete = |unit: AccessUnit| match (&self.parameter_sets, &unit) {
            (Some(sets), AccessUnit::Video { keyframe: true, data, .. })
                if !nal_units(data).any(|nal| nal == *sets.sps()) =>
            {
                make(with_parameter_sets(sets, data))
            }
            _ => unit,
        };
        (!data.is_empty()).then(|| complete(make(data)))
    }

    /// A piece of sound; more than one unit when the camera's packet does not fit ours.
    pub(super) fn audio(&self, frame: &AudioFrame, mut take: impl FnMut(AccessUnit)) {
        let Some((_, codec)) = self.audio else { return };
        let captured_at = arrival(frame.ctx());
        let timestamp = frame.timestamp().timestamp();
        let data = Bytes::copy_from_slice(frame.data());
        let piece = match codec {
            // One byte is one tick of the clock, also for G.722 (RFC 3551, 4.5.2), so that it can
            // be cut anywhere.
            AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => MAX_RTP_PAYLOAD,
            AudioCodec::Opus | AudioCodec::Aac => data.len().max(1),
        };
        for start in (0..data.len()).step_by(piece) {
            take(AccessUnit::Audio {
                timestamp: timestamp + i64::try_from(start).unwrap_or(0),
                captured_at,
                data: data.slice(start..data.len().min(start + piece)),
            });
        }
    }
}

fn with_parameter_sets(sets: &ParameterSets, data: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 256);
    for nal in sets.nal_units() {
        out.put_u32(u32::try_from(nal.len()).unwrap_or(0));
        out.put_slice(nal);
    }
    out.put_slice(data);
    out.freeze()
}

fn video_codec(encoding_name: &str) -> Option<VideoCodec> {
    match encoding_name {
        "h264" => Some(VideoCodec::H264),
        "h265" => Some(VideoCodec::H265),
        _ => None,
    }
}

/// Opus is not among them: retina has no depacketizer for it.
fn audio_codec(encoding_name: &str) -> Option<AudioCodec> {
    match encoding_name {
        "pcmu" => Some(AudioCodec::Pcmu),
        "pcma" => Some(AudioCodec::Pcma),
        "g722" => Some(AudioCodec::G722),
        "mpeg4-generic" => Some(AudioCodec::Aac),
        _ => None,
    }
}

fn frame_rate(parameters: &VideoParameters) -> f32 {
    // retina gives seconds per frame.
    parameters.frame_rate().map_or(0.0, |(seconds, frames)| {
        if seconds == 0 { 0.0 } else { (f64::from(frames) / f64::from(seconds)) as f32 }
    })
}

fn parameter_sets(parameters: &VideoParameters) -> Option<ParameterSets> {
    match parameters.codec_params() {
        VideoParametersCodec::H264 { sps, pps } => {
            Some(ParameterSets::H264 { sps: sps.clone(), pps: pps.clone() })
        }
        VideoParametersCodec::H265 { vps, sps, pps } => {
            Some(ParameterSets::H265 { vps: vps.clone(), sps: sps.clone(), pps: pps.clone() })
        }
        _ => None,
    }
}

fn audio_track(stream: &Stream, codec: AudioCodec) -> Option<AudioTrack> {
    let Some(ParametersRef::Audio(parameters)) = stream.parameters() else { return None };
    let config = match codec {
        AudioCodec::Aac => Bytes::copy_from_slice(parameters.extra_data()),
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 | AudioCodec::Opus => Bytes::new(),
    };
    Some(AudioTrack {
        codec,
        clock_hz: stream.clock_rate_hz(),
        channels: parameters.channels().get(),
        config,
    })
}

fn arrival(context: &PacketContext) -> UnixMicros {
    UnixMicros::from(SystemTime::from(context.received_wall()))
}
