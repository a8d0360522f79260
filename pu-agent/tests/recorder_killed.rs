//! The real agent, killed at moments that nothing chose while it records, or with its disk's power gone:
//! nothing that it acknowledged is lost, nothing else is left over, and the chain verifies.
//!
//! A few times in every run; by hand `TEST_TIMES=100` for kills, `TEST_TIMES=20` for losses of power.

mod recording;

use std::time::Duration;

use recording::{Unit, agent::Agent, files_below, until};
use sightline_model::UnixMicros;
use sightline_recording::statement::Head;
use sightline_recording_store::Level;
use sightline_testkit::{
    disk::{Disk, FileSystem},
    random, times,
};

/// No life is longer, in milliseconds: two segments.
const LONGEST_MS: u64 = 9_000;
const KILLS: u64 = 4;
const POWER_LOSSES: u64 = 2;

/// What is known of a unit's chain between two lives.
#[derive(Default)]
struct Known {
    segments: u64,
    head: Option<Head>,
}

impl Known {
    /// Looks at what a life has left, in which so many segments were acknowledged.
    async fn look(&mut self, unit: &Unit, told: u64, round: u64) {
        let (store, before) = (unit.open().await, self.segments);
        let subject = unit.subject();
        let found = store.verify(&subject, Level::Hash, self.head.clone()).await.expect("verified");
        let (segments, hashed) = match found {
            Some(found) => {
                assert!(found.report.is_sound(), "round {round}: {:?}", found.report.findings);
                (found.report.segments, found.report.files_hashed)
            }
            None => (0, 0),
        };
        assert!(segments >= before + told, "round {round}: {before} and {told}, but {segments}");
        assert_eq!(hashed, segments, "round {round}: not every segment's file is there");
        let files = files_below(&unit.dir().join("segments"));
        assert_eq!(files.len() as u64, segments, "round {round}: left over: {files:?}");
        self.segments = segments;
        self.head = store.head(&subject, UnixMicros(0)).await.expect("read");
        store.close().await;
    }
}

/// After everything it records as if nothing had been.
async fn goes_on(unit: &Unit, known: &mut Known, round: u64) {
    let agent = Agent::up(unit, &[]).await;
    until("a segment is acknowledged", async || agent.acknowledged().filter(|n| *n > 0)).await;
    agent.kill();
    known.look(unit, 1, round).await;
}

#[tokio::test]
async fn an_agent_that_is_killed_loses_nothing_that_it_acknowledged() {
    let (unit, kills) = (Unit::new(), times(KILLS));
    let (mut known, mut acknowledged) = (Known::default(), 0);
    for round in 0..kills {
        let life = Duration::from_millis(random(round, LONGEST_MS));
        let (agent, told) = Agent::live(&unit, life).await;
        agent.kill();
        known.look(&unit, told, round).await;
        acknowledged += told;
    }
    goes_on(&unit, &mut known, kills).await;
    println!(
        "{acknowledged} segments were acknowledged in {kills} lives; {} lie there",
        known.segments
    );
}

#[tokio::test]
async fn an_agent_whose_disk_loses_its_power_loses_nothing_that_it_acknowledged() {
    let Some(disk) = Disk::new(FileSystem::Xfs, 512) else { return };
    let (unit, losses) = (Unit::on(disk.folder("card")), times(POWER_LOSSES));
    let (mut known, mut acknowledged) = (Known::default(), 0);
    for round in 0..losses {
        let life = Duration::from_millis(random(round + 300, LONGEST_MS));
        let (agent, told) = Agent::live(&unit, life).await;
        disk.lose_power();
        agent.kill();
        disk.power_back();
        known.look(&unit, told, round).await;
        acknowledged += told;
    }
    goes_on(&unit, &mut known, losses).await;
    println!(
        "{acknowledged} segments were acknowledged in {losses} lives; {} lie there",
        known.segments
    );
}
