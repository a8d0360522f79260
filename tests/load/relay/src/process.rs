//! What another process has paid in processor time.

use std::{fs, time::Duration};

use anyhow::Context;

/// Processor time of all threads of a process, user and system, as the scheduler counts it: to the
/// nanosecond, where `/proc/PID/stat` has ticks of 10 ms.
///
/// # Errors
/// There is no such process, or this kernel does not say.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut total = Duration::ZERO;
    for task in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let text = fs::read_to_string(task?.path().join("schedstat")).context("schedstat")?;
        let ns = text.split_whitespace().next().context("schedstat")?.parse()?;
        total += Duration::from_nanos(ns);
    }
    Ok(total)
}
