//! Questions about recordings that wait for their recorder's answer (A8.7.1 to A8.7.3, steps between
//! CMU and recorder). The SCU reads nothing in them; it joins question and answer.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sightline_model::PuId;
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{RecordingAnswer, RecordingCall, RecordingReply, RecordingRequest},
};

use crate::timers::Timers;

/// Questions to one device that may wait at a time.
pub const MAX_WAITING: usize = 16;

/// How long a recorder may take: less than the CMU waits for the SCU (3 s unless configured).
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(2_500);

/// A question's answer, and who waits for it.
pub type Answered<R> = (R, Result<Box<RecordingReply>, Problem>);

/// The table. `R` is the caller's handle of whoever waits.
///
/// A recorder may still be answering what an SCU asked that has ended since, or another one: its
/// answer must not be taken for that of another question. So no two tables may begin with the same
/// number.
#[derive(Debug)]
pub struct Recordings<R> {
    next: u64,
    waiting: HashMap<u64, Waiting<R>>,
    due: Timers<u64>,
}

#[derive(Debug)]
struct Waiting<R> {
    device: PuId,
    from: R,
}

impl<R> Recordings<R> {
    /// An empty table, whose first question has the number `first`: a random one.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { next: first, waiting: HashMap::new(), due: Timers::default() }
    }

    /// Takes a question: what to send to the device.
    ///
    /// # Errors
    /// Whoever asks, and why it is not passed on: too many questions wait for this device.
    pub fn ask(
        &mut self,
        now: Instant,
        device: &PuId,
        ask: RecordingRequest,
        from: R,
    ) -> Result<RecordingCall, (R, Problem)> {
        let waiting = self.waiting.values().filter(|w| w.device == *device).count();
        if waiting >= MAX_WAITING {
            let why = "the recorder is answering other questions; try again shortly";
            return Err((from, Problem::new(ProblemKind::Busy, why)));
        }
        let request = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(request, Waiting { device: device.clone(), from });
        self.due.set(&request, now + ANSWERED_WITHIN);
        Ok(RecordingCall { request, ask })
    }

    /// A device's answer, if it was asked that.
    pub fn answered(&mut self, device: &PuId, answer: RecordingAnswer) -> Option<Answered<R>> {
        let RecordingAnswer { request, result } = answer;
        self.waiting.get(&request).filter(|w| w.device == *device)?;
        self.take(request).map(|from| (from, result.map(Box::new)))
    }

    /// The device is no longer here: its answers will not come.
    pub fn device_lost(&mut self, device: &PuId) -> Vec<Answered<R>> {
        let of_device = self.waiting.iter().filter(|(_, w)| w.device == *device);
        let lost: Vec<u64> = of_device.map(|(request, _)| *request).collect();
        let gone = || Problem::new(ProblemKind::DeviceOffline, "the recorder has gone offline");
        lost.into_iter().filter_map(|r| self.take(r)).map(|from| (from, Err(gone()))).collect()
    }

    /// One question whose answer did not come in time.
    pub fn pop_overdue(&mut self, now: Instant) -> Option<Answered<R>> {
        let request = self.due.pop(now)?;
        let why = "the recorder did not answer in time";
        let from = self.take(request)?;
        Some((from, Err(Problem::new(ProblemKind::Timeout, why))))
    }

    /// When [`Self::pop_overdue`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.next()
    }

    fn take(&mut self, request: u64) -> Option<R> {
        self.due.clear(&request);
        self.waiting.remove(&request).map(|waiting| waiting.from)
    }
}

#[cfg(test)]
mod tests {
    use sightline_model::PublicKey;

    use super::*;

    fn pu(of: u8) -> PuId {
        PuId::from_public_key(&PublicKey::from_bytes([of; 32]))
    }

    fn answer(request: u64) -> RecordingAnswer {
        RecordingAnswer { request, result: Ok(RecordingReply::Done) }
    }

    #[test]
    fn answers_find_who_asked_once_and_only_from_the_device_that_was_asked() {
        let (mut table, now) = (Recordings::new(1), Instant::now());
        let ask = |table: &mut Recordings<_>, of: u8, from| {
            table.ask(now, &pu(of), RecordingRequest::Status, from).expect("room").request
        };
        let (first, second) = (ask(&mut table, 1, "anna"), ask(&mut table, 2, "ben"));
        assert!(table.answered(&pu(2), answer(first)).is_none(), "another device's answer");
        let (from, result) = table.answered(&pu(1), answer(first)).expect("asked");
        assert_eq!((from, result.expect("answered")), ("anna", Box::new(RecordingReply::Done)));
        assert!(table.answered(&pu(1), answer(first)).is_none(), "answered twice");
        let lost = table.device_lost(&pu(2));
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].1.as_ref().expect_err("gone").kind, ProblemKind::DeviceOffline);
        assert!(table.answered(&pu(2), answer(second)).is_none(), "too late");
        assert_eq!(table.poll_timeout(), None);
    }

    #[test]
    fn a_silent_recorder_is_a_timeout_and_questions_are_bounded() {
        let (mut table, now) = (Recordings::new(u64::MAX - 1), Instant::now());
        for n in 0..MAX_WAITING {
            table.ask(now, &pu(1), RecordingRequest::Status, n).expect("room");
        }
        let full = table.ask(now, &pu(1), RecordingRequest::Status, 99).expect_err("too many");
        assert_eq!((full.0, full.1.kind), (99, ProblemKind::Busy));
        table.ask(now, &pu(2), RecordingRequest::Status, 100).expect("another device's");
        assert!(table.pop_overdue(now).is_none());
        let late = now + ANSWERED_WITHIN;
        assert_eq!(table.poll_timeout(), Some(late));
        let mut timed_out = 0;
        while let Some((_, result)) = table.pop_overdue(late) {
            assert_eq!(result.expect_err("late").kind, ProblemKind::Timeout);
            timed_out += 1;
        }
        assert_eq!(timed_out, MAX_WAITING + 1);
        table.ask(late, &pu(1), RecordingRequest::Status, 0).expect("room again");
    }

    #[test]
    fn what_was_asked_before_a_restart_answers_nothing_that_is_asked_after_it() {
        let now = Instant::now();
        let mut before = Recordings::new(7_000);
        let old = before.ask(now, &pu(1), RecordingRequest::Status, "anna").expect("room").request;
        let mut after = Recordings::new(91);
        after.ask(now, &pu(1), RecordingRequest::Status, "ben").expect("room");
        assert!(after.answered(&pu(1), answer(old)).is_none(), "ben got anna's answer");
        assert_eq!(after.device_lost(&pu(1)).len(), 1, "ben still waited");
    }
}
