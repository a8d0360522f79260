//! What is handed out proves itself.

use std::ops::Range;

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{Expected, FileState, Proof, Report},
    statement::{Authority, ClockStep, Sequence},
};

use super::*;
use crate::{ProvenSpan, Wanted, expiry::ChainKeep, file_name, files::digest};

const fn at(seconds: i64) -> UnixMicros {
    UnixMicros(film::START_US + seconds * 1_000_000)
}

/// Whatever overlaps a span.
const fn of(span: Range<UnixMicros>) -> Wanted {
    Wanted { span, within: UnixMicros(i64::MIN)..UnixMicros(i64::MAX) }
}

/// What has a proof of one stretch.
async fn prove(store: &Store, from: i64, to: i64) -> Option<ProvenSpan> {
    let wanted = [of(at(from)..at(to))];
    let mut proven = store.prove(&film::subject(0), &wanted, 1_000).await.expect("read");
    assert!(proven.len() <= 1, "{proven:?}");
    proven.pop()
}

/// As whoever got the proof and the files checks them.
async fn verify(store: &Store, proven: &ProvenSpan) -> Report {
    let subject = film::subject(0);
    let json = Proof::new(vec![proven.proof.clone()]).to_json().expect("a proof");
    let chain = Proof::parse(&json).expect("a proof").chains.remove(0);
    let mut verifier = chain.verifier(Expected::of(subject.recorder.clone()));
    for entry in &chain.entries {
        let Some((sequence, segment)) = verifier.push(&entry.entry()) else { continue };
        assert_eq!(entry.file, Some(file_name(sequence)));
        let opened = store.open_file(&subject, sequence).await.expect("read");
        let (content, len) = digest(&mut opened.file().expect("there").file).expect("read");
        verifier.file(sequence, &segment, FileState::Hashed { len, content });
    }
    verifier.finish()
}

#[tokio::test]
async fn a_span_is_proven_by_its_entries_and_the_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _film) = filmed(dir.path(), 10).await;
    let proven = prove(&store, 2, 6).await.expect("recorded");
    assert_eq!(proven.segments.len(), 4);
    let report = verify(&store, &proven).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.segments, report.files_hashed), (4, 4));
    assert!(prove(&store, 100, 200).await.is_none());
    // Without one of its entries it proves that something is missing.
    let mut cut = proven.clone();
    cut.proof.entries.remove(1);
    assert!(!verify(&store, &cut).await.is_sound());
    let too_many = store.prove(&film::subject(0), &[of(at(0)..at(10))], 5).await;
    assert!(matches!(too_many, Err(StoreError::Misuse(_))));
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn what_had_to_go_within_the_span_is_explained_by_the_newest_checkpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _film) = filmed(dir.path(), 10).await;
    let subject = film::subject(0);
    // One in the middle is kept, all the others but the newest go.
    store.lock(&subject, at(4)..at(5), true).await.expect("locked");
    let used = store.used_bytes();
    let keep = ChainKeep { max_bytes: Some(used / 4), ..ChainKeep::default() };
    store.set_keep(&subject, keep);
    store.expire_for_space().await.expect("made room");
    let proven = prove(&store, 0, 10).await.expect("recorded");
    assert!(proven.segments.len() < 10);
    let report = verify(&store, &proven).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(!report.absences.is_empty(), "what has expired is told");
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn recordings_of_the_same_seconds_are_proven_without_what_lies_between_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, mut writer, _film) = filmed(dir.path(), 10).await;
    // Then the clock is set on, and back again.
    for (boot, from, count) in [(2, 1_000, 50), (3, 0, 10)] {
        let mut film = Film::new(BootId(boot), at(from).0);
        for _ in 0..count {
            write(&mut writer, &film.shoot()).await.expect("acknowledged");
        }
    }
    let (subject, wanted) = (film::subject(0), of(at(2)..at(6)));
    let proven = store.prove(&subject, std::slice::from_ref(&wanted), 8).await.expect("read");
    assert_eq!(proven.len(), 2);
    for one in &proven {
        assert_eq!((one.segments.len(), one.proof.entries.len()), (4, 4));
        let report = verify(&store, one).await;
        assert!(report.is_sound(), "{:?}", report.findings);
    }
    // What may be asked for is counted over all parts.
    let parts = [wanted, of(at(1_000)..at(1_001))];
    let too_many = store.prove(&subject, &parts, 8).await;
    assert!(matches!(too_many, Err(StoreError::Misuse(_))), "{too_many:?}");
    assert_eq!(store.prove(&subject, &parts, 9).await.expect("read").len(), 3);
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn segments_across_the_bounds_of_what_may_be_seen_are_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, writer, _film) = filmed(dir.path(), 10).await;
    let within = UnixMicros(at(2).0 + 1)..UnixMicros(at(7).0 - 1);
    let wanted = [Wanted { span: at(0)..at(10), within }];
    let proven = store.prove(&film::subject(0), &wanted, 1_000).await.expect("read");
    let found: Vec<_> = proven.iter().flat_map(|one| &one.segments).collect();
    assert_eq!(found, [&Sequence(4), &Sequence(5), &Sequence(6)]);
    assert_eq!(proven[0].proof.entries.len(), 3);
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn of_later_steps_those_are_told_that_correct_the_times() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = reopen(dir.path()).await;
    let mut writer = store.writer(&film::subject(0)).await.expect("lent");
    let mut wrong = Film::new(BootId(2), 5_000_000).vouched_for_by(Authority::Unconfirmed);
    write(&mut writer, &wrong.shoot()).await.expect("acknowledged");
    let step = ClockStep {
        boot: BootId(2),
        monotonic_us: 100_000_000,
        from: UnixMicros(105_000_000),
        to: at(1_000),
        from_authority: Authority::Unconfirmed,
        to_authority: Authority::Centre,
    };
    let of_another = ClockStep { boot: BootId(3), ..step };
    let of_a_right_one = ClockStep { from_authority: Authority::Centre, ..step };
    for step in [of_another, step, of_a_right_one] {
        writer.clock_step(step).expect("queued").wait().await.expect("acknowledged");
    }
    let proven = prove(&store, 890, 910).await.expect("recorded");
    assert_eq!(proven.proof.context.len(), 2, "the beginning, and the step of its clock");
    let report = verify(&store, &proven).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.span.from.map(|moment| moment.at), Some(at(900)));
    writer.end().await;
    store.close().await;
}
