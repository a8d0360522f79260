//! The key that signs access and play tokens (RFC 7519, EdDSA), and the keys of the other CMUs of
//! the domain.

use std::{collections::HashMap, path::Path};

use cmu_storage::{Database, SignIn, SigningKeyRow, StorageError};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sightline_model::{
    CameraId, DomainName, KeyId, PublicKey, RefreshId, SessionToken, StreamTier, UnixMicros, UserId,
};
use sightline_protocol::ps::{PlayClaims, TokenKey};

/// Audience of access tokens. No device id looks like it, so neither kind of token passes for the
/// other.
const ACCESS_AUDIENCE: &str = "cm";
/// Likewise, of the addresses of playlists.
const PLAYLIST_AUDIENCE: &str = "hls";
/// A token with an unknown key makes the list be read again, but not more often than this.
const RELOAD_INTERVAL_US: i64 = 5_000_000;

/// Claims of an access token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The domain that vouches for it.
    pub iss: DomainName,
    /// [`ACCESS_AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The sign-in.
    pub sid: RefreshId,
    /// Expiry, seconds since 1970.
    pub exp: i64,
    /// Issued at, seconds since 1970.
    pub iat: i64,
}

/// Claims of a playlist's address: what of which camera may be played for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaylistClaims {
    /// The domain that vouches for it.
    pub iss: DomainName,
    /// [`PLAYLIST_AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The sign-in with which it was asked for, and with which it ends.
    pub sid: RefreshId,
    /// The camera.
    pub camera: CameraId,
    /// Its encoding.
    pub tier: StreamTier,
    /// From when on, in microseconds since 1970.
    pub from: UnixMicros,
    /// Until when, exclusive.
    pub to: UnixMicros,
    /// Expiry, seconds since 1970.
    pub exp: i64,
}

/// The signing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the signing key in the data folder: {0}")]
    Io(#[from] std::io::Error),
    /// The file is not what this program wrote, or others may read it.
    #[error("the signing key in the data folder {0}")]
    Unusable(&'static str),
    /// The randomness of the system is missing.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The database fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The keys.
pub struct Keys {
    domain: DomainName,
    kid: KeyId,
    signing: EncodingKey,
    known: RwLock<Known>,
}

struct Known {
    keys: HashMap<KeyId, PublicKey>,
    read_at: UnixMicros,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the key from `data_dir`, makes it on the first start, and makes it known.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn open(data_dir: &Path, db: &Database, now: UnixMicros) -> Result<Self, KeyError> {
        let key = load_or_create(&data_dir.join("token-key"))?;
        let public_key = PublicKey::from(key.verifying_key());
        let digest = Sha256::digest(public_key.as_bytes());
        let kid = KeyId::from_random(digest[..16].try_into().expect("16 of 32 bytes"));
        let der = key.to_pkcs8_der().map_err(|_| KeyError::Unusable("cannot be encoded"))?;
        let signing = EncodingKey::from_ed_der(der.as_bytes());
        db.signing_keys().insert(&SigningKeyRow { kid: kid.clone(), public_key }, now).await?;
        let known = RwLock::new(Known { keys: HashMap::new(), read_at: UnixMicros(0) });
        let keys = Self { domain: db.domain().clone(), kid, signing, known };
        keys.reload(db, now).await?;
        Ok(keys)
    }

    async fn reload(&self, db: &Database, now: UnixMicros) -> Result<(), StorageError> {
        let rows = db.signing_keys().list().await?;
        let keys = rows.into_iter().map(|row| (row.kid, row.public_key)).collect();
        *self.known.write() = Known { keys, read_at: now };
        Ok(())
    }

    /// Every key that may have signed a play token, for the PUs.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn token_keys(&self, db: &Database) -> Result<Vec<TokenKey>, StorageError> {
        let rows = db.signing_keys().list().await?;
        Ok(rows.into_iter().map(|r| TokenKey { kid: r.kid, public_key: r.public_key }).collect())
    }

    /// Makes an access token.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when signing fails.
    pub fn sign_access(
        &self,
        user: &UserId,
        sign_in: &RefreshId,
        now: UnixMicros,
        life_s: u32,
    ) -> Result<SessionToken, KeyError> {
        let iat = now.as_secs();
        self.sign(
            "at+jwt",
            &AccessClaims {
                iss: self.domain.clone(),
                aud: ACCESS_AUDIENCE.to_owned(),
                sub: user.clone(),
                sid: sign_in.clone(),
                exp: iat + i64::from(life_s),
                iat,
            },
        )
    }

    /// Makes a play token.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when signing fails.
    pub fn sign_play(&self, claims: &PlayClaims) -> Result<SessionToken, KeyError> {
        self.sign("play+jwt", claims)
    }

    /// Makes a playlist's token.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when signing fails.
    pub fn sign_playlist(
        &self,
        sign_in: &SignIn,
        (camera, tier): (&CameraId, StreamTier),
        (from, to): (UnixMicros, UnixMicros),
        exp: i64,
    ) -> Result<SessionToken, KeyError> {
        let claims = PlaylistClaims {
            iss: self.domain.clone(),
            aud: PLAYLIST_AUDIENCE.to_owned(),
            sub: sign_in.account.id.clone(),
            sid: sign_in.id.clone(),
            camera: camera.clone(),
            tier,
            from,
            to,
            exp,
        };
        self.sign("hls+jwt", &claims)
    }

    fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Result<SessionToken, KeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.to_string());
        jsonwebtoken::encode(&header, claims, &self.signing)
            .map(SessionToken::new)
            .map_err(|_| KeyError::Unusable("cannot sign"))
    }

    /// Checks an access token; `None` when it is not one of ours or its time is over.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn verify_access(
        &self,
        db: &Database,
        token: &str,
        now: UnixMicros,
    ) -> Result<Option<AccessClaims>, StorageError> {
        let claims =
            self.verify::<AccessClaims>(db, token, ("at+jwt", ACCESS_AUDIENCE), now).await?;
        Ok(claims.filter(|c| c.exp > now.as_secs()))
    }

    /// Checks a playlist's token; `None` when it is not one of ours or its time is over.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn verify_playlist(
        &self,
        db: &Database,
        token: &str,
        now: UnixMicros,
    ) -> Result<Option<PlaylistClaims>, StorageError> {
        let kind = ("hls+jwt", PLAYLIST_AUDIENCE);
        let claims = self.verify::<PlaylistClaims>(db, token, kind, now).await?;
        Ok(claims.filter(|c| c.exp > now.as_secs()))
    }

    async fn verify<T: DeserializeOwned + Clone>(
        &self,
        db: &Database,
        token: &str,
        (typ, audience): (&str, &str),
        now: UnixMicros,
    ) -> Result<Option<T>, StorageError> {
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Ok(None) };
        let Some(Ok(kid)) = header.kid.as_deref().map(str::parse::<KeyId>) else { return Ok(None) };
        if header.typ.as_deref() != Some(typ) {
            return Ok(None);
        }
        let Some(key) = self.key(db, &kid, now).await? else { return Ok(None) };
        Ok(self.decode::<T>(token, audience, &key))
    }

    async fn key(
        &self,
        db: &Database,
        kid: &KeyId,
        now: UnixMicros,
    ) -> Result<Option<PublicKey>, StorageError> {
        let (found, read_at) = {
            let known = self.known.read();
            (known.keys.get(kid).copied(), known.read_at)
        };
        if found.is_some() || now.0 - read_at.0 < RELOAD_INTERVAL_US {
            return Ok(found);
        }
        self.reload(db, now).await?;
        Ok(self.known.read().keys.get(kid).copied())
    }

    fn decode<T: DeserializeOwned + Clone>(
        &self,
        token: &str,
        audience: &str,
        key: &PublicKey,
    ) -> Option<T> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[self.domain.as_str()]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // The caller compares with the clock that it was given.
        validation.validate_exp = false;
        let key = DecodingKey::from_ed_der(key.as_bytes());
        jsonwebtoken::decode::<T>(token, &key, &validation).ok().map(|data| data.claims)
    }
}

fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            check_private(path)?;
            let seed = BASE64URL_NOPAD.decode(text.trim().as_bytes()).ok();
            let seed: Option<[u8; 32]> = seed.and_then(|s| s.try_into().ok());
            let seed = seed.ok_or(KeyError::Unusable("is not a key that this program wrote"))?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            let text = BASE64URL_NOPAD.encode(&seed);
            sightline_service_kit::config::write_private(path, text.as_bytes())?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) => Err(error.into()),
    }
}

fn check_private(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Unusable("may be read by others; run chmod 600 on it"));
    }
    Ok(())
}
