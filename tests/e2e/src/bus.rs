//! An ear on the bus: NATS as text, as its protocol has it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Hears every message on a subject.
#[derive(Debug)]
pub struct BusTap {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl BusTap {
    /// Subscribes; returns when the server has taken the subscription.
    ///
    /// # Panics
    /// When there is no NATS server.
    #[must_use]
    pub fn start(port: u16, subject: &str) -> Self {
        let writer = TcpStream::connect(("127.0.0.1", port)).expect("the NATS server is there");
        writer.set_read_timeout(Some(Duration::from_secs(15))).expect("a time limit");
        let reader = BufReader::new(writer.try_clone().expect("a second handle"));
        let mut tap = Self { reader, writer };
        let hello = format!("CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
        tap.writer.write_all(hello.as_bytes()).expect("sent");
        while !tap.line().starts_with("PONG") {}
        tap
    }

    /// Asks whoever answers on a subject, and waits for the body of the answer.
    ///
    /// # Panics
    /// When none comes within 15 s.
    #[must_use]
    pub fn ask(port: u16, subject: &str, body: &Value) -> Value {
        const INBOX: &str = "_INBOX.e2e.1";
        let mut tap = Self::start(port, INBOX);
        let message = serde_json::json!({ "v": 1, "body": body }).to_string();
        let request = format!("PUB {subject} {INBOX} {}\r\n{message}\r\n", message.len());
        tap.writer.write_all(request.as_bytes()).expect("sent");
        tap.find(|answer| Some(answer.clone()))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("the NATS server speaks");
        assert!(!line.is_empty(), "the NATS server has hung up");
        line
    }

    /// The next message's body for which `pick` gives something.
    ///
    /// # Panics
    /// When none comes within 15 s of silence.
    pub fn find<T>(&mut self, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
        loop {
            let line = self.line();
            if line.starts_with("PING") {
                self.writer.write_all(b"PONG\r\n").expect("sent");
            }
            let Some(length) = line.strip_prefix("MSG ").and_then(|l| l.split_whitespace().last())
            else {
                continue;
            };
            // With the line end after it.
            let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
            self.reader.read_exact(&mut payload).expect("the payload");
            let message: Value = serde_json::from_slice(&payload).expect("messages are JSON");
            if let Some(found) = pick(&message["body"]) {
                return found;
            }
        }
    }
}
