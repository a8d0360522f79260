//! What is checked before a start, and what changes without one.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use sightline_service_kit::tls::client_config;
use tokio::net::TcpStream;

use crate::centre::*;

/// Everything on this machine, at any port, with the certificate in this folder.
fn config(folder: &Path) -> Config {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { data_dir: folder.join("data"), ..Config::default() };
    config.https_listen = Some(local);
    config.tls.certificate_file = Some(folder.join("chain.pem"));
    config.tls.key_file = Some(folder.join("key.pem"));
    config.scu.quic_listen = local;
    config.mtu.udp_listen = local.into();
    config.mtu.tcp_listen = local.into();
    config.mtu.alternate_port = Some(0);
    config
}

/// Puts a certificate of this key there; it vouches for itself.
fn put(folder: &Path, key: &KeyPair) {
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(key).expect("signed");
    std::fs::write(folder.join("chain.pem"), certificate.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
}

/// What TLS shows there.
async fn shown(at: SocketAddr, folder: &Path) -> Option<Vec<u8>> {
    let tls = client_config(Some(&folder.join("chain.pem")), &[]).expect("usable");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = TcpStream::connect(at).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    let stream = connector.connect(name, stream).await.ok()?;
    let (_, connection) = stream.get_ref();
    Some(connection.peer_certificates()?.first()?.as_ref().to_vec())
}

#[test]
fn a_key_that_the_relay_cannot_use_is_refused_beforehand() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), &KeyPair::generate().expect("made"));
    let mut config = config(folder.path());
    config.check().expect("good");
    put(folder.path(), &KeyPair::generate_for(&PKCS_RSA_SHA256).expect("made"));
    let error = format!("{:#}", config.check().expect_err("refused"));
    assert!(error.contains("[mtu]") && error.contains("dtls = false"), "{error}");
    config.mtu.dtls = false;
    config.check().expect("good without DTLS");
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_new_start() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), &KeyPair::generate().expect("made"));
    let centre = Centre::start(config(folder.path())).await.expect("started");
    let portal = centre.https.expect("served");
    let first = shown(portal, folder.path()).await.expect("shown");

    put(folder.path(), &KeyPair::generate().expect("made"));
    centre.certificates.reload().expect("good");
    let second = shown(portal, folder.path()).await.expect("the new one is shown");
    assert_ne!(first, second);

    put(folder.path(), &KeyPair::generate_for(&PKCS_RSA_SHA256).expect("made"));
    assert!(centre.certificates.reload().is_err());
    assert_eq!(shown(portal, folder.path()).await, None, "one of two was changed");
    centre.edge.shutdown().await;
    centre.core.shutdown().await;
}
