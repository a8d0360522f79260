//! The way to the store: HTTP with a request that the centre has signed.

use std::{path::Path, time::Duration};

use reqwest::{Body, Client, StatusCode, header};
use sightline_protocol::cp::PutRequest;
use sightline_service_kit::tls::{self, TlsError};
use tokio_util::io::ReaderStream;
use url::Url;

use super::config::CheckedCloud;

/// A link that is slower than this, in bytes per second, is taken for broken.
const SLOWEST: u64 = 16 << 10;
/// What an upload may take besides.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// A segment was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The address is none to which media may be sent: the centre's fault.
    #[error("the centre gave an address that is not used: it must be https://")]
    Address,
    /// No connection, or it broke.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// The store will not have it: its own fault, the centre's, or the request has ended.
    #[error("the store refuses: {0}")]
    Refused(StatusCode),
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Way {
    portal: Url,
    /// Trusts whom the centre is trusted by.
    centre: Client,
    /// Trusts the store's authority, or the public ones.
    store: Client,
}

impl Way {
    /// Trusts `centre_ca` for the centre, and what is configured for a store elsewhere.
    ///
    /// # Errors
    /// [`TlsError`] when an authority cannot be used.
    pub fn new(config: &CheckedCloud, centre_ca: Option<&Path>) -> Result<Self, TlsError> {
        let centre = client(centre_ca)?;
        let store = client(config.store_ca.as_deref())?;
        Ok(Self { portal: config.portal.clone(), centre, store })
    }

    /// Sends a file of `len` bytes.
    pub(super) async fn put(
        &self,
        request: &PutRequest,
        file: std::fs::File,
        len: u64,
    ) -> Result<(), SendError> {
        let text = request.url.expose();
        let (client, url) = if text.starts_with('/') && !text.starts_with("//") {
            (&self.centre, self.portal.join(text).map_err(|_| SendError::Address)?)
        } else {
            (&self.store, Url::parse(text).map_err(|_| SendError::Address)?)
        };
        if !is_safe(&url) {
            return Err(SendError::Address);
        }
        let body = Body::wrap_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
        let mut put = client
            .put(url)
            .timeout(PATIENCE + Duration::from_secs(len / SLOWEST))
            .header(header::CONTENT_LENGTH, len)
            .body(body);
        for (name, value) in &request.headers {
            put = put.header(name, value);
        }
        // The URL holds a signature: it is in no message.
        let answer = put.send().await.map_err(|e| SendError::Away(e.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        if status.is_client_error() {
            return Err(SendError::Refused(status));
        }
        Err(SendError::Away(status.to_string()))
    }
}

fn client(ca: Option<&Path>) -> Result<Client, TlsError> {
    let tls = tls::client_config(ca, &[])?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("sightline/", env!("CARGO_PKG_VERSION")))
        .build();
    // With a TLS configuration that was made already nothing is left that could fail.
    client.map_err(|error| TlsError::Refused(rustls::Error::General(error.to_string())))
}

/// TLS, or this very machine: anything else would send recordings in clear.
fn is_safe(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(url::Host::Domain(name))) => name == "localhost",
        ("http", Some(url::Host::Ipv4(ip))) => ip.is_loopback(),
        ("http", Some(url::Host::Ipv6(ip))) => ip.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_go_over_tls_or_stay_on_this_machine() {
        let safe = |text: &str| is_safe(&Url::parse(text).expect("a URL"));
        for good in
            ["https://s3.example/b", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]:8/"]
        {
            assert!(safe(good), "{good}");
        }
        for bad in ["http://s3.example/b", "http://10.0.0.1/", "ftp://localhost/", "file:///etc"] {
            assert!(!safe(bad), "{bad}");
        }
    }
}
