//! Other people's players, straight at the agent with a play token, and by way of `cu`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{Cu, Demo, Process, Said, run, tool};
use serde_json::Value;

/// How long a player may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A demo, and its owner.
struct House {
    demo: Demo,
    cu: Cu,
}

impl House {
    fn new() -> Self {
        let demo = Demo::start(&[]);
        let info = &demo.info;
        let cu = Cu::login(&info.portal, &info.phone, &info.sms_log, None);
        cu.ok(&["bind", &info.claim_code]);
        Self { demo, cu }
    }

    /// `rtsp://host:port/0?token=…`, as a person gets it.
    fn url(&self) -> String {
        let urls = self.cu.ok(&["play", "1", "--print-url"]);
        let url = urls.lines().find(|url| url.contains("//127.0.0.1:"));
        url.unwrap_or_else(|| panic!("no URL of this machine in:\n{urls}")).to_owned()
    }
}

/// The same URL with another token; without one when it is empty.
fn with_token(url: &str, token: &str) -> String {
    let (address, _) = url.split_once("?token=").expect("a token");
    if token.is_empty() { address.to_owned() } else { format!("{address}?token={token}") }
}

fn token_of(url: &str) -> &str {
    url.split_once("?token=").map_or("", |(_, token)| token)
}

/// URLs that must be refused: without token, with garbage, with a damaged one, with one for
/// another unit.
fn refused_urls(url: &str, foreign: &House) -> Vec<String> {
    let token = token_of(url);
    let damaged = format!("{}x", &token[..token.len() - 1]);
    let foreign = foreign.url();
    let tokens = ["", "garbage", &damaged, token_of(&foreign)];
    tokens.iter().map(|token| with_token(url, token)).collect()
}

fn ffmpeg(program: &Path, transport: &str, url: &str) -> Said {
    let input = ["-v", "warning", "-stats", "-rtsp_transport", transport, "-i", url];
    run(program, &[&input[..], &["-frames:v", "50", "-f", "null", "-"]].concat(), LIMIT)
}

#[test]
fn ffmpeg_plays_over_tcp_and_udp_with_a_token_only() {
    let (Some(program), Some(ffprobe)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let (house, other) = (House::new(), House::new());
    let url = house.url();
    for transport in ["tcp", "udp"] {
        let said = ffmpeg(&program, transport, &url);
        assert!(said.ok && said.text.contains("frame=   50"), "{transport}: {}", said.text);
        for trouble in ["corrupt", "missed", "error", "concealing", "RTP: "] {
            assert!(!said.text.contains(trouble), "{transport}: {}", said.text);
        }
        for refused in refused_urls(&url, &other) {
            let said = ffmpeg(&program, transport, &refused);
            assert!(!said.ok && said.text.contains("401"), "{refused}: {}", said.text);
        }
    }
    let show = ["-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "flat", &url];
    let said = run(&ffprobe, &show, LIMIT);
    assert!(said.ok, "{}", said.text);
    for expected in ["\"h264\"", "\"pcm_mulaw\"", "width=1280", "height=720"] {
        assert!(said.text.contains(expected), "no {expected} in: {}", said.text);
    }
}

#[test]
fn gstreamer_plays_with_rtsp_1_and_2_with_a_token_only() {
    let Some(program) = tool("gst-launch-1.0") else { return };
    let (house, other) = (House::new(), House::new());
    let url = house.url();
    let play = |url: &str, version: &str, protocols: &str| {
        let location = format!("location={url}");
        let version = format!("default-rtsp-version={version}");
        let protocols = format!("protocols={protocols}");
        let source = ["rtspsrc", &location, &version, &protocols, "!"];
        let sink = ["rtph264depay", "!", "avdec_h264", "!", "fakesink", "num-buffers=25"];
        run(&program, &[&source[..], &sink[..]].concat(), LIMIT)
    };
    for version in ["1-0", "2-0"] {
        for protocols in ["tcp", "udp"] {
            let said = play(&url, version, protocols);
            // Its exit code may be that of a PAUSE which it interrupts itself while it leaves.
            let all_came = said.text.contains("Got EOS from element");
            assert!(all_came, "{version} {protocols}: {}", said.text);
        }
        for refused in refused_urls(&url, &other) {
            let said = play(&refused, version, "tcp");
            assert!(!said.ok && said.text.contains("Unauthorized"), "{refused}: {}", said.text);
        }
    }
}

/// VLC's own engine for RTSP is live555; builds without it (Debian 12) cannot play RTSP at all, but
/// for a plugin that `VLC_PLUGIN_PATH` names.
#[test]
fn vlc_records_with_a_token_only() {
    let (Some(vlc), Some(setpriv)) = (tool("cvlc"), tool("setpriv")) else { return };
    let (house, other) = (House::new(), House::new());
    let url = house.url();
    let mut tries = vec![("--rtsp-tcp", url.clone(), true), ("--no-rtsp-tcp", url.clone(), true)];
    tries.extend(refused_urls(&url, &other).into_iter().map(|url| ("--rtsp-tcp", url, false)));
    let folder = open_folder();
    for (number, (transport, url, plays)) in tries.into_iter().enumerate() {
        let file = folder.path().join(format!("{number}.ts"));
        let sout = format!("#std{{access=file,mux=ts,dst={}}}", file.display());
        let home = format!("HOME={}", folder.path().display());
        let vlc = vlc.display().to_string();
        // VLC refuses to run as root.
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "env", &home];
        let quiet = ["-I", "dummy", transport, "--run-time=4", "--play-and-exit", "--sout", &sout];
        // Having been refused, VLC 3 stays in front of its empty list.
        let limited = ["sh", "-c", r#"timeout -k 2 15 "$0" "$@" || true"#, &vlc];
        let arguments = [&nobody[..], &limited, &quiet, &[&url, "vlc://quit"]].concat();
        let said = run(&setpriv, &arguments, LIMIT);
        if said.text.contains("unknown option") {
            eprintln!("SKIPPED: this build of VLC has no RTSP (no live555)");
            return;
        }
        let size = std::fs::metadata(&file).map_or(0, |data| data.len());
        assert_eq!(size > 50_000, plays, "{transport} {url}: {size} bytes: {}", said.text);
    }
}

/// live555's own client, the engine of VLC. `TEST_OPENRTSP` names it where no package does.
#[test]
fn openrtsp_receives_with_a_token_only() {
    let named = std::env::var_os("TEST_OPENRTSP").map(PathBuf::from);
    let Some(program) = named.or_else(|| tool("openRTSP")) else { return };
    let (house, other) = (House::new(), House::new());
    let url = house.url();
    let folder = open_folder();
    let play = |transport: &[&str], url: &str| {
        // The two files of a run: video-H264-1, audio-PCMU-2.
        let prefix = format!("{}/", folder.path().display());
        run(&program, &[transport, &["-V", "-d", "4", "-F", &prefix, url]].concat(), LIMIT)
    };
    for transport in [&["-t"][..], &[]] {
        let said = play(transport, &url);
        let files = std::fs::read_dir(folder.path()).expect("own folder").flatten();
        let mut sizes = files.map(|f| {
            let size = f.metadata().map_or(0, |data| data.len());
            let _ = std::fs::remove_file(f.path());
            (f.file_name().to_string_lossy().into_owned(), size)
        });
        let h264 = sizes.find(|(name, _)| name.contains("H264")).map_or(0, |(_, size)| size);
        assert!(said.ok && h264 > 100_000, "{transport:?}: {h264} bytes: {}", said.text);
    }
    for refused in refused_urls(&url, &other) {
        let said = play(&["-t"], &refused);
        assert!(said.text.contains("401"), "{refused}: {}", said.text);
    }
}

/// A folder in which another user may write.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), all).expect("own folder");
    folder
}

#[test]
fn cu_serves_any_player() {
    let (Some(ffprobe), Some(ffplay)) = (tool("ffprobe"), tool("ffplay")) else { return };
    let house = House::new();
    for via in ["quic", "webrtc"] {
        let mut command = house.cu.command();
        command.args(["play", "1", "--json", "--via", via, "--rtsp-listen", "127.0.0.1:0"]);
        let mut cu = Process::start(&mut command);
        let url = cu.line(LIMIT, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line.pointer("/listening/url")?.as_str()?.to_owned())
        });
        let show = ["-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "flat", &url];
        let said = run(&ffprobe, &show, LIMIT);
        for expected in ["\"h264\"", "\"pcm_mulaw\"", "width=1280", "height=720"] {
            assert!(said.text.contains(expected), "{via}: no {expected} in: {}", said.text);
        }
        // ffplay ends a live stream only when told to.
        let player = ffplay.display().to_string();
        let until = ["--preserve-status", "--signal=INT", "4", &player, "-nodisp", "-stats"];
        let dummy = ["SDL_AUDIODRIVER=dummy", "timeout"];
        let source = ["-rtsp_transport", "tcp", &url];
        let arguments = [&dummy[..], &until[..], &source[..]].concat();
        let said = run(Path::new("/usr/bin/env"), &arguments, LIMIT);
        assert!(played_s(&said.text) > 1.5, "{via}: {}", said.text);
        cu.signal("INT");
        assert_eq!(cu.wait(Duration::from_secs(10)), Some(0), "{via}");
    }
}

/// How far ffplay's clock has come, by its lines of figures: `   3.02 M-A:  0.000 fd=   0 …`.
fn played_s(text: &str) -> f64 {
    let lines = text.split(['\r', '\n']).filter(|line| line.contains(" fd="));
    let clocks = lines.filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let clocks: Vec<f64> = clocks.filter(|clock: &f64| clock.is_finite()).collect();
    clocks.last().zip(clocks.first()).map_or(0.0, |(last, first)| last - first)
}

#[test]
fn what_cu_records_is_read_without_error() {
    let (Some(ffprobe), Some(ffmpeg)) = (tool("ffprobe"), tool("ffmpeg")) else { return };
    let house = House::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for via in ["quic", "webrtc"] {
        let file = folder.path().join(format!("{via}.mp4")).display().to_string();
        house.cu.ok(&["play", "1", "--via", via, "--out", &file, "--seconds", "5"]);
        let said = run(&ffprobe, &["-v", "error", &file], LIMIT);
        assert!(said.ok && said.text.is_empty(), "{via}: {}", said.text);
        // In the file's own time base: pictures that were caught up with lie close together.
        let decode = ["-v", "error", "-i", &file, "-enc_time_base", "-1", "-f", "null", "-"];
        let decoded = run(&ffmpeg, &decode, LIMIT);
        assert!(decoded.ok && decoded.text.is_empty(), "{via}: {}", decoded.text);
        check_recording(via, &ffprobe, &file);
    }
}

fn check_recording(via: &str, ffprobe: &Path, file: &str) {
    let show = ["-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json"];
    let said = run(ffprobe, &[&show[..], &[file]].concat(), LIMIT);
    let seen: Value = serde_json::from_str(&said.text).expect("JSON");
    let streams = seen["streams"].as_array().cloned().unwrap_or_default();
    let of = |kind: &str| {
        let stream = streams.iter().find(|s| s["codec_type"] == kind);
        stream.cloned().unwrap_or_else(|| panic!("{via}: no {kind} in {seen}"))
    };
    let (video, audio) = (of("video"), of("audio"));
    assert_eq!(video["codec_name"], "h264", "{video}");
    assert_eq!((video["width"].as_u64(), video["height"].as_u64()), (Some(1280), Some(720)));
    let seconds = |value: &Value| -> f64 {
        value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    for duration in [&video["duration"], &audio["duration"], &seen["format"]["duration"]] {
        assert!((seconds(duration) - 5.0).abs() < 0.5, "{via}: {duration} s: {seen}");
    }
    // 25 pictures a second, none left out; over WebRTC those since the keyframe may come on top.
    let frames = seconds(&video["nb_read_frames"]);
    assert!((120.0..=178.0).contains(&frames), "{via}: {frames} pictures");
    println!("{via}: {frames} pictures, sound as {}", audio["codec_name"]);
}

/// A token serves whoever shows it first; another address is refused (SECURITY.md).
#[test]
fn a_token_is_of_no_use_at_another_address() {
    let Some(program) = tool("ffprobe") else { return };
    let house = House::new();
    let url = house.url();
    let probe = |url: &str| {
        let mut command = Command::new(&program);
        command.args(["-v", "error", "-rtsp_transport", "tcp", url]).output().expect("starts")
    };
    let first = probe(&url);
    assert!(first.status.success(), "{first:?}");
    // The agent sees the address by which it is reached: 127.0.0.1 from there, another from here.
    let Some(other) = own_address(&url) else { return };
    let second = probe(&other);
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && text.contains("403"), "{text}");
    drop(house.demo);
}

/// The URL at an address of this machine that is not loopback.
fn own_address(url: &str) -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing; asks which address would be used (RFC 5737).
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    if ip.is_loopback() {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return None;
    }
    Some(url.replace("127.0.0.1", &ip.to_string()))
}
