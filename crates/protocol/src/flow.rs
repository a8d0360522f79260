//! The trace of messages between units, for people who follow a call and for tests that prove the
//! order of H.626.4 clause 8.

/// Target of the events; off unless a log filter names it.
pub const TARGET: &str = "sightline::flow";

/// Says that `from` is about to send `message` to `to` over `interface`.
///
/// `about` is the session or device concerned: ids only, never tokens, numbers or addresses. Called
/// before the bytes leave: whatever they cause carries a later time.
pub fn sent(
    interface: &'static str,
    from: &'static str,
    to: &'static str,
    message: &'static str,
    about: &str,
) {
    tracing::debug!(target: TARGET, interface, from, to, message, about);
}
