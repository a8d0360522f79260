//! Appending to a chain.

use sightline_model::{PuId, PublicKey, Signature, UnixMicros};

use super::{
    codec::{DecodeError, EncodeError, decode, encode, hash, signed_bytes},
    expiry::{ExpiryError, let_go},
};
use crate::statement::{
    ChainId, Checkpoint, Digest, Entry, ExpiredRange, Head, Sequence, Statement, Subject, What,
};

/// Who holds the recorder's key.
pub trait Sign {
    /// The public half; the recorder's id is its hash.
    fn public_key(&self) -> PublicKey;
    /// Signs `message` as it is (Ed25519, RFC 8032).
    fn sign(&self, message: &[u8]) -> Signature;
}

/// An entry that has been made and is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its number.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: Digest,
    /// What it says.
    pub what: What,
    /// What is to be stored.
    pub entry: Entry,
}

/// An entry cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The caller's fault: the key is not the recorder's.
    #[error("the key is not that of the recorder {0}")]
    WrongKey(PuId),
    /// The caller's fault: beginnings and checkpoints have functions of their own.
    #[error("a beginning or a checkpoint cannot be appended like this")]
    NotAppended,
    /// The caller's fault, or our own: the statement cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The caller's fault: what is to be let go cannot be.
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
    /// What is stored is not what was stored: an entry cannot be read.
    #[error("a stored entry cannot be read: {0}")]
    Stored(#[from] DecodeError),
    /// What is stored is not what was stored: an entry was not signed by this recorder.
    #[error("the stored entry {} was not signed by this recorder", .0.0)]
    NotOurs(Sequence),
    /// What is stored is not what was stored: the entries do not belong together.
    #[error("the stored entries do not belong together: {0}")]
    Mismatch(&'static str),
}

/// The end of a chain, to which entries are appended.
///
/// Storing may fail after an entry was made. So clone the writer before a transaction, append to the
/// clone, and keep the clone when the transaction is through.
#[derive(Debug, Clone)]
pub struct Writer {
    subject: Subject,
    chain: ChainId,
    newest: Sequence,
    newest_hash: Digest,
    expired: Vec<ExpiredRange>,
}

impl Writer {
    /// Begins a chain. `chain` is drawn from a CSPRNG by the caller.
    ///
    /// # Errors
    ///
    /// When the key is not that of the subject's recorder.
    pub fn begin(
        subject: Subject,
        chain: ChainId,
        key: &impl Sign,
    ) -> Result<(Self, NewEntry), WriteError> {
        let what = What::Begin { subject: subject.clone() };
        let begin = Statement { chain, sequence: Sequence(0), previous: Digest([0; 32]), what };
        let made = make(&subject, begin, key)?;
        let (newest, newest_hash) = (made.sequence, made.hash);
        Ok((Self { subject, chain, newest, newest_hash, expired: Vec::new() }, made))
    }

    /// Goes on with a stored chain: its beginning, its newest entry, and its newest checkpoint when
    /// there has been one. Any of them may be the same.
    ///
    /// # Errors
    ///
    /// When they cannot be read, were not signed by the recorder, or do not belong together. Then a
    /// new chain is to be begun, and an alarm raised.
    pub fn resume(
        begin: &Entry,
        newest: &Entry,
        checkpoint: Option<&Entry>,
        key: &PublicKey,
    ) -> Result<Self, WriteError> {
        let first = read(begin, key)?;
        let last = read(newest, key)?;
        let What::Begin { subject } = first.what else {
            return Err(WriteError::Mismatch("the first is no beginning"));
        };
        if !subject.recorder.matches(key) {
            return Err(WriteError::WrongKey(subject.recorder));
        }
        let checkpoint = checkpoint.map(|entry| read(entry, key)).transpose()?;
        if last.chain != first.chain || checkpoint.as_ref().is_some_and(|c| c.chain != first.chain)
        {
            return Err(WriteError::Mismatch("they are of several chains"));
        }
        if checkpoint.as_ref().is_some_and(|c| c.sequence > last.sequence) {
            return Err(WriteError::Mismatch("the checkpoint is newer than the newest"));
        }
        let expired = match (last.what, checkpoint.map(|c| c.what)) {
            (What::Checkpoint(newer), _) | (_, Some(What::Checkpoint(newer))) => newer.expired,
            (_, None) => Vec::new(),
            (_, Some(_)) => return Err(WriteError::Mismatch("no checkpoint, but something else")),
        };
        let newest_hash = hash(&newest.encoded);
        Ok(Self { subject, chain: first.chain, newest: last.sequence, newest_hash, expired })
    }

    /// Whose recording of what this is.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The number that the next entry will have: a run that begins with it is named so.
    #[must_use]
    pub const fn next(&self) -> Sequence {
        self.newest.next()
    }

    /// What has been let go so far.
    #[must_use]
    pub fn expired(&self) -> &[ExpiredRange] {
        &self.expired
    }

    /// What the chain has come to, to be reported.
    #[must_use]
    pub const fn head(&self, at: UnixMicros) -> Head {
        Head { chain: self.chain, sequence: self.newest, hash: self.newest_hash, at }
    }

    /// Appends a segment, a gap or a step of the clock.
    ///
    /// # Errors
    ///
    /// When the statement is none of these, no reader would believe it, or the key is another one.
    /// The writer stays as it was.
    pub fn append(&mut self, what: What, key: &impl Sign) -> Result<NewEntry, WriteError> {
        match what {
            What::Segment(_) | What::Gap(_) | What::ClockStep(_) => self.add(what, key),
            What::Begin { .. } | What::Checkpoint(_) => Err(WriteError::NotAppended),
        }
    }

    /// Appends the checkpoint that lets entries go: their numbers, rising, each with its hash. It
    /// must be stored before any of them is removed.
    ///
    /// # Errors
    ///
    /// When one of them cannot be let go, or the key is another one. The writer stays as it was.
    pub fn let_go(
        &mut self,
        now: impl IntoIterator<Item = (Sequence, Digest)>,
        key: &impl Sign,
    ) -> Result<NewEntry, WriteError> {
        let expired = let_go(&self.expired, now)?;
        if let Some(unknown) = expired.last().filter(|range| range.last > self.newest) {
            return Err(ExpiryError::Unknown(unknown.last).into());
        }
        let made = self.add(What::Checkpoint(Checkpoint { expired: expired.clone() }), key)?;
        self.expired = expired;
        Ok(made)
    }

    fn add(&mut self, what: What, key: &impl Sign) -> Result<NewEntry, WriteError> {
        let sequence = self.next();
        let statement = Statement { chain: self.chain, sequence, previous: self.newest_hash, what };
        let made = make(&self.subject, statement, key)?;
        (self.newest, self.newest_hash) = (made.sequence, made.hash);
        Ok(made)
    }
}

fn make(subject: &Subject, statement: Statement, key: &impl Sign) -> Result<NewEntry, WriteError> {
    if !subject.recorder.matches(&key.public_key()) {
        return Err(WriteError::WrongKey(subject.recorder.clone()));
    }
    let encoded = encode(&statement)?;
    let signature = key.sign(&signed_bytes(&encoded));
    let Statement { chain: _, sequence, previous: _, what } = statement;
    let hash = hash(&encoded);
    Ok(NewEntry { sequence, hash, what, entry: Entry { encoded, signature } })
}

fn read(entry: &Entry, key: &PublicKey) -> Result<Statement, WriteError> {
    let statement = decode(entry)?;
    if !key.verify(&signed_bytes(&entry.encoded), &entry.signature) {
        return Err(WriteError::NotOurs(statement.sequence));
    }
    Ok(statement)
}
