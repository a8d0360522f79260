//! Attacks that real systems fell to, against the running system: rows of the table "Attacks" in
//! `docs/conformance.md` that cannot be shown within one crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{Capture, Centre, Cu, Demo, Packet, Player, Process, RtspUrl, bin, http, tool, wait_for};
use serde_json::{Value, json};

const ANNA: &str = "+8613800138000";

fn owner(centre: &Centre) -> Cu {
    let cu = Cu::login(&centre.portal, ANNA, &centre.sms_log(), Some(&centre.ca()));
    centre.wait_registered(&centre.mark_start());
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");
    cu
}

/// The ports on which a process listens.
fn ports(pid: u32) -> Option<Vec<u16>> {
    let output = Command::new(tool("ss")?).args(["-H", "-n", "-l", "-t", "-u", "-p"]).output();
    let text = String::from_utf8(output.expect("ss runs").stdout).expect("text");
    let own = text.lines().filter(|line| line.contains(&format!("pid={pid},")));
    let port = |line: &str| line.split_whitespace().nth(4)?.rsplit(':').next()?.parse().ok();
    Some(own.filter_map(port).collect::<BTreeSet<u16>>().into_iter().collect())
}

/// The stream's own parameter set, and a piece of its first picture, from a recording.
fn fragments(recording: &[u8]) -> Vec<Vec<u8>> {
    let find = |name: &[u8]| recording.windows(4).position(|w| w == name).expect("an MP4 box");
    // ISO/IEC 14496-15: 8 bytes of head, then the length and the set.
    let set = find(b"avcC") + 4 + 6;
    let length = usize::from(u16::from_be_bytes([recording[set], recording[set + 1]]));
    let media = find(b"mdat") + 4;
    // Past the head of the first slice: compressed picture, as good as random.
    let picture = recording[media + 2_000..media + 2_032].to_vec();
    vec![recording[set + 2..set + 2 + length].to_vec(), picture]
}

fn who_shows<'a>(packets: &'a [Packet], needle: &[u8]) -> Option<&'a Packet> {
    packets.iter().find(|packet| packet.contains(needle))
}

#[test]
fn tutk_no_hop_shows_pictures_or_signalling() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // From before the first connection, since QUIC is recognised by its beginning.
    let Some(capture) = Capture::start(folder.path()) else { return };
    let demo = Demo::start(&[]);
    let Some(portal) = demo.info.portal_lan.first() else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return;
    };
    let Some(ports) = ports(demo.process.pid()) else { return };
    let cu = Cu::login(portal, &demo.info.phone, &demo.info.sms_log, Some(&demo.info.ca));
    cu.ok(&["bind", &demo.info.claim_code]);
    let list: Value = serde_json::from_str(&cu.ok(&["list", "--json"])).expect("JSON");
    let camera = list["cameras"][0]["name"].as_str().expect("a camera").to_owned();
    cu.wait_for_camera(&camera);
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for (number, via) in ["quic", "webrtc", "webrtc"].into_iter().enumerate() {
        let file = demo.data.path().join(format!("{number}.mp4"));
        let out = file.to_str().expect("UTF-8");
        cu.ok(&["play", &camera, "--via", via, "--seconds", "2", "--out", out]);
        needles.extend(fragments(&std::fs::read(&file).expect("recorded")));
    }
    let words =
        ["v=0\r\n", "a=fingerprint", "m=video", "RTSP/1.0", "token", "\"type\"", "HTTP/1.1"];
    needles.extend(words.map(|word| word.as_bytes().to_vec()));
    needles.push(cu.access_token().into_bytes());
    needles.push(demo.info.phone.clone().into_bytes());

    let packets = capture.stop(&ports);
    let bytes: usize = packets.iter().map(|p| p.payload.len()).sum();
    println!("{} packets, {bytes} bytes on {} ports", packets.len(), ports.len());
    assert!(bytes > 500_000, "two streams passed: {bytes} bytes");
    for (kind, first) in [("QUIC", 192..=255), ("SRTP", 128..=191), ("DTLS", 20..=63)] {
        let seen = packets.iter().any(|p| !p.tcp && first.contains(&p.payload[0]));
        assert!(seen, "no {kind} was captured");
    }
    let quic: BTreeSet<_> = packets.iter().filter(|p| p.begins_quic()).map(Packet::flow).collect();
    for packet in packets.iter().filter(|packet| !quic.contains(&packet.flow())) {
        let head = &packet.payload[..packet.payload.len().min(32)];
        assert!(packet.is_sealed(), "port {} to {}: {head:02x?}", packet.from, packet.to);
    }
    two_sessions_share_no_key(&packets);
    for needle in &needles {
        if let Some(packet) = who_shows(&packets, needle) {
            let text = String::from_utf8_lossy(needle);
            panic!("{text:?} {needle:02x?} is in clear: {packet:02x?}");
        }
    }
    // Start codes of parameter sets and of keyframes. The heads of DTLS records look alike: number
    // 0, then a length of 0x165.
    let start_codes = [0x67_u8, 0x68, 0x65].map(|kind| [0, 0, 0, 1, kind]);
    let ssrcs = packets.iter().filter_map(Packet::ssrc).collect();
    for packet in packets.iter().filter(|p| p.tcp || !matches!(p.payload[0], 20..=63)) {
        let contents = packet.contents(&ssrcs);
        let shows = |code: &&[u8; 5]| contents.iter().any(|c| c.windows(5).any(|w| w == *code));
        let found = start_codes.iter().find(shows);
        assert_eq!(found, None, "{packet:02x?}");
    }
    the_search_finds_what_is_in_clear(&demo, &cu, &camera, &ports, &needles[0]);
}

/// What a session's SRTP keys follow from is new in each: the server's random number (at 14 of a
/// ServerHello) and its ephemeral public key (at 16 of a ServerKeyExchange, DTLS 1.2 with ECDHE).
fn two_sessions_share_no_key(packets: &[Packet]) {
    const SERVER_HELLO: u8 = 2;
    const SERVER_KEY_EXCHANGE: u8 = 12;
    let mut seen: BTreeMap<(u8, [u8; 32]), BTreeSet<_>> = BTreeMap::new();
    for packet in packets.iter().filter(|p| !p.tcp) {
        for handshake in dtls_handshakes(&packet.payload) {
            // Behind the head of the handshake message, 12 bytes.
            let at = match handshake.first() {
                Some(&SERVER_HELLO) => 12 + 2,
                Some(&SERVER_KEY_EXCHANGE) => 12 + 4,
                _ => continue,
            };
            let Some(secret) = handshake.get(at..at + 32) else { continue };
            let key = (handshake[0], secret.try_into().expect("32 bytes"));
            seen.entry(key).or_default().insert(packet.flow());
        }
    }
    for kind in [SERVER_HELLO, SERVER_KEY_EXCHANGE] {
        let of_kind: Vec<_> = seen.iter().filter(|((k, _), _)| *k == kind).collect();
        println!("{} different handshake messages of type {kind}", of_kind.len());
        assert!(of_kind.len() >= 2, "two sessions were captured: {seen:?}");
        assert!(of_kind.iter().all(|(_, flows)| flows.len() == 1), "shared: {of_kind:02x?}");
    }
}

/// The handshake messages in clear (epoch 0) of a datagram (RFC 6347 section 4.1).
fn dtls_handshakes(mut datagram: &[u8]) -> Vec<&[u8]> {
    const HANDSHAKE: u8 = 22;
    let mut found = Vec::new();
    while let [kind, 0xFE, _, epoch @ ..] = datagram
        && let Some(length) = datagram.get(11..13)
        && let Some(body) =
            datagram.get(13..13 + usize::from(length[0]) * 256 + usize::from(length[1]))
    {
        if *kind == HANDSHAKE && epoch.starts_with(&[0, 0]) {
            found.push(body);
        }
        datagram = &datagram[13 + body.len()..];
    }
    found
}

/// Plain RTSP, which the owner may choose for a player of other people, is seen by the same search.
fn the_search_finds_what_is_in_clear(
    demo: &Demo,
    cu: &Cu,
    camera: &str,
    ports: &[u16],
    parameters: &[u8],
) {
    let url = cu.rtsp_url(camera);
    let Some(capture) = Capture::start(demo.data.path()) else { return };
    let mut player = Player::connect(&url);
    player.play();
    player.media(200_000);
    let packets = capture.stop(ports);
    for needle in [b"RTSP/1.0".as_slice(), b"v=0\r\n", b"token", parameters] {
        assert!(who_shows(&packets, needle).is_some(), "{needle:02x?} was not found in clear RTSP");
    }
}

/// A DTLS 1.2 record with the head of a ClientHello.
fn client_hello() -> Vec<u8> {
    let mut bytes = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60];
    bytes.extend([1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 254, 253]);
    bytes.resize(73, 7);
    bytes
}

fn rtp(seq: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend(seq.to_be_bytes());
    bytes.resize(200, 9);
    bytes
}

/// Rows "DTLS ClientHello race" and "RTPBleed": a stranger who is there before the viewer, and
/// stays, changes nothing and learns nothing.
#[test]
fn strangers_on_the_media_port_get_nothing_and_disturb_nobody() {
    let Some(centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    stranger.set_nonblocking(true).expect("set");
    let target = ("127.0.0.1", centre.ports.webrtc);
    let spray = |count: u16| {
        for seq in 0..count {
            for bytes in [client_hello(), rtp(seq)] {
                // A full queue of the kernel is as good as a sent packet here.
                let _ = stranger.send_to(&bytes, target);
            }
        }
    };
    spray(200);
    let mut command = cu.command();
    command.args(["--json", "play", "Yard", "--stats", "--via", "webrtc"]);
    let mut watch = Process::start(&mut command);
    let mut last = Value::Null;
    for second in 0..4 {
        spray(200);
        last = watch.line(Duration::from_secs(20), |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["stats"]["fps"].as_f64().filter(|fps| *fps > 10.0 || second == 0)?;
            Some(line["stats"].clone())
        });
    }
    println!("{last}");
    assert_eq!(last["lost"], 0, "{last}");
    watch.signal("INT");
    assert_eq!(watch.wait(Duration::from_secs(10)), Some(0));
    let answer = stranger.recv_from(&mut [0; 2_000]);
    let error = answer.expect_err("nothing may come back to a stranger");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

/// The processes that were started by these.
fn children(parents: &[u32]) -> Vec<String> {
    let of = |pid: &u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
        tasks.filter_map(|task| read(task).ok()).collect::<String>()
    };
    parents.iter().map(of).filter(|text| !text.trim().is_empty()).collect()
}

#[test]
fn hikvision_commands_in_names_urls_and_arguments_are_refused() {
    let Some(centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let mark = centre.data.path().join("injected");
    let touch = format!("touch {}", mark.display());
    let tricks = [
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("x; {touch}"),
        format!("x | {touch}"),
        "../../etc/passwd".to_owned(),
        format!("x\r\n{touch}"),
    ];
    let token = cu.access_token();
    let ask = |method: &str, path: &str, body: &Value| {
        http(centre.ports.portal, method, path, Some(&token), Some(body)).status
    };
    let pids = [centre.cmu.pid(), centre.scu.pid(), centre.mtu.pid(), centre.pu.pid()];
    let camera = format!("/api/v1/cameras/{}.0", centre.pu_id());
    let url = cu.rtsp_url("Yard");
    for trick in &tricks {
        assert_eq!(ask("PATCH", &camera, &json!({ "name": trick })), 400, "name {trick:?}");
        let phone = json!({ "phone": trick });
        assert_eq!(ask("POST", "/api/v1/sms-codes", &phone), 400, "phone {trick:?}");
        let claim = json!({ "claim_code": trick });
        assert_eq!(ask("POST", "/api/v1/bindings", &claim), 400, "claim code {trick:?}");
        let client = json!({ "phone": ANNA, "code": "123456", "client_name": trick,
            "client_key": "A".repeat(43), "refresh_in": "body" });
        assert_eq!(ask("POST", "/api/v1/sessions", &client), 400, "client {trick:?}");
        let renamed = cu.run(&["rename", "Yard", trick]).status.code();
        assert!(matches!(renamed, Some(2 | 4)), "cu {trick:?}: {renamed:?}");
        let encoded: String = trick.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let missing =
            ask("PATCH", &format!("/api/v1/cameras/{encoded}.0"), &json!({ "name": "x" }));
        assert!(matches!(missing, 400 | 404), "path {trick:?}: {missing}");

        // In the URL of a stream: of the PU's own server, and of a camera.
        let line = trick.replace(['\r', '\n', ' '], "+");
        let evil = url.text.replacen("/0?", &format!("/0/{line}?"), 1);
        let status = Player::connect(&RtspUrl { text: evil, address: url.address }).describe();
        assert!(matches!(status, 400 | 404), "RTSP {line:?}: {status}");
        source_is_refused(&centre, trick);
    }
    assert!(!mark.exists(), "a command was carried out");
    assert_eq!(children(&pids), Vec::<String>::new(), "something was spawned");
    assert!(cu.ok(&["list", "--json"]).contains("\"Yard\""), "the name stays");
}

/// The agent's configuration: a source that is no RTSP URL, or a name with a command in it.
fn source_is_refused(centre: &Centre, trick: &str) {
    let file = centre.data.path().join("evil.toml");
    let url = format!("rtsp://127.0.0.1:1/{}", trick.replace(';', "$(x)").replace('|', "`x`"));
    let (trick, good, url) = (json!(trick), json!("synthetic"), json!(url));
    let scu = "[[scu]]\nquic = \"localhost:1\"\n";
    let plain = json!("Yard");
    for (name, source) in [(&trick, &good), (&plain, &trick), (&plain, &url)] {
        let text = format!("{scu}[[camera]]\nname = {name}\nsource = {source}\n");
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new(bin("pu-agent"));
        let output = command.args(["run", "--check-config", "--config"]).arg(&file).output();
        let output = output.expect("pu-agent starts");
        assert!(!output.status.success(), "the agent takes name {name}, source {source}");
    }
}

/// Row "Eufy": the URL of a stream without its token, and after its owner has signed out. Expiry
/// and release are in `refusals.rs`.
#[test]
fn eufy_a_stream_url_ends_with_its_sign_in() {
    let Some(centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let url = cu.rtsp_url("Yard");
    assert_eq!(Player::connect(&url.without_token()).describe(), 401);
    let mut player = Player::connect(&url);
    player.play();
    let begin = Instant::now();
    cu.ok(&["logout"]);
    player.wait_for_end();
    println!("signed out: the stream ended after {:?}", begin.elapsed());
    assert_eq!(Player::connect(&url).describe(), 401);
    // Its owner signs in again: the old URL stays dead.
    let again = Cu::login(&centre.portal, ANNA, &centre.sms_log(), Some(&centre.ca()));
    wait_for("the list", Duration::from_secs(5), || {
        again.ok(&["list", "--json"]).contains("\"Yard\"").then_some(())
    });
    assert_eq!(Player::connect(&url).describe(), 401);
    assert_eq!(Player::connect(&again.rtsp_url("Yard")).describe(), 200);
}
