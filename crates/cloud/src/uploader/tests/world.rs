//! A unit's spool, a centre and a store, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const CHAINS: u32 = 3;
/// Reservations that nobody used go after this.
const RESERVED_US: u64 = 3_600_000_000;
/// A request for one object lives so long: one that was given out before cannot be used later.
const REQUEST_US: u64 = 900_000_000;

/// What may happen.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// In a thousand, for each step.
    pub outage: u64,
    pub kill: u64,
    pub overflow: u64,
    /// In a hundred, for each answer.
    pub lost: u64,
    /// Segments that the owner has space for.
    pub space: Option<u64>,
}

impl Trouble {
    pub const fn all() -> Self {
        Self { outage: 40, kill: 15, overflow: 10, lost: 10, space: None }
    }

    pub const fn none() -> Self {
        Self { outage: 0, kill: 0, overflow: 0, lost: 0, space: None }
    }
}

type Key = (u32, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Reserved { at_us: u64 },
    Stored,
}

/// A job that is being worked on.
#[derive(Debug)]
struct Working {
    due_us: u64,
    id: JobId,
    job: Job,
}

pub struct World {
    seed: u64,
    random: u64,
    trouble: Trouble,
    now_us: u64,
    uploader: Uploader,
    working: Vec<Working>,
    /// Requests that were given out, and until when they work.
    requests: BTreeMap<Key, u64>,
    /// Segments in the spool, and whether they are clips of events.
    spool: BTreeMap<Key, bool>,
    /// Gaps in the spool, which go with the segments behind them; all that there ever were; and those that
    /// the centre was told of.
    gaps: BTreeSet<Key>,
    all_gaps: BTreeSet<Key>,
    told: BTreeSet<Key>,
    next: [u64; CHAINS as usize],
    overflown: BTreeSet<Key>,
    rows: BTreeMap<Key, Row>,
    objects: BTreeSet<Key>,
    /// Everything that was ever confirmed to be stored.
    stored: BTreeSet<Key>,
    centre_is_up: bool,
    store_is_up: bool,
    pub sent: u64,
}

impl World {
    pub fn new(seed: u64, trouble: Trouble) -> Self {
        let mut world = Self {
            seed,
            random: seed,
            trouble,
            now_us: 0,
            uploader: Uploader::new(Settings::default(), Spent::default()),
            working: Vec::new(),
            requests: BTreeMap::new(),
            spool: BTreeMap::new(),
            gaps: BTreeSet::new(),
            all_gaps: BTreeSet::new(),
            told: BTreeSet::new(),
            next: [0; CHAINS as usize],
            overflown: BTreeSet::new(),
            rows: BTreeMap::new(),
            objects: BTreeSet::new(),
            stored: BTreeSet::new(),
            centre_is_up: true,
            store_is_up: true,
            sent: 0,
        };
        world.start();
        world
    }

    /// SplitMix64.
    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    const fn now(&self) -> Now {
        let wall = UnixMicros(1_800_000_000_000_000 + self.now_us.cast_signed());
        Now { monotonic_us: self.now_us, wall }
    }

    fn feed(&mut self, input: Input) {
        self.uploader.handle_input(self.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.uploader.poll_output() {
            if let Output::Do(id, job) = output {
                let takes_us = 1_000 + self.below(3_000_000);
                self.working.push(Working { due_us: self.now_us + takes_us, id, job });
            }
        }
    }

    fn start(&mut self) {
        self.uploader = Uploader::new(Settings::default(), Spent::default());
        self.working.clear();
        for chain in 0..CHAINS {
            self.feed(Input::News(Chain(chain)));
        }
        if self.centre_is_up {
            self.feed(Input::Up);
        }
    }

    /// So many steps of about four seconds.
    pub fn live(&mut self, steps: u32) {
        for _ in 0..steps {
            let step_us = 1_000_000 + self.below(6_000_000);
            self.pass(step_us);
            self.record();
            self.meddle();
        }
    }

    fn record(&mut self) {
        let chain = u32::try_from(self.below(u64::from(CHAINS))).expect("small");
        let number = &mut self.next[chain as usize];
        let key = (chain, *number);
        *number += 1;
        match self.below(40) {
            0..4 => {
                self.gaps.insert(key);
                self.all_gaps.insert(key);
            }
            n => {
                self.spool.insert(key, n < 13);
            }
        }
        self.feed(Input::News(Chain(chain)));
    }

    fn meddle(&mut self) {
        if self.below(1_000) < self.trouble.outage {
            self.centre_is_up = !self.centre_is_up;
            let up = self.centre_is_up;
            self.feed(if up { Input::Up } else { Input::Down });
        }
        if self.below(1_000) < self.trouble.outage {
            self.store_is_up = !self.store_is_up;
        }
        if self.below(1_000) < self.trouble.overflow
            && let Some((oldest, _)) = self.spool.pop_first()
        {
            self.overflown.insert(oldest);
            let lost = self.take_gaps(oldest);
            self.overflown.extend(lost);
        }
        if self.below(1_000) < self.trouble.kill {
            self.kill();
        }
    }

    /// What was on its way may have arrived, and nobody knows.
    fn kill(&mut self) {
        for working in std::mem::take(&mut self.working) {
            if self.below(2) == 0 {
                self.work(working.job);
            }
        }
        self.start();
    }

    /// Time passes; what is due happens in its order.
    fn pass(&mut self, for_us: u64) {
        let until = self.now_us + for_us;
        let mut at_this_moment = 0;
        loop {
            let job = self.working.iter().map(|w| w.due_us).min();
            let timeout = self.uploader.poll_timeout();
            let due = job.into_iter().chain(timeout).min().filter(|due| *due <= until);
            let Some(due) = due else { break };
            at_this_moment = if due <= self.now_us { at_this_moment + 1 } else { 0 };
            assert!(at_this_moment < 10_000, "seed {}: it never rests", self.seed);
            self.now_us = due.max(self.now_us);
            let ready = self.working.iter().position(|w| w.due_us <= self.now_us);
            if let Some(ready) = ready {
                let Working { id, job, .. } = self.working.swap_remove(ready);
                let outcome = self.work(job);
                let is_lost = self.below(100) < self.trouble.lost;
                let lost = Outcome::Failed(Failure::Away);
                self.feed(Input::Done(id, if is_lost { lost } else { outcome }));
            } else {
                self.uploader.handle_timeout(self.now());
                self.drain();
            }
        }
        self.now_us = until;
        self.sweep();
    }

    fn work(&mut self, job: Job) -> Outcome {
        let away = Outcome::Failed(Failure::Away);
        let key = |lane: LaneId, item: Item| (lane.chain.0, item.sequence.0);
        match job {
            Job::Look { lane, after } => {
                let from = after.map_or(0, |after| after.0 + 1);
                let mut of_chain = self.spool.range((lane.chain.0, from)..(lane.chain.0 + 1, 0));
                let found = of_chain.find(|(_, is_event)| **is_event == lane.is_event);
                let item = |((_, n), _): (&Key, &bool)| Item { sequence: Sequence(*n), len: 1 };
                Outcome::Found(found.map(item))
            }
            Job::Release { lane, through } => self.release(lane, through),
            Job::Send { lane, item } => self.send(key(lane, item)),
            _ if !self.centre_is_up => away,
            Job::Open(_) => Outcome::Done,
            Job::Note { .. } if !self.store_is_up => away,
            Job::Note { chain, after } => self.note(chain.0, after),
            Job::Ask { lane, item } => self.ask(key(lane, item)),
            Job::Confirm { lane, item } => self.confirm(key(lane, item)),
            Job::MakeRoom { .. } => self.make_room(),
        }
    }

    fn release(&mut self, lane: LaneId, through: Sequence) -> Outcome {
        let all = (lane.chain.0, 0)..=(lane.chain.0, through.0);
        let of_lane = self.spool.range(all).filter(|(_, event)| **event == lane.is_event);
        let going: Vec<_> = of_lane.map(|(key, _)| *key).collect();
        for key in going {
            let seed = self.seed;
            assert!(self.stored.contains(&key), "seed {seed}: {key:?} is let go unconfirmed");
            self.spool.remove(&key);
        }
        self.take_gaps((lane.chain.0, through.0));
        Outcome::Done
    }

    /// Gaps up to a segment go with it.
    fn take_gaps(&mut self, (chain, through): Key) -> BTreeSet<Key> {
        let going: BTreeSet<_> = self.gaps.range((chain, 0)..=(chain, through)).copied().collect();
        self.gaps.retain(|key| !going.contains(key));
        going
    }

    /// A few at a time.
    fn note(&mut self, chain: u32, after: Option<Sequence>) -> Outcome {
        let from = after.map_or(0, |after| after.0 + 1);
        let found: Vec<_> = self.gaps.range((chain, from)..(chain + 1, 0)).copied().collect();
        let more = found.len() > 2;
        let told = &found[..found.len().min(2)];
        self.told.extend(told);
        let newest = self.next[chain as usize].checked_sub(1).map(Sequence);
        let last = told.last().map(|(_, number)| Sequence(*number));
        Outcome::Noted { through: if more { last } else { newest.max(after) }, more }
    }

    fn ask(&mut self, key: Key) -> Outcome {
        match self.rows.get(&key) {
            Some(Row::Stored) => return Outcome::Stored,
            Some(Row::Reserved { .. }) => {}
            None if self.trouble.space.is_some_and(|most| self.used() >= most) => {
                return Outcome::Full;
            }
            None => {}
        }
        self.rows.insert(key, Row::Reserved { at_us: self.now_us });
        self.requests.insert(key, self.now_us + REQUEST_US);
        Outcome::Leave
    }

    fn send(&mut self, key: Key) -> Outcome {
        if !self.spool.contains_key(&key) {
            return Outcome::Failed(Failure::Unacceptable);
        }
        let works = self.requests.get(&key).is_some_and(|until| *until >= self.now_us);
        if !self.store_is_up || !works {
            return Outcome::Failed(Failure::Away);
        }
        self.objects.insert(key);
        self.sent += 1;
        Outcome::Done
    }

    fn confirm(&mut self, key: Key) -> Outcome {
        if self.store_is_up && self.objects.contains(&key) && self.rows.contains_key(&key) {
            self.rows.insert(key, Row::Stored);
            self.stored.insert(key);
            return Outcome::Stored;
        }
        Outcome::Failed(Failure::Away)
    }

    fn make_room(&mut self) -> Outcome {
        let Some(most) = self.trouble.space else { return Outcome::Done };
        while self.used() >= most {
            let is_stored = |(_, row): &(&Key, &Row)| **row == Row::Stored;
            let oldest = self.rows.iter().filter(is_stored).min_by_key(|((_, n), _)| *n);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return Outcome::Failed(Failure::NoSpace);
            };
            self.objects.remove(&oldest);
            self.rows.remove(&oldest);
        }
        Outcome::Done
    }

    /// The centre lets go of reservations that nobody used.
    fn sweep(&mut self) {
        let (now_us, objects) = (self.now_us, &mut self.objects);
        self.rows.retain(|key, row| match row {
            Row::Reserved { at_us } if *at_us + RESERVED_US <= now_us => {
                objects.remove(key);
                false
            }
            Row::Reserved { .. } | Row::Stored => true,
        });
    }

    /// Everything comes back, and stays for long.
    pub fn heal(&mut self) {
        let space = self.trouble.space;
        self.trouble = Trouble { space, ..Trouble::none() };
        (self.centre_is_up, self.store_is_up) = (true, true);
        self.feed(Input::Up);
        for _ in 0..8 {
            self.pass(1_800_000_000);
        }
    }

    pub fn used(&self) -> u64 {
        self.rows.len() as u64
    }

    pub fn recorded(&self) -> u64 {
        self.next.iter().sum::<u64>() - self.all_gaps.len() as u64
    }

    pub fn spooled(&self) -> usize {
        self.spool.len()
    }

    /// What is recorded is stored, but for what the spool has lost.
    pub fn check_all_stored(&self) {
        for (chain, next) in (0..).zip(&self.next) {
            for number in 0..*next {
                let key = (chain, number);
                if self.all_gaps.contains(&key) {
                    continue;
                }
                let is_there = self.objects.contains(&key) && self.stored.contains(&key);
                let seed = self.seed;
                assert!(is_there || self.overflown.contains(&key), "seed {seed}: {key:?} is lost");
            }
        }
    }

    /// Of every gap the centre was told, but for those that the spool has lost.
    pub fn check_all_told(&self) {
        for key in &self.all_gaps {
            let is_known = self.told.contains(key) || self.overflown.contains(key);
            assert!(is_known, "seed {}: nobody was told of the gap {key:?}", self.seed);
        }
    }

    pub fn check_no_orphans(&self) {
        let is_stored = |row: &Row| *row == Row::Stored;
        let listed: BTreeSet<_> =
            self.rows.iter().filter(|(_, row)| is_stored(row)).map(|(key, _)| *key).collect();
        assert_eq!(self.rows.len(), listed.len(), "seed {}: reservations are left", self.seed);
        assert_eq!(self.objects, listed, "seed {}: list and store differ", self.seed);
    }
}
