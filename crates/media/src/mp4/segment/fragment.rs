//! The boxes of a segment file (ISO/IEC 14496-12).

use bytes::{Bytes, BytesMut};
use shiguredo_mp4::{
    BoxHeader, BoxSize, Encode, SampleFlags, TrackKind,
    boxes::{MdatBox, MfhdBox, MoofBox, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample},
    mux::{Fmp4SegmentMuxer, MuxError, Sample, SegmentMuxerOptions},
};

use crate::mp4::{
    Mp4Error,
    timeline::{Laid, Piece, Track},
};

/// The tracks' numbers: the muxer counts them in the order in which it sees them first.
const PICTURE: u32 = 1;
const SOUND: u32 = 2;

/// Samples of one track.
pub struct Samples {
    /// Decoding time of the first, on the track's clock.
    pub decode: u64,
    pub pieces: Vec<Piece>,
    pub laid: Vec<Laid>,
}

impl Samples {
    fn len(&self) -> usize {
        self.pieces.iter().map(|p| p.data.len()).sum()
    }
}

/// `ftyp` and `moov`.
pub fn head(
    options: SegmentMuxerOptions,
    picture: &Track,
    sound: Option<&Track>,
) -> Result<Bytes, Mp4Error> {
    let mut muxer = Fmp4SegmentMuxer::with_options(options)?;
    // The muxer learns tracks from samples; these are not written.
    let sample = |kind, track: &Track, data_offset| Sample {
        track_kind: kind,
        timescale: track.clock_hz,
        sample_entry: Some(track.entry.clone()),
        duration: 1,
        keyframe: true,
        composition_time_offset: None,
        data_offset,
        data_size: 1,
    };
    let mut samples = vec![sample(TrackKind::Video, picture, 0)];
    samples.extend(sound.map(|track| sample(TrackKind::Audio, track, 1)));
    muxer.create_media_segment_metadata(&samples)?;
    Ok(muxer.init_segment_bytes()?.into())
}

/// `moof` and `mdat`.
pub fn fragment(
    sequence_number: u32,
    picture: &Samples,
    sound: Option<&Samples>,
) -> Result<Bytes, Mp4Error> {
    let payload = picture.len() + sound.map_or(0, Samples::len);
    let size = BoxSize::with_payload_size(MdatBox::TYPE, payload as u64);
    let mdat = encode(&BoxHeader { box_type: MdatBox::TYPE, box_size: size })?;
    let moof = |data_at: usize| {
        let mut traf_boxes = vec![traf(PICTURE, picture, data_at, true)?];
        if let Some(sound) = sound {
            traf_boxes.push(traf(SOUND, sound, data_at + picture.len(), false)?);
        }
        let mfhd_box = MfhdBox { sequence_number };
        encode(&MoofBox { mfhd_box, traf_boxes, unknown_boxes: Vec::new() })
    };
    // Offsets count from the beginning of the `moof`; its length does not depend on their value.
    let moof_len = moof(0)?.len();
    let moof = moof(moof_len + mdat.len())?;
    let mut out = BytesMut::with_capacity(moof.len() + mdat.len() + payload);
    out.extend_from_slice(&moof);
    out.extend_from_slice(&mdat);
    for piece in picture.pieces.iter().chain(sound.into_iter().flat_map(|s| &s.pieces)) {
        out.extend_from_slice(&piece.data);
    }
    Ok(out.freeze())
}

fn traf(
    track_id: u32,
    samples: &Samples,
    data_at: usize,
    reorders: bool,
) -> Result<TrafBox, Mp4Error> {
    let offsets = reorders && samples.laid.iter().any(|laid| laid.offset != 0);
    let clamp = |offset: i64| offset.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    let mut run = Vec::with_capacity(samples.pieces.len());
    for (piece, laid) in samples.pieces.iter().zip(&samples.laid) {
        run.push(TrunSample {
            duration: Some(laid.duration),
            size: Some(u32::try_from(piece.data.len()).map_err(|_| MuxError::Overflow)?),
            flags: Some(flags(piece.keyframe)),
            composition_time_offset: offsets.then_some(clamp(laid.offset)),
        });
    }
    let trun = TrunBox {
        data_offset: Some(i32::try_from(data_at).map_err(|_| MuxError::Overflow)?),
        first_sample_flags: None,
        samples: run,
    };
    Ok(TrafBox {
        tfhd_box: TfhdBox {
            track_id,
            base_data_offset: None,
            sample_description_index: None,
            default_sample_duration: None,
            default_sample_size: None,
            default_sample_flags: None,
            duration_is_empty: false,
            default_base_is_moof: true,
        },
        // 64 bits: runs last longer than thirteen hours.
        tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: samples.decode }),
        trun_boxes: vec![trun],
        unknown_boxes: Vec::new(),
    })
}

/// ISO/IEC 14496-12, 8.8.3.1: whether the sample depends on others, and whether it is no sync sample.
const fn flags(keyframe: bool) -> SampleFlags {
    let depends = if keyframe { 2 } else { 1 };
    SampleFlags::from_fields(0, depends, 0, 0, 0, !keyframe, 0)
}

fn encode(item: &impl Encode) -> Result<Vec<u8>, Mp4Error> {
    item.encode_to_vec().map_err(|e| Mp4Error::Mux(MuxError::EncodeError(e)))
}
