//! The relay with clients that others wrote: coturn's, aiortc, GStreamer and Chromium, over every
//! transport that each of them knows.

mod common;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use common::{SECRET, config, credentials, loopback, soon, start, with_identity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

/// The program, if it is there; where everything must be there, its absence is a failure.
fn tool(name: &str, why: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let own = root.join(".tools/venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    assert!(
        found.is_some() || std::env::var_os("TEST_REQUIRE_COTURN").is_none(),
        "cannot find {name}"
    );
    if found.is_none() {
        eprintln!("SKIPPED: cannot find {name}: {why}; `cargo xtask setup` installs it");
    }
    found
}

async fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    soon("end of the client", command.output()).await.expect("ran")
}

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// `-y`: client to client, so that both directions of both relays are used; `-c`: no RTCP.
async fn uclient(how: &[&str], port: u16) {
    let Some(program) = tool("turnutils_uclient", "coturn's client") else { return };
    let (username, password) = credentials(600, SECRET);
    let mut command = Command::new(program);
    command
        .args(how)
        .args(["-y", "-c", "-n", "50", "-m", "4", "-l", "1000", "-u", &username, "-w", &password])
        .args(["-p", &port.to_string(), "127.0.0.1"]);
    let output = run(&mut command).await;
    let said = said(&output);
    assert!(said.contains("lost packets 0"), "{how:?}: {said}");
    assert!(said.contains("tot_send_msgs=200, tot_recv_msgs=200"), "{how:?}: {said}");
}

#[tokio::test]
async fn uclient_over_udp_with_channels() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    uclient(&[], mtu.udp_addr.port()).await;
}

#[tokio::test]
async fn uclient_over_udp_with_indications() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    uclient(&["-s"], mtu.udp_addr.port()).await;
}

#[tokio::test]
async fn uclient_over_tcp_with_channels() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    uclient(&["-t"], mtu.tcp_addr.expect("served").port()).await;
}

#[tokio::test]
async fn uclient_over_tcp_with_indications() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    uclient(&["-t", "-s"], mtu.tcp_addr.expect("served").port()).await;
}

#[tokio::test]
async fn uclient_over_tls_with_channels_and_indications() {
    let (mtu, _lifecycle) = start(with_identity(config(&[])).0).await;
    let port = mtu.tcp_addr.expect("served").port();
    uclient(&["-t", "-S"], port).await;
    uclient(&["-t", "-S", "-s"], port).await;
}

#[tokio::test]
async fn uclient_over_dtls_with_channels_and_indications() {
    let (mtu, _lifecycle) = start(with_identity(config(&[])).0).await;
    uclient(&["-S"], mtu.udp_addr.port()).await;
    uclient(&["-S", "-s"], mtu.udp_addr.port()).await;
}

#[tokio::test]
async fn aiortc_is_relayed() {
    let Some(python) = tool("python", "it runs aiortc") else { return };
    let (config, authority) = with_identity(config(&[]));
    let (mtu, _lifecycle) = start(config).await;
    let (udp, tcp) = (mtu.udp_addr, mtu.tcp_addr.expect("served"));
    let folder = tempfile::tempdir().expect("temporary folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem()).expect("written");
    let (udp, tcp, tls) = (
        format!("turn:{udp}?transport=udp"),
        format!("turn:{tcp}?transport=tcp"),
        format!("turns:localhost:{}?transport=tcp", tcp.port()),
    );
    for url in [udp, tcp, tls] {
        aiortc(&python, &url, &ca).await;
    }
}

async fn aiortc(python: &Path, url: &str, ca: &Path) {
    let (username, password) = credentials(600, SECRET);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/aiortc_relay.py");
    let mut command = Command::new(python);
    command.arg(script).args([url, &username, &password]).env("SSL_CERT_FILE", ca);
    let output = run(&mut command).await;
    assert!(said(&output).contains("echoed 50"), "{url}: {}", said(&output));
}

#[tokio::test]
async fn gstreamer_is_relayed() {
    if !has_webrtcbin().await {
        return;
    }
    // libnice ignores loopback.
    let Some(own) = outer_address() else { return };
    let config = mtu::Config {
        udp_listen: SocketAddr::new(own, 0).into(),
        tcp_listen: SocketAddr::new(own, 0).into(),
        ..config(&[])
    };
    let (mtu, _lifecycle) = start(config).await;
    let (udp, tcp) = (mtu.udp_addr, mtu.tcp_addr.expect("served"));
    for (addr, transport) in [(udp, "udp"), (tcp, "tcp")] {
        gstreamer(&format!("{addr}?transport={transport}")).await;
    }
}

/// An address of this machine beside loopback. Nothing is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("bound");
    let own = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    if own.is_err() {
        eprintln!("SKIPPED: this machine has no address but loopback");
    }
    own.ok().map(|own| own.ip())
}

async fn has_webrtcbin() -> bool {
    let wanted = "import gi; gi.require_version('GstWebRTC', '1.0'); \
                  gi.require_version('Gst', '1.0'); from gi.repository import Gst; \
                  Gst.init(None); exit(not all(map(Gst.ElementFactory.find, \
                  ('nicesrc', 'webrtcbin', 'vp8enc', 'dtlsdec'))))";
    let has = run(Command::new("/usr/bin/python3").args(["-c", wanted])).await.status.success();
    assert!(has || std::env::var_os("TEST_REQUIRE_COTURN").is_none(), "no webrtcbin");
    if !has {
        eprintln!("SKIPPED: no webrtcbin with libnice; `cargo xtask setup` installs it");
    }
    has
}

async fn gstreamer(at: &str) {
    let (username, password) = credentials(600, SECRET);
    let escape =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let url = format!("turn://{}:{}@{at}", escape(&username), escape(&password));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/gstreamer_relay.py");
    let output = run(Command::new("/usr/bin/python3").arg(script).arg(&url)).await;
    assert!(said(&output).contains("frames 30"), "{at}: {}", said(&output));
}

#[tokio::test]
async fn chromium_is_relayed() {
    let Some(browser) = chromium() else { return };
    let (mtu, _lifecycle) = start(with_identity(config(&[])).0).await;
    let (udp, tcp) = (mtu.udp_addr, mtu.tcp_addr.expect("served"));
    for (url, protocol) in [
        (format!("turn:{udp}?transport=udp"), "udp"),
        (format!("turn:{tcp}?transport=tcp"), "tcp"),
        (format!("turns:localhost:{}?transport=tcp", tcp.port()), "tls"),
    ] {
        // This test's authority is nobody's but its own.
        let result = page(&browser, &url, &["--ignore-certificate-errors"]).await;
        assert!(result["frames"].as_u64() >= Some(30), "{url}: {result}");
        assert_eq!((&result["type"], &result["protocol"]), (&"relay".into(), &protocol.into()));
    }
}

fn chromium() -> Option<PathBuf> {
    let named = ["TEST_CHROMIUM", "CHROMIUM_PATH"].into_iter().find_map(std::env::var_os);
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.map(PathBuf::from).or_else(|| {
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        let paths = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
        paths.into_iter().find(|path| path.is_file())
    });
    if found.is_none() {
        eprintln!("SKIPPED: no Chromium is installed; name one in TEST_CHROMIUM");
    }
    found
}

/// Opens `relay.html` in a browser of its own; what the page found out.
async fn page(browser: &Path, turn: &str, flags: &[&str]) -> serde_json::Value {
    let (username, credential) = credentials(600, SECRET);
    let server =
        serde_json::json!({ "urls": turn, "username": username, "credential": credential });
    let listener = TcpListener::bind(loopback(0)).await.expect("bound");
    let at = listener.local_addr().expect("bound");
    let profile = tempfile::tempdir().expect("temporary folder");
    let _browser = Command::new(browser)
        .args("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run".split(' '))
        .args("--disable-background-networking --disable-component-update".split(' '))
        // This machine's own addresses are the whole network here.
        .args(["--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required"])
        .args(flags)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{at}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            if let Some(result) = serve(stream, &server).await {
                return result;
            }
        }
    };
    tokio::time::timeout(common::PATIENCE * 3, serving).await.expect("a result in time")
}

/// One request; the result, if it brings it.
async fn serve(
    mut stream: tokio::net::TcpStream,
    server: &serde_json::Value,
) -> Option<serde_json::Value> {
    let mut request = Vec::new();
    let body = loop {
        stream.read_buf(&mut request).await.ok().filter(|n| *n > 0)?;
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        if request.len() >= end + 4 + length {
            break request[end + 4..].to_vec();
        }
    };
    let is = |line: &str| request.starts_with(line.as_bytes());
    let (kind, answer) = match () {
        () if is("GET / ") => ("text/html", include_str!("interop/relay.html").to_owned()),
        () if is("GET /server ") => ("application/json", server.to_string()),
        () => ("text/plain", String::new()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all((head + &answer).as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    if is("POST /result ") { serde_json::from_slice(&body).ok() } else { None }
}
