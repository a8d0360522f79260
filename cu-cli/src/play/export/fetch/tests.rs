//! Units that close streams, and that lie; and a folder in which something was torn.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc};

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};

use super::{super::tests::part, *};

/// A unit that closes each stream after so many answers.
#[derive(Clone)]
struct Unit(Arc<Mutex<State>>);

struct State {
    files: HashMap<String, Vec<u8>>,
    /// On each stream.
    answers: usize,
    /// That were opened.
    streams: usize,
    /// For each request, from which byte on.
    asked: Vec<Option<usize>>,
}

impl Dial for Unit {
    type Io = DuplexStream;

    async fn dial(&self) -> Result<DuplexStream, CuError> {
        self.0.lock().streams += 1;
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(self.clone().serve(far));
        Ok(near)
    }
}

impl Unit {
    fn new(answers: usize, files: &[(&Part, &[u8])]) -> Self {
        let file = |(part, bytes): &(&Part, &[u8])| (part.name.clone(), bytes.to_vec());
        let files = files.iter().map(file).collect();
        Self(Arc::new(Mutex::new(State { files, answers, streams: 0, asked: Vec::new() })))
    }

    async fn serve(self, io: DuplexStream) {
        let answers = self.0.lock().answers;
        let mut io = BufReader::new(io);
        for _ in 0..answers {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                match io.read_line(&mut line).await {
                    Ok(1..) if line != "\r\n" => head.push(line.trim_end().to_lowercase()),
                    Ok(1..) => break,
                    Ok(0) | Err(_) => return,
                }
            }
            let answer = self.0.lock().answer(&head);
            if io.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    fn asked(&self) -> Vec<Option<usize>> {
        self.0.lock().asked.clone()
    }
}

impl State {
    fn answer(&mut self, head: &[String]) -> Vec<u8> {
        let path = head[0].split(' ').nth(1).expect("a path");
        let name = path.strip_prefix("/recordings/0/main/").expect("the camera and tier asked for");
        let range = head.iter().find_map(|line| line.strip_prefix("range: bytes="));
        let from = range.map(|range| range.trim_end_matches('-').parse().expect("a number"));
        self.asked.push(from);
        let Some(file) = self.files.get(name) else {
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
        };
        let (status, body) = match from {
            Some(from) => ("206 Partial Content", &file[from..]),
            None => ("200 OK", &file[..]),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }
}

fn fetch(unit: &Unit) -> Fetch<'_, Unit> {
    let token = SessionToken::new("play-token".into());
    Fetch::new(unit, token, (ChannelId(0), StreamTier::Main))
}

struct Kept {
    _dir: tempfile::TempDir,
    folder: Folder,
}

fn kept() -> Kept {
    let dir = tempfile::tempdir().expect("a folder");
    let mut folder = Folder::find(dir.path().join("garden.mp4.part")).expect("nothing is there");
    folder.make().expect("made");
    Kept { _dir: dir, folder }
}

fn bytes() -> Vec<u8> {
    (0..1_000).map(|n: u32| n.to_le_bytes()[0]).collect()
}

fn begun(kept: &Kept, part: &Part, bytes: &[u8]) -> PathBuf {
    let begun = kept.folder.begun(part.segment.content);
    std::fs::write(&begun, bytes).expect("written");
    begun
}

#[tokio::test]
async fn a_stream_that_the_unit_has_closed_is_opened_anew() {
    for (answers, streams) in [(1, 3), (2, 2), (3, 1)] {
        let bodies = [b"one", b"two", b"six"];
        let parts: Vec<_> = (1..).zip(bodies).map(|(n, body)| part(n, body)).collect();
        let files: Vec<_> =
            parts.iter().zip(bodies).map(|(part, body)| (part, &body[..])).collect();
        let unit = Unit::new(answers, &files);
        let (mut fetch, mut kept) = (fetch(&unit), kept());
        for part in &parts {
            fetch.segment(part, &mut kept.folder, |_| ()).await.expect("fetched");
            assert!(kept.folder.has(part.segment.content));
            // It is known already.
            fetch.segment(part, &mut kept.folder, |_| ()).await.expect("there");
        }
        assert_eq!(unit.0.lock().streams, streams, "{answers} answers on each");
        assert_eq!(unit.asked(), [None::<usize>; 3]);
    }
}

#[tokio::test]
async fn a_segment_that_has_come_in_part_is_gone_on_with() {
    let (bytes, mut kept) = (bytes(), kept());
    let part = part(7, &bytes);
    let unit = Unit::new(9, &[(&part, &bytes)]);
    begun(&kept, &part, &bytes[..600]);
    fetch(&unit).segment(&part, &mut kept.folder, |_| ()).await.expect("fetched");
    assert_eq!(unit.asked(), [Some(600)]);
    assert_eq!(kept.folder.fetched(), 400);
    let whole = std::fs::read(kept.folder.segment(part.segment.content)).expect("there");
    assert_eq!(whole, bytes);
}

#[tokio::test]
async fn nobody_is_accused_of_what_a_loss_of_power_has_torn() {
    let (bytes, mut kept) = (bytes(), kept());
    let part = part(7, &bytes);
    let unit = Unit::new(9, &[(&part, &bytes)]);
    begun(&kept, &part, &[0; 600]);
    fetch(&unit).segment(&part, &mut kept.folder, |_| ()).await.expect("fetched whole");
    assert_eq!(unit.asked(), [Some(600), None]);
    assert!(kept.folder.has(part.segment.content));
}

#[tokio::test]
async fn other_bytes_than_those_that_were_signed_are_not_taken() {
    let (bytes, mut kept) = (bytes(), kept());
    let part = part(7, &bytes);
    let mut altered = bytes.clone();
    altered[500] ^= 1;
    for (before, asked) in [(0, &[None::<usize>][..]), (600, &[Some(600), None][..])] {
        let unit = Unit::new(9, &[(&part, &altered)]);
        let begun = begun(&kept, &part, &altered[..before]);
        let refused = fetch(&unit).segment(&part, &mut kept.folder, |_| ()).await;
        assert_eq!(refused.expect_err("altered").exit, Exit::Security);
        assert_eq!(unit.asked(), asked);
        assert!(!begun.exists() && !kept.folder.has(part.segment.content));
    }
}

#[tokio::test]
async fn segments_of_one_name_are_kept_apart() {
    let (bytes, mut kept) = (bytes(), kept());
    let (of_main, of_sub) = (part(7, &bytes), part(7, &bytes[1..]));
    assert_eq!(of_main.name, of_sub.name);
    begun(&kept, &of_sub, &bytes[1..600]);
    let unit = Unit::new(9, &[(&of_main, &bytes)]);
    fetch(&unit).segment(&of_main, &mut kept.folder, |_| ()).await.expect("fetched");
    assert_eq!(unit.asked(), [None::<usize>]);
    assert!(kept.folder.has(of_main.segment.content));
}

/// A body of four frames, each after a pause.
fn body(pause: Duration) -> impl Body<Data = Bytes, Error = io::Error> + Unpin {
    let frames = stream::unfold(0, move |count| async move {
        tokio::time::sleep(pause).await;
        let frame = Frame::data(Bytes::from_static(b"1234"));
        (count < 4).then(|| (Ok::<_, io::Error>(frame), count + 1))
    });
    StreamBody::new(Box::pin(frames))
}

#[tokio::test(start_paused = true)]
async fn a_body_may_take_its_time_as_long_as_something_comes() {
    let slow = STALL.saturating_sub(Duration::from_secs(1));
    let read = whole(body(slow), 16).await.expect("it goes on");
    assert_eq!(read.as_deref(), Some(&b"1234123412341234"[..]));
    let stalled = whole(body(STALL * 2), 16).await.expect_err("nothing comes");
    assert_eq!(stalled.exit, Exit::Unreachable);
    let too_long = whole(body(Duration::ZERO), 15).await.expect("read");
    assert_eq!(too_long, None, "that is no broken connection");
}
