//! Sign-ins: a family of refresh tokens, each of which works once (RFC 9700 section 4.14.2).

use std::time::Duration;

use sightline_model::{TokenHash, UnixMicros};

/// How long a sign-in lives without being used.
pub const REFRESH_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long the token before the current one still works: two pages of one browser may refresh at
/// the same moment with the same cookie.
pub const GRACE: Duration = Duration::from_secs(10);

/// A sign-in as stored.
#[derive(Debug, Clone)]
pub struct Family<'a> {
    /// The refresh token that works now.
    pub current: &'a str,
    /// The one before it.
    pub previous: Option<&'a str>,
    /// When the current one took over.
    pub rotated_at: UnixMicros,
    /// When the sign-in ends unless it is used.
    pub expires_at: UnixMicros,
    /// Signed out, or taken away.
    pub revoked: bool,
}

/// What a shown refresh token does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// It is replaced by a new one.
    Rotate,
    /// It was used before: somebody has a copy. The whole sign-in ends.
    Reused,
    /// The sign-in has ended.
    Ended,
}

/// Decides what `shown` does.
#[must_use]
pub fn refresh(family: &Family<'_>, shown: &TokenHash, now: UnixMicros) -> Refresh {
    if family.revoked || family.expires_at <= now {
        Refresh::Ended
    } else if family.current == shown.as_str() || just_replaced(family, shown, now) {
        Refresh::Rotate
    } else {
        Refresh::Reused
    }
}

fn just_replaced(family: &Family<'_>, shown: &TokenHash, now: UnixMicros) -> bool {
    family.previous == Some(shown.as_str()) && now.since(family.rotated_at) < GRACE
}

#[cfg(test)]
mod tests {
    use sightline_model::SessionToken;

    use super::*;

    fn family(current: &str) -> Family<'_> {
        Family {
            current,
            previous: None,
            rotated_at: UnixMicros(0),
            expires_at: UnixMicros(100),
            revoked: false,
        }
    }

    #[test]
    fn a_refresh_token_works_once() {
        let (old, new) =
            (SessionToken::new("a".into()).hash(), SessionToken::new("b".into()).hash());
        let state = family(new.as_str());
        assert_eq!(refresh(&state, &new, UnixMicros(1)), Refresh::Rotate);
        assert_eq!(refresh(&state, &old, UnixMicros(1)), Refresh::Reused);
    }

    #[test]
    fn two_pages_that_refresh_at_once_both_stay_signed_in() {
        let (old, new) =
            (SessionToken::new("a".into()).hash(), SessionToken::new("b".into()).hash());
        let state = Family {
            previous: Some(old.as_str()),
            expires_at: UnixMicros(i64::MAX),
            ..family(new.as_str())
        };
        let at = |s: u64| UnixMicros(0).plus(Duration::from_secs(s));
        assert_eq!(refresh(&state, &old, at(9)), Refresh::Rotate);
        assert_eq!(refresh(&state, &old, at(10)), Refresh::Reused);
    }

    #[test]
    fn an_ended_sign_in_stays_ended() {
        let token = SessionToken::new("a".into()).hash();
        let mut state = family(token.as_str());
        assert_eq!(refresh(&state, &token, UnixMicros(100)), Refresh::Ended);
        state.revoked = true;
        assert_eq!(refresh(&state, &token, UnixMicros(1)), Refresh::Ended);
    }
}
