//! Serving for real: TLS, the end of the service, and who may read its files.

mod support;

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use cmu::Config;
use sightline_bus::Bus;
use sightline_service_kit::{
    http,
    lifecycle::Lifecycle,
    tls::{self, Authority},
};
use support::Server;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

const ANNA: &str = "+8613800138000";

/// Sends a request and reads until `awaited` has come.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str, awaited: &str) {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&answer).contains(awaited) {
            let read = stream.read_buf(&mut answer).await.expect("read");
            assert!(read > 0, "ended: {}", String::from_utf8_lossy(&answer));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an answer in time");
}

#[tokio::test]
async fn the_service_ends_in_time_with_an_event_stream_open() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let (listener, addr) = http::bind(([127, 0, 0, 1], 0).into()).expect("bound");
    http::serve(listener, None, server.router.clone(), &server.lifecycle).expect("serves");
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    ask(&mut stream, &request, "resync").await;
    assert!(server.lifecycle.shutdown().await, "something did not end");
}

fn pem(path: &Path, label: &str, der: &[u8]) {
    let body = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    std::fs::write(path, text).expect("written");
}

#[tokio::test]
async fn a_cmu_alone_serves_tls_and_keeps_its_files_to_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::load_or_create(dir.path(), "Test").expect("made");
    let identity = authority.issue(&["localhost"], &[]).expect("issued");
    let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    pem(&chain, "CERTIFICATE", &identity.chain[0]);
    pem(&key, "PRIVATE KEY", identity.key.secret_der());
    let mut config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: String::new(),
        data_dir: dir.path().join("cmu"),
        ..Config::default()
    };
    config.tls.certificate_file = Some(chain);
    config.tls.key_file = Some(key);
    let data_dir = config.data_dir.clone();
    let lifecycle = Lifecycle::new();
    let running = cmu::start(config, Bus::in_process(), &lifecycle).await.expect("starts");

    let ca = dir.path().join(Authority::CERTIFICATE_FILE);
    let client = tls::client_config(Some(&ca), &[]).expect("usable");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let tcp = TcpStream::connect(running.addr).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    let mut stream = connector.connect(name, tcp).await.expect("the certificate is good");
    let request = "GET /api/v1/info HTTP/1.1\r\nhost: localhost\r\n\r\n";
    ask(&mut stream, request, "200 OK").await;

    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    for file in std::fs::read_dir(&data_dir).expect("readable") {
        let path = file.expect("readable").path();
        assert_eq!(mode(&path) & 0o077, 0, "others may read {}", path.display());
    }
    assert!(lifecycle.shutdown().await);
}
