//! Names of messages in traces: the same words as in their JSON.

use scu_session::Request;
use sightline_protocol::{
    cs::{CsRequest, CuToScu, ScuToCu},
    ps::{PuToScu, ScuToPu},
    sc::ScRequest,
    sm::SmRequest,
};

pub(crate) fn to_pu(message: &ScuToPu) -> &'static str {
    match message {
        ScuToPu::Challenge { .. } => "challenge",
        ScuToPu::Registered { .. } => "registered",
        ScuToPu::Refused { .. } => "refused",
        ScuToPu::KeepAliveAck { .. } => "keep_alive_ack",
        ScuToPu::PrepareMedia { .. } => "prepare_media",
        ScuToPu::MediaOffer { .. } => "media_offer",
        ScuToPu::Candidate { .. } => "candidate",
        ScuToPu::TokenResult { .. } => "token_result",
        ScuToPu::EndSession { .. } => "end_session",
        ScuToPu::RevokeUser { .. } => "revoke_user",
        ScuToPu::OwnerChanged { .. } => "owner_changed",
        ScuToPu::Goodbye => "goodbye",
    }
}

pub(crate) fn to_cu(message: &ScuToCu) -> (&'static str, &str) {
    match message {
        ScuToCu::Answer { session, .. } => ("answer", session.as_str()),
        ScuToCu::Refused { session, .. } => ("refused", session.as_str()),
        ScuToCu::Candidate { session, .. } => ("candidate", session.as_str()),
        ScuToCu::Ended { session, .. } => ("ended", session.as_str()),
        ScuToCu::KeepAliveAck { .. } => ("keep_alive_ack", ""),
        ScuToCu::Malformed { .. } => ("malformed", ""),
    }
}

/// Session that a message to a PU is about.
pub(crate) fn session(message: &ScuToPu) -> Option<&str> {
    match message {
        ScuToPu::PrepareMedia { session, .. }
        | ScuToPu::MediaOffer { session, .. }
        | ScuToPu::Candidate { session, .. }
        | ScuToPu::EndSession { session, .. } => Some(session.as_str()),
        ScuToPu::Challenge { .. }
        | ScuToPu::Registered { .. }
        | ScuToPu::Refused { .. }
        | ScuToPu::KeepAliveAck { .. }
        | ScuToPu::TokenResult { .. }
        | ScuToPu::RevokeUser { .. }
        | ScuToPu::OwnerChanged { .. }
        | ScuToPu::Goodbye => None,
    }
}

pub(crate) fn to_cmu(request: &ScRequest) -> (&'static str, &str) {
    match request {
        ScRequest::Register { registration, .. } => ("register", registration.pu.as_str()),
        ScRequest::RenewLeases { .. } => ("renew_leases", ""),
        ScRequest::Release { device, .. } => ("release", device.as_str()),
        ScRequest::Addresses { device, .. } => ("addresses", device.as_str()),
        ScRequest::Channels { device, .. } => ("channels", device.as_str()),
        ScRequest::TokenCheck { device, .. } => ("token_check", device.as_str()),
        ScRequest::SessionReport { session, .. } => ("session_report", session.as_str()),
    }
}

pub(crate) fn from_pu(message: &PuToScu) -> &'static str {
    match message {
        PuToScu::Register(_) => "register",
        PuToScu::KeepAlive { .. } => "keep_alive",
        PuToScu::Addresses(_) => "addresses",
        PuToScu::Channels { .. } => "channels",
        PuToScu::TokenCheck { .. } => "token_check",
        PuToScu::MediaAnswer { .. } => "media_answer",
        PuToScu::Candidate { .. } => "candidate",
        PuToScu::SessionReport { .. } => "session_report",
    }
}

pub(crate) fn from_cu(message: &CuToScu) -> &'static str {
    match message {
        CuToScu::Offer { .. } => "offer",
        CuToScu::Candidate { .. } => "candidate",
        CuToScu::End { .. } => "end",
        CuToScu::KeepAlive { .. } => "keep_alive",
    }
}

/// Interface and name of a request for a device.
pub(crate) fn request(request: &Request) -> (&'static str, &'static str) {
    match request {
        Request::Sm(SmRequest::PrepareMedia { .. }) => ("Sm", "prepare_media"),
        Request::Sm(SmRequest::EndSession { .. }) => ("Sm", "end_session"),
        Request::Sm(SmRequest::RevokeUser { .. }) => ("Sm", "revoke_user"),
        Request::Sm(SmRequest::OwnerChanged { .. }) => ("Sm", "owner_changed"),
        Request::Cs(CsRequest::Offer { .. }) => ("Cs", "offer"),
        Request::Cs(CsRequest::Candidate { .. }) => ("Cs", "candidate"),
        Request::Cs(CsRequest::End { .. }) => ("Cs", "end"),
    }
}
