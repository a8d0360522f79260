//! A small RTSP 1.0 server (RFC 2326): one track for each camera, inside the connection (section 10.12).
//! Two threads for each viewer, one that listens and one that writes, and one thread that keeps the pace.

use std::{
    io::{BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    camera::{Bytes, CLOCK_HZ, Camera, Counts, PAYLOAD_TYPE},
    clip::Clip,
};

/// Pictures and answers that may wait for one viewer: four seconds of 25 pictures.
const QUEUE: usize = 100;
/// Longest head and longest body of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 64 * 1024;
const SESSION: &str = "1";

/// Cameras that are served.
#[derive(Debug)]
pub struct Server {
    cameras: Vec<Camera>,
    counts: Arc<Counts>,
    description: String,
    fps: u32,
}

impl Server {
    /// Serves a clip as `count` cameras: `/cam1` and so on.
    #[must_use]
    pub fn new(clip: Clip, count: usize, fps: u32) -> Self {
        let (clip, counts) = (Arc::new(clip), Arc::new(Counts::default()));
        let camera =
            |number| Camera::new(Arc::clone(&clip), Arc::clone(&counts), (number, count), fps);
        let cameras = (0..count).map(camera).collect();
        Self { cameras, counts, description: description(&clip, fps), fps }
    }

    /// What all cameras count.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes viewers until the process ends.
    pub fn listen(self: &Arc<Self>, listener: TcpListener) {
        let server = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    if let Err(error) = server.serve(stream) {
                        eprintln!("viewer: {error:#}");
                    }
                });
            }
        });
    }

    /// Shows pictures until the process ends: the cameras one after another within a picture's time, so
    /// that not all of them come at once.
    pub fn keep_pace(self: &Arc<Self>) {
        let server = Arc::clone(self);
        thread::spawn(move || {
            let begin = Instant::now();
            let count = server.cameras.len() as u64;
            for step in 0_u64.. {
                let due_us = step.saturating_mul(1_000_000) / (u64::from(server.fps) * count);
                let due = begin + Duration::from_micros(due_us);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                server.cameras[(step % count) as usize].show(step / count);
            }
        });
    }

    fn serve(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let (queue, waiting) = sync_channel(QUEUE);
        let out = stream.try_clone()?;
        thread::spawn(move || write(out, &waiting));
        let mut reader = BufReader::new(stream);
        let mut playing = false;
        while let Some(request) = Request::read(&mut reader)? {
            let goes = request.method == "TEARDOWN";
            let plays = self.answer(&request, &queue)?;
            if plays && !playing {
                playing = true;
                self.camera(&request).context("it was found before")?.add(queue.clone());
            }
            if goes {
                break;
            }
        }
        Ok(())
    }

    fn camera(&self, request: &Request) -> Option<&Camera> {
        let number: usize = request.path().strip_prefix("cam")?.parse().ok()?;
        self.cameras.get(number.checked_sub(1)?)
    }

    /// Answers; says whether the viewer is to get pictures from now on.
    fn answer(&self, request: &Request, queue: &SyncSender<Bytes>) -> anyhow::Result<bool> {
        let session = format!("Session: {SESSION};timeout=60\r\n");
        let known = self.camera(request).is_some();
        let (status, headers, body) = match request.method.as_str() {
            "OPTIONS" => {
                let methods = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN";
                ("200 OK", format!("Public: {methods}\r\n"), "")
            }
            "DESCRIBE" | "SETUP" | "PLAY" if !known => ("404 Not Found", String::new(), ""),
            "DESCRIBE" => {
                let base = request.target.trim_end_matches('/');
                let headers = format!("Content-Base: {base}/\r\nContent-Type: application/sdp\r\n");
                ("200 OK", headers, self.description.as_str())
            }
            "SETUP" if !request.is_interleaved() => {
                ("461 Unsupported Transport", String::new(), "")
            }
            "SETUP" => {
                // There is one track: its channels are the first two, whatever is asked for.
                let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
                ("200 OK", format!("{transport}{session}"), "")
            }
            "PLAY" | "GET_PARAMETER" | "SET_PARAMETER" | "TEARDOWN" => ("200 OK", session, ""),
            _ => ("501 Not Implemented", String::new(), ""),
        };
        let sequence = request.header("CSeq").unwrap_or("0");
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let text = format!("RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{headers}{length}\r\n{body}");
        queue.send(text.into_bytes().into()).context("the viewer has gone")?;
        Ok(known && request.method == "PLAY")
    }
}

/// Until the viewer goes, or all who write to it have gone.
fn write(mut out: TcpStream, waiting: &Receiver<Bytes>) {
    while let Ok(bytes) = waiting.recv() {
        if out.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// RFC 4566, and RFC 6184 section 8.2.1.
fn description(clip: &Clip, fps: u32) -> String {
    let profile: String = clip.sps[1..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let (sps, pps) = (STANDARD.encode(&clip.sps), STANDARD.encode(&clip.pps));
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Load\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
         m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}\r\n\
         a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};\
         sprop-parameter-sets={sps},{pps}\r\na=framerate:{fps}\r\na=control:track\r\n"
    )
}

struct Request {
    method: String,
    target: String,
    head: String,
}

impl Request {
    /// The next one; `None` when the viewer has gone. What it says about reception is passed over.
    fn read(reader: &mut impl Read) -> anyhow::Result<Option<Self>> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read(&mut byte)? == 0 {
                return Ok(None);
            }
            if head.is_empty() && byte[0] == b'$' {
                let mut header = [0; 3];
                reader.read_exact(&mut header)?;
                let length = u64::from(u16::from_be_bytes([header[1], header[2]]));
                std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
                continue;
            }
            head.push(byte[0]);
            ensure!(head.len() < MAX_HEAD, "a request without an end");
        }
        let head = String::from_utf8(head)?;
        let mut words = head.split_ascii_whitespace();
        let method = words.next().context("a request without a method")?.to_owned();
        let target = words.next().context("a request without a target")?.to_owned();
        let request = Self { method, target, head };
        let length: usize = request.header("Content-Length").unwrap_or("0").parse()?;
        ensure!(length < MAX_BODY, "a body of {length} bytes");
        reader.read_exact(&mut vec![0; length])?;
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// The first part of the target's path.
    fn path(&self) -> &str {
        let path = self.target.split_once("://").map_or("", |(_, rest)| rest);
        path.split(['/', '?']).nth(1).unwrap_or_default()
    }

    fn is_interleaved(&self) -> bool {
        let transport = self.header("Transport").unwrap_or_default();
        transport.contains("TCP") && transport.contains("interleaved")
    }
}
