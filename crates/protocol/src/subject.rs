//! Where messages between SCU, CMU and MTU are addressed on the bus. Every subject carries the
//! domain, so that domains can share a bus.

use sightline_model::{DomainName, MtuId, PuId};

/// Requests of SCUs to any CMU ([`crate::sc::ScRequest`]).
#[must_use]
pub fn cmu(domain: &DomainName) -> String {
    format!("sightline.{}.cmu", token(domain.as_str()))
}

/// Requests to whichever SCU holds the device's lease ([`crate::sm::SmRequest`], and
/// [`crate::cs::CsRequest`] of other SCUs).
#[must_use]
pub fn device(domain: &DomainName, pu: &PuId) -> String {
    format!("sightline.{}.device.{pu}", token(domain.as_str()))
}

/// Messages from a PU to the SCU where its viewer is connected ([`crate::cs::ScuToCu`]).
#[must_use]
pub fn session(domain: &DomainName, session: &sightline_model::MediaSessionId) -> String {
    format!("sightline.{}.session.{}", token(domain.as_str()), token(session.as_str()))
}

/// Announcements of leases ([`crate::sm::LeaseGranted`]).
#[must_use]
pub fn lease_events(domain: &DomainName) -> String {
    format!("sightline.{}.lease", token(domain.as_str()))
}

/// Announcements of MTUs ([`crate::sd::MtuStatus`]).
#[must_use]
pub fn mtu_status(domain: &DomainName) -> String {
    format!("sightline.{}.mtu", token(domain.as_str()))
}

/// Questions to all MTUs ([`crate::sd::RollCall`]).
#[must_use]
pub fn mtu_roll_call(domain: &DomainName) -> String {
    format!("sightline.{}.roll_call", token(domain.as_str()))
}

/// Commands of SCUs to one MTU ([`crate::sd::MtuCommand`]).
#[must_use]
pub fn mtu(domain: &DomainName, mtu: &MtuId) -> String {
    format!("sightline.{}.mtu.{}", token(domain.as_str()), token(mtu.as_str()))
}

/// Usage that MTUs report to any CMU ([`crate::sd::MtuUsage`]).
#[must_use]
pub fn mtu_usage(domain: &DomainName) -> String {
    format!("sightline.{}.usage", token(domain.as_str()))
}

/// Requests of CMUs to any SCU ([`crate::sm::SmOrder`]).
#[must_use]
pub fn scu(domain: &DomainName) -> String {
    format!("sightline.{}.scu", token(domain.as_str()))
}

/// Changes that signed-in CUs may want to hear of ([`crate::cm::Notice`]), between CMUs.
#[must_use]
pub fn notices(domain: &DomainName) -> String {
    format!("sightline.{}.notice", token(domain.as_str()))
}

/// A dot separates the levels of a subject, so it may not occur inside one.
fn token(text: &str) -> String {
    text.replace('.', "_")
}
