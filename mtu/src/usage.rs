//! What is reported to the CMU for accounting (Dm): what each allocation has carried.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use mtu_turn::Usage;
use sightline_bus::Bus;
use sightline_model::{DomainName, MtuId, UnixMicros};
use sightline_protocol::{
    ProblemKind, decode, encode,
    sd::{MAX_USAGE_ENTRIES, MtuUsage, UsageEntry, UsageReply},
    subject,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::server::Relay;

/// How often running allocations are reported.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How soon a report is repeated that nobody has stored; also how long ended allocations wait for
/// others to go along with.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a CMU may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Ended allocations that wait for a CMU: the oldest go first when there are more.
const MAX_WAITING: usize = 100_000;

/// Tells the CMU until the relay has ended.
pub(crate) struct Reporter {
    pub(crate) relay: Arc<Relay>,
    pub(crate) bus: Bus,
    pub(crate) domain: DomainName,
    pub(crate) mtu: MtuId,
    /// Random for each start: allocations are numbered anew.
    pub(crate) run: String,
}

/// What was told of a running allocation.
#[derive(Debug, Clone, Copy)]
struct Reported {
    packets: u64,
    to: UnixMicros,
    /// Not seen by the last report: its end is on its way here.
    gone: bool,
}

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stored,
    /// Nobody took it; later, somebody may.
    Again,
    /// It will never be taken.
    Useless,
}

impl Reporter {
    /// `ended` closes once the workers have ended.
    pub(crate) async fn run(self, mut ended: mpsc::Receiver<Usage>, token: CancellationToken) {
        let mut waiting = VecDeque::new();
        let mut reported = HashMap::new();
        let mut report = tokio::time::interval(REPORT_EVERY);
        report.reset();
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                usage = ended.recv() => match usage {
                    Some(usage) => {
                        let last = reported.remove(&usage.allocation);
                        wait(&mut waiting, entry(&usage, true, SystemTime::now().into(), last));
                    }
                    None => break,
                },
                _ = report.tick(), if !token.is_cancelled() => {
                    self.report_running(&mut reported).await;
                }
                _ = again.tick() => self.flush(&mut waiting).await,
            }
        }
        self.flush(&mut waiting).await;
        if !waiting.is_empty() {
            tracing::warn!(allocations = waiting.len(), "ended without being accounted for");
        }
    }

    /// Those that have carried anything since the last time. Not repeated: the next report says
    /// it all.
    async fn report_running(&self, reported: &mut HashMap<u64, Reported>) {
        let now = SystemTime::now().into();
        let running = self.relay.usage().await;
        let last = |usage: &Usage| reported.get(&usage.allocation).copied();
        let told = |usage: &Usage| last(usage).map_or(0, |last| last.packets);
        let changed = running.iter().filter(|usage| usage.packets > told(usage));
        let entries: Vec<_> = changed.map(|usage| entry(usage, false, now, last(usage))).collect();
        for entries in entries.chunks(MAX_USAGE_ENTRIES) {
            let stored = self.send(entries.to_vec()).await == Outcome::Stored;
            for entry in entries {
                // It may have been stored although nobody said so: the time counts anyway.
                let packets = if stored { entry.packets } else { 0 };
                reported.insert(entry.allocation, Reported { packets, to: entry.to, gone: false });
            }
            if !stored {
                break;
            }
        }
        let running: HashSet<_> = running.iter().map(|usage| usage.allocation).collect();
        // One that has just ended is still to be accounted for, from where it was left.
        reported.retain(|allocation, last| {
            let was_gone = std::mem::replace(&mut last.gone, !running.contains(allocation));
            !(was_gone && last.gone)
        });
    }

    async fn flush(&self, waiting: &mut VecDeque<UsageEntry>) {
        while !waiting.is_empty() {
            let count = waiting.len().min(MAX_USAGE_ENTRIES);
            let entries = waiting.iter().take(count).cloned().collect();
            match self.send(entries).await {
                Outcome::Again => return,
                Outcome::Stored => {}
                Outcome::Useless => lost(count),
            }
            waiting.drain(..count);
        }
    }

    async fn send(&self, entries: Vec<UsageEntry>) -> Outcome {
        let usage = MtuUsage { mtu: self.mtu.clone(), run: self.run.clone(), entries };
        let subject = subject::mtu_usage(&self.domain);
        let reply = self.bus.request(&subject, encode(&usage, None).into(), PATIENCE).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, "no CMU takes the usage report");
                return Outcome::Again;
            }
        };
        match decode::<UsageReply>(&reply).map(|envelope| envelope.body) {
            Ok(UsageReply::Stored) => Outcome::Stored,
            Ok(UsageReply::Refused { problem }) => {
                tracing::warn!(?problem, "the CMU refuses the usage report");
                if problem.kind == ProblemKind::Internal {
                    Outcome::Again
                } else {
                    Outcome::Useless
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the CMU's answer to the usage report is unreadable");
                Outcome::Again
            }
        }
    }
}

fn wait(waiting: &mut VecDeque<UsageEntry>, entry: UsageEntry) {
    if waiting.len() >= MAX_WAITING {
        waiting.pop_front();
        lost(1);
    }
    waiting.push_back(entry);
}

fn lost(count: usize) {
    metrics::counter!("sightline_mtu_usage_lost_total").increment(count as u64);
}

/// `now` by the wall clock, which may have been set back since the last report: the CMU takes no
/// report that ends before another one of the same allocation.
fn entry(usage: &Usage, ended: bool, now: UnixMicros, last: Option<Reported>) -> UsageEntry {
    let to = last.map_or(now, |last| now.max(last.to));
    let lasted = i64::try_from(usage.lasted.as_micros()).unwrap_or(i64::MAX);
    UsageEntry {
        allocation: usage.allocation,
        user: usage.user.to_string(),
        bytes_to_peers: usage.bytes_to_peers,
        bytes_from_peers: usage.bytes_to_client,
        packets: usage.packets,
        from: UnixMicros(to.0.saturating_sub(lasted)),
        to,
        allocated_s: u32::try_from(usage.lasted.as_secs()).unwrap_or(u32::MAX),
        ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_takes_no_report_with_it() {
        let usage = Usage {
            allocation: 1,
            user: "call".into(),
            transport: mtu_turn::Transport::Udp,
            lasted: Duration::from_secs(90),
            bytes_to_peers: 1,
            bytes_to_client: 2,
            packets: 3,
        };
        let noon = UnixMicros(1_800_000_000_000_000);
        let hour = Duration::from_secs(3_600);
        let first = entry(&usage, false, noon.plus(hour), None);
        let last = Some(Reported { packets: 3, to: first.to, gone: false });
        let ended = entry(&usage, true, noon, last);
        assert_eq!((ended.to, ended.allocated_s), (noon.plus(hour), 90));
        assert_eq!(ended.to.since(ended.from), usage.lasted);
        let later = entry(&usage, true, noon.plus(2 * hour), last);
        assert_eq!(later.to, noon.plus(2 * hour));
    }
}
