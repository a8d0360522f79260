//! What is reported to the CMU for accounting (Dm): what each allocation has carried.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use mtu_turn::Usage;
use sightline_bus::Bus;
use sightline_model::{DomainName, MtuId};
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
        // Packets of each running allocation when it was reported last.
        let mut reported = HashMap::new();
        let mut report = tokio::time::interval(REPORT_EVERY);
        report.reset();
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                usage = ended.recv() => match usage {
                    Some(usage) => {
                        reported.remove(&usage.allocation);
                        wait(&mut waiting, entry(&usage, true, SystemTime::now()));
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
    async fn report_running(&self, reported: &mut HashMap<u64, u64>) {
        let now = SystemTime::now();
        let running = self.relay.usage().await;
        let changed = running
            .iter()
            .filter(|usage| usage.packets > reported.get(&usage.allocation).copied().unwrap_or(0));
        let entries: Vec<_> = changed.map(|usage| entry(usage, false, now)).collect();
        for entries in entries.chunks(MAX_USAGE_ENTRIES) {
            if self.send(entries.to_vec()).await != Outcome::Stored {
                return;
            }
        }
        *reported = running.into_iter().map(|usage| (usage.allocation, usage.packets)).collect();
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

fn entry(usage: &Usage, ended: bool, now: SystemTime) -> UsageEntry {
    let from = now.checked_sub(usage.lasted).unwrap_or(SystemTime::UNIX_EPOCH);
    UsageEntry {
        allocation: usage.allocation,
        user: usage.user.to_string(),
        bytes_to_peers: usage.bytes_to_peers,
        bytes_from_peers: usage.bytes_to_client,
        packets: usage.packets,
        from: from.into(),
        to: now.into(),
        allocated_s: u32::try_from(usage.lasted.as_secs()).unwrap_or(u32::MAX),
        ended,
    }
}
