//! The bytes of entries: their one form, and what is refused.

use proptest::prelude::*;
use sightline_model::KeyId;

use super::*;
use crate::statement::{Checkpoint, ExpiredRange, Statement};

fn segment() -> Segment {
    Segment {
        run: RunId(5),
        start: UnixMicros(1_795_000_000_000_000),
        duration_us: 4_000_000,
        position_90k: 360_000,
        boot: BootId(0x0123_4567_89ab_cdef),
        monotonic_us: 61_000_000,
        authority: Authority::Centre,
        len: 2_000_000,
        head_len: 700,
        content: Digest([0xc0; 32]),
        pictures: 100,
        key: Some("k1".parse::<KeyId>().expect("a key id")),
        causes: Causes { event: true, ..Causes::default() },
        recovered: false,
    }
}

fn statement(what: What) -> Statement {
    Statement {
        chain: ChainId([0xaa; 16]),
        sequence: Sequence(300),
        previous: Digest([0xbb; 32]),
        what,
    }
}

fn all_kinds() -> Vec<Statement> {
    let recorder: PuId = "abcdefghijklmnopqrstuvwxy4".parse().expect("an id");
    let camera = CameraId { pu: recorder.clone(), channel: ChannelId(3) };
    let begin = What::Begin { subject: Subject { recorder, camera, tier: StreamTier::Sub } };
    let boot = BootId(7);
    let at = UnixMicros(-1);
    let reason = GapReason::StorageFull;
    let gap = Gap { from: at, boot, authority: Authority::Unconfirmed, reason };
    let step = ClockStep {
        boot,
        monotonic_us: 1,
        from: UnixMicros(0),
        to: UnixMicros(1_795_000_000_000_000),
        from_authority: Authority::Unconfirmed,
        to_authority: Authority::System,
    };
    let range = |first, last| ExpiredRange {
        first: Sequence(first),
        last: Sequence(last),
        last_hash: Digest([0xdd; 32]),
    };
    let checkpoint = Checkpoint { expired: vec![range(1, 9), range(11, 299)] };
    vec![
        Statement { sequence: Sequence(0), previous: Digest([0; 32]), ..statement(begin) },
        statement(What::Segment(segment())),
        statement(What::Gap(gap)),
        statement(What::ClockStep(step)),
        statement(What::Checkpoint(checkpoint)),
    ]
}

fn entry(encoded: Vec<u8>) -> Entry {
    Entry { encoded, signature: Signature::from_bytes([0; 64]) }
}

/// What was signed years ago must be read in years: these bytes never change. A new form gets a new
/// version byte. They were worked out from postcard's specification and RFC 8032 by other code than this.
#[test]
fn the_encoding_stays_as_it_is() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let encoded: Vec<String> =
        all_kinds().iter().map(|s| hex(&encode(s).expect("valid"))).collect();
    assert_eq!(encoded, GOLDEN);
    let segment = encode(&all_kinds()[1]).expect("valid");
    assert_eq!(hash(&segment).to_string(), GOLDEN_HASH);
    let signature = key(1).sign(&signed_bytes(&segment));
    assert_eq!(hex(signature.as_bytes()), GOLDEN_SIGNATURE);
}

const GOLDEN: [&str; 5] = [
    "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0000000000000000000000000000000000000000000000\
     00000000000000000000001a6162636465666768696a6b6c6d6e6f70717273747576777879341c61\
     62636465666768696a6b6c6d6e6f70717273747576777879342e3301",
    "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac02bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
     bbbbbbbbbbbbbbbbbbbbbb010580c0f995e0a2b0068092f401c0fc15ef9bafcdf8acd19101c0928b\
     1d0280897abc05c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c064\
     01026b310000000100",
    "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac02bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
     bbbbbbbbbbbbbbbbbbbbbb0201070003",
    "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac02bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
     bbbbbbbbbbbbbbbbbbbbbb0307010080c0f995e0a2b0060001",
    "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac02bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
     bbbbbbbbbbbbbbbbbbbbbb04020109dddddddddddddddddddddddddddddddddddddddddddddddddd\
     dddddddddddddd0bab02dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
     dddd",
];
const GOLDEN_HASH: &str = "23609b017a082275dfc74a507b35e2c551b150fd9dbacabac1414d82b30757c9";
const GOLDEN_SIGNATURE: &str = "3c9cd0c8d908a6e8640a360531e95ce4188913b767936ecb1626e7c7bc257f0e3e7daa33f6be8adb\
     11a1f99cfc39c5754fb07ab8930d0cb44279c04c053c7a01";

#[test]
fn every_kind_is_read_as_it_was_written() {
    for statement in all_kinds() {
        let encoded = encode(&statement).expect("valid");
        assert_eq!(decode(&entry(encoded)), Ok(statement));
    }
}

#[test]
fn other_spellings_and_other_versions_are_refused() {
    for statement in all_kinds() {
        let encoded = encode(&statement).expect("valid");
        let mut longer = encoded.clone();
        longer.push(0);
        assert_eq!(decode(&entry(longer)), Err(DecodeError::NotCanonical));
        let mut version = encoded.clone();
        version[0] = 2;
        assert_eq!(decode(&entry(version)), Err(DecodeError::Version));
        for cut in 1..encoded.len() {
            assert_eq!(decode(&entry(encoded[..cut].to_vec())), Err(DecodeError::Malformed));
        }
        // The number behind version and chain, spelt with a leading zero.
        let mut spelt = encoded;
        let end = 17 + spelt[17..].iter().position(|byte| byte & 0x80 == 0).expect("an end");
        spelt[end] |= 0x80;
        spelt.insert(end + 1, 0);
        assert_eq!(decode(&entry(spelt)), Err(DecodeError::NotCanonical));
    }
    assert_eq!(decode(&entry(Vec::new())), Err(DecodeError::Version));
    let long = vec![1; MAX_ENCODED_LEN + 1];
    assert_eq!(decode(&entry(long)), Err(DecodeError::TooLong(MAX_ENCODED_LEN + 1)));
}

/// A length that would take all memory costs none.
#[test]
fn absurd_lengths_are_refused() {
    let checkpoint = encode(&all_kinds()[4]).expect("valid");
    let mut body = checkpoint[..1 + 16 + 2 + 32 + 1].to_vec();
    body.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    body.resize(MAX_ENCODED_LEN, 0);
    assert!(matches!(decode(&entry(body)), Err(DecodeError::Malformed | DecodeError::Invalid(_))));
}

#[test]
fn what_no_recorder_says_is_neither_written_nor_read() {
    let range = |first, last| ExpiredRange {
        first: Sequence(first),
        last: Sequence(last),
        last_hash: Digest([0; 32]),
    };
    let expired =
        |ranges: Vec<ExpiredRange>| statement(What::Checkpoint(Checkpoint { expired: ranges }));
    let with = |change: fn(&mut Segment)| {
        let mut segment = segment();
        change(&mut segment);
        statement(What::Segment(segment))
    };
    let kinds = all_kinds();
    let (begin, gap) = (&kinds[0], &kinds[2]);
    let wrong = vec![
        Statement { sequence: Sequence(1), ..begin.clone() },
        Statement { previous: Digest([1; 32]), ..begin.clone() },
        Statement { sequence: Sequence(0), ..gap.clone() },
        Statement { previous: Digest([0; 32]), ..gap.clone() },
        Statement { sequence: Sequence(u64::MAX), ..gap.clone() },
        with(|segment| segment.duration_us = MAX_SEGMENT_US + 1),
        with(|segment| segment.run = RunId(301)),
        with(|segment| segment.head_len = 2_000_001),
        expired(vec![range(0, 4)]),
        expired(vec![range(4, 3)]),
        expired(vec![range(1, 4), range(5, 6)]),
        expired(vec![range(8, 9), range(1, 4)]),
        expired(vec![range(1, 300)]),
        expired(vec![range(1, u64::MAX)]),
        expired((0..=MAX_EXPIRED_RANGES as u64).map(|i| range(1, i)).collect()),
    ];
    for statement in wrong {
        assert!(matches!(encode(&statement), Err(EncodeError::Invalid(_))), "{statement:?}");
        let body = postcard::to_extend(&statement, vec![1]).expect("it can be spelt");
        assert!(matches!(decode(&entry(body)), Err(DecodeError::Invalid(_))), "{statement:?}");
    }
}

#[test]
fn chain_ids_have_one_spelling() {
    let id = ChainId([0xa1; 16]);
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in ["", "a1", &"A1".repeat(16), &"a1".repeat(17), &"../".repeat(11)[..32]] {
        assert_eq!(bad.parse::<ChainId>(), Err(InvalidChainId));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn whatever_is_read_is_written_the_same(
        kind in 0usize..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = encode(&all_kinds()[kind]).expect("valid");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(statement) = decode(&entry(bytes.clone())) {
            prop_assert_eq!(encode(&statement), Ok(bytes));
        }
    }
}
