//! One HTTP request at a time, by hand: tests must be able to send what no client library would.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Asks `http://localhost:PORT` and waits for the whole answer. The path goes out as it is.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn http(
    port: u16,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&serde_json::Value>,
) -> Answer {
    let answer = ask(port, (method, path), bearer, body).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no HTTP: {answer}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// The sum of a unit's figures whose names begin so, at its own port for that; none: it does not answer.
#[must_use]
pub fn metric(port: u16, name: &str) -> Option<u64> {
    let answer = ask(port, ("GET", "/metrics"), None, None).ok()?;
    let of = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
    answer.lines().filter(|line| line.starts_with(name)).map(of).sum()
}

fn ask(
    port: u16,
    (method, path): (&str, &str),
    bearer: Option<&str>,
    body: Option<&serde_json::Value>,
) -> std::io::Result<String> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let bearer = bearer.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost:{port}\r\n{bearer}Content-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
