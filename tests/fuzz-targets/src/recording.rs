//! What lies on a disk or beside an export: entries of a chain, and proofs.

use std::{convert::Infallible, sync::LazyLock};

use ed25519_dalek::{Signer as _, SigningKey};
use sightline_model::{PuId, PublicKey, Signature, UnixMicros};
use sightline_recording::{
    chain::{
        Expected, FileState, MAX_FINDINGS, Proof, Report, Verifier, decode, encode, rebuild,
        signed_bytes, unproven,
    },
    statement::{Digest, Entry, Head, Sequence, Statement},
};

use crate::Choices;

/// A key whose holder signs whatever the input says: the walk is reached behind the signatures.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[1; 32]));

/// An entry, a proof with its export, or a chain with all its entries signed.
pub fn recording_proof(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(3) {
        0 => drop(one(choices.rest())),
        1 => proof(choices.rest()),
        _ => walk(choices),
    }
}

/// What is taken has one form.
fn one(encoded: &[u8]) -> Option<(Statement, Entry)> {
    let signature = Signature::from_bytes([0; 64]);
    let mut entry = Entry { encoded: encoded.to_vec(), signature };
    let statement = decode(&entry).ok()?;
    assert_eq!(encode(&statement).as_deref(), Ok(encoded));
    entry.signature = KEY.sign(&signed_bytes(encoded)).into();
    Some((statement, entry))
}

/// The input is both the proof and the export.
fn proof(data: &[u8]) {
    let Ok(proof) = Proof::parse(data) else { return };
    let again = proof.to_json().expect("what was taken can be written");
    assert_eq!(Proof::parse(&again).expect("and read"), proof);
    let bare = unproven([(0, data.len() as u64)], proof.stretches());
    assert!(bare.iter().all(|(at, len)| *len > 0 && at + len <= data.len() as u64));
    for chain in &proof.chains {
        let recorder = PuId::from_public_key(&chain.recorder_key);
        let mut verifier = chain.verifier(Expected::of(recorder));
        for entry in &chain.entries {
            let Some((sequence, segment)) = verifier.push(&entry.entry()) else { continue };
            let read = |at: u64, len: u64, out: &mut dyn FnMut(&[u8])| -> Result<(), Infallible> {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
                let len = usize::try_from(len).unwrap_or(usize::MAX).min(data.len() - at);
                out(&data[at..at + len]);
                Ok(())
            };
            let Ok(state) = rebuild(&segment, &entry.pieces, read, |_| {});
            verifier.file(sequence, &segment, state);
        }
        told(verifier.finish());
    }
}

/// Statements in any order, all of them signed.
fn walk(mut choices: Choices<'_>) {
    let public: PublicKey = KEY.verifying_key().into();
    let excerpt = choices.flag();
    let head = choices.flag().then(|| (choices.u16(), choices.byte()));
    let mut verifier: Option<Verifier> = None;
    while !choices.is_empty() {
        let how = choices.byte();
        let Some((statement, mut entry)) = one(choices.piece()) else { continue };
        let walk = verifier.get_or_insert_with(|| {
            let head = head.map(|(sequence, hash)| Head {
                chain: statement.chain,
                sequence: Sequence(sequence.into()),
                hash: Digest([hash; 32]),
                at: UnixMicros(0),
            });
            let expected = Expected::of(PuId::from_public_key(&public));
            Verifier::new(public, Expected { head, excerpt, ..expected })
        });
        if how & 1 == 1 {
            entry.signature = Signature::from_bytes([how; 64]);
        }
        if how & 2 == 2 {
            walk.push_context(&entry);
        }
        let Some((sequence, segment)) = walk.push(&entry) else { continue };
        assert_eq!((sequence, how & 1), (statement.sequence, 0));
        let state = match (how >> 2) & 3 {
            0 => FileState::Absent,
            1 => FileState::Present,
            2 => FileState::Length(u64::from(how)),
            _ => FileState::Hashed { len: segment.len, content: segment.content },
        };
        walk.file(sequence, &segment, state);
    }
    if let Some(verifier) = verifier {
        told(verifier.finish());
    }
}

/// Whatever was walked, the report is bounded and can be told.
fn told(report: Report) {
    assert!(report.findings.len() <= MAX_FINDINGS);
    assert!(report.segments <= report.entries);
    assert_eq!(report.is_sound(), report.findings.is_empty() && report.more_findings == 0);
    for finding in &report.findings {
        assert!(finding.first <= finding.last && !finding.to_string().is_empty());
    }
    for absence in &report.absences {
        assert!(absence.first <= absence.last && absence.to_string().contains("let go"));
    }
}
