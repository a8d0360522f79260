//! Many RTSP viewers: what they got, and what they lost.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use url::Url;

use crate::rtsp::Session;

/// How long all viewers together may take to get their first picture.
const START: Duration = Duration::from_secs(30);

/// Counters of all viewers.
#[derive(Default)]
pub struct Counts {
    /// Viewers with a picture.
    pub ready: AtomicUsize,
    /// Pictures.
    pub frames: AtomicU64,
    /// Bytes of payload.
    pub bytes: AtomicU64,
    /// Packets that are missing between others.
    pub lost: AtomicU64,
    /// Viewers whose session ended too early.
    pub ended: AtomicUsize,
    /// Set when it is over.
    pub over: AtomicBool,
}

impl Counts {
    /// Waits for all viewers, says so, waits for the end of standard input.
    pub fn wait(&self, count: usize) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.ready.load(Ordering::Relaxed) < count {
            if self.ended.load(Ordering::Relaxed) > 0 {
                bail!("a viewer got no picture");
            }
            if begin.elapsed() > START {
                let ready = self.ready.load(Ordering::Relaxed);
                bail!("only {ready} of {count} viewers got a picture");
            }
            thread::sleep(Duration::from_millis(20));
        }
        println!("{}", json!({ "ready": count, "took_ms": begin.elapsed().as_millis() }));
        std::io::stdin().read_to_end(&mut Vec::new())?;
        self.over.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// For the person who reads them.
    pub fn figures(&self, count: usize) -> Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "viewers": count,
            "frames": get(&self.frames),
            "bytes": get(&self.bytes),
            "lost": get(&self.lost),
            "ended": self.ended.load(Ordering::Relaxed),
        })
    }
}

/// Watches; the stalled ones are beside the `count`.
pub fn run(urls: &[Url], count: usize, stalled: usize) -> anyhow::Result<Value> {
    let counts = Arc::new(Counts::default());
    let mut kept = Vec::new();
    let mut turns = urls.iter().cycle().cloned();
    for url in turns.by_ref().take(stalled) {
        let mut session = Session::play(&url)?;
        session.next()?.ok_or_else(|| anyhow!("the server ended the session"))?;
        // Kept open and never read again.
        kept.push(session);
    }
    for url in turns.take(count) {
        let counts = Arc::clone(&counts);
        thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            let result = watch(&url, &counts);
            if !counts.over.load(Ordering::Relaxed) {
                counts.ended.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = result {
                    eprintln!("viewer: {error:#}");
                }
            }
        })?;
    }
    // The threads end with the process: their sockets close then, all at once.
    counts.wait(count)?;
    drop(kept);
    Ok(counts.figures(count))
}

fn watch(url: &Url, counts: &Counts) -> anyhow::Result<()> {
    let mut session = Session::play(url)?;
    let mut expected: Option<u16> = None;
    let mut seen = false;
    while let Some(packet) = session.next()? {
        if let Some(expected) = expected {
            let missing = u64::from(packet.sequence.wrapping_sub(expected));
            counts.lost.fetch_add(missing, Ordering::Relaxed);
        }
        expected = Some(packet.sequence.wrapping_add(1));
        counts.bytes.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        if packet.marker {
            counts.frames.fetch_add(1, Ordering::Relaxed);
            if !seen {
                seen = true;
                counts.ready.fetch_add(1, Ordering::Relaxed);
            }
        }
        if counts.over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
