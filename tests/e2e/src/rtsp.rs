//! A player made of nothing but a socket, and a place in the middle that looks at one.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::trace::Sent;

/// An RTSP URL of the API, taken apart.
#[derive(Debug, Clone)]
pub struct RtspUrl {
    /// `rtsp://host:port/channel?token=…`
    pub text: String,
    /// Where.
    pub address: SocketAddr,
}

impl RtspUrl {
    /// Takes a URL apart.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let host = text.trim_start_matches("rtsp://").split('/').next().unwrap_or_default();
        let address = host.parse().unwrap_or_else(|_| panic!("no RTSP URL: {text}"));
        Self { text: text.to_owned(), address }
    }

    /// The same resource and token at another place.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        let text = self.text.replacen(&self.address.to_string(), &address.to_string(), 1);
        Self { text, address }
    }

    /// The same resource without the token.
    #[must_use]
    pub fn without_token(&self) -> Self {
        let text = self.text.split('?').next().unwrap_or_default().to_owned();
        Self { text, address: self.address }
    }
}

/// A connection to an RTSP server.
#[derive(Debug)]
pub struct Player {
    stream: TcpStream,
    url: RtspUrl,
    session: String,
    cseq: u32,
}

impl Player {
    /// Connects from a given address of this machine.
    ///
    /// # Panics
    /// When it cannot connect.
    #[must_use]
    pub fn connect_from(source: IpAddr, url: &RtspUrl) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("TCP");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
        socket.connect(&url.address.into()).expect("the PU listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Self { stream, url: url.clone(), session: String::new(), cseq: 0 }
    }

    /// Connects.
    ///
    /// # Panics
    /// When it cannot connect.
    #[must_use]
    pub fn connect(url: &RtspUrl) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST.into(), url)
    }

    /// Sends a request, gives the status of its answer.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask(&mut self, method: &str, suffix: &str, headers: &str) -> u16 {
        self.cseq += 1;
        let (base, query) = self.url.text.split_once('?').unwrap_or((&self.url.text, ""));
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let request = format!(
            "{method} {base}{suffix}{query} RTSP/1.0\r\nCSeq: {}\r\n{headers}{}\r\n",
            self.cseq, self.session
        );
        self.stream.write_all(request.as_bytes()).expect("sent");
        let head = self.head();
        let session = head.lines().find(|l| l.to_ascii_lowercase().starts_with("session:"));
        if let Some(session) = session {
            self.session = format!("{}\r\n", session.split(';').next().unwrap_or_default());
        }
        head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{head}"))
    }

    /// Reads the head of an answer, and passes over its body and over media before it.
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            if head.is_empty() && byte[0] == b'$' {
                let mut frame = [0; 3];
                self.stream.read_exact(&mut frame).expect("a frame");
                let mut rest = vec![0; usize::from(u16::from_be_bytes([frame[1], frame[2]]))];
                self.stream.read_exact(&mut rest).expect("a frame");
                continue;
            }
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length:").nth(1).and_then(|l| l.lines().next());
        let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
        self.stream.read_exact(&mut vec![0; length]).expect("the body");
        head
    }

    /// `DESCRIBE`.
    pub fn describe(&mut self) -> u16 {
        self.ask("DESCRIBE", "", "")
    }

    /// Up to the running stream, interleaved.
    ///
    /// # Panics
    /// When the PU refuses.
    pub fn play(&mut self) {
        assert_eq!(self.describe(), 200);
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        assert_eq!(self.ask("SETUP", "/video", transport), 200);
        assert_eq!(self.ask("PLAY", "", ""), 200);
        self.media(10_000);
    }

    /// Reads so many bytes of media.
    ///
    /// # Panics
    /// When they do not come.
    pub fn media(&mut self, bytes: usize) {
        self.stream.read_exact(&mut vec![0; bytes]).expect("media");
    }

    /// Reads until the PU ends the connection.
    ///
    /// # Panics
    /// When it does not within the time limit of a read.
    pub fn wait_for_end(&mut self) {
        let mut buffer = [0; 65_536];
        let begin = std::time::Instant::now();
        while self.stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            assert!(begin.elapsed() < Duration::from_secs(10), "the stream goes on");
        }
    }
}

/// Passes on one connection of a player to the PU, and notes when the request with the token goes.
#[derive(Debug)]
pub struct RtspTap {
    /// Where a player connects.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Sent>>>,
}

impl RtspTap {
    /// Listens on loopback; its threads end with their connection.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            let Ok((player, _)) = listener.accept() else { return };
            let Ok(unit) = TcpStream::connect(target) else { return };
            let (Ok(mut from_unit), Ok(mut to_player)) = (unit.try_clone(), player.try_clone())
            else {
                return;
            };
            std::thread::spawn(move || std::io::copy(&mut from_unit, &mut to_player));
            note_requests(player, unit, &log);
        });
        Self { address, seen }
    }

    /// The requests with a token so far.
    ///
    /// # Panics
    /// When its thread has panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<Sent> {
        self.seen.lock().expect("the tap is well").clone()
    }
}

fn note_requests(mut player: TcpStream, mut unit: TcpStream, log: &Mutex<Vec<Sent>>) {
    let mut buffer = [0; 16_384];
    while let Ok(count) = player.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]);
        if text.starts_with("DESCRIBE ") && text.contains("?token=") {
            let sent = Sent::now("Pc CU>PU media_request", "");
            log.lock().expect("nobody panics with it").push(sent);
        }
        if count == 0 || unit.write_all(&buffer[..count]).is_err() {
            let _ = unit.shutdown(std::net::Shutdown::Write);
            return;
        }
    }
}
