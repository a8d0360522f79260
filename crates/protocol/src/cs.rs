//! Interface Cs, between SCU and CU (H.626.4 clause 9.22): the signalling of one or more sessions.
//!
//! The CU opens a WebSocket at [`WEBSOCKET_PATH`] of the SCU that the play answer names. Every
//! [`CuToScu::Offer`] carries its own play token, so the connection itself needs no sign-in.

use serde::{Deserialize, Serialize};
use sightline_model::{
    DeviceId, MediaSessionId, NatReport, PublicKey, SessionToken, Signature, UnixMicros,
};

use crate::{Problem, cm::IceServer, pc::PathReport, ps::MediaAnswer};

/// Path of the WebSocket.
pub const WEBSOCKET_PATH: &str = "/cs/v1";

/// From CU to SCU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CuToScu {
    /// Ask a PU for media (A8.4 step 4). Sent again with the same session to restart ICE.
    Offer {
        /// The session from the play answer.
        session: MediaSessionId,
        /// The device from the play answer.
        device: DeviceId,
        /// The offer.
        offer: Box<MediaOffer>,
    },
    /// A candidate of the CU (RFC 8838).
    Candidate {
        /// The session.
        session: MediaSessionId,
        /// The `candidate:` line; empty at the end of candidates.
        candidate: String,
    },
    /// The CU has finished.
    End {
        /// The session.
        session: MediaSessionId,
    },
    /// How media travels, as the CU sees it; sent when the first frame is on the screen and after
    /// every change. Only of a session that this connection has offered.
    PathReport {
        /// The session.
        session: MediaSessionId,
        /// The path.
        path: PathReport,
        /// From the click to the first frame; once a session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stages: Option<StageTimes>,
        /// What the CU has measured of the NATs in front of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nat: Option<NatReport>,
    },
    /// Keeps the connection and its sessions; a CU that is silent for three times
    /// [`KEEP_ALIVE_MS`] is taken for gone.
    KeepAlive {
        /// Clock of the CU.
        cu_time: UnixMicros,
    },
}

/// How often a CU sends [`CuToScu::KeepAlive`].
pub const KEEP_ALIVE_MS: u32 = 10_000;

/// Where the time from the click to the first frame went. The stages follow each other without a
/// gap, so they add up to the total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTimes {
    /// From the click to the play answer: portal, CMU, and the SCU that prepares the PU.
    pub play_ms: u32,
    /// Until the offer is with the SCU: the CU's own preparations and the signalling connection.
    pub signalling_ms: u32,
    /// Until the PU's answer is there, token check included.
    pub answer_ms: u32,
    /// Until a path works: ICE, or the ladder.
    pub path_ms: u32,
    /// Until the two ends have authenticated each other: DTLS, or QUIC and RTSP.
    pub secure_ms: u32,
    /// Until the first packet of media.
    pub packet_ms: u32,
    /// Until the first frame is on the screen.
    pub frame_ms: u32,
    /// From the click to the first frame, measured by itself.
    pub total_ms: u32,
}

impl StageTimes {
    /// Names of the stages, in their order, as statistics call them.
    pub const NAMES: [&str; 7] =
        ["play", "signalling", "answer", "path", "secure", "packet", "frame"];

    /// From when each stage ended, in milliseconds since the click. A stage that was noticed to
    /// end before the one ahead of it took no time.
    #[must_use]
    pub fn from_ends(ends_ms: [u32; 7]) -> Self {
        let mut before = 0;
        let [play_ms, signalling_ms, answer_ms, path_ms, secure_ms, packet_ms, frame_ms] = ends_ms
            .map(|end| {
                let took = u32::saturating_sub(end, before);
                before = before.max(end);
                took
            });
        Self {
            play_ms,
            signalling_ms,
            answer_ms,
            path_ms,
            secure_ms,
            packet_ms,
            frame_ms,
            total_ms: before,
        }
    }

    /// The stages in their order.
    #[must_use]
    pub const fn stages_ms(&self) -> [u32; 7] {
        [
            self.play_ms,
            self.signalling_ms,
            self.answer_ms,
            self.path_ms,
            self.secure_ms,
            self.packet_ms,
            self.frame_ms,
        ]
    }

    /// Whether the stages add up to the total, but for the rounding of each of them.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let stages = self.stages_ms();
        let sum: u64 = stages.iter().map(|ms| u64::from(*ms)).sum();
        sum.abs_diff(self.total_ms.into()) <= stages.len() as u64
    }
}

/// A CU's offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaOffer {
    /// SDP offer.
    pub sdp: String,
    /// The play token.
    pub token: SessionToken,
    /// The CU's key; must be the one that the token names.
    pub client_key: PublicKey,
    /// By that key over [`crate::ps::offer_bytes`].
    pub signature: Signature,
    /// STUN and TURN servers that the PU may use too; filled in by the SCU.
    #[serde(default)]
    pub ice_servers: Vec<IceServer>,
}

/// From SCU to CU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScuToCu {
    /// A8.4 step 10.
    Answer {
        /// The session.
        session: MediaSessionId,
        /// What the PU answered.
        answer: MediaAnswer,
    },
    /// The PU or the SCU refused.
    Refused {
        /// The session.
        session: MediaSessionId,
        /// Why.
        problem: Problem,
    },
    /// A candidate of the PU.
    Candidate {
        /// The session.
        session: MediaSessionId,
        /// The `candidate:` line.
        candidate: String,
    },
    /// The session is over.
    Ended {
        /// The session.
        session: MediaSessionId,
        /// Why, unless the CU itself ended it.
        problem: Option<Problem>,
    },
    /// Answer to [`CuToScu::KeepAlive`].
    KeepAliveAck {
        /// The CU's own time, as it came.
        cu_time: UnixMicros,
        /// Clock of the SCU.
        server_time: UnixMicros,
    },
    /// What came could not be read; the connection stays.
    Malformed {
        /// What was wrong.
        problem: Problem,
    },
}

/// What an SCU sends over the bus to the SCU that holds the device's lease, on behalf of a CU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CsRequest {
    /// A CU's offer.
    Offer {
        /// The session.
        session: MediaSessionId,
        /// The offer.
        offer: Box<MediaOffer>,
    },
    /// A CU's candidate.
    Candidate {
        /// The session.
        session: MediaSessionId,
        /// The line.
        candidate: String,
    },
    /// A CU's end, or its disappearance.
    End {
        /// The session.
        session: MediaSessionId,
    },
}
