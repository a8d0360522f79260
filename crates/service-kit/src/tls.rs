//! Certificates: from files, or from a small authority of one's own (demo, LAN, tests).

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::hkdf;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::write_private;

/// Certificates cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no PEM certificate or key.
    #[error("{}: not a PEM certificate or key: {source}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not fit, or are refused.
    #[error("certificate or key refused: {0}")]
    Refused(#[from] rustls::Error),
}

/// Makes the process use one cryptographic provider; call before any TLS. May be called again.
pub fn install_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Identity {
    /// The server's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// What stays when the service starts anew with the same files or the same authority.
    lasting: LastingSecret,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            lasting: LastingSecret(self.lasting.0.clone()),
        }
    }
}

struct LastingSecret(hkdf::Prk);

impl LastingSecret {
    fn new(secret: &[u8]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"sightline lasting secret v1");
        Self(salt.extract(secret))
    }
}

impl std::fmt::Debug for LastingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("redacted")
    }
}

impl Identity {
    /// Reads PEM files.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|source| TlsError::Pem { path: key.to_owned(), source })?;
        let lasting = LastingSecret::new(key.secret_der());
        Ok(Self { chain: read_certificates(chain)?, key, lasting })
    }

    /// A secret for one purpose (RFC 5869), the same after every start with the same files or the
    /// same authority.
    #[must_use]
    pub fn lasting_secret(&self, purpose: &str) -> [u8; 32] {
        let mut secret = [0; 32];
        let info = [purpose.as_bytes()];
        let derived = self.lasting.0.expand(&info, hkdf::HKDF_SHA256);
        derived.and_then(|okm| okm.fill(&mut secret)).expect("32 bytes are what SHA-256 gives");
        secret
    }

    /// TLS for a server that shows this identity and asks its clients for none.
    ///
    /// # Errors
    /// [`TlsError::Refused`].
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<rustls::ServerConfig, TlsError> {
        install_provider();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Ok(config)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)
}

/// TLS for a client that trusts the authority in `ca` (PEM), or the public ones when `None`.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(ca: Option<&Path>, alpn: &[&[u8]]) -> Result<rustls::ClientConfig, TlsError> {
    install_provider();
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in read_certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// A certificate authority of one's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(key redacted)")
    }
}

impl Authority {
    /// File name of the certificate that clients import.
    pub const CERTIFICATE_FILE: &'static str = "ca.pem";
    const KEY_FILE: &'static str = "ca.key";

    /// Reads the authority in `dir`, or makes one there on the first start.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load_or_create(dir: &Path, name: &str) -> Result<Self, TlsError> {
        let file = |path: PathBuf| move |source| TlsError::File { path, source };
        std::fs::create_dir_all(dir).map_err(file(dir.to_owned()))?;
        let (certificate, key) = (dir.join(Self::CERTIFICATE_FILE), dir.join(Self::KEY_FILE));
        if !key.exists() {
            let made = Self::create(name)?;
            write_private(&certificate, made.certificate_pem.as_bytes())
                .map_err(file(certificate.clone()))?;
            // The key comes last: with it, the authority counts as made.
            write_private(&key, made.issuer.key().serialize_pem().as_bytes())
                .map_err(file(key.clone()))?;
            return Ok(made);
        }
        let certificate_pem = std::fs::read_to_string(&certificate).map_err(file(certificate))?;
        let key_pem = std::fs::read_to_string(&key).map_err(file(key))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(&key_pem)?)?;
        Ok(Self { issuer, certificate_pem })
    }

    /// Makes an authority that lives in memory only.
    ///
    /// # Errors
    /// [`TlsError::Make`].
    pub fn create(name: &str) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// The certificate that clients import.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A server certificate for these names and addresses, valid for a year.
    ///
    /// # Errors
    /// [`TlsError::Make`].
    pub fn issue(&self, names: &[&str], addresses: &[IpAddr]) -> Result<Identity, TlsError> {
        let names = names.iter().map(|n| (*n).to_owned());
        let addresses = addresses.iter().map(ToString::to_string);
        let mut params = CertificateParams::new(names.chain(addresses).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, "Sightline");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Browsers refuse server certificates that live longer than 398 days.
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(1);
        params.not_after = now + time::Duration::days(365);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            lasting: LastingSecret::new(&self.issuer.key().serialize_der()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let first = Authority::load_or_create(dir.path(), "Test").expect("made");
        let second = Authority::load_or_create(dir.path(), "Test").expect("read");
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        let before = first.issue(&["localhost"], &[]).expect("issued");
        let identity = second.issue(&["localhost"], &[[127, 0, 0, 1].into()]).expect("issued");
        assert_eq!(before.lasting_secret("a"), identity.lasting_secret("a"));
        assert_ne!(before.lasting_secret("a"), identity.lasting_secret("b"));
        identity.server_config(&[b"h2"]).expect("usable");
        client_config(Some(&dir.path().join(Authority::CERTIFICATE_FILE)), &[]).expect("usable");
    }

    #[test]
    fn a_broken_key_file_is_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("x.pem");
        std::fs::write(&path, "no key").expect("written");
        let error = Identity::from_pem_files(&path, &path).map(|_| ());
        match error {
            // A file without any PEM block gives an empty chain and then no key.
            Err(e) => assert!(e.to_string().contains("x.pem"), "{e}"),
            Ok(()) => panic!("a broken file was taken"),
        }
    }
}
