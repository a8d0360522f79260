//! Sessions that come and go: what stays behind in the agent.

use std::{thread, time::Duration};

use anyhow::bail;

use super::{
    bed::{Bed, Unit},
    process::Process,
};

/// Sessions at a time.
const TOGETHER: u32 = 20;
/// After so many, memory is read for the first time.
pub const FIRST: u32 = 60;
/// How long a batch may take.
const BATCH: Duration = Duration::from_secs(60);
/// Until the agent has noticed that its viewers are gone.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Resident memory of the agent in bytes.
pub struct Churn {
    pub sessions: u32,
    pub after_first: u64,
    pub after_all: u64,
}

/// Starts `total` WebRTC sessions, each with DTLS and a second of media.
pub fn run(bed: &Bed, agent: &Unit, total: u32) -> anyhow::Result<Churn> {
    let mut after_first = None;
    let mut sessions = 0;
    while sessions < total {
        batch(bed)?;
        sessions += TOGETHER;
        if sessions >= FIRST && after_first.is_none() {
            thread::sleep(AFTERWARDS);
            after_first = Some(agent.process.resident()?);
        }
    }
    thread::sleep(AFTERWARDS);
    let after_all = agent.process.resident()?;
    Ok(Churn { sessions, after_first: after_first.unwrap_or(after_all), after_all })
}

fn batch(bed: &Bed) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for _ in 0..TOGETHER {
        let mut cu = bed.ours("cu");
        cu.args(["--json", "play", "1", "--via", "webrtc", "--seconds", "1"]);
        all.push(Process::start(&mut cu)?);
    }
    for mut cu in all {
        let status = cu.wait(BATCH)?;
        if !status.success() {
            bail!("a session ended with {status}");
        }
    }
    Ok(())
}
