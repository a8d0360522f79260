//! Chains as recorders make them, in virtual time, and what happens to them afterwards.

mod forms;
mod proofs;
mod tampering;
mod writing;

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use sightline_model::{CameraId, ChannelId, PuId, PublicKey, Signature, StreamTier, UnixMicros};

use super::*;
use crate::statement::{
    Authority, BootId, Causes, ChainId, ClockStep, Digest, Entry, Gap, GapReason, Head, RunId,
    Segment, Sequence, Subject, What,
};

const SECOND: i64 = 1_000_000;

/// A recorder's key.
pub struct Key(SigningKey);

impl Sign for Key {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

pub fn key(seed: u8) -> Key {
    Key(SigningKey::from_bytes(&[seed; 32]))
}

pub fn subject(key: &Key, channel: u16) -> Subject {
    let recorder = PuId::from_public_key(&key.public_key());
    let camera = CameraId { pu: recorder.clone(), channel: ChannelId(channel) };
    Subject { recorder, camera, tier: StreamTier::Main }
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// An entry on the disk, with its segment's file.
#[derive(Clone)]
pub struct Row {
    pub sequence: Sequence,
    pub entry: Entry,
    pub hash: Digest,
    pub file: Option<Vec<u8>>,
    pub locked: bool,
    /// From when to when it is, by the recorder's clock, and in which boot.
    pub time: Option<(i64, i64, u64)>,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Begin,
    Segment,
    Gap,
    Step,
    Checkpoint,
}

/// What happens next to a recorder.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Segment {
        locked: bool,
    },
    Gap,
    /// The clock is set right.
    Confirm,
    /// The machine starts anew, with a clock that is off by so many minutes and unconfirmed, or right.
    Boot {
        off_min: Option<i16>,
    },
    /// The oldest go.
    LetGo(u8),
}

/// A recorder in virtual time.
pub struct Recorder {
    pub key: Key,
    pub writer: Writer,
    pub rows: Vec<Row>,
    pub gone: Vec<Sequence>,
    /// By how much the clock of a boot was off until it was set right, if it ever was.
    pub confirmed: BTreeMap<u64, i64>,
    now: i64,
    boot: u64,
    booted: i64,
    off: i64,
    authority: Authority,
    run: Option<(RunId, i64)>,
}

impl Recorder {
    pub fn new(seed: u8, channel: u16, chain: u8) -> Self {
        let key = key(seed);
        let (writer, begin) = Writer::begin(subject(&key, channel), ChainId([chain; 16]), &key)
            .expect("the subject is made for the key");
        let now = 1_795_000_000 * SECOND;
        let mut recorder = Self {
            key,
            writer,
            rows: Vec::new(),
            gone: Vec::new(),
            confirmed: BTreeMap::new(),
            now,
            boot: 1,
            booted: now,
            off: 0,
            authority: Authority::System,
            run: None,
        };
        recorder.store(begin, None, false, None, Kind::Begin);
        recorder
    }

    pub fn live(mut self, events: &[Event]) -> Self {
        events.iter().for_each(|event| self.handle(*event));
        self
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Segment { locked } => self.record(locked),
            Event::Gap => {
                // Of a new boot nothing is known before its first segment.
                if let Some((_, end)) = self.run.take() {
                    let at = end + self.off;
                    let gap = self.gap(at);
                    self.append(What::Gap(gap), None, false, Some((at, at)), Kind::Gap);
                    self.now += 7 * SECOND;
                }
            }
            Event::Confirm => self.confirm(),
            Event::Boot { off_min } => {
                self.now += 60 * SECOND;
                (self.boot, self.booted, self.run) = (self.boot + 1, self.now, None);
                self.off = i64::from(off_min.unwrap_or(0)) * 60 * SECOND;
                self.authority = match off_min {
                    Some(_) => Authority::Unconfirmed,
                    None => Authority::Centre,
                };
            }
            Event::LetGo(n) => self.let_go(usize::from(n)),
        }
    }

    pub fn gap(&self, at: i64) -> Gap {
        let (boot, authority) = (BootId(self.boot), self.authority);
        Gap { from: UnixMicros(at), boot, authority, reason: GapReason::CameraAway }
    }

    fn record(&mut self, locked: bool) {
        let sequence = self.writer.next();
        let (run, start) = self.run.unwrap_or((RunId(sequence.0), self.now));
        let file = vec![sequence.0.to_le_bytes()[0]; 40 + sequence.0.to_le_bytes()[0] as usize % 5];
        let segment = Segment {
            run,
            start: UnixMicros(start + self.off),
            duration_us: 4_000_000,
            position_90k: 0,
            boot: BootId(self.boot),
            monotonic_us: (start - self.booted).cast_unsigned(),
            authority: self.authority,
            len: file.len() as u64,
            head_len: 8,
            content: digest(&file),
            pictures: 100,
            key: None,
            causes: Causes::default(),
            recovered: false,
        };
        let end = start + 4 * SECOND;
        self.now = end;
        self.run = Some((run, end));
        let time = Some((start + self.off, end + self.off));
        self.append(What::Segment(segment), Some(file), locked, time, Kind::Segment);
    }

    fn confirm(&mut self) {
        if self.authority.is_confirmed() {
            return;
        }
        let step = ClockStep {
            boot: BootId(self.boot),
            monotonic_us: (self.now - self.booted).cast_unsigned(),
            from: UnixMicros(self.now + self.off),
            to: UnixMicros(self.now),
            from_authority: self.authority,
            to_authority: Authority::System,
        };
        self.confirmed.insert(self.boot, self.off);
        self.run = None;
        let at = self.now + self.off;
        self.append(What::ClockStep(step), None, false, Some((at, at)), Kind::Step);
        (self.off, self.authority) = (0, Authority::System);
    }

    fn let_go(&mut self, n: usize) {
        let may_go = |row: &&Row| !row.locked && !matches!(row.kind, Kind::Begin | Kind::Step);
        let going: Vec<_> =
            self.rows.iter().filter(may_go).take(n).map(|r| (r.sequence, r.hash)).collect();
        if going.is_empty() {
            return;
        }
        let made = self.writer.let_go(going.clone(), &self.key).expect("they may go");
        self.store(made, None, false, None, Kind::Checkpoint);
        self.rows.retain(|row| !going.iter().any(|(sequence, _)| *sequence == row.sequence));
        self.gone.extend(going.into_iter().map(|(sequence, _)| sequence));
    }

    fn append(
        &mut self,
        what: What,
        file: Option<Vec<u8>>,
        locked: bool,
        time: Option<(i64, i64)>,
        kind: Kind,
    ) {
        let made = self.writer.append(what, &self.key).expect("a recorder's own statement");
        self.store(made, file, locked, time, kind);
    }

    fn store(
        &mut self,
        made: NewEntry,
        file: Option<Vec<u8>>,
        locked: bool,
        time: Option<(i64, i64)>,
        kind: Kind,
    ) {
        let NewEntry { sequence, hash, what: _, entry } = made;
        let time = time.map(|(from, to)| (from, to, self.boot));
        self.rows.push(Row { sequence, entry, hash, file, locked, time, kind });
    }

    /// When a row was, as far as the rows that are left tell.
    pub fn true_time(&self, row: &Row, left: &[Row]) -> Option<(i64, i64)> {
        let (from, to, boot) = row.time?;
        let set = set_right(boot, left).filter(|sequence| row.sequence <= *sequence);
        let off = if set.is_some() { self.confirmed[&boot] } else { 0 };
        Some((from - off, to - off))
    }

    pub fn head(&self) -> Head {
        self.writer.head(UnixMicros(self.now))
    }

    pub fn expected(&self) -> Expected {
        Expected {
            subject: Some(self.writer.subject().clone()),
            chain: Some(self.writer.chain()),
            head: Some(self.head()),
            ..Expected::of(self.writer.subject().recorder.clone())
        }
    }

    pub fn verify(&self, rows: &[Row]) -> Report {
        verify(&self.key, self.expected(), rows)
    }
}

/// The entry by which the clock of a boot was set right.
fn set_right(boot: u64, rows: &[Row]) -> Option<Sequence> {
    let of_boot = |row: &&Row| row.kind == Kind::Step && row.time.is_some_and(|t| t.2 == boot);
    rows.iter().find(of_boot).map(|row| row.sequence)
}

/// Walks the rows, and looks at every file.
pub fn verify(key: &Key, expected: Expected, rows: &[Row]) -> Report {
    let mut verifier = Verifier::new(key.public_key(), expected);
    for row in rows {
        if let Some((sequence, segment)) = verifier.push(&row.entry) {
            let state = row.file.as_ref().map_or(FileState::Absent, |file| FileState::Hashed {
                len: file.len() as u64,
                content: digest(file),
            });
            verifier.file(sequence, &segment, state);
        }
    }
    verifier.finish()
}

/// Events of a recorder's life.
pub fn events() -> impl proptest::strategy::Strategy<Value = Vec<Event>> {
    use proptest::prelude::*;
    let event = prop_oneof![
        8 => proptest::bool::weighted(0.25).prop_map(|locked| Event::Segment { locked }),
        1 => Just(Event::Gap),
        1 => Just(Event::Confirm),
        1 => proptest::option::of(-2000i16..2000).prop_map(|off_min| Event::Boot { off_min }),
        2 => (1u8..6).prop_map(Event::LetGo),
    ];
    proptest::collection::vec(event, 4..24)
}
