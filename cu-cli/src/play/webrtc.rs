//! WebRTC (interface Pc) as a viewer, with the `webrtc` crate: another stack than the PU's own.

mod peer;
mod way;

use std::time::{Duration, Instant};

use sightline_model::{AudioCodec, AudioCodec::*, QualityChoice, Rung, UnixMicros, VideoCodec};
use sightline_protocol::{
    ProblemKind,
    cm::Camera,
    cs::{CuToScu, KEEP_ALIVE_MS, ScuToCu},
    pc::{CuToPu, MediaTransport, PathReport, PuToCu},
};
use sightline_rtsp::{depacketize::Depacketizer, rtp::Packet, sdp};
use tokio_util::sync::CancellationToken;

use self::{
    peer::{Peer, PeerEvent},
    way::Remote,
};
use super::{
    assembler::Assembler,
    figures::{Figures, Path},
    reorder::Reorder,
    session::Session,
    signal::{Signal, sign_offer, verify_answer},
};
use crate::{api::now, error::CuError};

/// Between two measurements of path and clocks.
const PING: Duration = Duration::from_secs(1);
/// Without any packet for so long, a new way is looked for.
const SILENT: Duration = Duration::from_millis(1_500);
/// Between two such looks.
const RESTART_EVERY: Duration = Duration::from_secs(4);
/// Without any packet for so long, there is none.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How long a new connection to the SCU may take while media waits for it.
const SIGNAL: Duration = Duration::from_secs(3);

/// Codings of the picture that are worth offering for this camera.
pub(super) fn codecs(camera: &Camera) -> Vec<VideoCodec> {
    let mut codecs: Vec<_> = camera.streams.iter().map(|s| s.codec).collect();
    // The PU may re-encode to H.264 when a size is asked for.
    codecs.push(VideoCodec::H264);
    codecs.sort_by_key(|c| *c == VideoCodec::H265);
    codecs.dedup();
    codecs
}

/// What the PU sends for this microphone: AAC leaves it as Opus.
const fn audio_codec(camera: AudioCodec) -> AudioCodec {
    match camera {
        Aac | Opus => Opus,
        Pcmu => Pcmu,
        Pcma => Pcma,
        G722 => G722,
    }
}

/// Receives until the stream ends or `token` is cancelled.
pub(super) async fn receive(
    session: &Session,
    quality: QualityChoice,
    assembler: Assembler,
    figures: &Figures,
    token: &CancellationToken,
) -> Result<(), CuError> {
    let signal = Signal::connect(&session.answer.signal_url, session.ca_pem.as_deref()).await?;
    let audio = session.camera.audio.map(audio_codec);
    let peer = Peer::new(session, &codecs(&session.camera), audio).await?;
    let mut viewer = Viewer {
        session,
        quality,
        assembler,
        figures,
        peer,
        signal,
        offer_sdp: String::new(),
        answered: false,
        early: Vec::new(),
        video: None,
        audio: None,
        clock_offset_us: None,
        frame_time: None,
        signalling: true,
        remote: Remote::default(),
        reported: None,
        heard: None,
        restarted: Instant::now(),
    };
    let result = viewer.run(token).await;
    let goodbye = CuToScu::End { session: session.answer.session.clone() };
    // The SCU notices our absence too, later.
    let _ = viewer.signal.send(&goodbye).await;
    viewer.signal.close().await;
    viewer.peer.close().await;
    result
}

/// One track on its way in.
struct Track {
    reorder: Reorder,
    depacketizer: Depacketizer,
    ssrc: u32,
}

struct Viewer<'a> {
    session: &'a Session,
    quality: QualityChoice,
    assembler: Assembler,
    figures: &'a Figures,
    peer: Peer,
    signal: Signal,
    offer_sdp: String,
    answered: bool,
    /// The PU's candidates that came before its answer; their number is bounded.
    early: Vec<String>,
    video: Option<Track>,
    audio: Option<Track>,
    /// Clock of the PU minus ours.
    clock_offset_us: Option<i64>,
    /// RTP timestamp and the PU's time at which that picture came in.
    frame_time: Option<(u32, UnixMicros)>,
    /// Whether the connection to the SCU works, as far as is known.
    signalling: bool,
    remote: Remote,
    /// The path that the centre has been told.
    reported: Option<Path>,
    /// When the last packet of media came.
    heard: Option<Instant>,
    restarted: Instant,
}

impl Viewer<'_> {
    async fn run(&mut self, token: &CancellationToken) -> Result<(), CuError> {
        self.offer().await?;
        let mut keep_alive = tokio::time::interval(Duration::from_millis(KEEP_ALIVE_MS.into()));
        let mut ping = tokio::time::interval(PING);
        let mut look = tokio::time::interval(SILENT / 6);
        loop {
            let wake = [&self.video, &self.audio].into_iter().flatten();
            let wake = wake.filter_map(|t| t.reorder.poll_timeout()).min();
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                message = self.signal.next(), if self.signalling => match message {
                    Ok(message) => self.signalled(message).await?,
                    Err(e) if self.heard.is_none() => return Err(e),
                    // Media needs no centre once it flows.
                    Err(_) => self.signalling = false,
                },
                event = self.peer.next() => self.event(event).await?,
                () = sleep_until(wake) => self.drain().await,
                _ = keep_alive.tick(), if self.signalling => {
                    let alive = CuToScu::KeepAlive { cu_time: now() };
                    self.signalling = self.signal.send(&alive).await.is_ok();
                }
                _ = look.tick() => self.look().await?,
                _ = ping.tick() => {
                    self.peer.control(&CuToPu::Ping { cu_time: now() }).await;
                    if let Some((path, round_trip)) = self.peer.path(&self.remote).await {
                        self.report(&path).await;
                        self.figures.path(path);
                        if let Some(time) = round_trip {
                            self.figures.round_trip(time);
                        }
                    }
                }
            }
        }
    }

    /// Looks for a new way when the old one has fallen silent.
    async fn look(&mut self) -> Result<(), CuError> {
        let Some(heard) = self.heard else { return Ok(()) };
        if heard.elapsed() >= GIVE_UP {
            return Err(CuError::unreachable(
                "the way to the camera broke, and no other was found",
            ));
        }
        if heard.elapsed() < SILENT || self.restarted.elapsed() < RESTART_EVERY {
            return Ok(());
        }
        self.restarted = Instant::now();
        tracing::info!("the way has fallen silent; looking for another");
        // What has changed for media has changed for the connection to the SCU, which may not
        // know it yet: a new one is made.
        let url = &self.session.answer.signal_url;
        let connecting = Signal::connect(url, self.session.ca_pem.as_deref());
        match tokio::time::timeout(SIGNAL, connecting).await {
            Ok(Ok(signal)) => (self.signal, self.signalling) = (signal, true),
            Ok(Err(_)) | Err(_) => return Ok(()),
        }
        self.peer.restart().await?;
        self.answered = false;
        // Lost again: the next look makes another.
        if self.offer().await.is_err() {
            self.signalling = false;
        }
        Ok(())
    }

    /// Tells the centre a path that it does not know yet.
    async fn report(&mut self, path: &Path) {
        let Some(rung) = path.rung.filter(|_| self.reported.as_ref() != Some(path)) else { return };
        let report = PathReport::on(MediaTransport::Webrtc, rung, rung_words(rung))
            .not_better(path.why_not_better.clone());
        let session = self.session.answer.session.clone();
        let told = CuToScu::PathReport { session, path: report, stages: None, nat: None };
        if self.signalling && self.signal.send(&told).await.is_ok() {
            self.reported = Some(path.clone());
        }
    }

    async fn offer(&mut self) -> Result<(), CuError> {
        self.offer_sdp = self.peer.offer().await?;
        let answer = &self.session.answer;
        let offer =
            sign_offer(&answer.session, &answer.token, &self.session.key, self.offer_sdp.clone())?;
        let (session, device) = (answer.session.clone(), answer.device.clone());
        self.signal.send(&CuToScu::Offer { session, device, offer: Box::new(offer) }).await
    }

    async fn signalled(&mut self, message: ScuToCu) -> Result<(), CuError> {
        let ours = self.session.answer.session.clone();
        match message {
            ScuToCu::Answer { session, answer } if session == ours && !self.answered => {
                let key = &self.session.answer.device_key;
                verify_answer(&ours, key, &self.offer_sdp, &answer)?;
                // Known before the first picture, so that a recording has its sound from the start.
                if let Some(codec) = self.session.camera.audio
                    && sends_sound(&answer.sdp)
                {
                    self.assembler.set_audio(peer::audio_track(audio_codec(codec)));
                }
                self.remote.answer(&answer.sdp);
                self.peer.answer(answer.sdp).await?;
                self.answered = true;
                for candidate in std::mem::take(&mut self.early) {
                    self.peer.add_candidate(candidate).await;
                }
            }
            ScuToCu::Candidate { session, candidate } if session == ours => {
                self.remote.candidate(&candidate);
                if self.answered {
                    self.peer.add_candidate(candidate).await;
                } else if self.early.len() < 64 {
                    self.early.push(candidate);
                }
            }
            ScuToCu::Refused { session, problem } if session == ours => {
                if ends_stream(self.heard.map(|heard| heard.elapsed()), problem.kind) {
                    return Err(problem.into());
                }
                tracing::debug!(detail = %problem.detail, "no other way was found");
            }
            ScuToCu::Ended { session, problem } if session == ours => {
                return Err(problem.map_or_else(
                    || CuError::unreachable("the camera has ended the stream"),
                    CuError::from,
                ));
            }
            ScuToCu::Malformed { problem } => return Err(CuError::other(problem.detail)),
            ScuToCu::Answer { .. }
            | ScuToCu::Candidate { .. }
            | ScuToCu::Refused { .. }
            | ScuToCu::Ended { .. }
            | ScuToCu::KeepAliveAck { .. } => {}
        }
        Ok(())
    }

    async fn event(&mut self, event: PeerEvent) -> Result<(), CuError> {
        match event {
            PeerEvent::Candidate(candidate) => {
                let session = self.session.answer.session.clone();
                let sent = self.signal.send(&CuToScu::Candidate { session, candidate }).await;
                if self.heard.is_none() {
                    sent?;
                }
            }
            // Media has flowed: `look` decides.
            PeerEvent::Failed if self.heard.is_some() => {}
            PeerEvent::Failed => {
                return Err(CuError::unreachable(
                    "no way for media was found between you and the camera. `cu doctor` says what the network allows",
                ));
            }
            PeerEvent::Video { codec, ssrc } => {
                self.assembler.set_codec(codec);
                self.video = Some(track(peer::video_track(codec), ssrc));
            }
            PeerEvent::Audio { codec, ssrc } => {
                let form = peer::audio_track(codec);
                self.assembler.set_audio(form.clone());
                self.audio = Some(track(sdp::TrackMedia::Audio(form), ssrc));
            }
            PeerEvent::Packet { ssrc, packet } => {
                self.heard = Some(Instant::now());
                let tracks = [&mut self.video, &mut self.audio].into_iter().flatten();
                for track in tracks.filter(|t| t.ssrc == ssrc) {
                    track.reorder.push(packet.clone(), Instant::now());
                    self.figures.packets(1, 0);
                }
                self.drain().await;
            }
            PeerEvent::ControlOpen => {
                if self.quality != QualityChoice::Auto {
                    self.peer.control(&CuToPu::SetQuality { quality: self.quality }).await;
                }
            }
            PeerEvent::Control(message) => return self.controlled(message),
        }
        Ok(())
    }

    fn controlled(&mut self, message: PuToCu) -> Result<(), CuError> {
        match message {
            PuToCu::Serving { stream } => self.figures.serving(stream),
            PuToCu::Camera { online: false, fault } => {
                self.assembler.offline(fault.as_deref().unwrap_or("the camera gives no picture"));
            }
            PuToCu::Camera { online: true, .. } | PuToCu::Path { .. } => {}
            PuToCu::Pong { cu_time, pu_time } => {
                // Half way between question and answer, as in NTP.
                let half = (now().0 - cu_time.0) / 2;
                self.clock_offset_us = Some(pu_time.0 - (cu_time.0 + half));
            }
            PuToCu::FrameTime { rtp_timestamp_90k, captured_at } => {
                self.frame_time = Some((rtp_timestamp_90k, captured_at));
            }
            PuToCu::Ended { problem } => return Err(problem.into()),
        }
        Ok(())
    }

    /// Takes what is in order through the depacketizers.
    async fn drain(&mut self) {
        let mut units = Vec::new();
        for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
            while let Some(packet) = track.reorder.poll(Instant::now()) {
                track.depacketizer.push(&packet, now(), &mut units);
            }
            let lost = track.reorder.take_lost();
            if lost > 0 {
                self.figures.packets(0, lost);
                self.peer.request_keyframe(track.ssrc).await;
            }
        }
        for unit in units {
            self.measure(&unit);
            self.assembler.push(unit);
        }
    }

    /// Latency from the PU's report of when a picture came in.
    fn measure(&self, unit: &sightline_media::AccessUnit) {
        let sightline_media::AccessUnit::Video { timestamp, captured_at: arrived, .. } = unit
        else {
            return;
        };
        let (Some((reported, at)), Some(offset_us)) = (self.frame_time, self.clock_offset_us)
        else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_possible_wrap,
            reason = "difference modulo 2^32"
        )]
        let ticks = i64::from((*timestamp as u32).wrapping_sub(reported) as i32);
        let captured_us = at.0 + ticks * 100 / 9;
        self.figures.latency_us(arrived.0 + offset_us - captured_us);
    }
}

/// Whether a refusal ends a stream that has been silent for so long, or has not begun. In one that
/// runs only the search for another way was refused, and the next search may find a unit that was
/// busy or without a picture otherwise; but whose right has ended is refused every time.
fn ends_stream(silent: Option<Duration>, kind: ProblemKind) -> bool {
    use ProblemKind::{Forbidden, TokenExpired, TokenInUse, TokenRevoked, Unauthenticated};
    let is_final =
        matches!(kind, Forbidden | Unauthenticated | TokenRevoked | TokenExpired | TokenInUse);
    silent.is_none_or(|time| is_final && time >= SILENT)
}

const fn rung_words(rung: Rung) -> &'static str {
    if rung.is_relayed() { "over a relay" } else { "direct" }
}

/// Whether the answer agrees to send sound (RFC 9429 section 5.3.1: port 0 rejects).
fn sends_sound(answer: &str) -> bool {
    let section = answer.split("m=audio ").nth(1).unwrap_or("0 ");
    let section = section.split("m=").next().unwrap_or_default();
    let refused = section.lines().any(|l| matches!(l.trim_end(), "a=inactive" | "a=recvonly"));
    !section.starts_with("0 ") && !refused
}

fn track(media: sdp::TrackMedia, ssrc: u32) -> Track {
    let track = sdp::Track { payload_type: 0, control: None, media };
    Track { reorder: Reorder::default(), depacketizer: Depacketizer::new(&track), ssrc }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The header fields that our own depacketizers read.
fn packet_of(packet: rtc::rtp::Packet) -> Packet {
    Packet {
        payload_type: packet.header.payload_type,
        marker: packet.header.marker,
        sequence: packet.header.sequence_number,
        timestamp: packet.header.timestamp,
        ssrc: packet.header.ssrc,
        payload: packet.payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_expected_only_where_the_answer_agrees() {
        let video = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=sendonly\r\n";
        assert!(!sends_sound(video));
        let audio = |port: u16, direction: &str| {
            format!(
                "{video}m=audio {port} UDP/TLS/RTP/SAVPF 0\r\na={direction}\r\nm=application 9 x\r\na=inactive\r\n"
            )
        };
        assert!(sends_sound(&audio(9, "sendonly")));
        assert!(!sends_sound(&audio(0, "sendonly")));
        assert!(!sends_sound(&audio(9, "inactive")));
    }

    #[test]
    fn a_final_refusal_ends_a_stream_that_has_fallen_silent_and_no_other() {
        let final_words = [
            ProblemKind::TokenRevoked,
            ProblemKind::TokenExpired,
            ProblemKind::TokenInUse,
            ProblemKind::Forbidden,
            ProblemKind::Unauthenticated,
        ];
        for kind in final_words {
            assert!(ends_stream(None, kind) && ends_stream(Some(SILENT), kind), "{kind:?}");
            assert!(!ends_stream(Some(SILENT / 2), kind), "{kind:?}: media still comes");
        }
        for kind in [ProblemKind::Busy, ProblemKind::Timeout, ProblemKind::DeviceOffline] {
            assert!(ends_stream(None, kind), "{kind:?}: it has not begun");
            assert!(!ends_stream(Some(GIVE_UP), kind), "{kind:?}: it may pass");
        }
    }
}
