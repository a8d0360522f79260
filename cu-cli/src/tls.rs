//! Whom `cu` trusts when it speaks to the centre.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::error::CuError;

/// The system's authorities, or only the given one: whoever runs a private authority does not want
/// public ones to vouch for its portal too.
///
/// # Errors
/// When the PEM text holds no certificate.
pub fn client_config(ca_pem: Option<&str>) -> Result<ClientConfig, CuError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| CuError::other(format!("TLS cannot be set up: {e}")))?;
    let Some(pem) = ca_pem else {
        let builder = builder.with_platform_verifier().map_err(|e| {
            CuError::other(format!("the system's certificate authorities cannot be read: {e}"))
        })?;
        return Ok(builder.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let added = certificate.ok().map(|c| roots.add(c));
        if !matches!(added, Some(Ok(()))) {
            return Err(CuError::usage(
                "--ca: the file holds something that is no certificate in PEM form",
            ));
        }
    }
    if roots.is_empty() {
        return Err(CuError::usage("--ca: the file holds no certificate in PEM form"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Whether a certificate was refused somewhere below this error.
#[must_use]
pub fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
            && is_certificate_error(inner)
        {
            return true;
        }
        next = error.source();
    }
    false
}
