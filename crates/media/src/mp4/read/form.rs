//! The stream's form from sample entries.

use bytes::Bytes;
use shiguredo_mp4::{
    BoxType, Decode,
    boxes::{
        AudioSampleEntryFields, FtypBox, HdlrBox, HvccBox, MoovBox, SampleEntry, UnknownBox,
        VisualSampleEntryFields,
    },
};
use sightline_model::AudioCodec;

use crate::{AudioTrack, ParameterSets, StreamDescription, VideoTrack};

/// The form of the stream by the file's head.
pub fn description(head: &[u8]) -> Result<StreamDescription, &'static str> {
    let (_, ftyp_len) = FtypBox::decode(head).map_err(|_| "a broken ftyp")?;
    let (moov, _) =
        MoovBox::decode(head.get(ftyp_len..).unwrap_or_default()).map_err(|_| "a broken moov")?;
    let mut description = StreamDescription::default();
    for track in &moov.trak_boxes {
        let media = &track.mdia_box;
        let entry = media.minf_box.stbl_box.stsd_box.entries.first().ok_or("no sample entry")?;
        match media.hdlr_box.handler_type {
            HdlrBox::HANDLER_TYPE_VIDE => description.video = Some(video(entry)?),
            HdlrBox::HANDLER_TYPE_SOUN => {
                description.audio = Some(audio(entry, media.mdhd_box.timescale.get())?);
            }
            _ => return Err("a track is neither picture nor sound"),
        }
    }
    Ok(description)
}

fn video(entry: &SampleEntry) -> Result<VideoTrack, &'static str> {
    match entry {
        SampleEntry::Avc1(avc) => {
            let first = |list: &[Vec<u8>]| list.first().map(|set| Bytes::copy_from_slice(set));
            let sps = first(&avc.avcc_box.sps_list).ok_or("no sequence parameter set")?;
            let pps = first(&avc.avcc_box.pps_list).ok_or("no picture parameter set")?;
            Ok(track(&avc.visual, ParameterSets::H264 { sps, pps }))
        }
        SampleEntry::Hvc1(hvc) => Ok(track(&hvc.visual, h265(&hvc.hvcc_box)?)),
        SampleEntry::Hev1(hev) => Ok(track(&hev.visual, h265(&hev.hvcc_box)?)),
        _ => Err("the picture's coding is none of ours"),
    }
}

const fn track(visual: &VisualSampleEntryFields, parameter_sets: ParameterSets) -> VideoTrack {
    let (width, height) = (visual.width as u32, visual.height as u32);
    VideoTrack { width, height, fps: 0.0, parameter_sets }
}

fn h265(config: &HvccBox) -> Result<ParameterSets, &'static str> {
    let set = |kind: u8| {
        let array = config.nalu_arrays.iter().find(|a| a.nal_unit_type.get() == kind);
        array.and_then(|a| a.nalus.first()).map(|set| Bytes::copy_from_slice(set))
    };
    match (set(32), set(33), set(34)) {
        (Some(vps), Some(sps), Some(pps)) => Ok(ParameterSets::H265 { vps, sps, pps }),
        _ => Err("a parameter set is missing"),
    }
}

fn audio(entry: &SampleEntry, clock_hz: u32) -> Result<AudioTrack, &'static str> {
    let (codec, fields, config) = match entry {
        SampleEntry::Mp4a(mp4a) => {
            let decoder = &mp4a.esds_box.es.dec_config_descr;
            let config = decoder.dec_specific_info.as_ref().ok_or("no configuration of AAC")?;
            let config = Bytes::copy_from_slice(&config.payload);
            (AudioCodec::Aac, mp4a.audio.clone(), config)
        }
        SampleEntry::Opus(opus) => (AudioCodec::Opus, opus.audio.clone(), Bytes::new()),
        SampleEntry::Unknown(unknown) => {
            let (codec, fields) = g711(unknown)?;
            (codec, fields, Bytes::new())
        }
        _ => return Err("the sound's coding is none of ours"),
    };
    Ok(AudioTrack { codec, clock_hz, channels: fields.channelcount, config })
}

fn g711(entry: &UnknownBox) -> Result<(AudioCodec, AudioSampleEntryFields), &'static str> {
    let codec = match entry.box_type {
        BoxType::Normal(name) if &name == b"ulaw" => AudioCodec::Pcmu,
        BoxType::Normal(name) if &name == b"alaw" => AudioCodec::Pcma,
        _ => return Err("the sound's coding is none of ours"),
    };
    let (fields, _) = AudioSampleEntryFields::decode(&entry.payload)
        .map_err(|_| "the sound's sample entry is cut off")?;
    Ok((codec, fields))
}
