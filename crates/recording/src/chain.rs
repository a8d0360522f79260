//! How a chain's entries are made, let go and checked (decision 0091).
//!
//! - [`Writer`] appends: it numbers, links and signs what the recorder states.
//! - [`let_go`] keeps the books of what has expired.
//! - [`Verifier`] walks a chain of any length in bounded memory, and says in a [`Report`] which
//!   second is missing or altered, and which absence is expiry.
//! - [`Proof`] is the file beside an export, which proves it offline.
//!
//! ```
//! use sightline_model::{CameraId, ChannelId, PuId, PublicKey, Signature, StreamTier, UnixMicros};
//! use sightline_recording::{
//!     chain::{Expected, Verifier, Writer},
//!     statement::{Authority, BootId, ChainId, Gap, GapReason, Subject, What},
//! };
//! # use ed25519_dalek::Signer as _;
//! # struct Key(ed25519_dalek::SigningKey);
//! # impl sightline_recording::chain::Sign for Key {
//! #     fn public_key(&self) -> PublicKey { self.0.verifying_key().into() }
//! #     fn sign(&self, message: &[u8]) -> Signature { self.0.sign(message).into() }
//! # }
//! # let key = Key(ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
//! # use sightline_recording::chain::Sign as _;
//! let recorder = PuId::from_public_key(&key.public_key());
//! let camera = CameraId { pu: recorder.clone(), channel: ChannelId(0) };
//! let subject = Subject { recorder: recorder.clone(), camera, tier: StreamTier::Main };
//! let (mut writer, begin) = Writer::begin(subject, ChainId([9; 16]), &key)?;
//! let gap = Gap {
//!     from: UnixMicros(1_700_000_000_000_000),
//!     boot: BootId(1),
//!     authority: Authority::System,
//!     reason: GapReason::CameraAway,
//! };
//! let gap = writer.append(What::Gap(gap), &key)?;
//!
//! let mut verifier = Verifier::new(key.public_key(), Expected::of(recorder));
//! verifier.push(&begin.entry);
//! verifier.push(&gap.entry);
//! assert!(verifier.finish().is_sound());
//! # Ok::<(), sightline_recording::chain::WriteError>(())
//! ```

mod codec;
mod expiry;
mod finding;
mod hole;
mod proof;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use codec::{
    DecodeError, EncodeError, InvalidChainId, MAX_ENCODED_LEN, MAX_SEGMENT_US, decode, encode,
    hash, signed_bytes,
};
pub use expiry::{ExpiryError, MAX_EXPIRED_RANGES, covers, let_go};
pub use finding::{Absence, Finding, Problem, Report, Span, Spoilt, StatedTime, time_text};
pub use proof::{
    ChainProof, MAX_CHAINS, MAX_PROOF_LEN, Piece, Proof, ProofError, ProvenEntry, rebuild, unproven,
};
pub use verify::{Expected, FileState, MAX_FINDINGS, Verifier};
pub use writer::{NewEntry, Sign, WriteError, Writer};
