//! Play tokens (A8.4): what one must satisfy each time a PU is shown it.

use std::net::SocketAddr;

use sightline_model::{SessionToken, UnixMicros};
use sightline_protocol::{
    ProblemKind,
    ps::{Addresses, TokenBearer},
};

/// A bearer in the form in which it is stored and compared.
#[must_use]
pub fn bearer_text(bearer: &TokenBearer) -> String {
    match bearer {
        TokenBearer::Key { client } => format!("key:{client}"),
        TokenBearer::Address { ip } => format!("ip:{}", ip.to_canonical()),
    }
}

/// What the books say of a token at the moment of the check.
#[derive(Debug, Clone)]
pub struct TokenState<'a> {
    /// No new use from then on.
    pub expires_at: UnixMicros,
    /// Taken back.
    pub revoked: bool,
    /// The device belongs, now, to the user who asked for the token.
    pub owned: bool,
    /// The user is approved and still signed in where the token was asked for.
    pub user_in_order: bool,
    /// Who has used it, or who alone may.
    pub bearer: Option<&'a str>,
}

/// Checks a token that `shown_by` shows.
///
/// # Errors
/// The problem and what is wrong, in words.
pub fn check(
    token: &TokenState<'_>,
    shown_by: &str,
    now: UnixMicros,
) -> Result<(), (ProblemKind, &'static str)> {
    if token.revoked || !token.owned || !token.user_in_order {
        return Err((ProblemKind::TokenRevoked, "The right to watch this camera was taken back."));
    }
    if token.expires_at <= now {
        return Err((ProblemKind::TokenExpired, "The play token's time is over; ask for another."));
    }
    match token.bearer {
        Some(first) if first != shown_by => {
            Err((ProblemKind::TokenInUse, "Another client has used this play token before."))
        }
        Some(_) | None => Ok(()),
    }
}

/// RTSP URLs of a camera, best first: the device's own interfaces when the viewer is in the same
/// place, else its gateways' mappings. Each carries the token.
#[must_use]
pub fn rtsp_urls(
    addresses: &Addresses,
    channel: u16,
    token: &SessionToken,
    same_place: bool,
) -> Vec<SessionToken> {
    ordered(&addresses.rtsp, &addresses.nat_rtsp, same_place)
        .map(|addr| format!("rtsp://{addr}/{channel}?token={}", token.expose()))
        .map(SessionToken::new)
        .collect()
}

/// QUIC addresses of a device, best first.
#[must_use]
pub fn quic_addresses(addresses: &Addresses, same_place: bool) -> Vec<SocketAddr> {
    ordered(&addresses.quic, &addresses.nat_quic, same_place).copied().collect()
}

fn ordered<'a>(
    own: &'a [SocketAddr],
    mapped: &'a [SocketAddr],
    same_place: bool,
) -> impl Iterator<Item = &'a SocketAddr> {
    let (first, second) = if same_place { (own, mapped) } else { (mapped, own) };
    first.iter().chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> TokenState<'static> {
        TokenState {
            expires_at: UnixMicros(10),
            revoked: false,
            owned: true,
            user_in_order: true,
            bearer: None,
        }
    }

    fn verdict(token: &TokenState<'_>) -> Option<ProblemKind> {
        check(token, "key:a", UnixMicros(1)).err().map(|(kind, _)| kind)
    }

    #[test]
    fn the_first_bearer_may_retry_and_nobody_else() {
        assert_eq!(verdict(&good()), None);
        assert_eq!(verdict(&TokenState { bearer: Some("key:a"), ..good() }), None);
        let other = TokenState { bearer: Some("key:b"), ..good() };
        assert_eq!(verdict(&other), Some(ProblemKind::TokenInUse));
    }

    #[test]
    fn what_was_taken_back_does_not_play() {
        let revoked = Some(ProblemKind::TokenRevoked);
        assert_eq!(verdict(&TokenState { revoked: true, ..good() }), revoked);
        assert_eq!(verdict(&TokenState { owned: false, ..good() }), revoked);
        assert_eq!(verdict(&TokenState { user_in_order: false, ..good() }), revoked);
        let expired = TokenState { expires_at: UnixMicros(1), ..good() };
        assert_eq!(verdict(&expired), Some(ProblemKind::TokenExpired));
    }

    #[test]
    fn the_nearer_way_comes_first() {
        let addresses = Addresses {
            rtsp: vec!["192.168.1.9:554".parse().expect("valid")],
            nat_rtsp: vec!["[2001:db8::1]:10554".parse().expect("valid")],
            ..Addresses::default()
        };
        let urls = |near| rtsp_urls(&addresses, 2, &SessionToken::new("T".into()), near);
        assert_eq!(urls(true)[0].expose(), "rtsp://192.168.1.9:554/2?token=T");
        assert_eq!(urls(false)[0].expose(), "rtsp://[2001:db8::1]:10554/2?token=T");
    }
}
