//! Other people's players play with a token and are refused without one.
//!
//! A player that is not installed is left out with a loud notice.

mod rtsp_support;

use std::{
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rtsp_support::{TOKEN, Unit};
use sightline_media_io::rtsp_server::Options;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};

fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
    });
    if !found {
        eprintln!("NOT TESTED: {program} is not installed");
    }
    found
}

async fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output: Output = tokio::time::timeout(Duration::from_secs(60), command.output())
        .await
        .unwrap_or_else(|_| panic!("{program} does not end: {arguments:?}"))
        .expect("starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

async fn unit() -> Unit {
    let unit = Unit::start(Options::default()).await;
    unit.online().await;
    unit
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_sees_both_tracks() {
    if !installed("ffprobe") {
        return;
    }
    let unit = unit().await;
    for path in ["0", "0/main", "0/sub"] {
        let url = unit.url(path);
        let arguments =
            ["-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "flat", &url];
        let (ok, text) = run("ffprobe", &arguments).await;
        assert!(ok, "{text}");
        for expected in ["\"h264\"", "\"pcm_mulaw\"", "width=640", "height=360"] {
            assert!(text.contains(expected), "no {expected} in: {text}");
        }
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_decodes_over_tcp_and_udp() {
    if !installed("ffmpeg") {
        return;
    }
    let unit = unit().await;
    for transport in ["tcp", "udp"] {
        let url = unit.url("0");
        let arguments = [
            "-v",
            "warning",
            "-stats",
            "-rtsp_transport",
            transport,
            "-i",
            &url,
            "-frames:v",
            "40",
            "-f",
            "null",
            "-",
        ];
        let (ok, text) = run("ffmpeg", &arguments).await;
        assert!(ok, "{transport}: {text}");
        assert!(text.contains("frame=   40"), "{transport}: {text}");
        for trouble in ["corrupt", "missed", "error", "concealing", "non-existing", "RTP: "] {
            assert!(!text.contains(trouble), "{transport}: {text}");
        }
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_is_refused_without_a_good_token() {
    if !installed("ffprobe") {
        return;
    }
    let unit = unit().await;
    let address = unit.address;
    for (url, status) in [
        (format!("rtsp://{address}/0"), "401"),
        (format!("rtsp://{address}/0?token=wrong"), "401"),
        (format!("rtsp://{address}/0?token=revoked"), "401"),
        (format!("rtsp://{address}/7?token={TOKEN}"), "404"),
        (format!("rtsp://{address}/1?token={TOKEN}"), "403"),
    ] {
        let (ok, text) = run("ffprobe", &["-rtsp_transport", "tcp", &url]).await;
        assert!(!ok && text.contains(status), "{url}: {text}");
    }
    // Players that ask the person: the token is the password.
    let url = format!("rtsp://me:{TOKEN}@{address}/0");
    let (ok, text) = run("ffprobe", &["-v", "error", "-rtsp_transport", "tcp", &url]).await;
    assert!(ok, "{text}");
    unit.stop().await;
}

/// What GStreamer says when its sink has got all the buffers that it asked for. Its exit code does
/// not tell: while it leaves, it may interrupt a PAUSE of its own and call that an error.
const ALL_CAME: &str = "Got EOS from element";

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_plays_with_rtsp_1_and_2() {
    if !installed("gst-launch-1.0") {
        return;
    }
    let unit = unit().await;
    for version in ["1-0", "2-0"] {
        for protocols in ["tcp", "udp"] {
            let location = format!("location={}", unit.url("0"));
            let version = format!("default-rtsp-version={version}");
            let protocols = format!("protocols={protocols}");
            let arguments = [
                "rtspsrc",
                &location,
                &version,
                &protocols,
                "latency=0",
                "name=s",
                "s.",
                "!",
                // No filter before it: two tracks that come at once race for gst-launch's own, and
                // it sometimes fails to link any.
                "rtph264depay",
                "!",
                "h264parse",
                "!",
                "avdec_h264",
                "!",
                "fakesink",
                "num-buffers=30",
            ];
            let (_, text) = run("gst-launch-1.0", &arguments).await;
            assert!(text.contains(ALL_CAME), "{version} {protocols}: {text}");
        }
        let (proxy, heard) = recording_proxy(unit.address).await;
        let location = format!("location=rtsp://{proxy}/0?token={TOKEN}");
        let spoken = format!("default-rtsp-version={version}");
        let arguments =
            ["rtspsrc", &location, &spoken, "protocols=tcp", "!", "fakesink", "num-buffers=9"];
        let (_, text) = run("gst-launch-1.0", &arguments).await;
        assert!(text.contains(ALL_CAME), "{version}: {text}");
        let requests = String::from_utf8_lossy(&heard.lock()).into_owned();
        let expected =
            format!("SETUP rtsp://{proxy}/0/main/video RTSP/{}", version.replace('-', "."));
        assert!(requests.contains(&expected), "no {expected} in: {requests}");

        let location = format!("location=rtsp://{}/0", unit.address);
        let version = format!("default-rtsp-version={version}");
        let arguments = ["rtspsrc", &location, &version, "!", "fakesink", "num-buffers=1"];
        let (ok, text) = run("gst-launch-1.0", &arguments).await;
        assert!(!ok && text.contains("Unauthorized"), "{text}");
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vlc_records_over_tcp_and_udp_and_is_refused_without_token() {
    if !installed("cvlc") || !installed("setpriv") {
        return;
    }
    let unit = unit().await;
    for (transport, url, expected) in [
        ("--rtsp-tcp", unit.url("0"), true),
        ("--no-rtsp-tcp", unit.url("0"), true),
        ("--rtsp-tcp", format!("rtsp://{}/0", unit.address), false),
    ] {
        let folder = std::env::temp_dir().join(format!(
            "sightline-vlc-{}-{}{expected}",
            std::process::id(),
            transport.trim_start_matches('-')
        ));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("out.ts");
        open_to_all(&folder);
        let sout = format!("#std{{access=file,mux=ts,dst={}}}", file.display());
        let home = format!("HOME={}", folder.display());
        // VLC refuses to run as root.
        let arguments = [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "env",
            &home,
            // Having been refused, VLC 3 stays in front of its empty list.
            "timeout",
            "--kill-after=2",
            "15",
            "cvlc",
            "-I",
            "dummy",
            transport,
            "--run-time=4",
            "--play-and-exit",
            "--sout",
            &sout,
            &url,
            "vlc://quit",
        ];
        let (_, text) = run("setpriv", &arguments).await;
        if text.contains("unknown option") {
            eprintln!("NOT TESTED: this build of VLC has no RTSP (Debian 12 leaves live555 out)");
            std::fs::remove_dir_all(&folder).expect("own folder");
            break;
        }
        let size = std::fs::metadata(&file).map_or(0, |m| m.len());
        assert_eq!(size > 50_000, expected, "{transport} {size} bytes: {text}");
        std::fs::remove_dir_all(&folder).expect("own folder");
    }
    unit.stop().await;
}

/// What a player says on its way to the server.
async fn recording_proxy(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((player, _)) = listener.accept().await {
            let (mut from_player, mut to_player) = player.into_split();
            let server = TcpStream::connect(to).await.expect("listens");
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_player).await });
            let record = Arc::clone(&record);
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while let Ok(count @ 1..) = from_player.read(&mut buffer).await {
                    record.lock().extend_from_slice(&buffer[..count]);
                    if to_server.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, heard)
}

#[cfg(unix)]
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("own folder");
}
