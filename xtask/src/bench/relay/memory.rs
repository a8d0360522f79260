//! What allocations that do nothing cost in memory.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{
    cell,
    server::{Bed, Server},
};
use crate::run::{command, output};

/// Until a server is at rest.
const SETTLE: Duration = Duration::from_secs(2);

/// In bytes, of all processes together.
pub struct Memory {
    /// How many it took.
    pub processes: u32,
    /// Resident, with no allocation.
    pub before: u64,
    /// Resident, with all of them.
    pub after: u64,
    /// What the kernel took meanwhile for its own structures, on the whole machine: sockets.
    pub kernel: u64,
    /// How long it took to make them.
    pub took: Duration,
}

/// With relays on four addresses.
pub fn measure(bed: &Bed, server: &Server, count: u32) -> Option<Memory> {
    if server.is_limit() {
        return None;
    }
    let result = try_measure(bed, server, count);
    match &result {
        Ok(memory) => eprintln!(
            "{:>10} {count} idle allocations: {:.1} MB before, {:.1} MB after, {:.1} MB of the kernel, \
             {:.1} s",
            server.name,
            memory.before as f64 / 1e6,
            memory.after as f64 / 1e6,
            memory.kernel as f64 / 1e6,
            memory.took.as_secs_f64(),
        ),
        Err(error) => eprintln!("{:>10} {count} idle allocations: {error:#}", server.name),
    }
    result.ok()
}

fn try_measure(bed: &Bed, server: &Server, count: u32) -> anyhow::Result<Memory> {
    let processes = processes(count)?;
    let running: Vec<_> =
        (0..processes).map(|_| server.start(bed, 4, true)).collect::<anyhow::Result<_>>()?;
    let resident = || running.iter().map(|one| one.process.resident()).sum::<anyhow::Result<u64>>();
    thread::sleep(SETTLE);
    let (before, slab) = (resident()?, slab()?);
    let begin = Instant::now();
    let mut idle = vec![];
    for (number, running) in (0..).zip(&running) {
        let share = count / processes + u32::from(number < count % processes);
        idle.push(cell::idle(bed, running, share)?);
    }
    let took = begin.elapsed();
    thread::sleep(SETTLE);
    let kernel = self::slab()?.saturating_sub(slab);
    Ok(Memory { processes, before, after: resident()?, kernel, took })
}

/// How many processes it takes, since an allocation is an open file and this user may not open as
/// many as it likes in one.
fn processes(count: u32) -> anyhow::Result<u32> {
    let words = "ulimit -n 1048576 2>/dev/null; ulimit -Hn";
    let limit = output(command("sh").args(["-c", words]))?;
    let limit = limit.trim().parse::<u32>().unwrap_or(u32::MAX);
    Ok(count.div_ceil(limit / 100 * 85).max(1))
}

/// Bytes of the kernel's own structures.
fn slab() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("Slab:")).context("no Slab")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("Slab")?.parse()?;
    Ok(kilobytes * 1024)
}
