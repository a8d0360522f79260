//! Interface Sm, from CMU to SCU (H.626.4 clause 9.8).
//!
//! Sent to [`crate::subject::device`] of the device concerned; the SCU that holds its lease takes
//! it, so the CMU need not know which one that is.

use serde::{Deserialize, Serialize};
use sightline_model::{Capabilities, ChannelId, MediaSessionId, MtuId, PuId, UserId};

use crate::{
    Problem,
    cm::IceServer,
    ps::{RecordingReply, RecordingRequest},
};

/// From CMU to the SCU that holds the device's lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SmRequest {
    /// A CU was allowed to ask this PU for media: pass on its capabilities and choose an MTU.
    PrepareMedia {
        /// The device.
        device: PuId,
        /// The session to come.
        session: MediaSessionId,
        /// Who will watch.
        user: UserId,
        /// Which camera.
        channel: ChannelId,
        /// What the CU can take.
        capabilities: Capabilities,
    },
    /// End one session.
    EndSession {
        /// The device.
        device: PuId,
        /// The session.
        session: MediaSessionId,
        /// Why.
        problem: Problem,
    },
    /// A user's rights to the device ended: end their streams and tokens.
    RevokeUser {
        /// The device.
        device: PuId,
        /// Whose; `None` for everybody's.
        user: Option<UserId>,
    },
    /// The device has a new owner, or none.
    OwnerChanged {
        /// The device.
        device: PuId,
        /// Whose it is now.
        owner: Option<UserId>,
    },
    /// Something about recordings (A8.7.2 step 10, A8.7.3 step 2, and playback step 2). The CMU has
    /// checked the right of the user; the recorder checks limits and revisions.
    Recording {
        /// The PU or NVR.
        device: PuId,
        /// What it is asked.
        ask: Box<RecordingRequest>,
    },
}

/// From CMU to any SCU, on [`crate::subject::scu`]: what is nobody device's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SmOrder {
    /// An MTU is to take no new allocations, or to take them again; the SCU commands it over Sd.
    DrainMtu {
        /// The MTU.
        mtu: MtuId,
        /// Whether it is to drain.
        drain: bool,
    },
}

/// The SCU's reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SmReply {
    /// To [`SmRequest::PrepareMedia`].
    Prepared {
        /// STUN and TURN servers that the CU may use, with credentials that end with the session.
        ice_servers: Vec<IceServer>,
    },
    /// Passed on to the PU.
    Done,
    /// To [`SmRequest::Recording`]: the recorder's own answer (A8.7.2 step 14, A8.7.3 step 5).
    Recorded {
        /// As it answered.
        reply: Box<RecordingReply>,
    },
    /// Not done.
    Refused {
        /// Why.
        problem: Problem,
    },
}

/// Broadcast by the CMU to all SCUs on [`crate::subject::lease_events`]: a lease has been given,
/// so any older holder must let go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaseGranted {
    /// The device.
    pub device: PuId,
    /// The new epoch.
    pub epoch: u64,
    /// The holder.
    pub scu: sightline_model::ScuId,
}
