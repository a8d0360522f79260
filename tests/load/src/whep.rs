//! Many WebRTC viewers, with a stack that is neither ours nor that of the servers compared.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use rtc::{
    interceptor::Registry,
    peer_connection::configuration::{
        interceptor_registry::register_default_interceptors,
        media_engine::{MIME_TYPE_H264, MIME_TYPE_PCMU, MediaEngine},
    },
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind},
    },
};
use serde_json::Value;
use url::Url;
use webrtc::{
    media_stream::track_remote::{TrackRemote, TrackRemoteEvent},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCPeerConnectionState,
        RTCSessionDescription, SettingEngineBuilder,
    },
};

use crate::viewers::Counts;

/// How long one offer may wait for its answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Watches.
pub fn run(url: &Url, count: usize) -> anyhow::Result<Value> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let counts = Arc::new(Counts::default());
    let http = reqwest::Client::builder().timeout(ANSWER).build()?;
    let viewers = runtime.block_on(async {
        let mut viewers = Vec::new();
        for _ in 0..count {
            viewers.push(Viewer::start(&http, url, &counts).await?);
        }
        anyhow::Ok(viewers)
    })?;
    counts.wait(count)?;
    runtime.block_on(async {
        for viewer in viewers {
            viewer.end(&http).await;
        }
    });
    Ok(counts.figures(count))
}

struct Viewer {
    connection: Arc<dyn PeerConnection>,
    /// Where the session is deleted (WHEP).
    resource: Option<Url>,
}

impl Viewer {
    async fn start(
        http: &reqwest::Client,
        url: &Url,
        counts: &Arc<Counts>,
    ) -> anyhow::Result<Self> {
        let connection = connect(Arc::clone(counts)).await?;
        let offer = connection.create_offer(None).await.context("an offer")?;
        let sdp = offer.sdp.clone();
        connection.set_local_description(offer).await.context("the offer")?;
        let post = http.post(url.clone()).header("Content-Type", "application/sdp").body(sdp);
        let answer = post.send().await?.error_for_status()?;
        let location = answer.headers().get("Location").and_then(|l| l.to_str().ok());
        let resource = location.and_then(|l| url.join(l).ok());
        let sdp = RTCSessionDescription::answer(answer.text().await?)?;
        connection.set_remote_description(sdp).await.context("the answer")?;
        Ok(Self { connection, resource })
    }

    async fn end(self, http: &reqwest::Client) {
        // The server notices a viewer that just leaves, too, only later.
        let _ = self.connection.close().await;
        if let Some(resource) = self.resource {
            let _ = http.delete(resource).send().await;
        }
    }
}

struct Handler {
    counts: Arc<Counts>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Failed && !self.counts.over.load(Ordering::Relaxed) {
            self.counts.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(count_packets(track, Arc::clone(&self.counts)));
    }
}

async fn count_packets(track: Arc<dyn TrackRemote>, counts: Arc<Counts>) {
    let mut highest: Option<u16> = None;
    let seen = AtomicBool::new(false);
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        if packet.header.payload_type != VIDEO_PAYLOAD_TYPE {
            continue;
        }
        // Packets that are late or sent again lower the count again.
        let ahead =
            highest.map_or(1, |h| packet.header.sequence_number.wrapping_sub(h).cast_signed());
        if ahead > 0 {
            highest = Some(packet.header.sequence_number);
            counts.lost.fetch_add(u64::from(ahead.unsigned_abs()) - 1, Ordering::Relaxed);
        } else {
            let _ = counts
                .lost
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lost| lost.checked_sub(1));
        }
        counts.bytes.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        if packet.header.marker {
            counts.frames.fetch_add(1, Ordering::Relaxed);
            if !seen.swap(true, Ordering::Relaxed) {
                counts.ready.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

const VIDEO_PAYLOAD_TYPE: u8 = 102;

async fn connect(counts: Arc<Counts>) -> anyhow::Result<Arc<dyn PeerConnection>> {
    let mut media = MediaEngine::default();
    let video = codec(
        MIME_TYPE_H264,
        90_000,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        VIDEO_PAYLOAD_TYPE,
    );
    media.register_codec(video, RtpCodecKind::Video)?;
    media.register_codec(codec(MIME_TYPE_PCMU, 8_000, "", 0), RtpCodecKind::Audio)?;
    let registry = register_default_interceptors(Registry::new(), &mut media)?;
    let settings = SettingEngineBuilder::new().with_include_loopback_candidate(true).build();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(Arc::new(Handler { counts }))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
        .build()
        .await
        .map_err(|e| anyhow!("WebRTC: {e}"))?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        let direction = RTCRtpTransceiverDirection::Recvonly;
        let init = RTCRtpTransceiverInit { direction, ..Default::default() };
        connection.add_transceiver_from_kind(kind, Some(init)).await?;
    }
    Ok(connection)
}

fn codec(mime: &str, clock_rate: u32, format: &str, payload_type: u8) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime.to_owned(),
            clock_rate,
            channels: 0,
            sdp_fmtp_line: format.to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type,
    }
}
