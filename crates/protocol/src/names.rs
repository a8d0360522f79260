//! What traces call a message: its own name and what it is about, never more.

use crate::{
    cp::CloudRequest,
    cs::{CsRequest, CuToScu, ScuToCu},
    ps::{LockSpan, PuToScu, RecordingQuery, RecordingReply, RecordingRequest, ScuToPu},
    sc::ScRequest,
    sm::SmRequest,
};

/// A message that traces name.
pub trait Named {
    /// The same word as in its JSON.
    fn name(&self) -> &'static str;

    /// The session or device that it speaks of, if any: ids only, never tokens, numbers or
    /// addresses.
    fn about(&self) -> Option<&str>;
}

impl Named for ScuToPu {
    fn name(&self) -> &'static str {
        match self {
            Self::Challenge { .. } => "challenge",
            Self::Registered { .. } => "registered",
            Self::Refused { .. } => "refused",
            Self::KeepAliveAck { .. } => "keep_alive_ack",
            Self::PrepareMedia { .. } => "prepare_media",
            Self::MediaOffer { .. } => "media_offer",
            Self::Candidate { .. } => "candidate",
            Self::TokenResult { .. } => "token_result",
            Self::Ticket { .. } => "ticket",
            Self::EndSession { .. } => "end_session",
            Self::RevokeUser { .. } => "revoke_user",
            Self::OwnerChanged { .. } => "owner_changed",
            Self::Recording(_) => "recording",
            Self::Cloud(_) => "cloud_answer",
            Self::Goodbye => "goodbye",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::PrepareMedia { session, .. }
            | Self::MediaOffer { session, .. }
            | Self::Candidate { session, .. }
            | Self::EndSession { session, .. } => Some(session.as_str()),
            Self::Challenge { .. }
            | Self::Registered { .. }
            | Self::Refused { .. }
            | Self::KeepAliveAck { .. }
            | Self::TokenResult { .. }
            | Self::Ticket { .. }
            | Self::RevokeUser { .. }
            | Self::OwnerChanged { .. }
            | Self::Cloud(_)
            | Self::Goodbye => None,
            Self::Recording(call) => call.ask.about(),
        }
    }
}

impl Named for PuToScu {
    fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::KeepAlive { .. } => "keep_alive",
            Self::Addresses(_) => "addresses",
            Self::Channels { .. } => "channels",
            Self::TokenCheck { .. } => "token_check",
            Self::TicketRequest { .. } => "ticket_request",
            Self::MediaAnswer { .. } => "media_answer",
            Self::Candidate { .. } => "candidate",
            Self::SessionReport { .. } => "session_report",
            Self::Nat { .. } => "nat",
            Self::Recorded(_) => "recorded",
            Self::RecorderReport(_) => "recorder_report",
            Self::Cloud(call) => call.ask.name(),
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::RecorderReport(report) => Some(report.recorder.as_str()),
            Self::Recorded(answer) => answer.result.as_ref().ok().and_then(Named::about),
            Self::Register(registration) => Some(registration.pu.as_str()),
            Self::TicketRequest { camera, .. } => Some(camera.pu.as_str()),
            Self::MediaAnswer { session, .. }
            | Self::Candidate { session, .. }
            | Self::SessionReport { session, .. } => Some(session.as_str()),
            Self::KeepAlive { .. }
            | Self::Addresses(_)
            | Self::Channels { .. }
            | Self::TokenCheck { .. }
            | Self::Nat { .. }
            | Self::Cloud(_) => None,
        }
    }
}

impl Named for CuToScu {
    fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Candidate { .. } => "candidate",
            Self::End { .. } => "end",
            Self::PathReport { .. } => "path_report",
            Self::KeepAlive { .. } => "keep_alive",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::Offer { session, .. }
            | Self::Candidate { session, .. }
            | Self::End { session }
            | Self::PathReport { session, .. } => Some(session.as_str()),
            Self::KeepAlive { .. } => None,
        }
    }
}

impl Named for ScuToCu {
    fn name(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answer",
            Self::Refused { .. } => "refused",
            Self::Candidate { .. } => "candidate",
            Self::Ended { .. } => "ended",
            Self::KeepAliveAck { .. } => "keep_alive_ack",
            Self::Malformed { .. } => "malformed",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::Answer { session, .. }
            | Self::Refused { session, .. }
            | Self::Candidate { session, .. }
            | Self::Ended { session, .. } => Some(session.as_str()),
            Self::KeepAliveAck { .. } | Self::Malformed { .. } => None,
        }
    }
}

impl Named for ScRequest {
    fn name(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::RenewLeases { .. } => "renew_leases",
            Self::Release { .. } => "release",
            Self::Addresses { .. } => "addresses",
            Self::Channels { .. } => "channels",
            Self::TokenCheck { .. } => "token_check",
            Self::Ticket { .. } => "ticket",
            Self::SessionReport { .. } => "session_report",
            Self::ViewerReport { .. } => "viewer_report",
            Self::Nat { .. } => "nat",
            Self::RecorderReport { .. } => "recorder_report",
            Self::Cloud { ask, .. } => ask.name(),
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::Register { registration, .. } => Some(registration.pu.as_str()),
            Self::Release { device, .. }
            | Self::Addresses { device, .. }
            | Self::Channels { device, .. }
            | Self::TokenCheck { device, .. }
            | Self::Ticket { device, .. }
            | Self::RecorderReport { device, .. }
            | Self::Cloud { device, .. }
            | Self::Nat { device, .. } => Some(device.as_str()),
            Self::SessionReport { session, .. } | Self::ViewerReport { session, .. } => {
                Some(session.as_str())
            }
            Self::RenewLeases { .. } => None,
        }
    }
}

impl Named for SmRequest {
    fn name(&self) -> &'static str {
        match self {
            Self::PrepareMedia { .. } => "prepare_media",
            Self::EndSession { .. } => "end_session",
            Self::RevokeUser { .. } => "revoke_user",
            Self::OwnerChanged { .. } => "owner_changed",
            Self::Recording { .. } => "recording",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::PrepareMedia { session, .. } | Self::EndSession { session, .. } => {
                Some(session.as_str())
            }
            Self::RevokeUser { device, .. }
            | Self::OwnerChanged { device, .. }
            | Self::Recording { device, .. } => Some(device.as_str()),
        }
    }
}

impl Named for CsRequest {
    fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Candidate { .. } => "candidate",
            Self::End { .. } => "end",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::Offer { session, .. }
            | Self::Candidate { session, .. }
            | Self::End { session, .. } => Some(session.as_str()),
        }
    }
}

impl Named for RecordingRequest {
    fn name(&self) -> &'static str {
        match self {
            Self::SetPlan { .. } => "set_plan",
            Self::ReadPlans { .. } => "read_plans",
            Self::Manual { .. } => "manual",
            Self::List(_) => "list",
            Self::Days { .. } => "days",
            Self::Lock(_) => "lock",
            Self::Status => "status",
            Self::Relate { .. } => "relate",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::SetPlan { plan } => Some(plan.camera.pu.as_str()),
            Self::ReadPlans { camera }
            | Self::Manual { camera, .. }
            | Self::List(RecordingQuery { camera, .. })
            | Self::Days { camera, .. }
            | Self::Lock(LockSpan { camera, .. }) => Some(camera.pu.as_str()),
            Self::Status | Self::Relate { .. } => None,
        }
    }
}

impl Named for RecordingReply {
    fn name(&self) -> &'static str {
        match self {
            Self::PlanSet { .. } => "plan_set",
            Self::Plans { .. } => "plans",
            Self::Done => "done",
            Self::Timeline(_) => "timeline",
            Self::Days(_) => "days",
            Self::Locked(_) => "locked",
            Self::Status(_) => "status",
            Self::Related { .. } => "related",
        }
    }

    fn about(&self) -> Option<&str> {
        match self {
            Self::Timeline(timeline) => Some(timeline.camera.pu.as_str()),
            Self::Days(days) => Some(days.camera.pu.as_str()),
            Self::Status(report) => Some(report.recorder.as_str()),
            Self::PlanSet { .. }
            | Self::Plans { .. }
            | Self::Done
            | Self::Locked(_)
            | Self::Related { .. } => None,
        }
    }
}

impl Named for CloudRequest {
    fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "cloud_open",
            Self::Upload { .. } => "cloud_upload",
            Self::Stored { .. } => "cloud_stored",
            Self::Note { .. } => "cloud_note",
            Self::MakeRoom { .. } => "cloud_make_room",
        }
    }

    fn about(&self) -> Option<&str> {
        None
    }
}
