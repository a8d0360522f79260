//! A plain client of HTTP/1.1, so that every byte can be looked at.

use std::{mem, net::SocketAddr};

use sightline_model::UnixMicros;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::unit::PATIENCE;

/// What a server answers.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// A connection on which one answer is read behind the other.
pub struct Line<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub const fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Asks, and reads nothing yet.
    pub async fn ask(&mut self, path: &str, token: Option<&str>, more: &str) {
        let token = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: unit\r\n{token}{more}\r\n");
        self.stream.write_all(request.as_bytes()).await.expect("open");
    }

    /// The head of an answer, and little of what is behind it.
    pub async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more().await > 0, "it closed without a word");
        };
        let behind = self.read.split_off(end + 4);
        let mut head = mem::replace(&mut self.read, behind);
        head.truncate(end);
        let head = String::from_utf8(head).expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Answer { status, head, body: Vec::new() }
    }

    /// Asks, and reads the whole answer.
    pub async fn get(&mut self, path: &str, token: Option<&str>) -> Answer {
        self.ask(path, token, "").await;
        let mut answer = self.head().await;
        let len = answer.header("content-length").expect("a length").parse().expect("a number");
        while self.read.len() < len {
            assert!(self.more().await > 0, "it closed early");
        }
        let behind = self.read.split_off(len);
        answer.body = mem::replace(&mut self.read, behind);
        answer
    }

    /// What still comes until the other side ends it.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        self.read
    }

    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.expect("in time").expect("open")
    }
}

/// One request on a connection of its own.
pub async fn get(address: SocketAddr, path: &str, token: Option<&str>, more: &str) -> Answer {
    let mut line = Line::new(TcpStream::connect(address).await.expect("listens"));
    line.ask(path, token, &format!("Connection: close\r\n{more}")).await;
    let answer = line.head().await;
    Answer { body: line.rest().await, ..answer }
}

/// Where the proof of a span is.
pub fn proof_of(from: UnixMicros, to: UnixMicros) -> String {
    format!("/recordings/0/main/proof?from={}&to={}", from.0, to.0)
}
