//! What writers make and refuse, and the arithmetic of expiry.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::statement::{Checkpoint, ExpiredRange};

fn recorded(n: usize) -> Recorder {
    Recorder::new(1, 0, 1).live(&vec![Event::Segment { locked: false }; n])
}

#[test]
fn a_writer_goes_on_where_the_stored_chain_ends() {
    for events in [
        vec![],
        vec![Event::Segment { locked: false }],
        vec![Event::Segment { locked: false }, Event::LetGo(1)],
        vec![Event::Segment { locked: true }, Event::Segment { locked: false }, Event::LetGo(1)],
        [vec![Event::Segment { locked: false }; 4], vec![Event::LetGo(2), Event::Gap]].concat(),
    ] {
        let recorder = Recorder::new(1, 0, 1).live(&events);
        let entry = |kind| recorder.rows.iter().rfind(|r| r.kind == kind).map(|r| &r.entry);
        let newest = &recorder.rows.last().expect("a beginning at least").entry;
        let resumed = Writer::resume(
            &recorder.rows[0].entry,
            newest,
            entry(Kind::Checkpoint),
            &recorder.key.public_key(),
        )
        .expect("its own entries");
        let at = UnixMicros(5);
        assert_eq!(resumed.head(at), recorder.writer.head(at));
        assert_eq!(resumed.expired(), recorder.writer.expired());
        assert_eq!(resumed.subject(), recorder.writer.subject());
        let gap = What::Gap(recorder.gap(0));
        let mut both = [resumed, recorder.writer.clone()];
        let made = both.each_mut().map(|w| w.append(gap.clone(), &recorder.key).expect("a gap"));
        assert_eq!(made[0], made[1]);
    }
}

#[test]
fn a_writer_does_not_go_on_with_what_is_not_its_own() {
    let ours = recorded(3);
    let other = Recorder::new(1, 9, 200).live(&[Event::Segment { locked: false }; 3]);
    let stranger = Recorder::new(2, 0, 1).live(&[Event::Segment { locked: false }; 3]);
    let public = ours.key.public_key();
    let resume = |begin: &Row, newest: &Row, checkpoint: Option<&Row>| {
        Writer::resume(&begin.entry, &newest.entry, checkpoint.map(|row| &row.entry), &public)
            .expect_err("refused")
    };
    let rows = &ours.rows;
    assert!(matches!(resume(&rows[0], &other.rows[3], None), WriteError::Mismatch(_)));
    assert!(matches!(resume(&other.rows[0], &rows[3], None), WriteError::Mismatch(_)));
    assert!(matches!(resume(&rows[1], &rows[3], None), WriteError::Mismatch(_)));
    assert!(matches!(resume(&rows[0], &rows[3], Some(&rows[2])), WriteError::Mismatch(_)));
    assert_eq!(resume(&rows[0], &stranger.rows[3], None), WriteError::NotOurs(Sequence(3)));
    assert_eq!(resume(&stranger.rows[0], &rows[3], None), WriteError::NotOurs(Sequence(0)));
    let mut cut = rows[3].clone();
    cut.entry.encoded.pop();
    assert_eq!(resume(&rows[0], &cut, None), WriteError::Stored(DecodeError::Malformed));
    let late = recorded(3).live(&[Event::LetGo(1)]);
    let checkpoint = late.rows.last();
    assert!(matches!(resume(&rows[0], &rows[3], checkpoint), WriteError::Mismatch(_)));
}

#[test]
fn a_writer_refuses_and_stays_as_it_was() {
    let Recorder { mut writer, key: ours, rows, .. } = recorded(3);
    let before = writer.head(UnixMicros(0));
    let gap = Gap {
        from: UnixMicros(0),
        boot: BootId(1),
        authority: Authority::System,
        reason: GapReason::RecorderOff,
    };
    let wrong = writer.append(What::Gap(gap), &key(2));
    assert!(matches!(wrong, Err(WriteError::WrongKey(_))));
    let begin = What::Begin { subject: writer.subject().clone() };
    assert_eq!(writer.append(begin, &ours), Err(WriteError::NotAppended));
    let checkpoint = What::Checkpoint(Checkpoint { expired: Vec::new() });
    assert_eq!(writer.append(checkpoint, &ours), Err(WriteError::NotAppended));
    let go = |row: &Row| (row.sequence, row.hash);
    for (going, error) in [
        (vec![go(&rows[0])], ExpiryError::Beginning),
        (vec![go(&rows[2]), go(&rows[1])], ExpiryError::Order(Sequence(1))),
        (vec![go(&rows[2]), go(&rows[2])], ExpiryError::Order(Sequence(2))),
        (vec![(Sequence(4), rows[3].hash)], ExpiryError::Unknown(Sequence(4))),
        (vec![(Sequence(u64::MAX), rows[3].hash)], ExpiryError::Unknown(Sequence(u64::MAX))),
    ] {
        assert_eq!(writer.let_go(going, &ours), Err(WriteError::Expiry(error)));
    }
    assert_eq!(writer.head(UnixMicros(0)), before);
    assert!(writer.let_go([go(&rows[1])], &ours).is_ok());
    let twice = writer.let_go([go(&rows[1])], &ours);
    assert_eq!(twice, Err(WriteError::Expiry(ExpiryError::Twice(Sequence(1)))));
    let subject = subject(&ours, 0);
    assert!(matches!(
        Writer::begin(subject, ChainId([0; 16]), &key(2)),
        Err(WriteError::WrongKey(_))
    ));
}

fn hash_of(sequence: u64) -> Digest {
    digest(&sequence.to_le_bytes())
}

fn go(numbers: &BTreeSet<u64>) -> impl Iterator<Item = (Sequence, Digest)> {
    numbers.iter().map(|n| (Sequence(*n), hash_of(*n)))
}

proptest! {
    #[test]
    fn ranges_name_what_was_let_go_and_nothing_else(
        batches in proptest::collection::vec(proptest::collection::btree_set(1u64..60, 0..12), 1..8),
    ) {
        let mut ranges = Vec::new();
        let mut gone = BTreeSet::new();
        for batch in batches {
            let new: BTreeSet<u64> = batch.difference(&gone).copied().collect();
            if let Some(twice) = batch.intersection(&gone).next() {
                let only = BTreeSet::from([*twice]);
                let refused = let_go(&ranges, go(&only));
                prop_assert_eq!(refused, Err(ExpiryError::Twice(Sequence(*twice))));
            }
            ranges = let_go(&ranges, go(&new)).expect("new ones");
            gone.extend(new);
            for n in 0..62 {
                prop_assert_eq!(covers(&ranges, Sequence(n)), gone.contains(&n));
            }
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].last.next() < pair[1].first);
            }
            for range in &ranges {
                prop_assert_eq!(range.last_hash, hash_of(range.last.0));
            }
        }
    }
}

#[test]
fn ranges_are_bounded_and_the_most_of_them_fit_into_an_entry() {
    let every_second = |n: u64| (1..=n).map(|i| (Sequence(i << 40), hash_of(i)));
    let most = MAX_EXPIRED_RANGES as u64;
    let full = let_go(&[], every_second(most)).expect("as many as there may be");
    assert_eq!(let_go(&[], every_second(most + 1)), Err(ExpiryError::TooManyRanges));
    let statement = crate::statement::Statement {
        chain: ChainId([1; 16]),
        sequence: Sequence(u64::MAX - 1),
        previous: hash_of(0),
        what: What::Checkpoint(Checkpoint { expired: full.clone() }),
    };
    let encoded = encode(&statement).expect("it is valid");
    assert!(encoded.len() <= MAX_ENCODED_LEN, "{}", encoded.len());
    let entry = Entry { encoded, signature: Signature::from_bytes([0; 64]) };
    assert_eq!(decode(&entry), Ok(statement));
    // One more between two of them merges, and fits.
    let merged = let_go(&full, [(Sequence((1 << 40) + 1), hash_of(7))]).expect("a neighbour");
    assert_eq!(merged.len(), full.len());
    let odd = [ExpiredRange { first: Sequence(5), last: Sequence(4), last_hash: hash_of(4) }];
    assert_eq!(let_go(&odd, []), Err(ExpiryError::Before));
}
