//! What goes into a [`crate::Switchboard`] and what comes out.

use std::time::Instant;

use sightline_model::{MediaSessionId, NatReport, PuId};
use sightline_protocol::{
    Problem,
    cs::{CsRequest, MediaOffer, ScuToCu, StageTimes},
    pc::PathReport,
    ps::{ChannelStatus, MediaAnswer, RecordingAnswer, RecordingReply, ScuToPu},
    sc::ScRequest,
    sd::MtuStatus,
    sm::SmRequest,
};

use crate::ConnId;

/// What a PU says within a call.
#[derive(Debug)]
pub enum PuMedia {
    /// A8.4 step 10.
    Answer {
        /// The call.
        session: MediaSessionId,
        /// The answer, or the refusal.
        result: Result<MediaAnswer, Problem>,
    },
    /// A candidate.
    Candidate {
        /// The call.
        session: MediaSessionId,
        /// The line.
        candidate: String,
    },
    /// Where media runs; `None` when the call is over.
    Report {
        /// The call.
        session: MediaSessionId,
        /// The path.
        path: Option<PathReport>,
    },
}

/// What a CU says of the way of its media.
#[derive(Debug)]
pub struct CuPath {
    /// The path.
    pub path: PathReport,
    /// From the click to the first frame.
    pub stages: Option<StageTimes>,
    /// The NATs in front of the CU.
    pub nat: Option<NatReport>,
}

/// What comes on a device's subject of the bus.
#[derive(Debug)]
pub enum Request {
    /// From the CMU.
    Sm(SmRequest),
    /// From another SCU, for a CU there.
    Cs(CsRequest),
}

/// What happens. `R` is the caller's handle of whoever waits for an answer.
#[derive(Debug)]
pub enum Input<R> {
    /// A connection was given a lease.
    PuAdmitted {
        /// Which.
        conn: ConnId,
        /// For which device.
        pu: PuId,
        /// The lease.
        epoch: u64,
        /// The device's cameras.
        channels: Vec<ChannelStatus>,
    },
    /// New state of the cameras.
    PuChannels {
        /// From whom.
        conn: ConnId,
        /// All of them.
        channels: Vec<ChannelStatus>,
    },
    /// Part of a call.
    PuMedia {
        /// From whom.
        conn: ConnId,
        /// What.
        media: PuMedia,
    },
    /// A recorder's answer.
    PuRecorded {
        /// From whom.
        conn: ConnId,
        /// What.
        answer: Box<RecordingAnswer>,
    },
    /// The connection no longer speaks for its device.
    PuGone {
        /// Which.
        conn: ConnId,
    },
    /// A request for the device of this connection.
    Device {
        /// The connection that listens on the device's subject.
        conn: ConnId,
        /// The request.
        request: Request,
        /// Who waits for the answer.
        from: R,
    },
    /// A lease was granted, here or elsewhere.
    LeaseGranted {
        /// The device.
        device: PuId,
        /// The lease.
        epoch: u64,
    },
    /// The CMU no longer knows these leases.
    LeasesLost(Vec<PuId>),
    /// A CU's offer.
    CuOffer {
        /// From whom.
        conn: ConnId,
        /// The call.
        session: MediaSessionId,
        /// With which device.
        device: PuId,
        /// The offer.
        offer: Box<MediaOffer>,
    },
    /// A CU's candidate.
    CuCandidate {
        /// From whom.
        conn: ConnId,
        /// The call.
        session: MediaSessionId,
        /// The line.
        candidate: String,
    },
    /// A CU has finished.
    CuEnd {
        /// From whom.
        conn: ConnId,
        /// The call.
        session: MediaSessionId,
    },
    /// A CU says how media travels.
    CuPath {
        /// From whom.
        conn: ConnId,
        /// The call.
        session: MediaSessionId,
        /// What it says.
        report: Box<CuPath>,
    },
    /// A CU's connection is gone.
    CuGone {
        /// Which.
        conn: ConnId,
        /// Until when its sessions wait for it.
        until: Instant,
    },
    /// What became of an [`Output::OfferElsewhere`].
    Delivered {
        /// The call.
        session: MediaSessionId,
        /// The other SCU's answer.
        result: Result<(), Problem>,
    },
    /// A message for a CU that is connected here, from the SCU of its device.
    ForCu {
        /// The call.
        session: MediaSessionId,
        /// The message.
        message: ScuToCu,
    },
    /// An MTU has announced itself.
    Mtu(MtuStatus),
}

/// What to do, in this order.
#[derive(Debug)]
pub enum Output<R> {
    /// Send to a PU.
    ToPu {
        /// Over which connection.
        conn: ConnId,
        /// What.
        message: Box<ScuToPu>,
    },
    /// Send an offer to a PU, with credentials for these MTUs.
    OfferToPu {
        /// Over which connection.
        conn: ConnId,
        /// The call.
        session: MediaSessionId,
        /// The offer.
        offer: Box<MediaOffer>,
        /// The relays that the PU may use, the first choice first.
        mtus: Vec<MtuStatus>,
    },
    /// The connection has lost its lease to another.
    FencePu {
        /// Which.
        conn: ConnId,
    },
    /// Answer a request.
    Reply {
        /// To whom.
        to: R,
        /// What.
        answer: Answer,
    },
    /// Send to a CU.
    ToCu {
        /// Over which connection.
        conn: ConnId,
        /// What.
        message: ScuToCu,
    },
    /// Send an offer to whichever SCU holds the device's lease, and say what became of it with
    /// [`Input::Delivered`].
    OfferElsewhere {
        /// The call.
        session: MediaSessionId,
        /// The device.
        device: PuId,
        /// The offer.
        offer: Box<MediaOffer>,
    },
    /// Send to whichever SCU holds the device's lease.
    Elsewhere {
        /// The device.
        device: PuId,
        /// What.
        request: CsRequest,
    },
    /// Send to whichever SCU the CU of this call is connected to.
    ToCuElsewhere {
        /// The call.
        session: MediaSessionId,
        /// What.
        message: ScuToCu,
    },
    /// Tell the CMU, in the order of each session.
    TellCmu {
        /// The call.
        session: MediaSessionId,
        /// What.
        request: Box<ScRequest>,
    },
    /// Listen for messages to this call's CU.
    Listen {
        /// The call.
        session: MediaSessionId,
    },
    /// Listen no more.
    Unlisten {
        /// The call.
        session: MediaSessionId,
    },
}

/// Answer to a [`Request`].
#[derive(Debug)]
pub enum Answer {
    /// The call may come; these relays were chosen.
    Prepared {
        /// The call.
        session: MediaSessionId,
        /// The relays, the first choice first.
        mtus: Vec<MtuStatus>,
    },
    /// Passed on.
    Done,
    /// What a recorder answered.
    Recorded(Box<RecordingReply>),
    /// Not done.
    Refused(Problem),
}
