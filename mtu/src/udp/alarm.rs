//! What wakes a worker at a time.
//!
//! A wait with a time limit sets a timer of the processor's before it sleeps and clears it when it
//! is woken, thousands of times a second, and almost always for the same distant time. This one is
//! set once for each such time.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Wakes a poll.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    set_to: Option<Instant>,
}

impl Alarm {
    /// # Errors
    /// The kernel gives no timer.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Told of once for each time: nothing need be read.
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_to: None })
    }

    /// Wakes at this time at the latest; perhaps once earlier, when it was set to an earlier time.
    ///
    /// # Errors
    /// The kernel refuses the time.
    pub(super) fn set(&mut self, now: Instant, due: Instant) -> io::Result<()> {
        if self.set_to.is_some_and(|set_to| now < set_to && set_to <= due) {
            return Ok(());
        }
        // None at all would switch it off.
        let left = due.saturating_duration_since(now).max(Duration::from_nanos(1));
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let times = Itimerspec { it_interval: once, it_value: left };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times)?;
        self.set_to = Some(due);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;

    const TOKEN: Token = Token(7);

    #[test]
    fn it_wakes_at_the_earliest_of_the_times_it_was_set_to_and_again_at_the_next() {
        let mut poll = Poll::new().expect("a poll");
        let mut alarm = Alarm::new(poll.registry(), TOKEN).expect("a timer");
        let mut events = Events::with_capacity(8);
        let begun = Instant::now();
        let [early, late] = [20, 40].map(|ms| begun + Duration::from_millis(ms));
        alarm.set(begun, begun + Duration::from_secs(3_600)).expect("set");
        alarm.set(begun, early).expect("set");
        // It wakes before that anyway.
        alarm.set(begun, late).expect("set");
        assert_eq!(alarm.set_to, Some(early));
        for due in [early, late] {
            poll.poll(&mut events, None).expect("woken");
            assert!(events.iter().all(|event| event.token() == TOKEN));
            let now = Instant::now();
            assert!(due <= now, "too early by {:?}", due - now);
            alarm.set(now, late.max(now)).expect("set");
        }
    }

    #[test]
    fn a_time_that_has_passed_wakes_at_once() {
        let mut poll = Poll::new().expect("a poll");
        let mut alarm = Alarm::new(poll.registry(), TOKEN).expect("a timer");
        let now = Instant::now();
        alarm.set(now, now).expect("set");
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, None).expect("woken");
        assert_eq!(events.iter().count(), 1);
    }
}
