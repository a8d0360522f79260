//! How busy this machine's processors are.

/// Measures between two calls.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    last: Option<Ticks>,
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
        let now = parse(&std::fs::read_to_string("/proc/stat").ok()?)?;
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
    use super::*;

    #[test]
    fn shares_are_taken_between_two_looks() {
        let ticks = parse("cpu  100 50 30 800 10 5 5 0 0 0\ncpu0 1 2 3 4\n").expect("good");
        assert_eq!(ticks, Ticks { busy: 140, all: 1_000 });
        assert_eq!(parse("intr 1 2"), None);
        assert_eq!(parse("cpu  1 2"), None);
    }
}
