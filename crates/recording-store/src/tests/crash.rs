//! A crash at every step of writing and of expiry.

use sightline_recording::statement::{GapReason, Sequence};

use super::*;
use crate::Opened;

/// Writes, lets go and writes on, until a step breaks; what was acknowledged.
async fn live(store: &Store) -> Result<Vec<(Sequence, u64)>, (StoreError, Vec<(Sequence, u64)>)> {
    let mut acknowledged = Vec::new();
    let mut film = Film::new(BootId(1), film::START_US);
    let mut writer = match store.writer(&film::subject(0)).await {
        Ok(writer) => writer,
        Err(error) => return Err((error, acknowledged)),
    };
    for n in 0..6 {
        let shot = film.shoot();
        match write(&mut writer, &shot).await {
            Ok(done) => acknowledged.push((done.sequence, shot.draft.len)),
            Err(error) => {
                writer.end().await;
                return Err((error, acknowledged));
            }
        }
        if n == 2 {
            // What a process leaves that is killed with a segment open.
            let shot = film.shoot();
            let begun = writer.open_segment(shot.opening);
            let _ = begun.and_then(|()| writer.append(shot.parts.concat().into()));
            film.pause(1);
            writer.end().await;
            match store.writer(&film::subject(0)).await {
                Ok(again) => writer = again,
                Err(error) => return Err((error, acknowledged)),
            }
        }
    }
    writer.end().await;
    Ok(acknowledged)
}

/// Room for three segments.
fn tight() -> Limits {
    Limits { max_bytes: Some(36_000), ..limits() }
}

#[tokio::test]
async fn whatever_step_is_the_last_nothing_acknowledged_is_lost() {
    let (mut steps, mut expired, mut recovered) = (0, 0, 0);
    loop {
        let dir = tempfile::tempdir().expect("a folder");
        let plan = Steps::default();
        let (store, _) = open(dir.path(), tight(), plan.clone()).await;
        plan.plan.break_after(steps);
        let (Ok(acknowledged) | Err((_, acknowledged))) = live(&store).await;
        store.close().await;
        let broke = plan.plan.broke();

        let (store, report) = reopen(dir.path()).await;
        recovered += report.chains.iter().map(|(_, chain)| chain.ends.len()).sum::<usize>();
        check_sound(&store, dir.path()).await;
        let subject = film::subject(0);
        let newest = acknowledged.last().map(|(sequence, _)| *sequence);
        for (sequence, len) in &acknowledged {
            match store.segment(&subject, *sequence).await.expect("read") {
                Some(row) => assert_eq!(row.segment.len, *len),
                // The verifier has found a checkpoint that says so; the newest is never let go.
                None => {
                    assert_ne!(Some(*sequence), newest, "step {steps}: the newest is gone");
                    expired += 1;
                }
            }
        }
        // It goes on where it was.
        let mut writer = store.writer(&subject).await.expect("lent");
        let mut film = Film::new(BootId(1), film::START_US + 3_600_000_000);
        write(&mut writer, &film.shoot()).await.expect("acknowledged");
        writer.end().await;
        check_sound(&store, dir.path()).await;
        store.close().await;
        if !broke {
            break;
        }
        steps += 1;
    }
    assert!(steps > 40, "only {steps} steps were broken");
    assert!(expired > 0, "nothing ever expired");
    assert!(recovered > 0, "nothing was ever recovered");
}

#[tokio::test]
async fn what_a_kill_leaves_is_finished_as_far_as_it_went() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, mut film) = filmed(dir.path(), 2).await;
    writer.end().await;
    let subject = film::subject(0);
    let shot = film.shoot();
    let chain = store.inner.chain(&subject).expect("begun").id;
    store.close().await;
    // The third segment lacks the end of its last fragment; a fourth has not even a head.
    let layout = crate::layout::Layout::new(dir.path().into());
    let mut whole: Vec<u8> = shot.parts.concat();
    whole.extend_from_slice(&[0, 0, 0, 9, b'm', b'o', b'o']);
    std::fs::write(layout.part(chain, 2), &whole).expect("written");
    std::fs::write(layout.part(chain, 3), [0; 20]).expect("written");
    std::fs::write(layout.chain(chain).join("0000/notes.txt"), "mine").expect("written");
    std::fs::create_dir(layout.segments().join("holiday")).expect("made");

    let (store, report) = reopen(dir.path()).await;
    assert_eq!(report.unknown, 1);
    let [(of, repaired)] = &report.chains[..] else { panic!("{report:?}") };
    assert_eq!(*of, subject);
    assert_eq!(repaired.ends, [shot.draft.end()]);
    assert_eq!((repaired.removed, repaired.left_alone), (1, 1));
    let all = sightline_model::UnixMicros(0)..sightline_model::UnixMicros(i64::MAX);
    let rows = store.segments(&subject, all, None, 10).await.expect("read").rows;
    assert_eq!(rows.len(), 3);
    assert!(rows[2].segment.recovered && !rows[1].segment.recovered);
    // It continues the run, as it would have.
    assert_eq!(rows[2].segment.run, rows[0].segment.run);
    assert_eq!(rows[2].segment.content, shot.draft.content);
    assert!(layout.chain(chain).join("0000/notes.txt").exists());
    assert!(layout.segments().join("holiday").exists());
    store.close().await;
}

#[tokio::test]
async fn a_file_that_is_gone_is_told_and_kept_in_the_list() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _) = filmed(dir.path(), 3).await;
    writer.end().await;
    let subject = film::subject(0);
    let chain = store.inner.chain(&subject).expect("begun").id;
    let layout = crate::layout::Layout::new(dir.path().into());
    store.close().await;
    std::fs::remove_file(layout.file(chain, 1)).expect("removed");

    let (store, report) = reopen(dir.path()).await;
    assert_eq!(report.chains[0].1.damaged, 1);
    let all = sightline_model::UnixMicros(0)..sightline_model::UnixMicros(i64::MAX);
    let rows = store.segments(&subject, all, None, 10).await.expect("read").rows;
    assert_eq!(rows.iter().map(|row| row.damaged).collect::<Vec<_>>(), [false, true, false]);
    let opened = store.open_file(&subject, rows[1].sequence).await;
    assert!(matches!(opened, Ok(Opened::Damaged(_))), "{opened:?}");
    for level in [Level::Present, Level::Size, Level::Hash] {
        let verified = store.verify(&subject, level, None).await.expect("verified");
        assert_eq!(verified.expect("a chain").report.findings.len(), 1, "{level:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_file_that_is_lost_meanwhile_is_noted_by_whoever_opens_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _) = filmed(dir.path(), 4).await;
    let subject = film::subject(0);
    let chain = store.inner.chain(&subject).expect("begun").id;
    let layout = crate::layout::Layout::new(dir.path().into());
    std::fs::remove_file(layout.file(chain, 1)).expect("removed");
    std::fs::write(layout.file(chain, 2), [0; 6_000]).expect("written");
    let expected = [false, true, true, false];
    for (n, is_lost) in (1..).zip(expected) {
        match store.open_file(&subject, Sequence(n)).await.expect("read") {
            Opened::File(opened) => assert!(!is_lost && opened.row.sequence.0 == n),
            Opened::Damaged(row) => assert!(is_lost && row.sequence.0 == n && row.damaged),
            Opened::Expired => panic!("{n} has not expired"),
        }
    }
    let all = sightline_model::UnixMicros(0)..sightline_model::UnixMicros(i64::MAX);
    let rows = store.segments(&subject, all, None, 10).await.expect("read").rows;
    assert_eq!(rows.iter().map(|row| row.damaged).collect::<Vec<_>>(), expected);
    assert_eq!(store.health().borrow().state, crate::State::Ok, "the storage itself is well");
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_its_hash_and_a_cut_file_by_its_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _) = filmed(dir.path(), 3).await;
    let subject = film::subject(0);
    let chain = store.inner.chain(&subject).expect("begun").id;
    let layout = crate::layout::Layout::new(dir.path().into());
    let mut bytes = std::fs::read(layout.file(chain, 0)).expect("read");
    bytes[5_000] ^= 1;
    std::fs::write(layout.file(chain, 0), &bytes).expect("written");
    std::fs::write(layout.file(chain, 2), &bytes[..6_000]).expect("written");
    let mut found = Vec::new();
    for level in [Level::Present, Level::Size, Level::Hash] {
        let verified = store.verify(&subject, level, None).await.expect("verified");
        let report = verified.expect("a chain").report;
        found.push(report.findings.iter().map(|f| f.first.0).collect::<Vec<_>>());
    }
    assert_eq!(found, [vec![], vec![3], vec![1, 3]]);
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn a_start_is_a_gap_and_a_run_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _) = filmed(dir.path(), 2).await;
    writer.end().await;
    store.close().await;
    let (store, report) = reopen(dir.path()).await;
    assert_eq!(report, RepairReport::default());
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    assert!(matches!(store.writer(&subject).await, Err(StoreError::Misuse(_))));
    let setup = Setup { dir: dir.path().into(), limits: limits(), key: film::key() };
    assert!(matches!(Store::open(setup).await, Err(StoreError::InUse)));
    let mut film = Film::new(BootId(1), film::START_US + 60_000_000);
    let done = write(&mut writer, &film.shoot()).await.expect("acknowledged");
    let all = sightline_model::UnixMicros(0)..sightline_model::UnixMicros(i64::MAX);
    let gaps = store.gaps(&subject, all, None, 10).await.expect("read").rows;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].gap.reason, GapReason::RecorderOff);
    assert_eq!(gaps[0].from().0, film::START_US + 2_000_000);
    assert_eq!(gaps[0].to.map(|to| to.0), Some(film::START_US + 60_000_000));
    assert_eq!(done.run.map(|run| run.0), Some(done.sequence.0));
    writer.end().await;
    store.close().await;
}
