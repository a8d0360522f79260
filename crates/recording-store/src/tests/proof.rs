//! What is handed out proves itself.

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{Expected, FileState, Proof, Report},
    statement::Sequence,
};

use super::*;
use crate::{ProvenSpan, expiry::ChainKeep, file_name, files::digest};

const fn at(seconds: i64) -> UnixMicros {
    UnixMicros(film::START_US + seconds * 1_000_000)
}

async fn prove(store: &Store, from: i64, to: i64) -> Option<ProvenSpan> {
    store.prove(&film::subject(0), at(from)..at(to), 1_000).await.expect("read")
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
        let (content, len) = digest(&mut opened.expect("there").file).expect("read");
        verifier.file(sequence, &segment, FileState::Hashed { len, content });
    }
    verifier.finish()
}

fn numbers(proven: &ProvenSpan) -> Vec<Sequence> {
    proven.segments.iter().map(|row| row.sequence).collect()
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
    let too_many = store.prove(&film::subject(0), at(0)..at(10), 5).await;
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
    assert!(numbers(&proven).len() < 10);
    let report = verify(&store, &proven).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(!report.absences.is_empty(), "what has expired is told");
    writer.end().await;
    store.close().await;
}
