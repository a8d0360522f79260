//! TLS in which each side is its key: certificates are wrappers, names and dates mean nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use ed25519_dalek::SigningKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use sightline_model::PublicKey;

use crate::error::CuError;

/// DER of a `SubjectPublicKeyInfo` with an Ed25519 key (RFC 8410 section 4), up to the key.
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// DER of a `PrivateKeyInfo` with an Ed25519 key (RFC 8410 section 7), up to the seed.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Takes the one key only.
#[derive(Debug)]
pub struct PinnedKey {
    key: PublicKey,
    provider: Arc<CryptoProvider>,
    refused: AtomicBool,
}

impl PinnedKey {
    /// Whether another key was shown.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    fn refuse(&self) -> rustls::Error {
        self.refused.store(true, Relaxed);
        CertificateError::ApplicationVerificationFailure.into()
    }
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity).map_err(|_| self.refuse())?;
        let info = certificate.subject_public_key_info();
        match info.strip_prefix(&ED25519_SPKI) {
            Some(key) if key == self.key.as_bytes() => Ok(ServerCertVerified::assertion()),
            _ => Err(self.refuse()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // QUIC is TLS 1.3 (RFC 9001 section 4.2).
        Err(self.refuse())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .map_err(|_| self.refuse())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// TLS towards a device with `device_key`, showing `own_key`.
///
/// # Errors
/// When the own certificate cannot be made: our own fault.
pub fn client_config(
    device_key: PublicKey,
    own_key: &SigningKey,
    alpn: &[u8],
) -> Result<(ClientConfig, Arc<PinnedKey>), CuError> {
    let fault =
        |what: &dyn std::fmt::Display| CuError::other(format!("TLS cannot be set up: {what}"));
    let der = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], own_key.as_bytes()].concat());
    let pair = rcgen::KeyPair::try_from(&der).map_err(|e| fault(&e))?;
    let certificate =
        rcgen::CertificateParams::default().self_signed(&pair).map_err(|e| fault(&e))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let refused = AtomicBool::new(false);
    let verifier =
        Arc::new(PinnedKey { key: device_key, provider: Arc::clone(&provider), refused });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| fault(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_client_auth_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(der))
        .map_err(|e| fault(&e))?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok((config, verifier))
}
