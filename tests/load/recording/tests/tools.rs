//! The tools by themselves: cameras that are watched, and a store that takes what it is sent.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// A keyframe and a picture that needs it.
const CLIP: &[u8] = b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67\x42\xc0\x1e\x9c\0\0\0\x01\x68\xce\
    \0\0\0\x01\x65\x81\x82\x83\0\0\0\x01\x09\xf0\0\0\0\x01\x41\x91";

struct Cameras {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Cameras {
    fn start(folder: &Path) -> Self {
        let clip = folder.join("clip.h264");
        fs::write(&clip, CLIP).expect("own folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_load-recording"));
        command.arg("cameras").arg(clip).args(["--count", "2", "--longest-s", "60"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut cameras = Self { child, lines, address: String::new() };
        let said = cameras.line();
        assert_eq!(said["keyframe_s"], 0.08, "{said}");
        cameras.address = said["listening"].as_str().expect("an address").to_owned();
        cameras
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    fn figures(&mut self) -> Value {
        let mut stdin = self.child.stdin.as_ref().expect("piped");
        stdin.write_all(b"figures\n").expect("it listens");
        self.line()
    }

    fn watch(&self) -> Viewer {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Viewer { stream: BufReader::new(stream), address: self.address.clone(), asked: 0 }
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Viewer {
    stream: BufReader<TcpStream>,
    address: String,
    asked: u32,
}

impl Viewer {
    /// Head and body of the answer.
    fn ask(&mut self, method: &str, path: &str, headers: &str) -> (String, String) {
        self.asked += 1;
        let (address, sequence) = (&self.address, self.asked);
        let text = format!(
            "{method} rtsp://{address}/{path} RTSP/1.0\r\nCSeq: {sequence}\r\n{headers}\r\n"
        );
        self.stream.get_mut().write_all(text.as_bytes()).expect("sent");
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).expect("an answer"), 0, "{method}: {head}");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a number");
            }
            head += &line;
        }
        assert!(head.contains(&format!("CSeq: {sequence}\r\n")), "{head}");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        (head, String::from_utf8(body).expect("text"))
    }

    /// Channel and content of the next piece.
    fn piece(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).expect("a piece");
        assert_eq!(header[0], b'$');
        let mut content = vec![0; u16::from_be_bytes([header[2], header[3]]).into()];
        self.stream.read_exact(&mut content).expect("a piece");
        (header[1], content)
    }

    /// Payload of the next packet.
    fn packet(&mut self) -> Vec<u8> {
        loop {
            let (channel, content) = self.piece();
            if channel == 0 {
                return content[12..].to_vec();
            }
        }
    }
}

const INSIDE: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

#[test]
fn cameras_are_watched_from_a_keyframe_on_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cameras = Cameras::start(folder.path());
    let mut viewer = cameras.watch();
    assert!(viewer.ask("OPTIONS", "cam2", "").0.contains("GET_PARAMETER"));
    let (head, description) = viewer.ask("DESCRIBE", "cam2", "Accept: application/sdp\r\n");
    assert!(head.contains("/cam2/\r\n"), "{head}");
    assert!(description.contains("profile-level-id=42c01e"), "{description}");
    assert!(description.contains("sprop-parameter-sets=Z0LAHpw=,aM4="), "{description}");
    viewer.ask("SETUP", "cam2/track", INSIDE);
    let (head, _) = viewer.ask("PLAY", "cam2/", "Session: 1\r\n");
    assert!(head.starts_with("RTSP/1.0 200"), "{head}");
    let packets: Vec<Vec<u8>> = (0..5).map(|_| viewer.packet()).collect();
    let kinds: Vec<u8> = packets.iter().map(|packet| packet[0]).collect();
    assert_eq!(kinds, [0x67, 0x68, 0x65, 0x41, 0x67]);
    let figures = cameras.figures();
    assert_eq!((&figures["viewers"], &figures["left_out"]), (&1.into(), &0.into()), "{figures}");
    assert!(figures["bytes"].as_u64().is_some_and(|bytes| bytes >= 13), "{figures}");
    // The end of its input is the end.
    drop(cameras.child.stdin.take());
    assert!(cameras.child.wait().expect("waited").success());
}

#[test]
fn what_is_not_there_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let cameras = Cameras::start(folder.path());
    let mut viewer = cameras.watch();
    for path in ["cam0", "cam3", "cam", "other/cam1", ""] {
        let (head, _) = viewer.ask("DESCRIBE", path, "");
        assert!(head.starts_with("RTSP/1.0 404"), "{path}: {head}");
    }
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    assert!(viewer.ask("SETUP", "cam1/track", udp).0.starts_with("RTSP/1.0 461"));
    assert!(viewer.ask("RECORD", "cam1", "").0.starts_with("RTSP/1.0 501"));
}

/// Takes everything; tells the path and length of each request.
fn store() -> (String, mpsc::Receiver<(String, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while let Some(request) = take(&mut stream) {
                    let _ = sender.send(request);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if stream.get_mut().write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, requests)
}

fn take(stream: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let path = line.strip_prefix("PUT ")?.split(['?', ' ']).next()?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some((path, length))
}

#[test]
fn the_newest_files_are_stored_until_it_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("chain/0000");
    fs::create_dir_all(&inner).expect("own folder");
    fs::write(folder.path().join("key"), "key\n").expect("own folder");
    let times = [("1.mp4", 100), ("2.mp4", 200), ("3.mp4", 300), ("4.part", 400)];
    for (name, seconds) in times {
        let file = fs::File::create(inner.join(name)).expect("own folder");
        file.set_len(1_000).expect("own file");
        let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(at).expect("own file");
    }
    let (url, requests) = store();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load-recording"));
        command.args(words).args(["--url", &url, "--bucket", "b"]);
        for key in ["--access-key-file", "--secret-key-file"] {
            command.arg(key).arg(folder.path().join("key"));
        }
        command.output().expect("run")
    };
    assert!(run(&["bucket"]).status.success());
    let (bucket, _) = requests.recv_timeout(PATIENCE).expect("a request");
    assert_eq!(bucket.trim_end_matches('/'), "/b");
    let segments = folder.path().to_str().expect("UTF-8");
    let output = run(&["put", segments, "--at-once", "2", "--most-bytes", "1500"]);
    assert!(output.status.success(), "{output:?}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&figures["objects"], &figures["bytes"]), (&2.into(), &2_000.into()), "{figures}");
    let mut stored: Vec<_> = requests.try_iter().collect();
    stored.sort();
    let names: Vec<_> = stored.iter().map(|(path, _)| path.rsplit('/').next()).collect();
    assert_eq!(names, [Some("2.mp4"), Some("3.mp4")]);
    assert!(stored.iter().all(|(path, length)| path.starts_with("/b/limit/") && *length == 1_000));
    assert!(!run(&["put", "/does/not/exist"]).status.success());
}
