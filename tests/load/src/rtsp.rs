//! A small RTSP 1.0 client on one blocking connection: just enough to be sent media.

use std::{
    io::{BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use url::Url;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// Between two signs of life (RFC 2326 section 12.37: the default timeout is 60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A playing session.
pub struct Session {
    reader: BufReader<TcpStream>,
    url: Url,
    /// What PLAY is asked of.
    base: String,
    session: String,
    sequence: u32,
    said_alive: Instant,
    body: Vec<u8>,
}

/// One packet of the picture.
pub struct Packet<'a> {
    /// RFC 3550 sequence number.
    pub sequence: u16,
    /// The last one of its picture.
    pub marker: bool,
    /// What it carries.
    pub payload: &'a [u8],
}

struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Session {
    /// Connects and plays all tracks; the picture is on channel 0.
    pub fn play(url: &Url) -> anyhow::Result<Self> {
        let mut this = Self::open(url)?;
        this.play_range("npt=0.000-")?;
        Ok(this)
    }

    /// Plays a range, whatever was played before: all that comes from now on is of it.
    pub fn play_range(&mut self, range: &str) -> anyhow::Result<()> {
        let base = self.base.clone();
        self.ask("PLAY", &base, &format!("Range: {range}\r\n")).map(drop)
    }

    /// Connects and sets all tracks up; nothing is played yet.
    pub fn open(url: &Url) -> anyhow::Result<Self> {
        let host = url.host_str().context("the URL has no host")?;
        let stream = TcpStream::connect((host, url.port().unwrap_or(554)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut this = Self {
            reader: BufReader::with_capacity(64 * 1024, stream),
            url: url.clone(),
            base: url.to_string(),
            session: String::new(),
            sequence: 0,
            said_alive: Instant::now(),
            body: Vec::new(),
        };
        let described = this.ask("DESCRIBE", url.as_str(), "Accept: application/sdp\r\n")?;
        let base = described.header("Content-Base").unwrap_or(url.as_str()).to_owned();
        this.base.clone_from(&base);
        let tracks = controls(&described.body);
        ensure!(!tracks.is_empty(), "no picture in the description");
        for (number, control) in tracks.iter().enumerate() {
            let target = resolve(&base, control);
            let channels = format!("{}-{}", 2 * number, 2 * number + 1);
            let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n");
            let answer = this.ask("SETUP", &target, &transport)?;
            let id = answer.header("Session").context("SETUP gave no session")?;
            this.session = id.split(';').next().unwrap_or(id).trim().to_owned();
        }
        Ok(this)
    }

    fn send(&mut self, method: &str, target: &str, headers: &str) -> anyhow::Result<()> {
        self.sequence += 1;
        let mut text = format!("{method} {target} RTSP/1.0\r\nCSeq: {}\r\n", self.sequence);
        if !self.session.is_empty() {
            text += &format!("Session: {}\r\n", self.session);
        }
        text += headers;
        text += "\r\n";
        Ok(self.reader.get_mut().write_all(text.as_bytes())?)
    }

    fn ask(&mut self, method: &str, target: &str, headers: &str) -> anyhow::Result<Response> {
        self.send(method, target, headers)?;
        loop {
            let mut first = [0];
            self.reader.read_exact(&mut first)?;
            if first[0] == b'$' {
                self.skip_frame()?;
                continue;
            }
            let answer = self.response(first[0])?;
            ensure!(answer.status == 200, "{method} was answered with {}", answer.status);
            return Ok(answer);
        }
    }

    fn response(&mut self, first: u8) -> anyhow::Result<Response> {
        let mut text = vec![first];
        while !text.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            text.push(byte[0]);
            ensure!(text.len() < 16 * 1024, "a response without an end");
        }
        let text = String::from_utf8(text)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let status = status.parse().with_context(|| format!("no RTSP: {text}"))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())).collect();
        let mut response = Response { status, headers, body: String::new() };
        let length = response.header("Content-Length").unwrap_or("0").parse::<usize>()?;
        ensure!(length < 64 * 1024, "a body of {length} bytes");
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        response.body = String::from_utf8(body)?;
        Ok(response)
    }

    fn skip_frame(&mut self) -> anyhow::Result<u8> {
        let mut header = [0; 3];
        self.reader.read_exact(&mut header)?;
        self.body.resize(usize::from(u16::from_be_bytes([header[1], header[2]])), 0);
        self.reader.read_exact(&mut self.body)?;
        Ok(header[0])
    }

    /// The next packet of the picture; `None` when the server has ended the session.
    pub fn next(&mut self) -> anyhow::Result<Option<Packet<'_>>> {
        loop {
            if self.said_alive.elapsed() > KEEP_ALIVE {
                self.said_alive = Instant::now();
                let url = self.url.to_string();
                self.send("OPTIONS", &url, "")?;
            }
            let mut first = [0];
            match self.reader.read_exact(&mut first) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error).context("reading media"),
            }
            if first[0] != b'$' {
                self.response(first[0])?;
                continue;
            }
            if self.skip_frame()? == 0 {
                break;
            }
        }
        let data = &self.body[..];
        // RFC 3550 section 5.1; no server sends extensions or padding here but may send CSRCs.
        let Some((header, rest)) = data.split_at_checked(12) else { bail!("a short RTP packet") };
        let mut skip = 4 * usize::from(header[0] & 0x0f);
        if header[0] & 0x10 != 0 {
            let at = rest.get(skip + 2..skip + 4).context("a cut extension")?;
            skip += 4 + 4 * usize::from(u16::from_be_bytes([at[0], at[1]]));
        }
        let payload = rest.get(skip..).context("a cut RTP packet")?;
        Ok(Some(Packet {
            sequence: u16::from_be_bytes([header[2], header[3]]),
            marker: header[1] & 0x80 != 0,
            payload,
        }))
    }
}

/// The control URLs of the tracks, the picture's first.
fn controls(sdp: &str) -> Vec<String> {
    let mut media: Vec<(bool, Option<String>)> = Vec::new();
    for line in sdp.lines().map(str::trim_end) {
        if let Some(form) = line.strip_prefix("m=") {
            media.push((form.starts_with("video"), None));
        } else if let (Some(control), Some(last)) =
            (line.strip_prefix("a=control:"), media.last_mut())
        {
            last.1 = Some(control.to_owned());
        }
    }
    if !media.iter().any(|(video, _)| *video) {
        return Vec::new();
    }
    media.sort_by_key(|(video, _)| !video);
    media.into_iter().filter_map(|(_, control)| control).collect()
}

/// As ffmpeg and others do: put behind, whatever RFC 3986 says.
fn resolve(base: &str, control: &str) -> String {
    if control.contains("://") {
        return control.to_owned();
    }
    let (path, query) = base.split_once('?').map_or((base, None), |(p, q)| (p, Some(q)));
    let joined = format!("{}/{control}", path.trim_end_matches('/'));
    query.map_or_else(|| joined.clone(), |query| format!("{joined}?{query}"))
}
