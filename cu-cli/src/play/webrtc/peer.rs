//! The peer connection of the `webrtc` crate, turned into a stream of events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rtc::{
    interceptor::Registry,
    peer_connection::configuration::{
        interceptor_registry::register_default_interceptors,
        media_engine::{
            MIME_TYPE_G722, MIME_TYPE_H264, MIME_TYPE_HEVC, MIME_TYPE_OPUS, MIME_TYPE_PCMA,
            MIME_TYPE_PCMU, MediaEngine,
        },
    },
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind},
    },
};
use sightline_media::{AudioTrack, ParameterSets, VideoTrack};
use sightline_model::{AudioCodec, VideoCodec};
use sightline_p2p_net::Surroundings;
use sightline_protocol::{
    cm::IceServer,
    pc::{CONTROL_CHANNEL, CuToPu, PuToCu},
};
use sightline_rtsp::{rtp::Packet, sdp::TrackMedia};
use tokio::{sync::mpsc, task::JoinSet};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::track_remote::{TrackRemote, TrackRemoteEvent},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
        RTCIceCandidateInit, RTCIceServer, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
        RTCSessionDescription, SettingEngineBuilder, StatsSelector,
    },
};

use super::way::{Remote, why_not_better};
use crate::{
    error::CuError,
    play::{figures::Path, session::Session},
};

/// Events that wait for the viewer; when it is full the readers wait, and then the stack drops.
const QUEUE: usize = 2_048;

/// News of the connection.
pub(super) enum PeerEvent {
    /// A candidate of ours; empty at the end.
    Candidate(String),
    /// ICE or DTLS has failed for good.
    Failed,
    /// A picture comes with this source number.
    Video { codec: VideoCodec, ssrc: u32 },
    /// A sound comes with this source number.
    Audio { codec: AudioCodec, ssrc: u32 },
    /// A packet of a track.
    Packet { ssrc: u32, packet: Packet },
    /// The control channel is open.
    ControlOpen,
    /// A message of the PU.
    Control(PuToCu),
}

/// See the module.
pub(super) struct Peer {
    connection: Arc<dyn PeerConnection>,
    control: Arc<dyn DataChannel>,
    events: mpsc::Receiver<PeerEvent>,
    tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    sender: mpsc::Sender<PeerEvent>,
    known: Vec<(u32, Arc<dyn TrackRemote>)>,
    tasks: JoinSet<()>,
}

struct Handler {
    events: mpsc::Sender<PeerEvent>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            // Full or closed: the viewer is leaving, or other candidates are on their way.
            let _ = self.events.try_send(PeerEvent::Candidate(candidate.candidate));
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tracing::info!(%state, "peer connection");
        if state == RTCPeerConnectionState::Failed {
            let _ = self.events.try_send(PeerEvent::Failed);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _ = self.tracks.try_send(track);
    }
}

impl Peer {
    pub async fn new(
        session: &Session,
        video: &[VideoCodec],
        audio: Option<AudioCodec>,
    ) -> Result<Self, CuError> {
        let mut media = MediaEngine::default();
        for codec in video {
            media
                .register_codec(video_parameters(*codec), RtpCodecKind::Video)
                .map_err(|e| fault(&e))?;
        }
        if let Some(codec) = audio {
            media
                .register_codec(audio_parameters(codec), RtpCodecKind::Audio)
                .map_err(|e| fault(&e))?;
        }
        let registry =
            register_default_interceptors(Registry::new(), &mut media).map_err(|e| fault(&e))?;
        let servers = session.answer.ice_servers.iter().filter_map(ice_server).collect();
        let configuration = RTCConfigurationBuilder::new().with_ice_servers(servers).build();
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(session.local_portal)
            .build();
        let (events_in, events) = mpsc::channel(QUEUE);
        let (tracks_in, tracks) = mpsc::channel(4);
        let handler = Arc::new(Handler { events: events_in.clone(), tracks: tracks_in });
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_configuration(configuration)
                .with_media_engine(media)
                .with_interceptor_registry(registry)
                .with_setting_engine(settings)
                .with_handler(handler)
                .with_udp_addrs(local_addresses(session.local_portal))
                .build()
                .await
                .map_err(|e| fault(&e))?,
        );
        let kinds = [(true, RtpCodecKind::Video), (audio.is_some(), RtpCodecKind::Audio)];
        for (_, kind) in kinds.into_iter().filter(|(wanted, _)| *wanted) {
            let direction = RTCRtpTransceiverDirection::Recvonly;
            let init = RTCRtpTransceiverInit { direction, ..Default::default() };
            connection.add_transceiver_from_kind(kind, Some(init)).await.map_err(|e| fault(&e))?;
        }
        let control =
            connection.create_data_channel(CONTROL_CHANNEL, None).await.map_err(|e| fault(&e))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(read_control(Arc::clone(&control), events_in.clone()));
        Ok(Self {
            connection,
            control,
            events,
            tracks,
            sender: events_in,
            known: Vec::new(),
            tasks,
        })
    }

    /// The next offer looks for a new way (RFC 8445 section 9); the old one goes on meanwhile.
    pub async fn restart(&self) -> Result<(), CuError> {
        self.connection.restart_ice().await.map_err(|e| fault(&e))
    }

    /// Makes the offer; candidates follow as events.
    pub async fn offer(&self) -> Result<String, CuError> {
        let offer = self.connection.create_offer(None).await.map_err(|e| fault(&e))?;
        let sdp = offer.sdp.clone();
        self.connection.set_local_description(offer).await.map_err(|e| fault(&e))?;
        Ok(sdp)
    }

    /// Applies an answer that has been verified.
    pub async fn answer(&self, sdp: String) -> Result<(), CuError> {
        let unusable = |e: &dyn std::fmt::Display| {
            CuError::other(format!("the camera's WebRTC answer cannot be used: {e}"))
        };
        let answer = RTCSessionDescription::answer(sdp).map_err(|e| unusable(&e))?;
        self.connection.set_remote_description(answer).await.map_err(|e| unusable(&e))
    }

    pub async fn add_candidate(&self, candidate: String) {
        if candidate.is_empty() {
            return;
        }
        let init =
            RTCIceCandidateInit { candidate, sdp_mline_index: Some(0), ..Default::default() };
        // A candidate that this stack does not know is one way less, not a fault.
        if let Err(error) = self.connection.add_ice_candidate(init).await {
            tracing::debug!(%error, "candidate left out");
        }
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> PeerEvent {
        loop {
            tokio::select! {
                biased;
                Some(track) = self.tracks.recv() => {
                    if let Some(event) = self.begin(track).await {
                        return event;
                    }
                }
                Some(event) = self.events.recv() => return event,
            }
        }
    }

    async fn begin(&mut self, track: Arc<dyn TrackRemote>) -> Option<PeerEvent> {
        let ssrc = *track.ssrcs().await.first()?;
        let mime = track.codec(ssrc).await?.mime_type;
        let is = |name: &str| mime.eq_ignore_ascii_case(name);
        let video = [(MIME_TYPE_H264, VideoCodec::H264), (MIME_TYPE_HEVC, VideoCodec::H265)];
        let audio = [AudioCodec::Opus, AudioCodec::Pcmu, AudioCodec::Pcma, AudioCodec::G722];
        let video = video.into_iter().find(|(name, _)| is(name));
        let audio = audio.into_iter().find(|codec| is(mime_of(*codec)));
        let event = match (video, audio) {
            (Some((_, codec)), _) => PeerEvent::Video { codec, ssrc },
            (None, Some(codec)) => PeerEvent::Audio { codec, ssrc },
            (None, None) => return None,
        };
        self.known.push((ssrc, Arc::clone(&track)));
        self.tasks.spawn(read_track(track, self.sender.clone(), ssrc));
        Some(event)
    }

    /// Tells the PU something, if the channel is open.
    pub async fn control(&self, message: &CuToPu) {
        if let Ok(text) = serde_json::to_string(message) {
            // Not open yet, or closing: the next will go.
            let _ = self.control.try_send_text(&text).await;
        }
    }

    pub async fn request_keyframe(&self, media_ssrc: u32) {
        for (_, track) in self.known.iter().filter(|(ssrc, _)| *ssrc == media_ssrc) {
            let _ = track
                .write_rtcp(vec![Box::new(PictureLossIndication { sender_ssrc: 0, media_ssrc })])
                .await;
        }
    }

    /// The way that is in use, and its round trip.
    pub async fn path(&self, known: &Remote) -> Option<(Path, Option<Duration>)> {
        // The report's pair names its candidates by ids that the report does not list, so the
        // candidates come from the transport.
        let ice = self.connection.sctp().await?.transport().ice_transport();
        let pair = ice.get_selected_candidate_pair().await.ok()??;
        let (local, remote) = (pair.local(), pair.remote());
        let at = format!("{}:{}", remote.address, remote.port);
        let rung = known.rung(local.typ, remote.typ, &at);
        let report = self.connection.get_stats(Instant::now(), StatsSelector::None).await;
        let pairs = report.candidate_pairs().filter(|p| p.nominated);
        let time =
            pairs.max_by_key(|p| p.bytes_received).map_or(0.0, |p| p.current_round_trip_time);
        let round_trip =
            (time > 0.0).then(|| Duration::try_from_secs_f64(time).unwrap_or_default());
        let apart = rung.is_relayed() && known.has_only_v4() && has_v6_alone();
        let path = Path {
            rung: Some(rung),
            why_not_better: why_not_better(rung, apart),
            ..Path::new("webrtc", rung.is_relayed(), at)
        };
        Some((path, round_trip))
    }

    pub async fn close(mut self) {
        // Nothing is left to be done when it fails.
        let _ = self.connection.close().await;
        self.tasks.shutdown().await;
    }
}

async fn read_track(track: Arc<dyn TrackRemote>, events: mpsc::Sender<PeerEvent>, ssrc: u32) {
    while let Some(event) = track.poll().await {
        if let TrackRemoteEvent::OnRtpPacket(packet) = event {
            let packet = super::packet_of(packet);
            if events.send(PeerEvent::Packet { ssrc, packet }).await.is_err() {
                return;
            }
        }
    }
}

async fn read_control(channel: Arc<dyn DataChannel>, events: mpsc::Sender<PeerEvent>) {
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => PeerEvent::ControlOpen,
            // A message of a newer PU is no fault: it is left out.
            DataChannelEvent::OnMessage(message) => match serde_json::from_slice(&message.data) {
                Ok(message) => PeerEvent::Control(message),
                Err(_) => continue,
            },
            _ => continue,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn fault(what: &dyn std::fmt::Display) -> CuError {
    CuError::other(format!("WebRTC cannot be set up: {what}"))
}

/// Every interface; loopback only towards a portal on this machine.
fn local_addresses(local: bool) -> Vec<String> {
    let mut addresses = vec!["0.0.0.0:0".to_owned()];
    if std::net::UdpSocket::bind("[::]:0").is_ok() {
        addresses.push("[::]:0".to_owned());
    }
    if local {
        addresses.push("127.0.0.1:0".to_owned());
    }
    addresses
}

/// This stack speaks TURN over UDP only.
fn ice_server(server: &IceServer) -> Option<RTCIceServer> {
    let udp = |url: &&String| {
        (url.starts_with("stun:") || url.starts_with("turn:")) && !url.contains("transport=tcp")
    };
    let urls: Vec<String> = server.urls.iter().filter(udp).cloned().collect();
    let username = server.username.clone().unwrap_or_default();
    let credential = server.credential.as_ref().map_or_else(String::new, |c| c.expose().clone());
    (!urls.is_empty()).then_some(RTCIceServer { urls, username, credential })
}

fn video_parameters(codec: VideoCodec) -> RTCRtpCodecParameters {
    let (mime, format, payload_type) = match codec {
        VideoCodec::H264 => (
            MIME_TYPE_H264,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            102,
        ),
        VideoCodec::H265 => (MIME_TYPE_HEVC, "", 98),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: format.to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type,
    }
}

const fn mime_of(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Opus | AudioCodec::Aac => MIME_TYPE_OPUS,
        AudioCodec::Pcmu => MIME_TYPE_PCMU,
        AudioCodec::Pcma => MIME_TYPE_PCMA,
        AudioCodec::G722 => MIME_TYPE_G722,
    }
}

fn audio_parameters(codec: AudioCodec) -> RTCRtpCodecParameters {
    // One channel is not written out: `PCMU/8000/1` is another coding to some stacks.
    let (payload_type, clock_rate, channels, format) = match codec {
        AudioCodec::Opus | AudioCodec::Aac => (111, 48_000, 2, "minptime=10;useinbandfec=1"),
        AudioCodec::Pcmu => (0, 8_000, 0, ""),
        AudioCodec::Pcma => (8, 8_000, 0, ""),
        AudioCodec::G722 => (9, 8_000, 0, ""),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_of(codec).to_owned(),
            clock_rate,
            channels,
            sdp_fmtp_line: format.to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type,
    }
}

/// Whether this machine is in a network of IPv6 alone.
fn has_v6_alone() -> bool {
    let place = Surroundings::look(false);
    place.outward_v4.is_none() && place.outward_v6.is_some()
}

/// A picture whose parameter sets come with its keyframes.
pub(super) fn video_track(codec: VideoCodec) -> TrackMedia {
    let none = Bytes::new();
    let parameter_sets = match codec {
        VideoCodec::H264 => ParameterSets::H264 { sps: none.clone(), pps: none },
        VideoCodec::H265 => ParameterSets::H265 { vps: none.clone(), sps: none.clone(), pps: none },
    };
    TrackMedia::Video(VideoTrack { width: 0, height: 0, fps: 0.0, parameter_sets })
}

pub(super) fn audio_track(codec: AudioCodec) -> AudioTrack {
    let opus = matches!(codec, AudioCodec::Opus | AudioCodec::Aac);
    AudioTrack {
        codec,
        clock_hz: if opus { 48_000 } else { 8_000 },
        channels: if opus { 2 } else { 1 },
        config: Bytes::new(),
    }
}
