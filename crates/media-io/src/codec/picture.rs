//! H.264 to pictures and back, and JPEG.

use bytes::{Bytes, BytesMut};
use openh264::{
    OpenH264API,
    decoder::{DecodedYUV, Decoder},
    encoder::{
        BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod,
        Profile, RateControlMode, UsageType,
    },
    formats::YUVSource,
};
use sightline_media::{AccessUnit, VideoTrack, packetize::nal_units};
use sightline_model::VideoCodec;

use super::scale::{I420, Scaler, View};

/// Largest picture that is decoded, in pixels: 4K. The decoder's memory grows with it.
const MAX_PIXELS: u64 = 4096 * 2304;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// The stream's coding cannot be decoded here.
    #[error("pictures of this coding cannot be decoded here")]
    Unsupported,
    /// It is not a keyframe.
    #[error("the picture is not a keyframe")]
    NotAKeyframe,
    /// The data are broken.
    #[error("the picture is broken: {0}")]
    Broken(String),
    /// Our fault.
    #[error("the picture could not be encoded: {0}")]
    Encoder(String),
}

/// A keyframe as a JPEG. It takes some ten milliseconds: call it where blocking is allowed.
///
/// # Errors
/// When the unit is no keyframe of H.264, or is broken.
pub fn jpeg(track: &VideoTrack, unit: &AccessUnit, quality: u8) -> Result<Vec<u8>, PictureError> {
    if !unit.is_keyframe() {
        return Err(PictureError::NotAKeyframe);
    }
    let mut decoder = H264Decoder::new(track)?;
    let AccessUnit::Video { data, .. } = unit else { return Err(PictureError::NotAKeyframe) };
    let picture = decoder
        .decode(data)?
        .ok_or_else(|| PictureError::Broken("the decoder gives nothing".into()))?;
    let (width, height) = picture.dimensions();
    let mut rgb = vec![0; width * height * 3];
    picture.write_rgb8(&mut rgb);
    let mut out = Vec::new();
    let size = |pixels: usize| {
        u16::try_from(pixels).map_err(|_| PictureError::Encoder("it is too large".into()))
    };
    jpeg_encoder::Encoder::new(&mut out, quality.clamp(1, 100))
        .encode(&rgb, size(width)?, size(height)?, jpeg_encoder::ColorType::Rgb)
        .map_err(|error| PictureError::Encoder(error.to_string()))?;
    Ok(out)
}

/// Decodes H.264 access units.
pub struct H264Decoder {
    decoder: Decoder,
    annex_b: Vec<u8>,
}

impl H264Decoder {
    /// A decoder for a track.
    ///
    /// # Errors
    /// When the track is not H.264 or its picture is too large.
    pub fn new(track: &VideoTrack) -> Result<Self, PictureError> {
        let pixels = u64::from(track.width) * u64::from(track.height);
        if track.codec() != VideoCodec::H264 || pixels > MAX_PIXELS {
            return Err(PictureError::Unsupported);
        }
        let decoder = Decoder::new().map_err(|error| PictureError::Broken(error.to_string()))?;
        Ok(Self { decoder, annex_b: Vec::new() })
    }

    /// Decodes a unit's data.
    ///
    /// # Errors
    /// When the data are broken.
    pub fn decode(&mut self, data: &Bytes) -> Result<Option<DecodedYUV<'_>>, PictureError> {
        self.annex_b.clear();
        for nal in nal_units(data) {
            self.annex_b.extend_from_slice(&[0, 0, 0, 1]);
            self.annex_b.extend_from_slice(&nal);
        }
        self.decoder.decode(&self.annex_b).map_err(|error| PictureError::Broken(error.to_string()))
    }
}

/// Scales a decoded picture to the size of `to`.
pub(crate) fn scale_decoded(scaler: &mut Scaler, picture: &DecodedYUV<'_>, to: &mut I420) {
    let (width, height) = picture.dimensions();
    let (y, u, v) = picture.strides();
    let view = |data, stride, width, height| View { data, stride, width, height };
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let planes = [
        view(picture.y(), y, width, height),
        view(picture.u(), u, half_width, half_height),
        view(picture.v(), v, half_width, half_height),
    ];
    scaler.scale(planes, to);
}

/// Encodes pictures of one size as H.264, Constrained Baseline.
pub struct H264Encoder {
    encoder: Encoder,
}

impl H264Encoder {
    /// An encoder for a size and rate.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn new(fps: u32, bitrate_bps: u32) -> Result<Self, PictureError> {
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(bitrate_bps))
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            .rate_control_mode(RateControlMode::Bitrate)
            // A picture that is left out to save bits would be missing in the rate asked for.
            .skip_frames(false)
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::Low)
            .profile(Profile::Baseline)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .scene_change_detect(false)
            .num_threads(1);
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|error| PictureError::Encoder(error.to_string()))?;
        Ok(Self { encoder })
    }

    /// Encodes a picture: NAL units, each behind its length in four bytes, a keyframe with its
    /// parameter sets in front. `None` when the encoder left it out.
    ///
    /// # Errors
    /// When the library fails.
    pub fn encode(
        &mut self,
        picture: &I420,
        keyframe: bool,
    ) -> Result<Option<Bytes>, PictureError> {
        if keyframe {
            self.encoder.force_intra_frame();
        }
        let coded = self
            .encoder
            .encode(picture)
            .map_err(|error| PictureError::Encoder(error.to_string()))?;
        if matches!(coded.frame_type(), FrameType::Skip | FrameType::Invalid) {
            return Ok(None);
        }
        let mut data = BytesMut::new();
        for layer in (0..coded.num_layers()).filter_map(|i| coded.layer(i)) {
            for nal in (0..layer.nal_count()).filter_map(|i| layer.nal_unit(i)) {
                let start_code = nal.iter().position(|byte| *byte != 0).map_or(0, |one| one + 1);
                let nal = &nal[start_code..];
                data.extend_from_slice(&u32::try_from(nal.len()).unwrap_or(0).to_be_bytes());
                data.extend_from_slice(nal);
            }
        }
        Ok(Some(data.freeze()))
    }
}
