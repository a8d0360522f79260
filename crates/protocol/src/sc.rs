//! Interface Sc, from SCU to CMU (H.626.4 clause 9.9): requests and reports, each with its reply.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sightline_model::{
    CameraId, Capabilities, ChannelId, DeviceId, DomainName, MediaSessionId, NatReport, PuId,
    Rights, ScuId, TokenHash, UnixMicros, UserId,
};

use crate::{
    Problem,
    cm::PlayAnswer,
    cp::{CloudReply, CloudRequest},
    cs::StageTimes,
    pc::PathReport,
    ps::{
        Addresses, ChannelStatus, RecorderReport, Registration, Relations, TokenBearer, TokenKey,
    },
};

/// From SCU to CMU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScRequest {
    /// A8.1 step 2, A8.3 step 4.
    Register {
        /// The SCU that asks for the lease.
        scu: ScuId,
        /// What that SCU's CUs connect to: `wss://…`.
        scu_url: String,
        /// The nonce that the PU signed.
        nonce: String,
        /// Where the SCU sees the PU.
        observed: IpAddr,
        /// What the PU sent.
        registration: Box<Registration>,
    },
    /// Every lease that this SCU still holds; sent at a third of the lease's life.
    RenewLeases {
        /// The SCU.
        scu: ScuId,
        /// Device and epoch of each.
        leases: Vec<(PuId, u64)>,
    },
    /// The PU's connection has ended.
    Release {
        /// The device.
        device: PuId,
        /// Its lease; an older one changes nothing.
        epoch: u64,
    },
    /// New addresses of a PU.
    Addresses {
        /// The device.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// Where it is now.
        addresses: Addresses,
    },
    /// New state of a PU's cameras.
    Channels {
        /// The device.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// All its cameras.
        channels: Vec<ChannelStatus>,
    },
    /// A8.4 step 6.
    TokenCheck {
        /// The device that was shown the token.
        device: PuId,
        /// The token by its hash.
        token: TokenHash,
        /// Who showed it.
        presented_by: TokenBearer,
    },
    /// An NVR asks how to take the stream of a camera that is related to it.
    Ticket {
        /// The NVR.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// The camera.
        camera: CameraId,
    },
    /// A session has begun, changed or ended.
    SessionReport {
        /// The device.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// The session.
        session: MediaSessionId,
        /// Its path; `None` when it is over.
        path: Option<PathReport>,
    },
    /// What a CU reports of its session; the SCU has made sure that it is its own.
    ViewerReport {
        /// The device that the session is with.
        device: PuId,
        /// The session.
        session: MediaSessionId,
        /// Its path as the CU sees it.
        path: PathReport,
        /// From the click to the first frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stages: Option<StageTimes>,
        /// What the CU has measured of the NATs in front of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nat: Option<NatReport>,
    },
    /// What a PU has measured of the NATs in front of it.
    Nat {
        /// The device.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// The measurement.
        nat: NatReport,
    },
    /// How a recorder's storage is and what its chains have come to (H.626.4 clause 9.9: status and
    /// alarms).
    RecorderReport {
        /// The device.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// The report.
        report: Box<RecorderReport>,
    },
    /// What a PU asks of the cloud storage (A8.7.1 steps 7 to 10).
    Cloud {
        /// The device.
        device: PuId,
        /// Its lease.
        epoch: u64,
        /// What it asks.
        ask: Box<CloudRequest>,
    },
}

/// From CMU to SCU, the reply to a [`ScRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScReply {
    /// A8.1 step 3, A8.3 step 6.
    Registered(Box<Lease>),
    /// Those of [`ScRequest::RenewLeases`] that another registration has taken over, or that are
    /// unknown: the SCU must drop them.
    LeasesRenewed {
        /// Devices to drop.
        lost: Vec<PuId>,
    },
    /// Done.
    Done,
    /// A8.4 step 8.
    TokenGranted(Box<TokenGrant>),
    /// To [`ScRequest::Ticket`].
    Ticket(Box<PlayAnswer>),
    /// To [`ScRequest::Cloud`].
    Cloud {
        /// What became of it.
        answer: Box<CloudReply>,
    },
    /// Refused, or failed.
    Refused {
        /// Why.
        problem: Problem,
    },
}

/// The right to speak for a device, until another registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The device.
    pub device: DeviceId,
    /// Rises with every registration of the device.
    pub epoch: u64,
    /// How long it lasts without renewal.
    pub ttl_ms: u32,
    /// Whose device it is.
    pub owner: Option<UserId>,
    /// Keys that sign play tokens.
    pub token_keys: Vec<TokenKey>,
    /// The CMU's clock.
    pub server_time: UnixMicros,
    /// All its relations; absent: nothing is said of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Relations>,
}

/// What a play token grants, from the CMU's own books rather than from the token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenGrant {
    /// The domain of the user.
    pub domain: DomainName,
    /// Who watches.
    pub user: UserId,
    /// The session.
    pub session: MediaSessionId,
    /// Which camera.
    pub channel: ChannelId,
    /// What they may do.
    pub rights: Rights,
    /// What their CU can take.
    pub capabilities: Capabilities,
    /// No new use after this.
    pub expires_at: UnixMicros,
}
