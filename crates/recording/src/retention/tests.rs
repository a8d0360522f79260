use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::statement::Authority;

const HOUR_US: i64 = 3_600_000_000;

/// What stands for the index: chains of rows by number.
type Index = Vec<BTreeMap<Sequence, Row>>;

fn causes(event: bool) -> Causes {
    Causes { continuous: true, event, ..Causes::default() }
}

/// Ends after so many hours, with 10 bytes.
fn row(sequence: u64, end_h: i64) -> Row {
    let end = UnixMicros(end_h * HOUR_US);
    let (sequence, bytes) = (Sequence(sequence), 10);
    Row { sequence, end, time_known: true, bytes, causes: causes(false), ..Row::default() }
}

fn index(chains: &[&[Row]]) -> Index {
    chains.iter().map(|rows| rows.iter().map(|row| (row.sequence, *row)).collect()).collect()
}

fn answer(index: &Index, query: Query) -> Vec<Row> {
    let rows = index[query.chain].values().filter(|row| {
        let timed = query.timed_until.is_none_or(|until| row.time_known && row.end <= until);
        !row.locked && query.which.has(row.causes) && timed
    });
    let rows = rows.filter(|row| query.after.is_none_or(|after| row.sequence > after));
    rows.take(query.limit as usize).copied().collect()
}

fn space(index: &Index, need: u64, chains: Vec<ChainUse>) -> Verdict {
    let mut space = Space::new(need, chains);
    while let Step::Read(query) = space.poll() {
        space.handle_rows(answer(index, query)).expect("as asked");
    }
    space.into_verdict()
}

fn aging(index: &Index, now_h: i64, authority: Authority, rules: &[AgeRule]) -> Verdict {
    let mut aging = Aging::new(UnixMicros(now_h * HOUR_US), authority, rules);
    while let Step::Read(query) = aging.poll() {
        aging.handle_rows(answer(index, query)).expect("as asked");
    }
    aging.into_verdict()
}

/// Carries a verdict out; what went, by chain and number.
fn carry_out(index: &mut Index, verdict: &Verdict) -> Vec<(usize, Row)> {
    let mut gone = Vec::new();
    for release in &verdict.releases {
        index[release.chain].retain(|sequence, row| {
            let goes = *sequence <= release.through && !row.locked && release.which.has(row.causes);
            gone.extend(goes.then_some((release.chain, *row)));
            !goes
        });
    }
    gone
}

fn used(index: &Index) -> Vec<u64> {
    index.iter().map(|rows| rows.values().map(|row| row.bytes).sum()).collect()
}

fn numbers(index: &Index, chain: usize) -> Vec<u64> {
    index[chain].keys().map(|sequence| sequence.0).collect()
}

fn hours(h: u64) -> Option<Duration> {
    Some(Duration::from_secs(h * 3_600))
}

#[test]
fn age_lets_go_what_is_old_by_a_clock_that_is_confirmed() {
    let locked = Row { locked: true, ..row(2, 2) };
    let clip = Row { causes: causes(true), ..row(3, 3) };
    let rows = [row(1, 1), locked, clip, row(4, 4), row(5, 90)];
    let rule = AgeRule { max_age: hours(10), event_max_age: hours(50), expired_ranges: 0 };
    let mut index = index(&[&rows]);
    let none = aging(&index, 60, Authority::Unconfirmed, &[rule]);
    assert_eq!(none, Verdict::default());
    let verdict = aging(&index, 14, Authority::System, &[rule]);
    carry_out(&mut index, &verdict);
    assert_eq!(numbers(&index, 0), [2, 3, 5]);
    let verdict = aging(&index, 53, Authority::System, &[rule]);
    carry_out(&mut index, &verdict);
    assert_eq!(numbers(&index, 0), [2, 5], "the one in the future stays, the locked one too");
    // Where the checkpoint has grown too long, clips are as all others.
    let crowded = AgeRule { expired_ranges: MAX_EXPIRED_RANGES, ..rule };
    let clips = index_of_clips();
    assert_eq!(aging(&clips, 11, Authority::System, &[rule]).releases, []);
    assert_eq!(aging(&clips, 11, Authority::System, &[crowded]).releases.len(), 1);
}

fn index_of_clips() -> Index {
    index(&[&[Row { causes: causes(true), ..row(1, 1) }]])
}

#[test]
fn a_segment_of_unknown_time_goes_with_the_next_whose_time_is_known() {
    let unknown = |n| Row { time_known: false, ..row(n, 0) };
    let rule = AgeRule { max_age: hours(10), ..AgeRule::default() };
    // Recorded after number 2 by a clock that stood at 1970.
    let mut index = index(&[&[unknown(1), row(2, 5), unknown(3), unknown(4), row(5, 20)]]);
    assert_eq!(aging(&index, 14, Authority::Centre, &[rule]).releases, []);
    let verdict = aging(&index, 15, Authority::Centre, &[rule]);
    carry_out(&mut index, &verdict);
    assert_eq!(numbers(&index, 0), [3, 4, 5]);
    let verdict = aging(&index, 30, Authority::Centre, &[rule]);
    carry_out(&mut index, &verdict);
    assert_eq!(numbers(&index, 0), [0_u64; 0]);
}

#[test]
fn a_time_in_the_past_does_not_overtake_younger_ones() {
    // Number 3 claims the past: the clock was set back. What lies before it is young, and stays.
    let rule = AgeRule { max_age: hours(10), ..AgeRule::default() };
    let index = index(&[&[row(1, 95), row(2, 96), row(3, 1)]]);
    assert_eq!(aging(&index, 100, Authority::System, &[rule]).releases, []);
}

#[test]
fn the_furthest_over_its_share_gives_first_then_the_oldest() {
    let long: Vec<_> = (1..=10).map(|n| row(n, 100 + n as i64)).collect();
    let short: Vec<_> = (1..=4).map(|n| row(n, n as i64)).collect();
    let index = index(&[&long, &short]);
    let shares = |share| vec![ChainUse::new(100, share), ChainUse::new(40, share)];
    let by = |verdict: &Verdict| -> Vec<_> {
        verdict.releases.iter().map(|release| (release.chain, release.through.0)).collect()
    };
    assert_eq!(by(&space(&index, 35, shares(50))), [(0, 4)]);
    // Both down to their shares, then the oldest of all.
    assert_eq!(by(&space(&index, 70, shares(50))), [(0, 5), (1, 2)]);
    let all = space(&index, 1_000, shares(50));
    assert_eq!((all.freed_bytes(), all.missing_bytes), (140, 860));
    assert_eq!(space(&index, 0, shares(0)), Verdict::default());
}

#[test]
fn a_plans_own_limit_holds_without_any_need() {
    let rows: Vec<_> = (1..=10).map(|n| row(n, 0)).collect();
    let index = index(&[&rows, &rows]);
    let limited = ChainUse { max_bytes: Some(65), ..ChainUse::new(100, 1_000) };
    let verdict = space(&index, 0, vec![ChainUse::new(100, 0), limited]);
    let release = Release { chain: 1, which: Which::All, through: Sequence(4), rows: 4, bytes: 40 };
    assert_eq!(verdict, Verdict { releases: vec![release], missing_bytes: 0, more: false });
}

#[test]
fn a_long_list_is_done_in_parts() {
    let rows: Vec<_> = (1..=10_000).map(|n| row(n, 0)).collect();
    let mut index = index(&[&rows]);
    let rule = AgeRule { max_age: hours(1), ..AgeRule::default() };
    let mut parts = 0;
    loop {
        let verdict = aging(&index, 10, Authority::System, &[rule]);
        assert!(carry_out(&mut index, &verdict).len() <= MAX_ROWS_AT_ONCE as usize);
        parts += 1;
        if !verdict.more {
            break;
        }
    }
    assert_eq!((parts, index[0].len()), (3, 0));
    let mut index = vec![rows.iter().map(|row| (row.sequence, *row)).collect()];
    let first = space(&index, 100_000, vec![ChainUse::new(100_000, 0)]);
    assert!(first.more && first.missing_bytes == 0, "{first:?}");
    carry_out(&mut index, &first);
    assert_eq!(index[0].len(), 10_000 - MAX_ROWS_AT_ONCE as usize);
}

#[test]
fn rows_that_were_not_asked_for_are_refused() {
    let mut machine = Space::new(10, vec![ChainUse::new(100, 0)]);
    assert_eq!(machine.handle_rows(vec![]), Err(RowsError::Unasked));
    let Step::Read(_) = machine.poll() else { panic!("it wants rows") };
    let locked = Row { locked: true, ..row(1, 0) };
    assert_eq!(machine.handle_rows(vec![locked]), Err(RowsError::NotAsAsked(Sequence(1))));
    let unordered = vec![row(2, 0), row(2, 0)];
    assert_eq!(machine.handle_rows(unordered), Err(RowsError::Unordered(Sequence(2))));
    let many = (0..257).map(|n| row(n, 0)).collect();
    assert_eq!(machine.handle_rows(many), Err(RowsError::TooMany(257)));
    assert_eq!(machine.handle_rows(vec![row(1, 0)]), Ok(()));
    assert_eq!(machine.poll(), Step::Done);
    let rule = AgeRule { max_age: hours(1), ..AgeRule::default() };
    let mut machine = Aging::new(UnixMicros(5 * HOUR_US), Authority::System, &[rule]);
    let Step::Read(_) = machine.poll() else { panic!("it wants rows") };
    assert_eq!(machine.handle_rows(vec![row(1, 6)]), Err(RowsError::NotAsAsked(Sequence(1))));
    let unknown = Row { time_known: false, ..row(1, 0) };
    assert_eq!(machine.handle_rows(vec![unknown]), Err(RowsError::NotAsAsked(Sequence(1))));
}

prop_compose! {
    fn any_row()(
        step in 1_u64..4, end_h in -50_i64..400, bytes in 1_u64..500,
        locked in prop::bool::weighted(0.2), event in prop::bool::weighted(0.3),
        time_known in prop::bool::weighted(0.8),
    ) -> (u64, Row) {
        (step, Row { locked, bytes, causes: causes(event), time_known, ..row(0, end_h) })
    }
}

prop_compose! {
    fn any_chain()(steps in prop::collection::vec(any_row(), 0..300)) -> BTreeMap<Sequence, Row> {
        let numbered = steps.iter().scan(0, |at, (step, row)| {
            *at += step;
            Some((Sequence(*at), Row { sequence: Sequence(*at), ..*row }))
        });
        numbered.collect()
    }
}

/// Nothing locked went, and nothing that stays is of an earlier number and of the same kind.
fn check_order(before: &Index, after: &Index, gone: &[(usize, Row)], apart: bool) {
    for (chain, row) in gone {
        assert!(!row.locked, "a locked one went: {row:?}");
        let stays = after[*chain].values().find(|other| {
            let alike = !apart || other.causes.event == row.causes.event;
            alike && !other.locked && other.sequence < row.sequence
        });
        assert_eq!(stays, None, "{row:?} went before it");
    }
    let count = |index: &Index| index.iter().map(BTreeMap::len).sum::<usize>();
    assert_eq!(count(before), count(after) + gone.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn space_is_made_or_said_to_be_missing(
        chains in prop::collection::vec(any_chain(), 1..5),
        need in 0_u64..200_000,
        share in 0_u64..60_000,
        limit in prop::option::of(0_u64..60_000),
        apart in any::<bool>(),
    ) {
        let mut index = chains;
        let before = index.clone();
        let event_clips = if apart { EventClips::Last } else { EventClips::Alike };
        let uses: Vec<_> = used(&index)
            .into_iter()
            .map(|bytes| ChainUse { max_bytes: limit, event_clips, ..ChainUse::new(bytes, share) })
            .collect();
        let verdict = space(&index, need, uses.clone());
        let gone = carry_out(&mut index, &verdict);
        check_order(&before, &index, &gone, apart);
        let freed: u64 = gone.iter().map(|(_, row)| row.bytes).sum();
        prop_assert_eq!(freed, verdict.freed_bytes());
        prop_assert_eq!(verdict.missing_bytes, need.saturating_sub(freed));
        let left_unlocked = |n: usize| index[n].values().any(|row| !row.locked);
        if verdict.missing_bytes > 0 {
            prop_assert!((0..index.len()).all(|n| !left_unlocked(n)), "something could have gone");
        }
        for (n, bytes) in used(&index).into_iter().enumerate() {
            prop_assert!(limit.is_none_or(|limit| bytes <= limit) || !left_unlocked(n));
        }
        // With events apart, a clip went only where its chain had nothing else.
        for (chain, _) in gone.iter().filter(|(_, row)| apart && row.causes.event) {
            let plain = |row: &Row| !row.locked && !row.causes.event;
            prop_assert!(!index[*chain].values().any(plain));
        }
        // Fair: a chain below its share gave only when none above could, or its own limit made it.
        let after = used(&index);
        let over = |n: usize| after[n] > share && left_unlocked(n);
        if limit.is_none() && (0..index.len()).any(over) {
            // What went is listed, chain by chain, in the order in which it went.
            let mut held = used(&before);
            for (chain, row) in &gone {
                prop_assert!(held[*chain] > share, "chain {} gave below its share", chain);
                held[*chain] -= row.bytes;
            }
        }
    }

    #[test]
    fn age_takes_what_is_old_and_only_that(
        chain in any_chain(),
        now_h in 0_i64..400,
        max_h in 1_u64..200,
        more_h in 0_u64..100,
        apart in any::<bool>(),
    ) {
        let mut index = vec![chain];
        let before = index.clone();
        let event_max_age = if apart { hours(max_h + more_h) } else { None };
        let rule = AgeRule { max_age: hours(max_h), event_max_age, expired_ranges: 0 };
        let verdict = aging(&index, now_h, Authority::System, &[rule]);
        prop_assert_eq!(verdict.missing_bytes, 0);
        let gone = carry_out(&mut index, &verdict);
        check_order(&before, &index, &gone, apart);
        let age = |event| if event && apart { max_h + more_h } else { max_h };
        let is_old = |row: &Row| row.end.0 + age(row.causes.event) as i64 * HOUR_US <= now_h * HOUR_US;
        // A known time in the past that is too young never goes.
        let young = |row: &Row| row.time_known && row.end.0 <= now_h * HOUR_US && !is_old(row);
        prop_assert!(!gone.iter().any(|(_, row)| young(row)));
        // What remains in front, of known time and not in the future, is young: the limit is kept.
        for event in [false, true] {
            let kind = |row: &&Row| !apart || row.causes.event == event;
            let timed = |row: &&Row| row.time_known && row.end.0 <= now_h * HOUR_US && !row.locked;
            let front = index[0].values().filter(kind).find(timed);
            prop_assert!(front.is_none_or(|row| !is_old(row)));
        }
    }
}
