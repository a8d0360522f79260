//! The walk over a chain: one entry at a time, in bounded memory.

use std::mem;

use sightline_model::{PuId, PublicKey, UnixMicros};

use super::{
    codec::{decode, hash, signed_bytes},
    expiry::{MAX_EXPIRED_RANGES, covers},
    finding::{Finding, Problem, Report, Span, Spoilt, StatedTime},
    hole::{Hole, SpoiltRun, corrected, holds},
};
use crate::statement::{
    Authority, BootId, ChainId, Checkpoint, ClockStep, Digest, Entry, ExpiredRange, Gap, Head,
    Segment, Sequence, Statement, Subject, What,
};

/// Most findings that are told one by one.
pub const MAX_FINDINGS: usize = 1_000;
/// Most holes that are kept until the newest checkpoint is known. A checkpoint explains at most
/// [`MAX_EXPIRED_RANGES`] of them, so the ones beyond are findings that would only be counted.
const MAX_HOLES: usize = MAX_EXPIRED_RANGES + MAX_FINDINGS;
/// Most steps of the clock by which times are corrected.
const MAX_STEPS: usize = 4_096;
/// How far a segment may begin before the end of the one before without a step: a second that is slewed
/// (decision 0090), and as much again for what is dated meanwhile. In microseconds.
const SLACK_US: i64 = 2_000_000;

/// What whoever verifies knows beforehand.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Whose key it must be.
    pub recorder: PuId,
    /// Whose recording of what it must be.
    pub subject: Option<Subject>,
    /// Which chain it must be. None: the one that the first entry names.
    pub chain: Option<ChainId>,
    /// What had been reported of its end.
    pub head: Option<Head>,
    /// Only a part of the chain is shown, as beside an export: it may begin and end anywhere.
    pub excerpt: bool,
}

impl Expected {
    /// Nothing is known but the recorder's id.
    #[must_use]
    pub const fn of(recorder: PuId) -> Self {
        Self { recorder, subject: None, chain: None, head: None, excerpt: false }
    }
}

/// What has been seen of a segment's file: three levels of looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is not there.
    Absent,
    /// It is there; nothing else was looked at.
    Present,
    /// Its length, in bytes.
    Length(u64),
    /// Its bytes.
    Hashed {
        /// Their number.
        len: u64,
        /// Their SHA-256.
        content: Digest,
    },
}

/// Walks a chain. Entries go in by [`Self::push`] in the order of their numbers, as they are stored;
/// for each segment that comes out, [`Self::file`] may be told what its file looks like.
///
/// Rows that the store has marked for removal are not pushed: the checkpoint explains their absence.
#[derive(Debug)]
pub struct Verifier {
    key: PublicKey,
    expected: Expected,
    chain: Option<ChainId>,
    last: Option<(Sequence, Digest)>,
    /// Where the newest entry with a time ends.
    reached: Option<StatedTime>,
    /// End and boot of the newest segment; none when something since explains another time.
    steady: Option<(UnixMicros, BootId)>,
    spoilt: Option<SpoiltRun>,
    holes: Vec<Hole>,
    /// Findings and holes whose end is not known yet.
    open: usize,
    checkpoint: Option<(Sequence, Vec<ExpiredRange>)>,
    steps: Vec<(Sequence, ClockStep)>,
    /// The beginning was among the entries or the context.
    begun: bool,
    report: Report,
}

impl Verifier {
    /// Begins to verify, with the recorder's public key.
    #[must_use]
    pub fn new(key: PublicKey, expected: Expected) -> Self {
        let report = Report {
            chain: None,
            subject: None,
            findings: Vec::new(),
            remarks: Vec::new(),
            more_findings: 0,
            absences: Vec::new(),
            entries: 0,
            segments: 0,
            files_hashed: 0,
            recorded_us: 0,
            span: Span::default(),
        };
        let mut verifier = Self {
            key,
            chain: expected.chain,
            expected,
            last: None,
            reached: None,
            steady: None,
            spoilt: None,
            holes: Vec::new(),
            open: 0,
            checkpoint: None,
            steps: Vec::new(),
            begun: false,
            report,
        };
        if !verifier.expected.recorder.matches(&key) {
            let problem = Problem::WrongRecorder { found: PuId::from_public_key(&key) };
            verifier.find(problem, Sequence(0), Span::default());
        }
        verifier
    }

    /// Takes an entry that lies outside of an excerpt and explains it: the beginning, a later
    /// checkpoint or a later step of the clock. Goes before the first [`Self::push`].
    pub fn push_context(&mut self, entry: &Entry) {
        match self.read(entry) {
            Ok(statement) => match statement.what {
                What::Begin { subject } => self.begin(subject),
                What::ClockStep(step) => self.note_step(statement.sequence, step),
                What::Checkpoint(checkpoint) => {
                    let newer = self.checkpoint.as_ref().is_none_or(|c| c.0 < statement.sequence);
                    if newer {
                        self.checkpoint = Some((statement.sequence, checkpoint.expired));
                    }
                }
                What::Segment(_) | What::Gap(_) => {}
            },
            Err(SpoiltRun { how, count, claimed }) => {
                let problem = Problem::Spoilt { how, count, claimed };
                self.find(problem, Sequence(0), Span::default());
            }
        }
    }

    /// Takes the next entry, and gives back the segment when it is one that is to be believed.
    pub fn push(&mut self, entry: &Entry) -> Option<(Sequence, Segment)> {
        self.report.entries += 1;
        let statement = match self.read(entry) {
            Ok(statement) => statement,
            Err(run) => {
                let before = self.spoilt.get_or_insert(SpoiltRun { count: 0, ..run });
                before.count += run.count;
                return None;
            }
        };
        let sequence = statement.sequence;
        if self.last.is_some_and(|(last, _)| sequence <= last) {
            self.misplaced(&statement);
            return None;
        }
        self.link(&statement);
        let hash = hash(&entry.encoded);
        if self.expected.head.as_ref().is_some_and(|h| h.sequence == sequence && h.hash != hash) {
            self.find_open(Problem::HeadDiffers, sequence);
        }
        self.last = Some((sequence, hash));
        match statement.what {
            What::Begin { subject } => self.begin(subject),
            What::Segment(segment) => {
                self.segment(sequence, &segment);
                return Some((sequence, segment));
            }
            What::Gap(gap) => self.pass(gap_time(sequence, &gap)),
            What::ClockStep(step) => self.step(sequence, step),
            What::Checkpoint(checkpoint) => self.take_checkpoint(sequence, checkpoint),
        }
        None
    }

    /// Takes what is known of the file of a segment that [`Self::push`] gave back.
    pub fn file(&mut self, sequence: Sequence, segment: &Segment, state: FileState) {
        let problem = match state {
            FileState::Absent => Problem::FileMissing,
            FileState::Present => return,
            FileState::Length(found) | FileState::Hashed { len: found, .. }
                if found != segment.len =>
            {
                Problem::FileLength { stated: segment.len, found }
            }
            FileState::Length(_) => return,
            FileState::Hashed { content, .. } => {
                self.report.files_hashed += 1;
                if content == segment.content {
                    return;
                }
                Problem::FileAltered
            }
        };
        self.find(problem, sequence, span_of(sequence, segment));
    }

    /// Ends the walk and tells what it has shown.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end();
        if self.expected.excerpt && !self.begun {
            self.find(Problem::Missing, Sequence(0), Span::default());
        }
        let ranges = self.checkpoint.take().map(|(_, ranges)| ranges).unwrap_or_default();
        for hole in mem::take(&mut self.holes) {
            let (absences, found) = hole.settle(&ranges);
            self.report.absences.extend(absences);
            found.into_iter().for_each(|finding| self.add(finding));
        }
        self.expired_head(&ranges);
        // Removal had begun: the checkpoint is written first, then files go, then entries.
        self.report.findings.retain(|finding| {
            !matches!(finding.problem, Problem::FileMissing) || !covers(&ranges, finding.first)
        });
        let correct = |span: &mut Span| {
            for moment in [&mut span.from, &mut span.to].into_iter().flatten() {
                moment.at = corrected(moment, &self.steps);
            }
        };
        let told = self.report.findings.iter_mut().chain(&mut self.report.remarks);
        told.for_each(|finding| correct(&mut finding.span));
        self.report.absences.iter_mut().for_each(|absence| correct(&mut absence.span));
        correct(&mut self.report.span);
        self.report.findings.sort_by_key(|finding| (finding.first, finding.last));
        self.report.chain = self.chain;
        self.report
    }

    /// The statement in an entry that the recorder made for this chain.
    fn read(&mut self, entry: &Entry) -> Result<Statement, SpoiltRun> {
        let spoilt = |how, claimed| SpoiltRun { how, count: 1, claimed };
        let statement = decode(entry).map_err(|_| spoilt(Spoilt::Unreadable, None))?;
        let claimed = match &statement.what {
            What::Segment(segment) => Some(segment.start),
            What::Gap(gap) => Some(gap.from),
            What::ClockStep(step) => Some(step.from),
            What::Begin { .. } | What::Checkpoint(_) => None,
        };
        if !self.key.verify(&signed_bytes(&entry.encoded), &entry.signature) {
            return Err(spoilt(Spoilt::BadSignature, claimed));
        }
        if *self.chain.get_or_insert(statement.chain) != statement.chain {
            return Err(spoilt(Spoilt::OtherChain, claimed));
        }
        Ok(statement)
    }

    /// Compares an entry with the one before it.
    fn link(&mut self, statement: &Statement) {
        let sequence = statement.sequence;
        let spoilt = self.spoilt.take();
        let next = match self.last {
            Some((last, _)) => last.next(),
            None if self.expected.excerpt => sequence,
            None => Sequence(0),
        };
        if sequence > next {
            let span = Span { from: self.reached, to: None };
            let last = Sequence(sequence.0 - 1);
            let hash = Some(statement.previous);
            self.hole(Hole { first: next, last, span, spoilt, hash });
            self.steady = None;
            return;
        }
        if let Some(SpoiltRun { how, count, claimed }) = spoilt {
            self.find_open(Problem::Spoilt { how, count, claimed }, sequence);
        }
        if self.last.is_some_and(|(_, hash)| hash != statement.previous) {
            self.find_open(Problem::LinkBroken, sequence);
        }
    }

    fn hole(&mut self, hole: Hole) {
        if self.holes.len() < MAX_HOLES {
            self.open += 1;
            self.holes.push(hole);
        } else {
            self.report.more_findings += 1;
        }
    }

    /// An entry whose number has been passed already.
    fn misplaced(&mut self, statement: &Statement) {
        let sequence = statement.sequence;
        let span = match &statement.what {
            What::Segment(segment) => span_of(sequence, segment),
            What::Gap(gap) => at(gap_time(sequence, gap)),
            What::ClockStep(step) => at(Self::before(sequence, step)),
            What::Begin { .. } | What::Checkpoint(_) => {
                Span { from: self.reached, to: self.reached }
            }
        };
        self.find(Problem::Misplaced, sequence, span);
        if let What::ClockStep(step) = statement.what {
            self.note_step(sequence, step);
        }
        // It is there, if at a wrong place: not missing as well.
        let holds = |hole: &Hole| hole.first <= sequence && sequence <= hole.last;
        if let Some(at) = self.holes.iter().position(holds)
            && self.holes.len() < MAX_HOLES
        {
            let parts = self.holes[at].without(sequence);
            self.holes.splice(at..=at, parts);
        }
    }

    fn begin(&mut self, subject: Subject) {
        self.begun = true;
        let wrong = subject.recorder != self.expected.recorder
            || self.expected.subject.as_ref().is_some_and(|expected| *expected != subject);
        if wrong {
            let problem = Problem::OtherSubject { found: subject.clone() };
            self.find(problem, Sequence(0), Span::default());
        }
        self.report.subject = Some(subject);
    }

    fn segment(&mut self, sequence: Sequence, segment: &Segment) {
        let span = span_of(sequence, segment);
        if let Some(from) = span.from {
            self.close(from);
        }
        if let Some((end, boot)) = self.steady
            && boot == segment.boot
            && segment.start.0.saturating_add(SLACK_US) < end.0
            && self.report.remarks.len() < MAX_FINDINGS
        {
            let span = Span { from: span.from, to: self.reached };
            let (problem, first, last) = (Problem::TimeGoesBack, sequence, sequence);
            self.report.remarks.push(Finding { problem, first, last, span });
        }
        self.steady = Some((segment.end(), segment.boot));
        self.reached = span.to;
        self.report.segments += 1;
        self.report.recorded_us = self.report.recorded_us.saturating_add(segment.duration_us);
        self.report.span.from = self.report.span.from.or(span.from);
        self.report.span.to = span.to;
    }

    fn step(&mut self, sequence: Sequence, step: ClockStep) {
        let before = Self::before(sequence, &step);
        self.close(before);
        let (at, authority, boot) = (step.to, step.to_authority, Some(step.boot));
        self.reached = Some(StatedTime { at, authority, sequence, boot });
        self.steady = None;
        self.note_step(sequence, step);
    }

    /// When a step was, for what lies before it: what an unconfirmed clock said is off by the step.
    const fn before(sequence: Sequence, step: &ClockStep) -> StatedTime {
        let confirmed = step.from_authority.is_confirmed();
        let (at, authority) =
            if confirmed { (step.from, step.from_authority) } else { (step.to, step.to_authority) };
        StatedTime { at, authority, sequence, boot: Some(step.boot) }
    }

    fn note_step(&mut self, sequence: Sequence, step: ClockStep) {
        let known = self.steps.iter().any(|(before, _)| *before == sequence);
        if !known && self.steps.len() < MAX_STEPS {
            self.steps.push((sequence, step));
        }
    }

    fn take_checkpoint(&mut self, sequence: Sequence, Checkpoint { expired }: Checkpoint) {
        if self.checkpoint.as_ref().is_some_and(|(at, _)| *at > sequence) {
            return;
        }
        let before = self.checkpoint.take().map(|(_, ranges)| ranges).unwrap_or_default();
        if !before.iter().all(|range| holds(&expired, range)) {
            self.find_open(Problem::CheckpointTakesBack, sequence);
        }
        self.checkpoint = Some((sequence, expired));
    }

    /// An entry with a time and without a duration.
    fn pass(&mut self, moment: StatedTime) {
        self.close(moment);
        self.reached = Some(moment);
    }

    /// Something with a time is there again: findings that waited for it know where they end.
    fn close(&mut self, moment: StatedTime) {
        if self.open == 0 {
            return;
        }
        self.open = 0;
        // What concerns number 0 was found before the first entry, and waits for none.
        let found = self.report.findings.iter_mut().filter(|finding| finding.first.0 > 0);
        let spans = found
            .map(|finding| &mut finding.span)
            .chain(self.holes.iter_mut().map(|hole| &mut hole.span));
        for span in spans.filter(|span| span.to.is_none()) {
            span.to = Some(moment);
        }
    }

    /// A finding that ends with the next entry that has a time.
    fn find_open(&mut self, problem: Problem, sequence: Sequence) {
        self.open += 1;
        self.find(problem, sequence, Span { from: self.reached, to: None });
    }

    fn find(&mut self, problem: Problem, sequence: Sequence, span: Span) {
        self.find_range(problem, (sequence, sequence), span);
    }

    fn find_range(&mut self, problem: Problem, (first, last): (Sequence, Sequence), span: Span) {
        self.add(Finding { problem, first, last, span });
    }

    fn add(&mut self, finding: Finding) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(finding);
        } else {
            self.report.more_findings += 1;
        }
    }

    /// What is wrong with the end of the chain.
    fn end(&mut self) {
        let next = self.last.map_or(Sequence(0), |(last, _)| last.next());
        let span = Span { from: self.reached, to: None };
        let spoilt = self.spoilt.take();
        if let Some(SpoiltRun { how, count, claimed }) = spoilt {
            let last = Sequence(next.0.saturating_add(count - 1));
            self.find_range(Problem::Spoilt { how, count, claimed }, (next, last), span);
        }
        if self.report.entries == 0 {
            self.find(Problem::Missing, Sequence(0), span);
        }
        let Some(head) = self.expected.head.clone() else { return };
        let (at, sequence) = (head.at, head.sequence);
        let (authority, boot) = self
            .reached
            .map_or((Authority::System, None), |reached| (reached.authority, reached.boot));
        let span = Span { to: Some(StatedTime { at, authority, sequence, boot }), ..span };
        if self.chain.is_some_and(|chain| chain != head.chain) {
            self.find(Problem::HeadDiffers, head.sequence, span);
            return;
        }
        let there = spoilt.map_or(0, |run| run.count);
        if head.sequence >= next && head.sequence.0 - next.0 >= there && !self.expected.excerpt {
            self.find_range(Problem::CutOff, (next, head.sequence), span);
        }
    }

    /// A reported entry that has been let go since must be the one that the checkpoint names.
    fn expired_head(&mut self, ranges: &[ExpiredRange]) {
        let Some(head) = self.expected.head.as_ref().filter(|h| Some(h.chain) == self.chain) else {
            return;
        };
        let (sequence, hash) = (head.sequence, head.hash);
        if ranges.iter().any(|range| range.last == sequence && range.last_hash != hash) {
            self.find(Problem::HeadDiffers, sequence, Span::default());
        }
    }
}

const fn at(moment: StatedTime) -> Span {
    Span { from: Some(moment), to: Some(moment) }
}

const fn gap_time(sequence: Sequence, gap: &Gap) -> StatedTime {
    StatedTime { at: gap.from, authority: gap.authority, sequence, boot: Some(gap.boot) }
}

fn span_of(sequence: Sequence, segment: &Segment) -> Span {
    let &Segment { boot, authority, .. } = segment;
    let moment = |at| Some(StatedTime { at, authority, sequence, boot: Some(boot) });
    Span { from: moment(segment.start), to: moment(segment.end()) }
}
