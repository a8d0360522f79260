//! Debian's coturn as a server of another make.

use std::{net::UdpSocket, process::Stdio, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// A running server.
pub struct Coturn {
    pub port: u16,
    pub tls_port: u16,
    certificate: CertificateDer<'static>,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Coturn {
    /// `None`, said aloud, where coturn is not installed.
    pub async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let (port, tls_port) = (free_port(), free_port());
        let mut command = Command::new("turnserver");
        command
            .args(["-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "--no-dtls", "--no-cli"])
            .args(["--lt-cred-mech", "-u", "user:password", "-u", "fresh:password", "-r", "test"])
            .args(["--allow-loopback-peers", "--log-file", "stdout"])
            .args(["-p", &port.to_string(), "--tls-listening-port", &tls_port.to_string()])
            .arg("--cert")
            .arg(&cert)
            .arg("--pkey")
            .arg(&key)
            .arg("--pidfile")
            .arg(folder.path().join("pid"))
            .arg("--userdb")
            .arg(folder.path().join("users"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                eprintln!("SKIPPED: coturn is not installed ({error}); see cargo xtask setup");
                return None;
            }
        };
        let up = async {
            for port in [port, tls_port] {
                while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), up).await.expect("coturn listens");
        let certificate = made.cert.der().clone();
        Some(Self { port, tls_port, certificate, process, _folder: folder })
    }

    /// Trusts its certificate.
    pub fn tls(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Without a goodbye.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.local_addr().expect("bound").port()
}
