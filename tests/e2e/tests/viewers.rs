//! Many viewers of one agent: a stalled one holds up nobody, and those that leave leave nothing.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use e2e::{Centre, Cu, Demo, Process, run, tool, wait_for};
use serde_json::Value;

/// How long something may take that normally takes a second.
const LIMIT: Duration = Duration::from_secs(30);

/// What a viewer recorded: each picture by the hash of its bytes, keyframes as `K` (recorders
/// differ in where they keep the parameter sets).
type Pictures = Vec<String>;

/// A viewer that records.
struct Viewer {
    name: String,
    file: String,
    process: Process,
}

impl Viewer {
    fn cu(cu: &Cu, via: &str, name: &str, folder: &Path, seconds: u32) -> Self {
        let file = folder.join(format!("{name}.mp4")).display().to_string();
        let mut command = cu.command();
        command.args(["play", "1", "--via", via, "--quality", "main", "--json", "--stats"]);
        command.args(["--seconds", &seconds.to_string(), "--out", &file]);
        Self { name: name.to_owned(), file, process: Process::start(&mut command) }
    }

    fn ffmpeg(cu: &Cu, transport: &str, name: &str, folder: &Path, seconds: u32) -> Option<Self> {
        let program = tool("ffmpeg")?;
        let urls = cu.ok(&["play", "1", "--print-url"]);
        let url = urls.lines().find(|url| url.contains("//127.0.0.1:")).expect("a local URL");
        let file = folder.join(format!("{name}.mp4")).display().to_string();
        let mut command = std::process::Command::new(program);
        command.args(["-v", "error", "-progress", "pipe:1", "-rtsp_transport", transport]);
        command.args(["-i", url, "-map", "0:v", "-c", "copy", "-t", &seconds.to_string(), &file]);
        Some(Self { name: name.to_owned(), file, process: Process::start(&mut command) })
    }

    /// Waits until media has come.
    fn wait_playing(&mut self) {
        self.process.line(LIMIT, |line| {
            let cu = serde_json::from_str::<Value>(line).ok();
            let cu = cu.and_then(|line| line.pointer("/stats/fps")?.as_f64());
            let ffmpeg = line.strip_prefix("frame=").and_then(|n| n.trim().parse().ok());
            (cu.or(ffmpeg)? > 0.0).then_some(())
        });
    }

    fn pictures(&self) -> Pictures {
        let ffprobe = tool("ffprobe").expect("it comes with ffmpeg");
        let show = ["-v", "error", "-select_streams", "v", "-show_data_hash", "md5"];
        let form = ["-show_entries", "packet=flags,data_hash", "-of", "json", &self.file];
        let said = run(&ffprobe, &[&show[..], &form].concat(), LIMIT);
        let seen: Value = serde_json::from_str(&said.text)
            .unwrap_or_else(|e| panic!("{}: {e}: {}", self.name, said.text));
        let packets = seen["packets"].as_array().cloned().unwrap_or_default();
        let token = |packet: &Value| {
            let keyframe = packet["flags"].as_str().is_some_and(|flags| flags.starts_with('K'));
            let hash = packet["data_hash"].as_str().unwrap_or_default();
            if keyframe { "K".to_owned() } else { hash.to_owned() }
        };
        packets.iter().map(token).collect()
    }
}

/// Compares two recordings from the first picture that both have; returns how many they share.
fn compare(name: &str, reference: &Pictures, pictures: &Pictures) -> usize {
    let known: HashSet<_> = reference.iter().filter(|p| *p != "K").collect();
    let begin = pictures.iter().position(|picture| known.contains(picture));
    let begin = begin.unwrap_or_else(|| panic!("{name} has nothing in common with the others"));
    let same = reference.iter().position(|picture| *picture == pictures[begin]);
    let pairs = reference.iter().skip(same.unwrap_or(0)).zip(&pictures[begin..]);
    let mut count = 0;
    for (expected, seen) in pairs {
        assert_eq!(expected, seen, "{name}: picture {count} of {} is another", pictures.len());
        count += 1;
    }
    count
}

#[test]
fn a_stalled_viewer_costs_the_others_no_picture() {
    const SECONDS: u32 = 18;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let demo = Demo::start(&[]);
    let info = &demo.info;
    let cu = Cu::login(&info.portal, &info.phone, &info.sms_log, None);
    cu.ok(&["bind", &info.claim_code]);
    let mut viewers = Vec::new();
    for number in 0..7 {
        for via in ["quic", "webrtc"] {
            let name = format!("{via}-{number}");
            viewers.push(Viewer::cu(&cu, via, &name, folder.path(), SECONDS));
        }
    }
    for (number, transport) in ["tcp", "udp"].into_iter().cycle().take(6).enumerate() {
        let name = format!("rtsp-{transport}-{number}");
        let viewer = Viewer::ffmpeg(&cu, transport, &name, folder.path(), SECONDS);
        viewers.extend(viewer);
    }
    for viewer in &mut viewers {
        viewer.wait_playing();
    }
    // One of each kind: QUIC, WebRTC, RTSP over TCP.
    let stalled = [0, 1, 14].map(|index| {
        let process = &viewers[index].process;
        process.signal("STOP");
        viewers[index].name.clone()
    });
    let browser = demo.browse(&["--seconds", "6", "--tone", "0", "--max-latency", "5000"]);
    viewers.retain_mut(|viewer| {
        let stalls = stalled.contains(&viewer.name);
        if stalls {
            viewer.process.signal("CONT");
            viewer.process.signal("KILL");
        }
        !stalls
    });
    for viewer in &mut viewers {
        let code = viewer.process.wait(LIMIT);
        assert_eq!(code, Some(0), "{}", viewer.name);
    }
    let recordings: Vec<_> = viewers.iter().map(|v| (v.name.clone(), v.pictures())).collect();
    let longest = recordings.iter().max_by_key(|(_, pictures)| pictures.len());
    let (by, reference) = longest.expect("there are viewers");
    let least = SECONDS as usize * 25 / 2;
    for (name, pictures) in &recordings {
        let shared = compare(name, reference, pictures);
        println!("{name}: {} pictures, {shared} of them compared with {by}", pictures.len());
        assert!(shared > least, "{name} shares only {shared} pictures");
    }
    if let Some(figures) = browser {
        println!("{figures}");
        assert_eq!(figures["loss_percent"].as_f64(), Some(0.0), "{figures}");
    }
}

/// A hundred sessions in CI, as many as `TEST_SESSIONS` says by hand; twenty at a time.
#[test]
fn sessions_that_come_and_go_leave_no_memory_behind() {
    const AT_A_TIME: usize = 20;
    let sessions = std::env::var("TEST_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let Some(mut centre) = Centre::start() else { return };
    // A single person may not start so many in a minute; the agent is what is looked at here.
    configure(&mut centre, "cmu", "[limits]\nplay_per_user = { count = 100000, per_s = 1 }\n");
    wait_for("the CMU", LIMIT, || TcpStream::connect(("127.0.0.1", centre.ports.portal)).ok());
    let ca = centre.ca();
    let sms = centre.sms_log();
    let cu = Cu::login(&centre.portal, "+8613800138000", &sms, Some(&ca));
    wait_for("the camera", LIMIT, || {
        cu.run(&["bind", &centre.claim_code]).status.success().then_some(())
    });
    let (mut done, mut early) = (0, None);
    while done < sessions {
        let start = |_| {
            let mut command = cu.command();
            command.args(["play", "1", "--via", "webrtc", "--seconds", "1"]);
            Process::start(&mut command)
        };
        let mut round: Vec<_> = (0..AT_A_TIME).map(start).collect();
        for viewer in &mut round {
            assert_eq!(viewer.wait(LIMIT), Some(0));
        }
        done += AT_A_TIME;
        wait_for("the sessions' end", LIMIT, || (live(&centre) == 0).then_some(()));
        let resident_kb = centre.pu.rss_kb().expect("Linux");
        println!("after {done} sessions: {resident_kb} kB");
        if done >= 50 && early.is_none() {
            early = Some(resident_kb);
        }
    }
    let (early, late) = (early.expect("more than 50"), centre.pu.rss_kb().expect("Linux"));
    assert!(late < early + 10_000, "{early} kB after the first 50, {late} kB after {done}");
}

/// Adds to the configuration of a unit and starts it anew.
fn configure(centre: &mut Centre, unit: &str, more: &str) {
    let path = centre.data.path().join(format!("{unit}.toml"));
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("written before");
    file.write_all(more.as_bytes()).expect("writes");
    centre.restart(unit);
}

/// Sessions that the agent serves, by its own figures.
fn live(centre: &Centre) -> u64 {
    let text = metrics(centre.ports.pu_admin);
    let value = text.lines().find_map(|line| line.strip_prefix("sightline_pu_sessions "));
    let value = value.unwrap_or_else(|| panic!("no figure of sessions in:\n{text}"));
    value.trim().parse().expect("a number")
}

fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the agent listens");
    let request = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sends");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("reads");
    text
}
