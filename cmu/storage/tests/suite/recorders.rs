//! What recorders report of their storage and their chains (decision 0091).

use cmu_storage::{Database, MAX_CHAINS, Reported};
use sightline_model::{
    CameraId, ChannelId, PuId, RecordingPlace, RecordingSource, ReportedHead, StorageState,
    StorageStatus, StreamTier,
};
use sightline_protocol::ps::RecorderReport;

use super::{T0, at, register, registration};

fn head(pu: &PuId, chain: usize, sequence: u64) -> ReportedHead {
    let (recorder, place, tier) = (pu.clone(), RecordingPlace::Pu, StreamTier::Main);
    ReportedHead {
        camera: CameraId { pu: pu.clone(), channel: ChannelId(0) },
        source: RecordingSource { place, recorder, tier },
        chain: format!("{chain:032x}"),
        sequence,
        hash: format!("{sequence:064x}"),
        at: T0,
    }
}

/// A device, and the epoch of its lease.
struct Recorder<'a> {
    db: &'a Database,
    pu: PuId,
    epoch: u64,
}

impl Recorder<'_> {
    async fn report(&self, state: StorageState, heads: &[ReportedHead]) -> Reported {
        let storage = StorageStatus {
            state,
            capacity_bytes: None,
            recorded_bytes: 0,
            locked_bytes: 0,
            oldest: None,
        };
        let (recorder, heads) = (self.pu.clone(), heads.to_vec());
        let report = RecorderReport { recorder, storage, heads };
        let kept = self.db.devices().set_recorder(&self.pu, self.epoch, &report).await;
        kept.expect("stored").expect("the lease is the last one")
    }

    async fn kept(&self) -> (StorageState, Vec<ReportedHead>) {
        let kept = self.db.devices().recorder(&self.pu).await.expect("read").expect("is there");
        (kept.storage.state, kept.heads)
    }
}

async fn recorder(db: &Database) -> Recorder<'_> {
    let r = registration(8);
    let epoch = register(db, &r, "scu-1", 5_000).await.expect("registered");
    Recorder { db, pu: r.pu, epoch }
}

pub async fn recorder_reports(db: &Database, other: &Database) {
    let recorder = recorder(db).await;
    let head = |chain, sequence| head(&recorder.pu, chain, sequence);
    let (a, b) = (head(1, 5), head(2, 9));
    let first = recorder.report(StorageState::Ok, &[a.clone(), b.clone()]).await;
    assert_eq!(first, Reported { before: None, receded: Vec::new(), surplus: 0 });

    // The storage is pulled out: what it held was told all the same.
    let away = recorder.report(StorageState::Away, &[]).await;
    assert_eq!((away.before, away.receded), (Some(StorageState::Ok), Vec::new()));
    assert_eq!(recorder.kept().await, (StorageState::Away, vec![a.clone(), b]));

    // One chain has been cut off; the other has grown.
    let (cut, grown) = (head(1, 4), head(2, 10));
    let found = recorder.report(StorageState::Ok, &[cut.clone(), grown.clone()]).await;
    assert_eq!((found.before, found.receded), (Some(StorageState::Away), vec![cut]));
    // Cut off, and recorded anew up to the same number.
    let other_hash = ReportedHead { hash: "f".repeat(64), ..a.clone() };
    let found = recorder.report(StorageState::Ok, std::slice::from_ref(&other_hash)).await;
    assert_eq!(found.receded, [other_hash]);
    assert_eq!(recorder.kept().await.1, [a.clone(), grown.clone()]);
    // Nothing was recorded meanwhile.
    let later = ReportedHead { at: at(99), ..a };
    let found = recorder.report(StorageState::Ok, std::slice::from_ref(&later)).await;
    assert!(found.receded.is_empty(), "{found:?}");
    assert_eq!(recorder.kept().await.1, [later.clone(), grown.clone()]);

    // Two at once, through two CMUs.
    let (c, d) = ([head(3, 0)], [head(4, 0)]);
    let state = StorageState::Ok;
    tokio::join!(recorder.report(state, &c), recorder.report(state, &d));
    let (_, mut kept) = recorder.kept().await;
    kept.sort_by(|one, two| one.chain.cmp(&two.chain));
    assert_eq!(kept, [&[later, grown][..], &c, &d].concat());

    // Chains without end push out none.
    let many: Vec<_> = (5..=MAX_CHAINS + 3).map(|chain| head(chain, 1)).collect();
    assert_eq!(recorder.report(state, &many).await.surplus, 3);
    let longer = head(2, 11);
    recorder.report(state, std::slice::from_ref(&longer)).await;
    let (_, kept) = recorder.kept().await;
    assert_eq!(kept.len(), MAX_CHAINS);
    assert!(kept.contains(&longer), "a known chain goes on");
    assert_eq!(other.devices().recorder(&recorder.pu).await.expect("read"), None);
}

/// Another version of the CMU may have left what this one does not know.
pub async fn unreadable_report(db: &Database, raw: &sqlx::SqlitePool) {
    let recorder = recorder(db).await;
    let head = head(&recorder.pu, 1, 5);
    recorder.report(StorageState::Full, std::slice::from_ref(&head)).await;
    let spoilt = sqlx::query("UPDATE device SET recorder = '{\"recorder\":1}'").execute(raw).await;
    assert_eq!(spoilt.expect("written").rows_affected(), 1);
    assert!(db.devices().recorder(&recorder.pu).await.is_err());
    let found = recorder.report(StorageState::Ok, std::slice::from_ref(&head)).await;
    assert_eq!(found.before, None);
    assert_eq!(recorder.kept().await, (StorageState::Ok, vec![head]));
}
