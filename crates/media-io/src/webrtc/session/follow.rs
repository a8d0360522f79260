//! Follows the viewer to the pair that it has chosen.
//!
//! The viewer is the controlling end. The library keeps every pair that was ever nominated and sends
//! over the best of them, for 15 s and more after it has died. So what comes from the viewer is
//! watched: when it sends media or nominations over another pair, and nothing comes any more over
//! the one that we send on, that one is taken from the library and given back as untried. If it
//! works again, it is found again.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::super::stun;

/// Pairs that are remembered; the oldest is forgotten first.
const PAIRS: usize = 16;
/// Media over another pair counts when the one in use has been silent for so long: feedback comes
/// several times as often.
const SILENT_TO_MEDIA: Duration = Duration::from_millis(300);
/// A nomination counts after this: browsers check the pair in use about twice a second.
const SILENT_TO_CHECKS: Duration = Duration::from_millis(1_200);
/// After so long without a word, a way that ICE is to replace does not wait for the replacement.
const SILENT: Duration = Duration::from_millis(700);
/// Between two changes, so that a new pair has time to be tried.
const REST: Duration = Duration::from_millis(500);

/// Own and other end of a pair.
pub(in crate::webrtc) type Pair = (SocketAddr, SocketAddr);

/// What a datagram says of its sender's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::webrtc) enum Sign {
    /// DTLS, RTP or RTCP: the viewer sends here.
    Media,
    /// A check that nominates.
    Nomination,
    /// An answer to a check of ours: the pair works both ways.
    Answer,
    /// Any other check.
    Check,
}

impl Sign {
    pub(in crate::webrtc) fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            // RFC 9443: below 20 is STUN.
            Some(first) if *first >= 20 => Self::Media,
            _ if bytes.starts_with(&[1, 1]) => Self::Answer,
            _ if stun::nominates(bytes) => Self::Nomination,
            _ => Self::Check,
        }
    }
}

/// When what was heard over which pair.
#[derive(Debug, Default)]
pub(super) struct Follow {
    heard: Vec<(Pair, Instant)>,
    left_at: Option<Instant>,
}

impl Follow {
    /// Whether nothing has come over this pair for a while.
    pub(super) fn is_silent(&self, pair: Pair, now: Instant) -> bool {
        let last = self.heard.iter().find(|(known, _)| *known == pair).map(|(_, at)| *at);
        last.is_none_or(|at| now.saturating_duration_since(at) >= SILENT)
    }

    /// Notes a datagram of the viewer. True when the pair in use should be left for this one.
    pub(super) fn heard(
        &mut self,
        pair: Pair,
        sign: Sign,
        in_use: Option<Pair>,
        now: Instant,
    ) -> bool {
        match self.heard.iter_mut().find(|(known, _)| *known == pair) {
            Some((_, at)) => *at = now,
            None => {
                if self.heard.len() == PAIRS {
                    self.heard.remove(0);
                }
                self.heard.push((pair, now));
            }
        }
        let Some(in_use) = in_use.filter(|in_use| *in_use != pair) else { return false };
        let patience = match sign {
            Sign::Media => SILENT_TO_MEDIA,
            Sign::Nomination => SILENT_TO_CHECKS,
            Sign::Answer | Sign::Check => return false,
        };
        let last = self.heard.iter().find(|(known, _)| *known == in_use).map(|(_, at)| *at);
        let silent = last.is_none_or(|at| now.saturating_duration_since(at) >= patience);
        let rested = self.left_at.is_none_or(|at| now.saturating_duration_since(at) >= REST);
        if silent && rested {
            self.left_at = Some(now);
        }
        silent && rested
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_a_pair_that_has_fallen_silent_and_no_other() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let local: SocketAddr = "192.0.2.1:1".parse().expect("valid");
        let pair = |port| (local, SocketAddr::from(([192, 0, 2, 2], port)));
        let mut follow = Follow::default();
        assert!(!follow.heard(pair(1), Sign::Media, Some(pair(1)), at(0)));
        assert!(
            !follow.heard(pair(2), Sign::Media, Some(pair(1)), at(200)),
            "it was heard just now"
        );
        assert!(!follow.heard(pair(2), Sign::Check, Some(pair(1)), at(5_000)), "no choice");
        assert!(follow.heard(pair(2), Sign::Media, Some(pair(1)), at(5_010)));
        assert!(!follow.heard(pair(2), Sign::Media, Some(pair(1)), at(5_100)), "it has just left");
        assert!(!follow.heard(pair(2), Sign::Media, Some(pair(2)), at(6_000)));
        assert!(!follow.heard(pair(1), Sign::Nomination, Some(pair(2)), at(7_000)));
        assert!(follow.heard(pair(1), Sign::Nomination, Some(pair(2)), at(7_300)));
    }
}
