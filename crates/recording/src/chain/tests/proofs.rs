//! The file beside an export.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// An export of the rows from `first` to `last`: their files in a row, behind something of its own, and the
/// proof that puts each together again. The first 8 bytes of each file are heads of boxes.
fn export(recorder: &Recorder, first: usize, last: usize) -> (Vec<u8>, Proof) {
    let mut file = b"moov of its own".to_vec();
    let mut entries = Vec::new();
    for row in &recorder.rows[first..=last] {
        let mut entry = ProvenEntry::new(row.entry.clone());
        if let Some(bytes) = &row.file {
            entry.pieces = vec![
                Piece::Bytes { bytes: bytes[..8].to_vec() },
                Piece::Export { at: file.len() as u64, len: bytes.len() as u64 - 8 },
            ];
            file.extend(&bytes[8..]);
        }
        entries.push(entry);
    }
    let outside = |(at, row): &(usize, &Row)| {
        let explains = matches!(row.kind, Kind::Step | Kind::Checkpoint) && *at > last;
        row.kind == Kind::Begin || explains
    };
    let context = recorder.rows.iter().enumerate().filter(outside);
    let context = context.map(|(_, row)| ProvenEntry::new(row.entry.clone())).collect();
    let recorder_key = recorder.key.public_key();
    (file, Proof::new(vec![ChainProof { recorder_key, context, entries }]))
}

fn check(recorder: &Recorder, file: &[u8], proof: &Proof) -> Report {
    let expected = Expected { head: None, ..recorder.expected() };
    let chain = &proof.chains[0];
    let mut verifier = chain.verifier(expected);
    for entry in &chain.entries {
        let Some((sequence, segment)) = verifier.push(&entry.entry()) else { continue };
        let mut rebuilt = Vec::new();
        let read = |at: u64, len: u64, out: &mut dyn FnMut(&[u8])| -> Result<(), Infallible> {
            let begin = usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
            let end = begin.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
            file[begin..end.min(file.len())].chunks(7).for_each(&mut *out);
            Ok(())
        };
        let Ok(state) =
            rebuild(&segment, &entry.pieces, read, |bytes| rebuilt.extend_from_slice(bytes));
        if let FileState::Hashed { len, content } = state {
            assert_eq!((len, content), (rebuilt.len() as u64, digest(&rebuilt)));
        }
        verifier.file(sequence, &segment, state);
    }
    verifier.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_export_of_any_span_is_proven_and_one_flipped_bit_is_named(
        events in events(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let recorder = Recorder::new(1, 0, 1).live(&events);
        let (from, to) = (from.index(recorder.rows.len()), to.index(recorder.rows.len()));
        let (first, last) = (from.min(to), from.max(to));
        let (mut file, proof) = export(&recorder, first, last);
        let proof = Proof::parse(&proof.to_json().expect("it is valid")).expect("our own");
        let report = check(&recorder, &file, &proof);
        prop_assert!(report.is_sound(), "{:#?}", report.findings);
        prop_assert_eq!(report.subject.as_ref(), Some(recorder.writer.subject()));
        let own = b"moov of its own".len() as u64;
        let media = [(own, file.len() as u64 - own)];
        prop_assert_eq!(unproven(media, proof.stretches()), []);
        if media[0].1 > 0 {
            let at = b"moov of its own".len() + at.index(file.len() - b"moov of its own".len());
            file[at] ^= 1 << bit;
            let report = check(&recorder, &file, &proof);
            prop_assert_eq!(report.findings.len(), 1);
            prop_assert_eq!(&report.findings[0].problem, &Problem::FileAltered);
            let hit = |row: &&Row| row.sequence == report.findings[0].first;
            let row = recorder.rows.iter().find(hit).expect("a segment");
            let span = report.findings[0].span;
            let time = span.from.zip(span.to).map(|(from, to)| (from.at.0, to.at.0));
            prop_assert_eq!(time, recorder.true_time(row, &recorder.rows));
        }
    }
}

fn recorded(n: usize) -> Recorder {
    Recorder::new(1, 0, 1).live(&vec![Event::Segment { locked: false }; n])
}

#[test]
fn a_second_that_is_left_out_of_an_export_is_named() {
    let recorder = recorded(6);
    let (file, mut proof) = export(&recorder, 1, 6);
    proof.chains[0].entries.remove(2);
    let report = check(&recorder, &file, &proof);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].problem, Problem::Missing);
    assert_eq!(report.findings[0].first, Sequence(3));
    let span = report.findings[0].span;
    assert_eq!(span.from.expect("a neighbour").sequence, Sequence(2));
    assert_eq!(span.to.expect("a neighbour").sequence, Sequence(4));
    // Its bytes are still in the export, and nothing proves them.
    assert_eq!(unproven([(15, file.len() as u64 - 15)], proof.stretches()).len(), 1);
}

#[test]
fn an_export_without_its_beginning_says_not_whose_it_is() {
    let recorder = recorded(3);
    let (file, mut proof) = export(&recorder, 2, 3);
    proof.chains[0].context.clear();
    let report = check(&recorder, &file, &proof);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(
        (&report.findings[0].problem, report.findings[0].first),
        (&Problem::Missing, Sequence(0))
    );
    assert_eq!(report.subject, None);
    let (_, other) = export(&Recorder::new(1, 9, 200), 0, 0);
    proof.chains[0].context = other.chains[0].entries.clone();
    let report = check(&recorder, &file, &proof);
    assert!(matches!(report.findings[0].problem, Problem::Spoilt { how: Spoilt::OtherChain, .. }));
}

#[test]
fn pieces_that_do_not_make_the_segment_are_not_even_read() {
    let recorder = recorded(1);
    let (_, proof) = export(&recorder, 1, 1);
    let mut verifier = proof.chains[0].verifier(recorder.expected());
    let (_, segment) = verifier.push(&recorder.rows[1].entry).expect("a segment");
    let read = |_, _, _: &mut dyn FnMut(&[u8])| -> Result<(), Infallible> { panic!("read") };
    let huge = [Piece::Export { at: 0, len: u64::MAX }, Piece::Export { at: 0, len: 2 }];
    let state = rebuild(&segment, &huge, read, |_| {});
    assert_eq!(state, Ok(FileState::Length(u64::MAX)));
    assert_eq!(rebuild(&segment, &[], read, |_| {}), Ok(FileState::Length(0)));
}

#[test]
fn what_is_no_proof_is_refused() {
    let recorder = recorded(2);
    let (_, proof) = export(&recorder, 1, 2);
    let json = String::from_utf8(proof.to_json().expect("valid")).expect("JSON is text");
    let parse = |json: &str| Proof::parse(json.as_bytes());
    assert_eq!(parse(&json).expect("our own"), proof);
    assert!(matches!(parse(&json[1..]), Err(ProofError::Malformed(_))));
    assert!(matches!(parse(&format!("{json}x")), Err(ProofError::Malformed(_))));
    let other = json.replace("\"version\":1", "\"version\":2");
    assert!(matches!(parse(&other), Err(ProofError::Version)));
    let other = json.replace("sightline-recording-proof", "something-else");
    assert!(matches!(parse(&other), Err(ProofError::Version)));
    let other = json.replace("\"chains\"", "\"more\":1,\"chains\"");
    assert!(matches!(parse(&other), Err(ProofError::Malformed(_))));
    let other = json.replace("\"at\":15", "\"at\":-15");
    assert!(matches!(parse(&other), Err(ProofError::Malformed(_))));
    let none = Proof::new(Vec::new());
    assert!(matches!(none.to_json(), Err(ProofError::Invalid(_))));
    for name in
        ["", "..", "../1.mp4", "/etc/passwd", "a/b", ".hidden", "a\\b", "a\0b", &"x".repeat(129)]
    {
        let mut proof = proof.clone();
        proof.chains[0].entries[0].file = Some(name.into());
        assert!(matches!(proof.to_json(), Err(ProofError::Invalid(_))), "{name:?}");
        let json = serde_json::to_vec(&proof).expect("it can be spelt");
        assert!(matches!(Proof::parse(&json), Err(ProofError::Invalid(_))), "{name:?}");
    }
    let mut twice = proof.clone();
    twice.chains[0].entries.iter_mut().for_each(|entry| entry.file = Some("1.mp4".into()));
    assert!(matches!(twice.to_json(), Err(ProofError::Invalid(_))));
}

#[test]
fn stretches_that_nothing_names_are_found() {
    assert_eq!(unproven([(10, 10)], []), [(10, 10)]);
    assert_eq!(unproven([(10, 10)], [(0, 12), (15, 2), (14, 2), (18, 90)]), [(12, 2), (17, 1)]);
    assert_eq!(unproven([(0, 4), (10, 4)], [(2, 10)]), [(0, 2), (12, 2)]);
    assert_eq!(unproven([(5, 0)], []), []);
    assert_eq!(unproven([(0, u64::MAX)], [(1, u64::MAX)]), [(0, 1)]);
}
