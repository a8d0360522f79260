//! One tampering each: always found, and named with its time. Nothing is found where nothing is wrong.

use proptest::prelude::*;

use super::*;

/// What somebody does who can write to the disk and does not have the key.
#[derive(Clone, Copy, Debug)]
enum Deed {
    FlipEntry { bit: u16 },
    FlipSignature { bit: u16 },
    Delete,
    OfAnotherChain,
    ByAnotherKey,
    FlipFile { bit: u16 },
    CutFile,
    DeleteFile,
    Swap { with: prop::sample::Index },
    SwapFiles { with: prop::sample::Index },
    CutEnd,
    ReplayCheckpoint,
    PutBackCheckpoint,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => any::<u16>().prop_map(|bit| Deed::FlipEntry { bit }),
        1 => any::<u16>().prop_map(|bit| Deed::FlipSignature { bit }),
        2 => Just(Deed::Delete),
        1 => Just(Deed::OfAnotherChain),
        1 => Just(Deed::ByAnotherKey),
        1 => any::<u16>().prop_map(|bit| Deed::FlipFile { bit }),
        1 => Just(Deed::CutFile),
        1 => Just(Deed::DeleteFile),
        1 => index().prop_map(|with| Deed::Swap { with }),
        1 => index().prop_map(|with| Deed::SwapFiles { with }),
        2 => Just(Deed::CutEnd),
        1 => Just(Deed::ReplayCheckpoint),
        1 => Just(Deed::PutBackCheckpoint),
    ]
}

fn flip(bytes: &mut [u8], bit: u16) {
    let bit = usize::from(bit) % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// How the finding of a deed must look.
enum Wanted {
    /// Concerns an entry, and lies between the neighbours that are left.
    Between(Sequence),
    /// Concerns an entry, at the entry's own time.
    At(Sequence, fn(&Problem) -> bool),
}

/// Does it to row `at`. None: that row does not allow it.
fn tamper(rows: &mut Vec<Row>, at: usize, deed: Deed) -> Option<Wanted> {
    let sequence = rows[at].sequence;
    match deed {
        Deed::FlipEntry { bit } => flip(&mut rows[at].entry.encoded, bit),
        Deed::FlipSignature { bit } => {
            let mut bytes = *rows[at].entry.signature.as_bytes();
            flip(&mut bytes, bit);
            rows[at].entry.signature = Signature::from_bytes(bytes);
        }
        Deed::Delete => drop(rows.remove(at)),
        Deed::OfAnotherChain => rows[at].entry = another_chain(sequence),
        Deed::ByAnotherKey => {
            let signed = key(77).sign(&signed_bytes(&rows[at].entry.encoded));
            rows[at].entry.signature = signed;
        }
        Deed::CutEnd if at > 0 => rows.truncate(at),
        Deed::CutEnd => return None,
        Deed::ReplayCheckpoint => {
            let again = rows[..at].iter().rfind(|row| row.kind == Kind::Checkpoint)?.clone();
            let number = again.sequence;
            rows.push(again);
            return Some(Wanted::At(number, |p| *p == Problem::Misplaced));
        }
        Deed::PutBackCheckpoint => {
            let older = rows[..at].iter().rfind(|row| row.kind == Kind::Checkpoint)?.clone();
            let newest = rows.iter().rposition(|row| row.kind == Kind::Checkpoint)?;
            if rows[newest].sequence == older.sequence {
                return None;
            }
            let number = rows[newest].sequence;
            rows[newest] = older;
            return Some(Wanted::Between(number));
        }
        Deed::Swap { with } => {
            let other = with.index(rows.len());
            if other == at {
                return None;
            }
            let first = rows[at.min(other)].sequence;
            rows.swap(at, other);
            return Some(Wanted::At(first, |p| *p == Problem::Misplaced));
        }
        Deed::FlipFile { bit } => {
            flip(rows[at].file.as_mut()?, bit);
            return Some(Wanted::At(sequence, |p| *p == Problem::FileAltered));
        }
        Deed::CutFile => {
            rows[at].file.as_mut()?.pop();
            return Some(Wanted::At(sequence, |p| matches!(p, Problem::FileLength { .. })));
        }
        Deed::DeleteFile => {
            rows[at].file.take()?;
            return Some(Wanted::At(sequence, |p| *p == Problem::FileMissing));
        }
        Deed::SwapFiles { with } => {
            let other = with.index(rows.len());
            return swap_files(rows, at, other);
        }
    }
    Some(Wanted::Between(sequence))
}

fn swap_files(rows: &mut [Row], at: usize, other: usize) -> Option<Wanted> {
    if other == at || rows[at].file.is_none() || rows[other].file.is_none() {
        return None;
    }
    let mine = rows[at].file.take();
    rows[at].file = rows[other].file.take();
    rows[other].file = mine;
    let altered = |p: &Problem| matches!(p, Problem::FileAltered | Problem::FileLength { .. });
    Some(Wanted::At(rows[at].sequence, altered))
}

/// What the same recorder signed under the same number for another camera.
fn another_chain(sequence: Sequence) -> Entry {
    let mut other = Recorder::new(1, 9, 200);
    while other.writer.next() <= sequence {
        other.handle(Event::Segment { locked: false });
    }
    let number = usize::try_from(sequence.0).expect("a short chain");
    other.rows[number].entry.clone()
}

/// What is known of the time of an entry that is not there: the neighbours that have one.
fn neighbours(recorder: &Recorder, rows: &[Row], sequence: Sequence) -> (Option<i64>, Option<i64>) {
    let timed = |row: &&Row| row.time.is_some();
    let there = |row: &&Row| rows.iter().any(|left| left.entry == row.entry);
    let all = || recorder.rows.iter().filter(timed).filter(there);
    let before = all().rfind(|row| row.sequence < sequence);
    let after = all().find(|row| row.sequence > sequence);
    let end = before.and_then(|row| recorder.true_time(row, rows)).map(|time| time.1);
    let begin = after.and_then(|row| recorder.true_time(row, rows)).map(|time| time.0);
    (end, begin)
}

fn check(recorder: &Recorder, rows: &[Row], wanted: &Wanted) -> Result<(), TestCaseError> {
    let report = recorder.verify(rows);
    let words = || format!("{:#?}", report.findings);
    prop_assert!(!report.is_sound(), "not found");
    let (sequence, is_it): (_, fn(&Problem) -> bool) = match wanted {
        Wanted::Between(sequence) => (*sequence, |_| true),
        Wanted::At(sequence, is_it) => (*sequence, *is_it),
    };
    let concerns = |f: &&Finding| f.first <= sequence && sequence <= f.last && is_it(&f.problem);
    let found = report.findings.iter().find(concerns);
    let Some(found) = found else {
        return Err(TestCaseError::fail(format!("{sequence:?} is not named: {}", words())));
    };
    let row = recorder.rows.iter().find(|row| row.sequence == sequence).expect("it was there");
    if row.kind == Kind::Step {
        // Without it the times of its boot stay as they were stated.
        return Ok(());
    }
    let micros = |moment: Option<StatedTime>| moment.map(|m| m.at.0);
    let (from, to) = (micros(found.span.from), micros(found.span.to));
    match wanted {
        Wanted::Between(_) => {
            let (end, begin) = neighbours(recorder, rows, sequence);
            prop_assert_eq!(from, end, "{}", words());
            let begin = begin.or_else(|| to.map(|_| recorder.head().at.0));
            prop_assert_eq!(to, begin, "{}", words());
        }
        Wanted::At(..) => {
            if let Some(time) = recorder.true_time(row, rows) {
                prop_assert_eq!((from, to), (Some(time.0), Some(time.1)), "{}", words());
            }
        }
    }
    prop_assert!(!found.to_string().is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_untouched_chain_is_sound_and_its_absences_are_its_expiry(events in events()) {
        let recorder = Recorder::new(1, 0, 1).live(&events);
        let report = recorder.verify(&recorder.rows);
        prop_assert!(report.is_sound(), "{:#?}", report.findings);
        prop_assert!(report.remarks.is_empty(), "{:#?}", report.remarks);
        let named = report.absences.iter().flat_map(|a| a.first.0..=a.last.0);
        let mut gone: Vec<u64> = recorder.gone.iter().map(|s| s.0).collect();
        gone.sort_unstable();
        prop_assert_eq!(named.collect::<Vec<_>>(), gone);
        let segments = recorder.rows.iter().filter(|row| row.kind == Kind::Segment);
        prop_assert_eq!(report.files_hashed, segments.clone().count() as u64);
        let times: Vec<_> = segments.filter_map(|row| recorder.true_time(row, &recorder.rows)).collect();
        prop_assert_eq!(report.span.from.map(|m| m.at.0), times.first().map(|t| t.0));
        prop_assert_eq!(report.span.to.map(|m| m.at.0), times.last().map(|t| t.1));
        // Nor when nothing is known of it but who recorded it.
        let expected = Expected::of(recorder.writer.subject().recorder.clone());
        prop_assert!(verify(&recorder.key, expected, &recorder.rows).is_sound());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_tampering_is_found_and_named_with_its_time(
        events in events(),
        at in any::<prop::sample::Index>(),
        deed in deeds(),
    ) {
        let recorder = Recorder::new(1, 0, 1).live(&events);
        let mut rows = recorder.rows.clone();
        let at = at.index(rows.len());
        if let Some(wanted) = tamper(&mut rows, at, deed) {
            check(&recorder, &rows, &wanted)?;
        }
    }
}

fn recorded(n: usize) -> Recorder {
    Recorder::new(1, 0, 1).live(&vec![Event::Segment { locked: false }; n])
}

#[test]
fn findings_say_which_second_in_words() {
    let recorder = recorded(3);
    let mut rows = recorder.rows.clone();
    rows.remove(2);
    rows[2].file = Some(b"something else".to_vec());
    let report = recorder.verify(&rows);
    let words: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "MISSING: entry 2, which no checkpoint names as let go; \
             2026-11-18T11:06:44.000Z to 2026-11-18T11:06:48.000Z",
            "ALTERED: the file of segment 3 has 14 bytes instead of 43; \
             2026-11-18T11:06:48.000Z to 2026-11-18T11:06:52.000Z",
        ]
    );
}

#[test]
fn expiry_is_told_from_tampering_in_one_hole() {
    let recorder = recorded(8);
    let recorder = recorder.live(&[Event::LetGo(3)]);
    let mut rows = recorder.rows.clone();
    rows.retain(|row| row.sequence != Sequence(4) && row.sequence != Sequence(5));
    let report = recorder.verify(&rows);
    assert_eq!(report.absences.len(), 1);
    assert_eq!((report.absences[0].first, report.absences[0].last), (Sequence(1), Sequence(3)));
    assert_eq!(report.findings.len(), 1);
    let finding = &report.findings[0];
    assert_eq!((finding.first, finding.last), (Sequence(4), Sequence(5)));
    assert_eq!(finding.problem, Problem::Missing);
}

#[test]
fn the_whole_chain_of_somebody_else_is_not_taken() {
    let ours = recorded(3);
    let stranger = Recorder::new(2, 0, 1).live(&[Event::Segment { locked: false }; 3]);
    let expected = Expected::of(ours.writer.subject().recorder.clone());
    // With the stranger's key the key is wrong, with ours every signature is.
    let report = verify(&stranger.key, expected.clone(), &stranger.rows);
    assert!(report.findings.iter().any(|f| matches!(f.problem, Problem::WrongRecorder { .. })));
    let report = verify(&ours.key, expected, &stranger.rows);
    let all = Problem::Spoilt { how: Spoilt::BadSignature, count: 4, claimed: None };
    assert_eq!(report.findings[0].problem, all);
    assert_eq!(report.segments, 0);
}

#[test]
fn another_camera_of_the_same_recorder_is_not_taken() {
    let ours = recorded(3);
    let other = Recorder::new(1, 9, 200).live(&[Event::Segment { locked: false }; 3]);
    let expected = Expected { chain: None, head: None, ..ours.expected() };
    let report = verify(&ours.key, expected, &other.rows);
    assert!(report.findings.iter().any(|f| matches!(f.problem, Problem::OtherSubject { .. })));
    let report = verify(&ours.key, ours.expected(), &other.rows);
    assert!(report.findings.iter().any(|f| f.problem == Problem::HeadDiffers
        || matches!(f.problem, Problem::Spoilt { how: Spoilt::OtherChain, .. })));
}

#[test]
fn a_beginning_cannot_be_replaced_after_its_neighbour_has_expired() {
    let recorder = recorded(6).live(&[Event::LetGo(4)]);
    let mut rows = recorder.rows.clone();
    rows[0].entry = another_chain(Sequence(0));
    let report = recorder.verify(&rows);
    let how = Spoilt::OtherChain;
    assert!(
        matches!(report.findings[0].problem, Problem::Spoilt { how: found, .. } if found == how)
    );
    assert_eq!(report.findings[0].first, Sequence(0));
}

#[test]
fn an_end_that_was_cut_off_and_recorded_anew_differs_from_the_report() {
    let recorder = recorded(5);
    let reported = recorder.head();
    // The recorder is shown an older state of its own disk, and goes on from there.
    let (begin, newest) = (&recorder.rows[0].entry, &recorder.rows[3].entry);
    let key = key(1);
    let mut writer =
        Writer::resume(begin, newest, None, &key.public_key()).expect("its own entries");
    let mut rows = recorder.rows[..4].to_vec();
    for _ in 0..4 {
        let made = writer.append(What::Gap(recorder.gap(0)), &key).expect("a gap");
        rows.push(Row { entry: made.entry, sequence: made.sequence, ..rows[3].clone() });
    }
    let expected = Expected { head: Some(reported), ..recorder.expected() };
    let report = verify(&key, expected, &rows);
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    assert_eq!(report.findings[0].problem, Problem::HeadDiffers);
    assert_eq!(report.findings[0].first, Sequence(5));
    // Put among the ones of before, they do not fit.
    rows.truncate(5);
    rows.push(recorder.rows[5].clone());
    let report = recorder.verify(&rows);
    assert!(report.findings.iter().any(|f| f.problem == Problem::LinkBroken));
}

#[test]
fn nothing_at_all_is_no_sound_chain() {
    let recorder = recorded(0);
    let expected = Expected::of(recorder.writer.subject().recorder.clone());
    assert!(!verify(&recorder.key, expected, &[]).is_sound());
    assert!(!recorder.verify(&[]).is_sound());
}

#[test]
fn files_that_go_with_their_checkpoint_are_expiry() {
    let before = recorded(6);
    let rows_before = before.rows.clone();
    let after = before.live(&[Event::LetGo(3)]);
    // Power went after the checkpoint was stored and the files were removed: the entries are there.
    let mut rows = rows_before;
    rows[1..4].iter_mut().for_each(|row| row.file = None);
    rows.push(after.rows.last().expect("the checkpoint").clone());
    let report = after.verify(&rows);
    assert!(report.is_sound(), "{:#?}", report.findings);
    rows[4].file = None;
    assert_eq!(after.verify(&rows).findings[0].first, Sequence(4));
}

#[test]
fn time_that_goes_back_is_remarked_and_no_tampering() {
    let recorder = recorded(1);
    let mut verifier = Verifier::new(recorder.key.public_key(), recorder.expected());
    let first = recorder.rows.iter().find_map(|row| verifier.push(&row.entry)).expect("a segment");
    let mut writer = recorder.writer.clone();
    let earlier = Segment { start: UnixMicros(first.1.start.0 - 2 * SECOND), ..first.1 };
    let made = writer.append(What::Segment(earlier), &recorder.key).expect("a segment");
    verifier.push(&made.entry);
    let report = verifier.finish();
    assert!(report.findings.iter().all(|f| f.problem != Problem::TimeGoesBack));
    assert_eq!(report.remarks.len(), 1);
    assert_eq!(report.remarks[0].problem, Problem::TimeGoesBack);
    assert_eq!(report.remarks[0].first, Sequence(2));
}

#[test]
fn findings_are_bounded_and_counted() {
    let recorder = recorded(1);
    let mut verifier = Verifier::new(recorder.key.public_key(), recorder.expected());
    let rows = &recorder.rows;
    verifier.push(&rows[0].entry);
    verifier.push(&rows[1].entry);
    for _ in 0..MAX_FINDINGS + 10 {
        verifier.push(&rows[0].entry);
    }
    let report = verifier.finish();
    assert_eq!((report.findings.len(), report.more_findings), (MAX_FINDINGS, 10));
    assert!(!report.is_sound());
}
