//! What we offer to speak, and what of it the viewer chose.

use std::time::{Duration, Instant};

use sightline_model::{AudioCodec, VideoCodec};
use sightline_protocol::{Problem, ProblemKind};
use str0m::{
    Rtc, RtcConfig,
    bwe::Bitrate,
    config::{DtlsCert, DtlsVersion},
    format::Codec,
    media::{Mid, Pt},
    rtp::Extension,
};

/// Packets kept for retransmission per picture track: about 2 s of 2 Mbit/s.
pub(super) const RETRANSMIT_PACKETS: usize = 512;

/// How often a working pair is checked: when a NAT has forgotten a mapping and made another, the
/// viewer learns our new address from the next check.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Checks without an answer after which a pair is given up: as long as the library's own choice.
const CHECKS: usize = 20;

/// A new peer connection.
pub(super) fn peer(cert: &DtlsCert, initial_estimate_bps: u64, now: Instant) -> Rtc {
    let mut config = RtcConfig::new();
    config.set_max_stun_rto(CHECK_EVERY);
    config.set_max_stun_retransmits(CHECKS);
    config
        .set_rtp_mode(true)
        .set_dtls_cert(cert.clone())
        .set_dtls_version(DtlsVersion::Auto)
        .clear_codecs()
        .enable_h264(true)
        .enable_h265(true)
        .enable_opus(true, false)
        .enable_pcmu(true, false)
        .enable_pcma(true, false)
        .enable_g722(true, false)
        .set_extension(5, Extension::PlayoutDelay)
        .enable_bwe(Some(Bitrate::bps(initial_estimate_bps)))
        .set_stats_interval(Some(Duration::from_millis(100)))
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_send_buffer_video(RETRANSMIT_PACKETS)
        .set_send_buffer_audio(50)
        .set_sctp_max_buffered_amount(64 * 1024)
        .set_sctp_max_message_size(16 * 1024)
        .build(now)
}

/// Payload types of a picture track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VideoPts {
    h264: Option<Pt>,
    h265: Option<Pt>,
}

impl VideoPts {
    pub(super) fn read(rtc: &Rtc, mid: Mid) -> Self {
        // RFC 6184 section 8.1: only mode 1 takes fragments. Constrained baseline, level 3.1, is
        // what every browser offers; decoders take the stream's own parameter sets anyway.
        const PROFILES: [u32; 5] = [0x42_e01f, 0x42_001f, 0x4d_001f, 0x64_001f, 0x64_0c1f];
        let Some(media) = rtc.media(mid) else { return Self::default() };
        let offered = || {
            let params = rtc.codec_config().params();
            media.remote_pts().iter().filter_map(|pt| params.iter().find(|p| p.pt() == *pt))
        };
        let h264 = offered()
            .filter(|p| p.spec().codec == Codec::H264)
            .filter(|p| p.spec().format.packetization_mode == Some(1))
            .min_by_key(|p| {
                let profile = p.spec().format.profile_level_id.unwrap_or(0);
                PROFILES.iter().position(|known| *known == profile).unwrap_or(PROFILES.len())
            });
        let h265 = offered().find(|p| p.spec().codec == Codec::H265);
        Self { h264: h264.map(|p| p.pt()), h265: h265.map(|p| p.pt()) }
    }

    pub(super) const fn of(&self, codec: VideoCodec) -> Option<Pt> {
        match codec {
            VideoCodec::H264 => self.h264,
            VideoCodec::H265 => self.h265,
        }
    }

    pub(super) fn codecs(&self) -> Vec<VideoCodec> {
        [VideoCodec::H264, VideoCodec::H265]
            .into_iter()
            .filter(|codec| self.of(*codec).is_some())
            .collect()
    }
}

/// Payload type of a sound track for `codec`, if the viewer takes it.
pub(super) fn audio_pt(rtc: &Rtc, mid: Mid, codec: AudioCodec) -> Option<Pt> {
    let wanted = match codec {
        AudioCodec::Pcmu => Codec::PCMU,
        AudioCodec::Pcma => Codec::PCMA,
        AudioCodec::G722 => Codec::G722,
        AudioCodec::Opus => Codec::Opus,
        AudioCodec::Aac => return None,
    };
    let params = rtc.codec_config().params();
    rtc.media(mid)?
        .remote_pts()
        .iter()
        .find(|pt| params.iter().any(|p| p.pt() == **pt && p.spec().codec == wanted))
        .copied()
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}
