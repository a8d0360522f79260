//! Configuration: one TOML file, every key of which an environment variable can override.
//!
//! Key `http.listen` is overridden by `SIGHTLINE_HTTP__LISTEN`. Unknown keys are refused, so a
//! typing error never passes silently; give the type `#[serde(default, deny_unknown_fields)]`.
//! Secrets are not written in the file but named by it: a key `…_file` holds a path, read with
//! [`read_secret`].

use std::path::{Path, PathBuf};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::de::DeserializeOwned;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "SIGHTLINE_";

/// Shortest secret that is accepted, in characters.
pub const MIN_SECRET_LEN: usize = 16;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named on the command line cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is unknown, missing, or has a value of the wrong form.
    #[error("the configuration is wrong: {0}")]
    Invalid(Box<figment::Error>),
    /// A secret is too easy to guess.
    #[error("the secret in {} has {length} characters; at least {MIN_SECRET_LEN} are needed. \
             Make one with: openssl rand -base64 32", path.display())]
    ShortSecret {
        /// Which file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// A value that parses but cannot work.
    #[error("the configuration is wrong: {0}")]
    Unusable(String),
}

/// Reads `path`, if given, and the environment on top of it.
///
/// # Errors
/// [`ConfigError`], in words for whoever wrote the file.
pub fn load<T: DeserializeOwned>(path: Option<&Path>) -> Result<T, ConfigError> {
    let text = path.map(|path| {
        std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
    });
    parse(&text.transpose()?.unwrap_or_default())
}

/// Reads TOML, and the environment on top of it.
///
/// # Errors
/// [`ConfigError::Invalid`], in words for whoever wrote the text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    // These belong to command lines and to the log filter.
    let env = Env::prefixed(ENV_PREFIX).ignore(&["config", "log", "cu_home"]).split("__");
    let figment = Figment::from(Toml::string(text)).merge(env);
    figment.extract().map_err(|e| ConfigError::Invalid(Box::new(e)))
}

/// Reads a secret from a file, without the white space around it.
///
/// # Errors
/// [`ConfigError::Unreadable`], [`ConfigError::ShortSecret`].
pub fn read_secret(path: &Path) -> Result<zeroize::Zeroizing<String>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let secret = zeroize::Zeroizing::new(text.trim().to_owned());
    if secret.len() < MIN_SECRET_LEN {
        return Err(ConfigError::ShortSecret { path: path.to_owned(), length: secret.len() });
    }
    Ok(secret)
}

/// Writes a file that only its owner may read, atomically: a crash leaves the old file or the new.
///
/// # Errors
/// Whatever the file system says.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = dir.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        listen: String,
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), content).expect("written");
        file
    }

    #[test]
    fn unknown_keys_and_bad_toml_are_refused_in_words() {
        let unknown = load::<Sample>(Some(file("lisen = 'x'").path())).expect_err("unknown key");
        assert!(unknown.to_string().contains("lisen"), "{unknown}");
        assert!(load::<Sample>(Some(file("listen = [").path())).is_err());
        let missing = load::<Sample>(Some(Path::new("/no/such/file"))).expect_err("no file");
        assert!(missing.to_string().contains("/no/such/file"), "{missing}");
        assert_eq!(load::<Sample>(Some(file("listen = 'x'").path())).expect("good").listen, "x");
    }

    #[test]
    fn short_secrets_are_refused() {
        assert!(matches!(
            read_secret(file("admin\n").path()),
            Err(ConfigError::ShortSecret { length: 5, .. })
        ));
        let long = file(" 0123456789abcdef \n");
        assert_eq!(read_secret(long.path()).expect("long enough").as_str(), "0123456789abcdef");
    }
}
