//! TLS between two that know each other by Ed25519 key alone, without any authority.
//!
//! Each end shows a certificate that it signed itself with its own key; names and dates in it mean
//! nothing. The handshake proves that the peer holds the key (RFC 8446 section 4.4.3), the verifier
//! here takes the key out of the certificate, and the caller decides whose key it must be.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sightline_model::PublicKey;

/// `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410 section 4) up to the key itself.
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];

/// PKCS#8 (RFC 8410 section 7) of an Ed25519 key, from its 32 secret bytes.
#[must_use]
pub fn pkcs8(seed: &[u8; 32]) -> Vec<u8> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&HEAD[..], seed].concat()
}

/// Own key material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinnedTlsError {
    /// Not an Ed25519 key in PKCS#8.
    #[error("the key cannot be used: {0}")]
    Key(#[from] rcgen::Error),
    /// The TLS library refused the configuration.
    #[error("TLS configuration: {0}")]
    Tls(#[from] Error),
}

/// TLS of a server that wants every client to show a key of its own.
///
/// # Errors
/// When `key_pkcs8` is not an Ed25519 key.
pub fn server_config(key_pkcs8: &[u8], alpn: &[u8]) -> Result<ServerConfig, PinnedTlsError> {
    let (certificate, key) = self_signed(key_pkcs8)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyKey { provider: Arc::clone(&provider) });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    // A resumed session shows no key anew; every connection makes the whole proof.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// TLS of a client that talks to the holder of `server` and to nobody else, and shows its own key.
///
/// # Errors
/// When `key_pkcs8` is not an Ed25519 key.
pub fn client_config(
    key_pkcs8: &[u8],
    server: PublicKey,
    alpn: &[u8],
) -> Result<ClientConfig, PinnedTlsError> {
    let (certificate, key) = self_signed(key_pkcs8)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(OneKey { provider: Arc::clone(&provider), server });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The Ed25519 key of a certificate; `None` for any other kind of key.
#[must_use]
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let spki = parsed.subject_public_key_info();
    let key: [u8; 32] = spki.as_ref().strip_prefix(&ED25519_SPKI)?.try_into().ok()?;
    Some(PublicKey::from_bytes(key))
}

fn self_signed(
    key_pkcs8: &[u8],
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), PinnedTlsError> {
    let der = PrivatePkcs8KeyDer::from(key_pkcs8.to_vec());
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)?;
    let parameters = rcgen::CertificateParams::new(vec!["sightline.invalid".into()])?;
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(der)))
}

/// What rustls asks of a verifier on either side beside whose certificate it is: TLS 1.3 alone, and
/// the proof that the peer holds the certificate's Ed25519 key.
macro_rules! ed25519_over_tls13 {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not spoken here".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

/// Server's side: whoever holds an Ed25519 key. Whose it is, the token tells.
#[derive(Debug)]
struct AnyKey {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match key_of(certificate) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    ed25519_over_tls13!();
}

/// Client's side: the holder of one key.
#[derive(Debug)]
struct OneKey {
    provider: Arc<CryptoProvider>,
    server: PublicKey,
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if key_of(certificate) == Some(self.server) {
            Ok(ServerCertVerified::assertion())
        } else {
            let reason = CertificateError::ApplicationVerificationFailure;
            Err(Error::InvalidCertificate(reason))
        }
    }

    ed25519_over_tls13!();
}
