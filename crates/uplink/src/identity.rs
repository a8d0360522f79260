//! Who this unit is: an Ed25519 key made on its first start, and the secret of its claim code.
//!
//! Everything lies in the data folder: `identity.json` (the key and the claim secret, readable by
//! the owner alone) and, after the button was held, `claim-unlocked`.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};
use sightline_model::{ClaimCode, ClaimSecret, PuId, PublicKey, Signature, UserId};
use sightline_service_kit::config::write_private;
use zeroize::{Zeroize, Zeroizing};

const FILE: &str = "identity.json";
const LOCK: &str = "identity.lock";
const UNLOCKED: &str = "claim-unlocked";
const VERSION: u16 = 1;

/// The identity cannot be read or made. Always something that the operator of the unit must mend.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else on the machine may read the key.
    #[error(
        "{} can be read by other users of this machine (mode {mode:03o}); \
         if nobody has read it, mend it with: chmod 600 {}", path.display(), path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what this program wrote. It is never replaced by itself: the unit would
    /// become another one, and its owner would lose it.
    #[error(
        "{} is damaged ({reason}); restore it from a backup, or remove it to make this a new \
         unit that must be bound again", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without the content.
        reason: &'static str,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    /// Seed of the key (RFC 8032), base64url.
    key: String,
    /// 80 bits, base64url.
    claim_secret: String,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.key.zeroize();
        self.claim_secret.zeroize();
    }
}

/// This unit's key and claim secret.
pub struct Identity {
    key: SigningKey,
    claim: ClaimCode,
    dir: PathBuf,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.pu_id())
    }
}

impl Identity {
    /// Reads the identity in `dir`, or makes one there on the first start.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::File { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let path = dir.join(FILE);
        // Two processes that start together must not make two identities.
        let lock_path = dir.join(LOCK);
        let lock = fs::File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        match fs::read(&path) {
            Ok(content) => Self::read(dir, &path, &Zeroizing::new(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(dir, &path),
            Err(source) => Err(IdentityError::File { path, source }),
        }
    }

    fn read(dir: &Path, path: &Path, content: &[u8]) -> Result<Self, IdentityError> {
        let file = |source| IdentityError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(file)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: path.to_owned(), mode });
        }
        let damaged = |reason| IdentityError::Damaged { path: path.to_owned(), reason };
        let stored: Stored = serde_json::from_slice(content)
            .map_err(|_| damaged("it is not the JSON that was written"))?;
        if stored.version != VERSION {
            return Err(damaged("it was written by another version of this program"));
        }
        let seed = Zeroizing::new(decode::<32>(&stored.key).ok_or(damaged("its key is cut"))?);
        let secret = decode(&stored.claim_secret).ok_or(damaged("its claim secret is cut"))?;
        Ok(Self::assemble(dir, &seed, secret))
    }

    fn create(dir: &Path, path: &Path) -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        let mut secret = [0; 10];
        getrandom::fill(seed.as_mut()).map_err(IdentityError::Random)?;
        getrandom::fill(&mut secret).map_err(IdentityError::Random)?;
        let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
        let stored =
            Stored { version: VERSION, key: encode(seed.as_ref()), claim_secret: encode(&secret) };
        let text = serde_json::to_vec_pretty(&stored).map(Zeroizing::new);
        let text = text.map_err(|_| IdentityError::Damaged {
            path: path.to_owned(),
            reason: "it cannot be written as JSON",
        })?;
        write_private(path, &text)
            .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
        Ok(Self::assemble(dir, &seed, secret))
    }

    fn assemble(dir: &Path, seed: &[u8; 32], secret: [u8; 10]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let pu = PuId::from_public_key(&PublicKey::from(key.verifying_key()));
        let claim = ClaimCode::new(pu, ClaimSecret::from_bytes(secret));
        Self { key, claim, dir: dir.to_owned() }
    }

    /// The unit's id.
    #[must_use]
    pub const fn pu_id(&self) -> &PuId {
        self.claim.pu_id()
    }

    /// The unit's key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.verifying_key().into()
    }

    /// What the new owner types or scans.
    #[must_use]
    pub const fn claim_code(&self) -> &ClaimCode {
        &self.claim
    }

    /// Signs with the unit's key.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.key.sign(message).into()
    }

    /// The key as PKCS#8 (RFC 8410 clause 7), for the unit's own certificate.
    #[must_use]
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        // PrivateKeyInfo with the algorithm id of Ed25519 and the seed in two OCTET STRINGs.
        const HEAD: [u8; 16] =
            [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let mut der = Zeroizing::new(Vec::with_capacity(HEAD.len() + 32));
        der.extend_from_slice(&HEAD);
        der.extend_from_slice(self.key.as_bytes());
        der
    }

    /// The button was held: the claim code works again although the unit is bound, until its
    /// owner changes.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn unlock_claim(&self) -> Result<(), IdentityError> {
        self.write_unlocked("")
    }

    /// Whether the button was held since the owner last changed.
    #[must_use]
    pub fn claim_unlocked(&self) -> bool {
        self.dir.join(UNLOCKED).exists()
    }

    /// The centre says whose the unit is. The unlocking ends when that changes after it.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn owner_is(&self, owner: Option<&UserId>) -> Result<(), IdentityError> {
        let path = self.dir.join(UNLOCKED);
        let at_unlocking = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        // The unlocking may happen while the centre is away: the first owner heard of is the one
        // who was there before.
        let now = owner.map_or("-", UserId::as_str);
        if at_unlocking.is_empty() {
            return self.write_unlocked(now);
        }
        if at_unlocking == now {
            return Ok(());
        }
        fs::remove_file(&path).map_err(|source| IdentityError::File { path, source })
    }

    fn write_unlocked(&self, content: &str) -> Result<(), IdentityError> {
        let path = self.dir.join(UNLOCKED);
        write_private(&path, content.as_bytes())
            .map_err(|source| IdentityError::File { path, source })
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = Zeroizing::new(data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
    bytes.as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
    }

    #[test]
    fn the_first_start_makes_an_identity_and_later_ones_keep_it() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let data = dir.path().join("data");
        let first = Identity::load_or_create(&data).expect("made");
        let second = Identity::load_or_create(&data).expect("read");
        assert_eq!(first.pu_id(), second.pu_id());
        assert_eq!(first.claim_code().to_string(), second.claim_code().to_string());
        assert!(first.public_key().verify(b"x", &second.sign(b"x")));
        assert!(first.pu_id().matches(&second.public_key()));
        let mode = fs::metadata(data.join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Identity::load_or_create(&dir.path().join("other")).expect("made");
        assert_ne!(first.pu_id(), other.pu_id());
    }

    #[test]
    fn an_exposed_key_is_refused_with_the_cure() {
        let dir = tempfile::tempdir().expect("temporary folder");
        Identity::load_or_create(dir.path()).expect("made");
        let path = dir.path().join(FILE);
        chmod(&path, 0o644);
        let error = Identity::load_or_create(dir.path()).expect_err("world-readable");
        assert!(matches!(error, IdentityError::Exposed { mode: 0o644, .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        chmod(&path, 0o600);
        Identity::load_or_create(dir.path()).expect("mended");
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let whole = Identity::load_or_create(dir.path()).expect("made");
        let path = dir.path().join(FILE);
        let good = fs::read_to_string(&path).expect("readable");
        let cut = good.replace("\"key\": \"", "\"key\": \"AA");
        let newer = good.replace("\"version\": 1", "\"version\": 2");
        for bad in ["", "{}", "garbage", &good[..good.len() / 2], &cut, &newer] {
            fs::write(&path, bad).expect("written");
            let error = Identity::load_or_create(dir.path()).expect_err("damaged");
            assert!(matches!(error, IdentityError::Damaged { .. }), "{bad:?}: {error}");
            assert_eq!(fs::read_to_string(&path).expect("readable"), bad, "it was overwritten");
        }
        fs::write(&path, &good).expect("written");
        let again = Identity::load_or_create(dir.path()).expect("restored");
        assert_eq!(again.pu_id(), whole.pu_id());
    }

    #[test]
    fn the_button_works_until_the_owner_changes() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let unit = Identity::load_or_create(dir.path()).expect("made");
        let (anna, bert): (UserId, UserId) =
            ("anna".parse().expect("id"), "bert".parse().expect("id"));
        assert!(!unit.claim_unlocked());
        unit.unlock_claim().expect("held");
        for _ in 0..2 {
            unit.owner_is(Some(&anna)).expect("noted");
            assert!(unit.claim_unlocked(), "the old owner is still the owner");
        }
        unit.owner_is(Some(&bert)).expect("noted");
        assert!(!unit.claim_unlocked(), "the new owner's unit stayed open");
        unit.owner_is(Some(&anna)).expect("noted");
        assert!(!unit.claim_unlocked());
    }

    #[test]
    fn debug_shows_no_secret() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let unit = Identity::load_or_create(dir.path()).expect("made");
        assert_eq!(format!("{unit:?}"), format!("Identity({})", unit.pu_id()));
    }
}
