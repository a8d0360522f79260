//! How busy this machine's processors are.

/// Measures between two calls.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    last: Option<Ticks>,
    /// Whether it was told that the system does not tell.
    warned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Cpu {
    /// Share of all processors' time since the last call; `None` at the first one, and where the
    /// system does not tell.
    pub(crate) fn busy(&mut self) -> Option<f32> {
        let stat = std::fs::read_to_string("/proc/stat").ok();
        self.since_last(stat.as_deref().and_then(parse))
    }

    fn since_last(&mut self, now: Option<Ticks>) -> Option<f32> {
        if now.is_none() && !self.warned {
            self.warned = true;
            tracing::warn!(
                "/proc/stat cannot be read: SCUs do not hear how busy the processors here are"
            );
        }
        let now = now?;
        let last = self.last.replace(now)?;
        let all = now.all.checked_sub(last.all).filter(|all| *all > 0)?;
        Some(now.busy.saturating_sub(last.busy) as f32 / all as f32)
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn parse(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).take(8).collect();
    let [user, nice, system, idle, iowait, ..] = ticks[..] else { return None };
    let all: u64 = ticks.iter().sum();
    // What has a low priority gives way to us.
    let _ = (user, system);
    Some(Ticks { busy: all - idle - iowait - nice, all })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tracing::{
        Event, Metadata, Subscriber,
        span::{Attributes, Id, Record},
        subscriber::with_default,
    };

    use super::*;

    #[test]
    fn shares_are_taken_between_two_looks() {
        let ticks = parse("cpu  100 50 30 800 10 5 5 0 0 0\ncpu0 1 2 3 4\n").expect("good");
        assert_eq!(ticks, Ticks { busy: 140, all: 1_000 });
        assert_eq!(parse("intr 1 2"), None);
        assert_eq!(parse("cpu  1 2"), None);
    }

    /// Counts what this thread says.
    struct Said(Arc<AtomicUsize>);

    impl Subscriber for Said {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_system_that_does_not_tell_is_told_of_once() {
        let said = Arc::<AtomicUsize>::default();
        let mut cpu = Cpu::default();
        let mut look = |now| {
            let share = with_default(Said(said.clone()), || cpu.since_last(now));
            (share, said.load(Ordering::Relaxed))
        };
        assert_eq!(look(Some(Ticks { busy: 0, all: 100 })), (None, 0));
        assert_eq!(look(None), (None, 1));
        assert_eq!(look(None), (None, 1));
        assert_eq!(look(Some(Ticks { busy: 50, all: 200 })), (Some(0.5), 1));
        assert_eq!(look(None), (None, 1));
    }
}
