//! One WebSocket of a CU: its limits and its keep-alive.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sightline_model::UnixMicros;
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CuToScu, KEEP_ALIVE_MS, ScuToCu},
};

/// A CU that is silent for this long is taken for gone.
pub const SILENCE: Duration = Duration::from_millis(3 * KEEP_ALIVE_MS as u64);

/// Offers that a connection may make within [`OFFER_WINDOW`]; more are refused.
pub const MAX_OFFERS: u32 = 64;

/// See [`MAX_OFFERS`].
pub const OFFER_WINDOW: Duration = Duration::from_secs(60);

/// Reports of a path that a connection may make within [`OFFER_WINDOW`]; more are ignored.
pub const MAX_PATH_REPORTS: u32 = 120;

/// Unreadable messages after which the connection is closed.
pub const MAX_UNREADABLE: u32 = 16;

/// What happens to a connection.
#[derive(Debug)]
pub enum CuInput {
    /// A message of the CU.
    Message(CuToScu),
    /// Something that is no message: what is wrong with it.
    Unreadable(String),
    /// The connection has ended; `clean` when the CU said so.
    Disconnected {
        /// Whether the CU closed it on purpose.
        clean: bool,
    },
}

/// What to do, in this order.
#[derive(Debug)]
pub enum CuOutput {
    /// Send to the CU.
    Send(ScuToCu),
    /// For the switchboard: an offer, a candidate, a report of the path or an end.
    Call(CuToScu),
    /// The connection is over. Its sessions end at this time, unless another connection of the CU
    /// takes them up again.
    Gone {
        /// When.
        until: Instant,
    },
    /// End the connection after what was sent.
    Close,
}

/// The machine of one connection.
#[derive(Debug)]
pub struct CuConnection {
    heard: Instant,
    window: Instant,
    offers: u32,
    path_reports: u32,
    unreadable: u32,
    ended: bool,
    outputs: VecDeque<CuOutput>,
}

impl CuConnection {
    /// A new connection.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            heard: now,
            window: now,
            offers: 0,
            path_reports: 0,
            unreadable: 0,
            ended: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, wall: UnixMicros, input: CuInput) {
        if self.ended {
            return;
        }
        match input {
            CuInput::Message(message) => {
                self.heard = now;
                self.message(now, wall, message);
            }
            CuInput::Unreadable(what) => {
                self.unreadable += 1;
                let problem = Problem::new(ProblemKind::InvalidRequest, what);
                self.outputs.push_back(CuOutput::Send(ScuToCu::Malformed { problem }));
                if self.unreadable >= MAX_UNREADABLE {
                    self.end(now);
                }
            }
            CuInput::Disconnected { clean: true } => self.end(now),
            CuInput::Disconnected { clean: false } => self.end(self.heard + SILENCE),
        }
    }

    fn message(&mut self, now: Instant, wall: UnixMicros, message: CuToScu) {
        match message {
            CuToScu::KeepAlive { cu_time } => self
                .outputs
                .push_back(CuOutput::Send(ScuToCu::KeepAliveAck { cu_time, server_time: wall })),
            CuToScu::Offer { session, device, offer } => {
                self.turn_window(now);
                self.offers += 1;
                if self.offers > MAX_OFFERS {
                    let problem = Problem::new(
                        ProblemKind::RateLimited,
                        "too many offers on this connection; wait a minute",
                    );
                    let refused = ScuToCu::Refused { session, problem };
                    self.outputs.push_back(CuOutput::Send(refused));
                    return;
                }
                let offer = CuToScu::Offer { session, device, offer };
                self.outputs.push_back(CuOutput::Call(offer));
            }
            report @ CuToScu::PathReport { .. } => {
                self.turn_window(now);
                self.path_reports += 1;
                if self.path_reports <= MAX_PATH_REPORTS {
                    self.outputs.push_back(CuOutput::Call(report));
                }
            }
            other @ (CuToScu::Candidate { .. } | CuToScu::End { .. }) => {
                self.outputs.push_back(CuOutput::Call(other));
            }
        }
    }

    fn turn_window(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window) >= OFFER_WINDOW {
            (self.window, self.offers, self.path_reports) = (now, 0, 0);
        }
    }

    fn end(&mut self, until: Instant) {
        self.ended = true;
        self.outputs.extend([CuOutput::Gone { until }, CuOutput::Close]);
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.ended).then(|| self.heard + SILENCE)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.end(now);
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<CuOutput> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use sightline_protocol::pc::{MediaTransport, PathReport};

    use super::*;

    fn drain(cu: &mut CuConnection) -> Vec<CuOutput> {
        std::iter::from_fn(|| cu.poll_output()).collect()
    }

    #[test]
    fn a_silent_cu_is_taken_for_gone_and_a_lost_one_has_time_to_come_back() {
        let start = Instant::now();
        let mut silent = CuConnection::new(start);
        silent.handle_timeout(start + SILENCE - Duration::from_millis(1));
        assert!(drain(&mut silent).is_empty());
        silent.handle_timeout(start + SILENCE);
        assert!(matches!(drain(&mut silent)[..], [CuOutput::Gone { until }, CuOutput::Close]
            if until == start + SILENCE));

        let mut lost = CuConnection::new(start);
        lost.handle_input(start, UnixMicros(0), CuInput::Disconnected { clean: false });
        assert!(matches!(drain(&mut lost)[0], CuOutput::Gone { until } if until > start));
    }

    #[test]
    fn a_flood_of_path_reports_is_ignored_until_the_window_has_passed() {
        let now = Instant::now();
        let mut cu = CuConnection::new(now);
        let report = || CuToScu::PathReport {
            session: "call".parse().expect("valid id"),
            path: PathReport::new(MediaTransport::Webrtc, false, ""),
            stages: None,
            nat: None,
        };
        for _ in 0..2 * MAX_PATH_REPORTS {
            cu.handle_input(now, UnixMicros(0), CuInput::Message(report()));
        }
        assert_eq!(drain(&mut cu).len(), MAX_PATH_REPORTS as usize);
        cu.handle_input(now + OFFER_WINDOW, UnixMicros(0), CuInput::Message(report()));
        assert_eq!(drain(&mut cu).len(), 1);
    }

    #[test]
    fn unreadable_messages_are_answered_until_there_are_too_many() {
        let now = Instant::now();
        let mut cu = CuConnection::new(now);
        for _ in 0..MAX_UNREADABLE {
            assert!(cu.poll_timeout().is_some());
            cu.handle_input(now, UnixMicros(0), CuInput::Unreadable("no JSON".to_owned()));
        }
        let outputs = drain(&mut cu);
        assert_eq!(outputs.len(), MAX_UNREADABLE as usize + 2);
        assert!(matches!(outputs.last(), Some(CuOutput::Close)));
    }
}
