//! Sample entries: what a decoder must know first, as the file states it.

use bytes::{BufMut, Bytes, BytesMut};
use shiguredo_mp4::{
    BoxSize, BoxType, Encode, FixedPointNumber,
    bitstream::{
        aac::{Mp4aSampleEntryConfig, build_mp4a_box, parse_audio_specific_config},
        h264::{H264SampleEntryConfig, LengthSize, build_avc1_box},
        h265::{H265ConstantFrameRate, H265SampleEntryConfig, build_hvc1_box},
        opus::{ChannelCount, OpusSampleEntryConfig, build_opus_box},
    },
    boxes::{AudioSampleEntryFields, SampleEntry, UnknownBox},
};
use sightline_model::AudioCodec;

use super::{Mp4Error, is_h265};
use crate::{AudioTrack, ParameterSets, VideoTrack, packetize::nal_units};

pub(super) fn video(track: &VideoTrack) -> Result<SampleEntry, Mp4Error> {
    let wrong = |e: shiguredo_mp4::Error| Mp4Error::Description(e.to_string());
    match &track.parameter_sets {
        ParameterSets::H264 { sps, pps } => {
            let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
            build_avc1_box(&[sps.to_vec()], &[pps.to_vec()], &config)
                .map(SampleEntry::Avc1)
                .map_err(wrong)
        }
        ParameterSets::H265 { vps, sps, pps } => {
            let config = H265SampleEntryConfig {
                length_size: LengthSize::FourBytes,
                avg_frame_rate: H265SampleEntryConfig::AVG_FRAME_RATE_UNSPECIFIED,
                constant_frame_rate: H265ConstantFrameRate::Unknown,
            };
            build_hvc1_box(&[vps.to_vec()], &[sps.to_vec()], &[pps.to_vec()], &config)
                .map(SampleEntry::Hvc1)
                .map_err(wrong)
        }
    }
}

/// `None` when MP4 has no place for the coding.
pub(super) fn audio(track: &AudioTrack) -> Result<Option<SampleEntry>, Mp4Error> {
    match track.codec {
        AudioCodec::Aac => aac(track).map(Some),
        AudioCodec::Opus => Ok(Some(opus(track))),
        AudioCodec::Pcmu => g711(track, *b"ulaw").map(Some),
        AudioCodec::Pcma => g711(track, *b"alaw").map(Some),
        AudioCodec::G722 => Ok(None),
    }
}

fn aac(track: &AudioTrack) -> Result<SampleEntry, Mp4Error> {
    let wrong = |e: shiguredo_mp4::Error| Mp4Error::Description(e.to_string());
    let config = parse_audio_specific_config(&track.config).map_err(wrong)?;
    let entry =
        Mp4aSampleEntryConfig { es_id: 1, buffer_size_db: 0, max_bitrate: 0, avg_bitrate: 0 };
    build_mp4a_box(&config, &entry).map(SampleEntry::Mp4a).map_err(wrong)
}

fn opus(track: &AudioTrack) -> SampleEntry {
    let channel_count = if track.channels == 2 { ChannelCount::Stereo } else { ChannelCount::Mono };
    SampleEntry::Opus(build_opus_box(&OpusSampleEntryConfig {
        channel_count,
        // The recording starts in the middle of a stream: nothing of it is the encoder's lead-in.
        pre_skip: 0,
        input_sample_rate: 48_000,
        output_gain: 0,
    }))
}

/// G.711 as QuickTime names it; ffmpeg, VLC and GStreamer read it in MP4 too.
fn g711(track: &AudioTrack, name: [u8; 4]) -> Result<SampleEntry, Mp4Error> {
    let fields = AudioSampleEntryFields {
        data_reference_index: AudioSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
        channelcount: track.channels,
        samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
        samplerate: FixedPointNumber::new(u16::try_from(track.clock_hz).unwrap_or(8_000), 0),
    };
    let payload = fields.encode_to_vec().map_err(|e| Mp4Error::Description(e.to_string()))?;
    let size = u32::try_from(payload.len() + 8).unwrap_or(u32::MAX);
    Ok(SampleEntry::Unknown(UnknownBox {
        box_type: BoxType::Normal(name),
        box_size: BoxSize::U32(size),
        payload,
    }))
}

/// The unit without parameter sets and delimiters: the sample entry has them (ISO/IEC 14496-15,
/// 5.3.1 and 8.3.1).
pub(super) fn without_parameter_sets(data: &Bytes, entry: &SampleEntry) -> Bytes {
    let h265 = is_h265(entry);
    let superfluous = |nal: &Bytes| {
        if h265 { matches!(nal[0] >> 1 & 0x3f, 32..=35) } else { matches!(nal[0] & 0x1f, 7..=9) }
    };
    if !nal_units(data).any(|nal| superfluous(&nal)) {
        return data.clone();
    }
    let mut out = BytesMut::with_capacity(data.len());
    for nal in nal_units(data).filter(|nal| !superfluous(nal)) {
        out.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
        out.put_slice(&nal);
    }
    out.freeze()
}
