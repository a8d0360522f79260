//! What `cu` remembers between runs: one folder, readable by its owner only.
//!
//! | file | what |
//! |---|---|
//! | `key` | seed of this client's Ed25519 key, base64url |
//! | `portal.json` | portal, its private authority if any, who is signed in |
//! | `tokens.json` | access and refresh token |
//! | `pins.json` | device ids whose claim codes were typed here |
//! | `networks.json` | how long mappings live in the networks where this client was |
//! | `lock` | held while tokens or pins change |
//!
//! Every file is replaced as a whole (write, synchronize, rename): a reader sees the old content or
//! the new, also after a crash.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sightline_model::{ClientId, PuId, PublicKey, SessionToken, Signature, UnixMicros};

use crate::error::CuError;

/// Which portal, and who.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Portal {
    /// Base URL.
    pub url: url::Url,
    /// The only authority whose certificates count, in PEM; the system's when absent.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// The number, with its middle hidden.
    pub phone_masked: String,
    /// What the portal calls this client.
    pub client: ClientId,
}

/// A sign-in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tokens {
    /// Bearer token.
    pub access: SessionToken,
    /// When it ends.
    pub access_until: UnixMicros,
    /// Good for one refresh.
    pub refresh: SessionToken,
}

/// Devices whose keys this client knows for sure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pins {
    /// From claim codes typed here.
    #[serde(default)]
    pub from_code: BTreeSet<PuId>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// Held while nobody else may change tokens; freed on drop, also when the process dies.
pub struct Lock {
    _file: File,
}

impl Home {
    /// `dir`, or `$XDG_CONFIG_HOME/sightline`, or `~/.config/sightline`; made when missing.
    ///
    /// # Errors
    /// When there is no such place or it cannot be made.
    pub fn open(dir: Option<&Path>) -> Result<Self, CuError> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => default_dir().ok_or_else(|| {
                CuError::other("neither HOME nor XDG_CONFIG_HOME is set; say where: --home DIR")
            })?,
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| {
            CuError::other(format!("cannot make the folder {}: {e}", dir.display()))
        })?;
        Ok(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The file with what was learned of networks: how long routers keep mappings. No secrets.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.path("networks.json")
    }

    /// Waits until no other `cu` changes this folder. Blocks: call it off the async threads.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn lock(&self) -> Result<Lock, CuError> {
        let path = self.path("lock");
        let fail = |e| CuError::other(format!("cannot lock {}: {e}", path.display()));
        let file = private().create(true).truncate(false).open(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(Lock { _file: file })
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CuError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CuError::other(format!("cannot read {}: {e}", path.display()))),
        }
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CuError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            let path = self.path(name);
            CuError::other(format!(
                "{} is damaged ({e}); remove it and sign in again",
                path.display()
            ))
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CuError> {
        let path = self.path(name);
        self.try_write(name, bytes)
            .map_err(|e| CuError::other(format!("cannot write {}: {e}", path.display())))
    }

    fn try_write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        // Unique per process, so that two writers without the lock cannot mix their bytes.
        let temporary = self.path(&format!(".{name}.{}", std::process::id()));
        let mut file = private().create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path(name))?;
        File::open(&self.dir)?.sync_all()
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), CuError> {
        let bytes = serde_json::to_vec_pretty(value).map_err(|e| CuError::other(e.to_string()))?;
        self.write(name, &bytes)
    }

    /// The portal of the last sign-in.
    ///
    /// # Errors
    /// [`crate::error::Exit::NotSignedIn`] when there is none.
    pub fn portal(&self) -> Result<Portal, CuError> {
        self.read_json("portal.json")?.ok_or_else(CuError::not_signed_in)
    }

    /// Remembers a sign-in.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn save_sign_in(&self, portal: &Portal, tokens: &Tokens) -> Result<(), CuError> {
        let _lock = self.lock()?;
        self.write_json("portal.json", portal)?;
        self.save_tokens(tokens)
    }

    /// The tokens of the sign-in.
    ///
    /// # Errors
    /// [`crate::error::Exit::NotSignedIn`] when there are none.
    pub fn tokens(&self) -> Result<Tokens, CuError> {
        self.read_json("tokens.json")?.ok_or_else(CuError::not_signed_in)
    }

    /// Replaces the tokens; hold [`Home::lock`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_tokens(&self, tokens: &Tokens) -> Result<(), CuError> {
        self.write_json("tokens.json", tokens)
    }

    /// Forgets the sign-in; key and pins stay.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn forget_sign_in(&self) -> Result<(), CuError> {
        let _lock = self.lock()?;
        for name in ["tokens.json", "portal.json"] {
            match fs::remove_file(self.path(name)) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(CuError::other(format!("cannot remove {name}: {e}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The devices whose codes were typed here.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn pins(&self) -> Result<Pins, CuError> {
        Ok(self.read_json("pins.json")?.unwrap_or_default())
    }

    /// Remembers, or forgets, that this device's code was typed here.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn set_pin(&self, pu: &PuId, pinned: bool) -> Result<(), CuError> {
        let _lock = self.lock()?;
        let mut pins = self.pins()?;
        let changed =
            if pinned { pins.from_code.insert(pu.clone()) } else { pins.from_code.remove(pu) };
        if changed { self.write_json("pins.json", &pins) } else { Ok(()) }
    }

    /// This client's key, made on first use.
    ///
    /// # Errors
    /// When the file is damaged or cannot be written.
    pub fn key(&self) -> Result<ClientKey, CuError> {
        if let Some(key) = self.read_key()? {
            return Ok(key);
        }
        let _lock = self.lock()?;
        // Another run may have made it meanwhile.
        if let Some(key) = self.read_key()? {
            return Ok(key);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|e| CuError::other(format!("no random numbers to be had: {e}")))?;
        let text = PublicKey::from_bytes(seed).to_string();
        self.write("key", text.as_bytes())?;
        Ok(ClientKey { key: SigningKey::from_bytes(&seed) })
    }

    fn read_key(&self) -> Result<Option<ClientKey>, CuError> {
        let Some(bytes) = self.read("key")? else { return Ok(None) };
        // The seed has the text form of a key: 32 bytes in base64url.
        let seed =
            std::str::from_utf8(&bytes).ok().and_then(|t| t.trim().parse::<PublicKey>().ok());
        let seed = seed.ok_or_else(|| {
            let path = self.path("key");
            CuError::other(format!("{} is damaged; remove it and sign in again", path.display()))
        })?;
        Ok(Some(ClientKey { key: SigningKey::from_bytes(seed.as_bytes()) }))
    }
}

fn default_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("sightline"))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// The key that makes this client the only one that may use its play tokens.
#[derive(Clone)]
pub struct ClientKey {
    key: SigningKey,
}

impl ClientKey {
    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key.verifying_key().into()
    }

    /// Signs with it.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        ed25519_dalek::Signer::sign(&self.key, message).into()
    }

    /// The key itself, for the client certificate.
    #[must_use]
    pub const fn signing_key(&self) -> &SigningKey {
        &self.key
    }
}
