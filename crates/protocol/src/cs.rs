//! Interface Cs, between SCU and CU (H.626.4 clause 9.22): the signalling of one or more sessions.
//!
//! The CU opens a WebSocket at [`WEBSOCKET_PATH`] of the SCU that the play answer names. Every
//! [`CuToScu::Offer`] carries its own play token, so the connection itself needs no sign-in.

use serde::{Deserialize, Serialize};
use sightline_model::{DeviceId, MediaSessionId, PublicKey, SessionToken, Signature, UnixMicros};

use crate::{Problem, cm::IceServer, ps::MediaAnswer};

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
    /// Keeps the connection and its sessions; a CU that is silent for three times
    /// [`KEEP_ALIVE_MS`] is taken for gone.
    KeepAlive {
        /// Clock of the CU.
        cu_time: UnixMicros,
    },
}

/// How often a CU sends [`CuToScu::KeepAlive`].
pub const KEEP_ALIVE_MS: u32 = 10_000;

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
