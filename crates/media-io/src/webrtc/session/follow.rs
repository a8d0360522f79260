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

/// Pairs that are remembered; the one that has been silent for longest is forgotten first. A
/// browser with two relays checks some twenty after every restart.
const PAIRS: usize = 32;
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

/// A pair over which something came.
#[derive(Debug)]
struct Heard {
    pair: Pair,
    at: Instant,
    /// Whether ICE, as it runs since the last restart, has checked it.
    is_checked: bool,
}

/// When what was heard over which pair.
#[derive(Debug, Default)]
pub(super) struct Follow {
    heard: Vec<Heard>,
    left_at: Option<Instant>,
}

impl Follow {
    /// ICE starts over. Until the viewer has found a new pair it goes on sending over the old one,
    /// which is no choice.
    pub(super) fn restarted(&mut self) {
        for heard in &mut self.heard {
            heard.is_checked = false;
        }
    }

    /// Whether nothing has come over this pair for a while.
    pub(super) fn is_silent(&self, pair: Pair, now: Instant) -> bool {
        self.is_silent_for(SILENT, pair, now)
    }

    fn is_silent_for(&self, time: Duration, pair: Pair, now: Instant) -> bool {
        let last = self.heard.iter().find(|known| known.pair == pair).map(|known| known.at);
        last.is_none_or(|at| now.saturating_duration_since(at) >= time)
    }

    /// Notes a datagram of the viewer. True when the pair in use should be left for this one.
    pub(super) fn heard(
        &mut self,
        pair: Pair,
        sign: Sign,
        in_use: Option<Pair>,
        now: Instant,
    ) -> bool {
        let is_checked = self.note(pair, sign, now);
        let Some(in_use) = in_use.filter(|in_use| *in_use != pair) else { return false };
        let patience = match sign {
            Sign::Media if is_checked => SILENT_TO_MEDIA,
            Sign::Nomination => SILENT_TO_CHECKS,
            Sign::Media | Sign::Answer | Sign::Check => return false,
        };
        let silent = self.is_silent_for(patience, in_use, now);
        let rested = self.left_at.is_none_or(|at| now.saturating_duration_since(at) >= REST);
        if silent && rested {
            self.left_at = Some(now);
        }
        silent && rested
    }

    /// Whether ICE has checked this pair since it was restarted.
    fn note(&mut self, pair: Pair, sign: Sign, now: Instant) -> bool {
        let is_check = sign != Sign::Media;
        if let Some(known) = self.heard.iter_mut().find(|known| known.pair == pair) {
            known.at = now;
            known.is_checked |= is_check;
            return known.is_checked;
        }
        if self.heard.len() == PAIRS {
            let oldest = self.heard.iter().enumerate().min_by_key(|(_, known)| known.at);
            let oldest = oldest.map(|(index, _)| index);
            oldest.map(|index| self.heard.swap_remove(index));
        }
        self.heard.push(Heard { pair, at: now, is_checked: is_check });
        is_check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(port: u16) -> Pair {
        let local: SocketAddr = "192.0.2.1:1".parse().expect("valid");
        (local, SocketAddr::from(([192, 0, 2, 2], port)))
    }

    #[test]
    fn leaves_a_pair_that_has_fallen_silent_and_no_other() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut follow = Follow::default();
        assert!(!follow.heard(pair(1), Sign::Media, Some(pair(1)), at(0)));
        assert!(!follow.heard(pair(1), Sign::Check, Some(pair(1)), at(0)));
        assert!(!follow.heard(pair(2), Sign::Check, Some(pair(1)), at(0)));
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

    #[test]
    fn what_comes_over_the_pair_from_before_a_restart_is_no_choice() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut follow = Follow::default();
        follow.heard(pair(1), Sign::Nomination, Some(pair(1)), at(0));
        follow.restarted();
        follow.heard(pair(2), Sign::Nomination, Some(pair(1)), at(100));
        // The library sends over the new pair, the viewer has not gone over yet.
        for ms in (200..3_000).step_by(50) {
            assert!(!follow.heard(pair(1), Sign::Media, Some(pair(2)), at(ms)), "{ms} ms");
        }
    }

    #[test]
    fn the_pair_in_use_is_remembered_however_many_others_are_checked() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut follow = Follow::default();
        for ms in 0..1_000 {
            follow.heard(pair(1), Sign::Media, Some(pair(1)), at(ms));
            let other = pair(2 + (ms % 200) as u16);
            follow.heard(other, Sign::Answer, Some(pair(1)), at(ms));
            assert!(!follow.is_silent(pair(1), at(ms)), "{ms} ms");
        }
        assert_eq!(follow.heard.len(), PAIRS);
    }
}
