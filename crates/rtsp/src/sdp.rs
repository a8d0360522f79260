//! Session descriptions (RFC 8866) of a camera's stream, written by the PU and read by the CU.

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Origin, Session, Time};
use sightline_media::{AudioTrack, ParameterSets, StreamDescription, VIDEO_CLOCK_HZ, VideoTrack};
use sightline_model::AudioCodec;

use crate::TrackKind;

/// Payload type of the picture.
pub const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// Payload type of sound that has no static one (RFC 3551).
const AUDIO_PAYLOAD_TYPE: u8 = 97;
/// Most media sections that are looked at.
const MAX_MEDIA: usize = 16;

/// The description cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not SDP, or parts that RFC 8866 demands are absent.
    #[error("malformed session description")]
    Malformed,
    /// No track has a coding that is known here.
    #[error("no track with a known coding")]
    NothingKnown,
}

/// A track as its SDP describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Payload type in RTP.
    pub payload_type: u8,
    /// `a=control`: absolute, or relative to the description's base.
    pub control: Option<String>,
    /// What it carries.
    pub media: TrackMedia,
}

/// Coding of a track.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackMedia {
    /// A picture.
    Video(VideoTrack),
    /// A sound.
    Audio(AudioTrack),
}

impl Track {
    /// Picture or sound.
    #[must_use]
    pub const fn kind(&self) -> TrackKind {
        match self.media {
            TrackMedia::Video(_) => TrackKind::Video,
            TrackMedia::Audio(_) => TrackKind::Audio,
        }
    }

    /// The clock of its timestamps.
    #[must_use]
    pub const fn clock_hz(&self) -> u32 {
        match &self.media {
            TrackMedia::Video(_) => VIDEO_CLOCK_HZ,
            TrackMedia::Audio(audio) => audio.clock_hz,
        }
    }
}

/// A whole description.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Session-wide `a=control`.
    pub control: Option<String>,
    /// The first picture and the first sound with a known coding.
    pub tracks: Vec<Track>,
}

impl Description {
    /// The same without what belongs to RTSP.
    #[must_use]
    pub fn stream(&self) -> StreamDescription {
        let mut stream = StreamDescription::default();
        for track in &self.tracks {
            match &track.media {
                TrackMedia::Video(video) => stream.video = Some(video.clone()),
                TrackMedia::Audio(audio) => stream.audio = Some(audio.clone()),
            }
        }
        stream
    }
}

/// The payload type that a sound is sent with.
#[must_use]
pub fn audio_payload_type(audio: &AudioTrack) -> u8 {
    match audio.codec {
        AudioCodec::Pcmu if plain(audio) => 0,
        AudioCodec::Pcma if plain(audio) => 8,
        AudioCodec::G722 if plain(audio) => 9,
        AudioCodec::Pcmu
        | AudioCodec::Pcma
        | AudioCodec::G722
        | AudioCodec::Opus
        | AudioCodec::Aac => AUDIO_PAYLOAD_TYPE,
    }
}

const fn plain(audio: &AudioTrack) -> bool {
    audio.clock_hz == 8_000 && audio.channels == 1
}

/// Writes the description of a live stream; the tracks' controls are `video` and `audio`,
/// relative to the content base.
#[must_use]
pub fn write(name: &str, session_id: u64, stream: &StreamDescription) -> String {
    compose(name, session_id, stream, "npt=now-")
}

/// The same for what was recorded in a span; `range` as in the header of that name.
#[must_use]
pub fn write_recorded(
    name: &str,
    session_id: u64,
    stream: &StreamDescription,
    range: &str,
) -> String {
    compose(name, session_id, stream, range)
}

fn compose(name: &str, session_id: u64, stream: &StreamDescription, range: &str) -> String {
    let origin = Origin {
        username: None,
        sess_id: session_id.to_string(),
        sess_version: 1,
        nettype: NetType::In,
        addrtype: AddrType::Ip4,
        unicast_address: "0.0.0.0".into(),
    };
    let mut session = Session::new(origin, one_line(name));
    session.set_connection(Connection::from_ip_addr(std::net::Ipv4Addr::UNSPECIFIED));
    session.add_time(Time::new(0, 0));
    session.add_attribute_with_value("control", "*");
    session.add_attribute_with_value("range", range);
    if let Some(video) = &stream.video {
        session.add_media(video_media(video));
    }
    if let Some(audio) = &stream.audio {
        session.add_media(audio_media(audio));
    }
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = session.write(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// `s=` may not be empty nor hold line ends (RFC 8866 section 5.3).
fn one_line(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if name.trim().is_empty() { "camera".into() } else { name }
}

fn media(kind: TrackKind, payload_type: u8, attributes: Vec<(&str, String)>) -> Media {
    Media {
        media: kind.as_str().into(),
        port: 0,
        num_ports: None,
        proto: "RTP/AVP".into(),
        fmt: payload_type.to_string(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: attributes
            .into_iter()
            .map(|(name, value)| Attribute::with_value(name, value))
            .collect(),
    }
}

fn video_media(video: &VideoTrack) -> Media {
    let pt = VIDEO_PAYLOAD_TYPE;
    let (map, format) = match &video.parameter_sets {
        ParameterSets::H264 { sps, pps } => {
            let profile = sps.get(1..4).map(|p| HEXLOWER.encode(p)).unwrap_or_default();
            let sets = format!("{},{}", BASE64.encode(sps), BASE64.encode(pps));
            (
                "H264/90000",
                format!(
                    "packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}"
                ),
            )
        }
        ParameterSets::H265 { vps, sps, pps } => (
            "H265/90000",
            format!(
                "sprop-vps={};sprop-sps={};sprop-pps={}",
                BASE64.encode(vps),
                BASE64.encode(sps),
                BASE64.encode(pps)
            ),
        ),
    };
    let mut attributes =
        vec![("rtpmap", format!("{pt} {map}")), ("fmtp", format!("{pt} {format}"))];
    if video.width > 0 && video.height > 0 {
        attributes.push(("x-dimensions", format!("{},{}", video.width, video.height)));
    }
    if video.fps > 0.0 {
        attributes.push(("framerate", format!("{}", video.fps)));
    }
    attributes.push(("control", TrackKind::Video.as_str().into()));
    media(TrackKind::Video, pt, attributes)
}

fn audio_media(audio: &AudioTrack) -> Media {
    let pt = audio_payload_type(audio);
    let channels = audio.channels.max(1);
    let suffix = if channels > 1 { format!("/{channels}") } else { String::new() };
    let map = match audio.codec {
        AudioCodec::Pcmu => format!("PCMU/{}{suffix}", audio.clock_hz),
        AudioCodec::Pcma => format!("PCMA/{}{suffix}", audio.clock_hz),
        AudioCodec::G722 => format!("G722/{}{suffix}", audio.clock_hz),
        // Always so (RFC 7587 section 7).
        AudioCodec::Opus => "opus/48000/2".into(),
        AudioCodec::Aac => format!("mpeg4-generic/{}/{channels}", audio.clock_hz),
    };
    let mut attributes = vec![("rtpmap", format!("{pt} {map}"))];
    match audio.codec {
        AudioCodec::Aac => attributes.push((
            "fmtp",
            format!(
                "{pt} streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={}",
                HEXLOWER.encode(&audio.config)
            ),
        )),
        AudioCodec::Opus if channels > 1 => {
            attributes.push(("fmtp", format!("{pt} sprop-stereo=1")));
        }
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 | AudioCodec::Opus => {}
    }
    attributes.push(("control", TrackKind::Audio.as_str().into()));
    media(TrackKind::Audio, pt, attributes)
}

/// Reads a description.
///
/// # Errors
/// When it is malformed, or holds nothing that is known here.
pub fn parse(text: &[u8]) -> Result<Description, SdpError> {
    let session = Session::parse(text).map_err(|_| SdpError::Malformed)?;
    let control = session.get_first_attribute_value("control").flatten().map(str::to_owned);
    let mut tracks: Vec<Track> = Vec::new();
    for media in session.medias.iter().take(MAX_MEDIA) {
        if let Some(track) = parse_media(media)
            && !tracks.iter().any(|t| t.kind() == track.kind())
        {
            tracks.push(track);
        }
    }
    if tracks.is_empty() {
        return Err(SdpError::NothingKnown);
    }
    Ok(Description { control, tracks })
}

fn parse_media(media: &Media) -> Option<Track> {
    let payload_type: u8 = media.fmt.split_whitespace().next()?.parse().ok()?;
    let of_type = |name| {
        media.get_attribute_values(name).flatten().find_map(|value| {
            let (pt, rest) = value.trim().split_once(' ')?;
            (pt.parse() == Ok(payload_type)).then(|| rest.trim().to_owned())
        })
    };
    let map = of_type("rtpmap").or_else(|| static_map(payload_type).map(str::to_owned))?;
    let format = of_type("fmtp").unwrap_or_default();
    let mut map = map.split('/');
    let coding = map.next()?.to_ascii_uppercase();
    let clock_hz: u32 = map.next()?.trim().parse().ok().filter(|hz| *hz > 0)?;
    let channels: u16 = map.next().and_then(|c| c.trim().parse().ok()).unwrap_or(1);
    let audio = |codec, config: Bytes| {
        TrackMedia::Audio(AudioTrack { codec, clock_hz, channels: channels.clamp(1, 2), config })
    };
    let track_media = match (media.media.as_str(), coding.as_str()) {
        ("video", "H264" | "H265") if clock_hz == VIDEO_CLOCK_HZ => {
            TrackMedia::Video(parse_video(media, &coding, &format))
        }
        ("audio", "PCMU") => audio(AudioCodec::Pcmu, Bytes::new()),
        ("audio", "PCMA") => audio(AudioCodec::Pcma, Bytes::new()),
        ("audio", "G722") => audio(AudioCodec::G722, Bytes::new()),
        ("audio", "OPUS") => {
            let stereo = parameter(&format, "sprop-stereo") == Some("1");
            TrackMedia::Audio(AudioTrack {
                codec: AudioCodec::Opus,
                clock_hz,
                channels: if stereo { 2 } else { 1 },
                config: Bytes::new(),
            })
        }
        ("audio", "MPEG4-GENERIC") => {
            let config = parameter(&format, "config").unwrap_or_default();
            let config = HEXLOWER_PERMISSIVE.decode(config.as_bytes()).ok()?;
            audio(AudioCodec::Aac, config.into())
        }
        _ => return None,
    };
    let control = media.get_first_attribute_value("control").flatten().map(str::to_owned);
    Some(Track { payload_type, control, media: track_media })
}

const fn static_map(payload_type: u8) -> Option<&'static str> {
    match payload_type {
        0 => Some("PCMU/8000"),
        8 => Some("PCMA/8000"),
        9 => Some("G722/8000"),
        _ => None,
    }
}

fn parse_video(media: &Media, coding: &str, format: &str) -> VideoTrack {
    let set = |name| decode_set(parameter(format, name).unwrap_or_default());
    let parameter_sets = if coding == "H264" {
        let sets = parameter(format, "sprop-parameter-sets").unwrap_or_default();
        let mut sets = sets.split(',').map(decode_set);
        let sps = sets.next().unwrap_or_default();
        ParameterSets::H264 { sps, pps: sets.next().unwrap_or_default() }
    } else {
        ParameterSets::H265 { vps: set("sprop-vps"), sps: set("sprop-sps"), pps: set("sprop-pps") }
    };
    let attribute = |name| media.get_first_attribute_value(name).flatten().unwrap_or_default();
    let (width, height) = attribute("x-dimensions")
        .split_once(',')
        .and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)))
        .unwrap_or((0, 0));
    let fps = attribute("framerate").trim().parse().ok().filter(|f: &f32| f.is_finite());
    VideoTrack { width, height, fps: fps.unwrap_or(0.0).max(0.0), parameter_sets }
}

fn decode_set(text: &str) -> Bytes {
    BASE64.decode(text.trim().as_bytes()).unwrap_or_default().into()
}

/// The value of `name` in `a=fmtp` parameters.
fn parameter<'a>(format: &'a str, name: &str) -> Option<&'a str> {
    format.split(';').find_map(|p| {
        let (key, value) = p.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(sets: ParameterSets, codec: AudioCodec, clock_hz: u32) -> StreamDescription {
        let config = match codec {
            AudioCodec::Aac => Bytes::from_static(&[0x12, 0x10]),
            _ => Bytes::new(),
        };
        StreamDescription {
            video: Some(VideoTrack { width: 640, height: 360, fps: 12.5, parameter_sets: sets }),
            audio: Some(AudioTrack { codec, clock_hz, channels: 1, config }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let h264 = ParameterSets::H264 {
            sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1f, 1]),
            pps: Bytes::from_static(&[0x68, 2]),
        };
        let h265 = ParameterSets::H265 {
            vps: Bytes::from_static(&[0x40, 1]),
            sps: Bytes::from_static(&[0x42, 2]),
            pps: Bytes::from_static(&[0x44, 3]),
        };
        for (codec, hz) in [
            (AudioCodec::Pcmu, 8_000),
            (AudioCodec::Pcma, 8_000),
            (AudioCodec::G722, 8_000),
            (AudioCodec::Opus, 48_000),
            (AudioCodec::Aac, 44_100),
        ] {
            for sets in [h264.clone(), h265.clone()] {
                let stream = stream(sets, codec, hz);
                let text = write("Yard\r\na=evil:1", 7, &stream);
                assert!(!text.contains("\na=evil"), "{text}");
                let read = parse(text.as_bytes()).expect("own description");
                assert_eq!(read.stream(), stream);
                assert_eq!(read.tracks[1].control.as_deref(), Some("audio"));
            }
        }
    }

    #[test]
    fn refuses_what_cannot_be_played() {
        assert_eq!(parse(b"hello"), Err(SdpError::Malformed));
        let text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\n";
        assert_eq!(parse(text.as_bytes()), Err(SdpError::NothingKnown));
    }
}
