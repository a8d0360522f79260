//! What the ladder reports, as the centre and people read it.

use sightline_model::Rung;
use sightline_p2p::Report;
use sightline_protocol::pc::{MediaTransport, PathReport};

/// The path as it is reported to the centre; `None` while there is none.
#[must_use]
pub fn path_report(report: &Report) -> Option<PathReport> {
    let rung = report.rung?;
    let reason = reason(rung);
    let mut path = PathReport::new(MediaTransport::Quic, rung.is_relayed(), reason);
    path.rung = Some(rung);
    path.why_not_better.clone_from(&report.why_not_better);
    Some(path)
}

/// A rung in plain words.
const fn reason(rung: Rung) -> &'static str {
    match rung {
        Rung::Host => "the ends reach each other's own addresses",
        Rung::Mapped => "a home gateway maps a port",
        Rung::Punched => "through the routers, by what a STUN server told",
        Rung::Probed => "through a router with changing ports, by trying them",
        Rung::RelayUdp => "through a relay over UDP",
        Rung::RelayTcp => "through a relay over TCP",
        Rung::RelayTls => "through a relay over TLS",
    }
}
