//! One pair: a socket of this end and an address of the other.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::timing::{MAX_RTO, MIN_RTO, MISSES, MISSES_WITH_MEDIA, PENALTY, SILENCE};
use crate::candidate::CandidateKind;

#[derive(Debug)]
pub(super) struct Pair {
    /// What the remote address is.
    pub remote: CandidateKind,
    /// Of the pair (RFC 8445 section 6.1.2.3).
    pub priority: u64,
    /// Of the other end's socket, as its checks and candidates say.
    pub remote_generation: u8,
    /// Found by probing ports.
    pub probed: bool,
    pub state: State,
    pub last_sent: Option<Instant>,
    /// The other end's last check.
    pub heard: Option<Instant>,
    /// Whether the caller was told of it.
    pub announced: bool,
    pub deaths: u32,
    /// Not to be preferred before.
    pub penalty_until: Option<Instant>,
    /// As what the other end last saw this one here.
    pub last_seen_as: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) enum State {
    /// Not answered (any more).
    Unproven {
        /// Checks sent.
        tries: u32,
        /// When the next is due.
        next: Instant,
    },
    /// It works in both directions.
    Proven(Proof),
}

/// What is known of a path that works.
#[derive(Debug)]
pub(super) struct Proof {
    pub rtt: Duration,
    pub deviation: Duration,
    /// As what the other end sees this one.
    pub seen_as: SocketAddr,
    pub alive_at: Instant,
    pub media_at: Option<Instant>,
    /// Checks in a row without an answer.
    pub unanswered: u32,
    pub sent_at: Instant,
    pub successes: u32,
}

impl Proof {
    pub fn new(now: Instant, rtt: Duration, seen_as: SocketAddr) -> Self {
        Self {
            rtt,
            deviation: rtt / 2,
            seen_as,
            alive_at: now,
            media_at: None,
            unanswered: 0,
            sent_at: now,
            successes: 1,
        }
    }

    /// RFC 6298 section 2, for a path that answers.
    pub fn answered(&mut self, now: Instant, rtt: Duration, seen_as: SocketAddr) {
        self.deviation = (self.deviation * 3 + self.rtt.abs_diff(rtt)) / 4;
        self.rtt = (self.rtt * 7 + rtt) / 8;
        self.seen_as = seen_as;
        self.alive_at = now;
        self.unanswered = 0;
        self.successes = self.successes.saturating_add(1);
    }

    /// Within what time an answer is to be expected.
    pub fn rto(&self) -> Duration {
        (self.rtt + self.deviation * 4 + Duration::from_millis(20)).clamp(MIN_RTO, MAX_RTO)
    }

    /// When the next check is due, if one that is answered is followed by another after `interval`.
    pub fn next_check(&self, interval: Duration) -> Instant {
        match self.unanswered {
            0 => {
                let regular = self.sent_at + interval;
                // Media that stops is asked after at once.
                match self.media_at.map(|at| at + SILENCE) {
                    Some(silent) if silent > self.sent_at => regular.min(silent),
                    Some(_) | None => regular,
                }
            }
            2..MISSES => self.sent_at + (self.rto() / 2).max(MIN_RTO / 2),
            // The last one has its time, as the first.
            1 | MISSES.. => self.sent_at + self.rto(),
        }
    }

    /// Whether an answer is overdue.
    pub fn is_suspect(&self, now: Instant) -> bool {
        self.unanswered > 0 && now >= self.sent_at + self.rto() || self.unanswered > 1
    }

    /// When the path is to be taken for dead, unless something is heard. While media still comes
    /// in, it takes more.
    pub fn dead_at(&self) -> Option<Instant> {
        let overdue = self.sent_at + self.rto();
        match self.unanswered {
            ..MISSES => None,
            MISSES_WITH_MEDIA.. => Some(overdue),
            _ => Some(self.media_at.map_or(overdue, |at| overdue.max(at + SILENCE))),
        }
    }
}

impl Pair {
    pub fn new(now: Instant, remote: CandidateKind, priority: u64, remote_generation: u8) -> Self {
        Self {
            remote,
            priority,
            remote_generation,
            probed: false,
            state: State::Unproven { tries: 0, next: now },
            last_sent: None,
            heard: None,
            announced: false,
            deaths: 0,
            penalty_until: None,
            last_seen_as: None,
        }
    }

    pub const fn proof(&self) -> Option<&Proof> {
        match &self.state {
            State::Proven(proof) => Some(proof),
            State::Unproven { .. } => None,
        }
    }

    pub const fn proof_mut(&mut self) -> Option<&mut Proof> {
        match &mut self.state {
            State::Proven(proof) => Some(proof),
            State::Unproven { .. } => None,
        }
    }

    /// Back to the beginning, to be tried again at that time.
    pub fn restart(&mut self, next: Instant) {
        self.state = State::Unproven { tries: 0, next };
    }

    /// It has died.
    pub fn die(&mut self, now: Instant, again: Instant) {
        self.deaths += 1;
        self.penalty_until = Some(now + PENALTY * (1 << self.deaths.min(6)));
        self.restart(again);
    }

    pub fn is_penalized(&self, now: Instant) -> bool {
        self.penalty_until.is_some_and(|until| now < until)
    }
}
