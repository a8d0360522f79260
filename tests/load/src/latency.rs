//! Latency added by a server: the same picture, recognized by its bytes, as it comes straight from
//! the camera and as it comes through the server, on one clock.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde_json::{Value, json};
use url::Url;

use crate::rtsp::Session;

/// Of H.264 (RFC 6184 table 1).
const FU_A: u8 = 28;
const STAP_A: u8 = 24;

/// What comes first is left out.
const SETTLE: Duration = Duration::from_secs(2);

/// A picture was complete at this time.
struct Seen {
    hash: u64,
    at: Instant,
}

/// Compares.
pub fn run(direct: &Url, through: &Url, time: Duration) -> anyhow::Result<Value> {
    let until = Instant::now() + time;
    // Who connects first is served first by the camera: the server has been there for long.
    let through = watch(through, until);
    let direct = watch(direct, until);
    let direct: HashMap<u64, Instant> = direct.iter().map(|s| (s.hash, s.at)).collect();
    let mut added: Vec<f64> = Vec::new();
    let mut unmatched = 0_u32;
    // A server may begin with pictures that it kept: these are no measure of its speed.
    let settled = until - time + SETTLE;
    for seen in through.iter().filter(|seen| seen.at > settled) {
        match direct.get(&seen.hash) {
            Some(at) => added.push(signed_ms(*at, seen.at)),
            None => unmatched += 1,
        }
    }
    added.sort_by(f64::total_cmp);
    ensure!(added.len() > 50, "only {} pictures were the same on both ways", added.len());
    let at = |q: f64| added[((q * added.len() as f64).ceil() as usize).clamp(1, added.len()) - 1];
    Ok(json!({
        "pictures": added.len(),
        "unmatched": unmatched,
        "p50_ms": at(0.5),
        "p95_ms": at(0.95),
        "max_ms": at(1.0),
        "samples_ms": added,
    }))
}

fn signed_ms(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(later) => later.as_secs_f64() * 1e3,
        None => -(from.duration_since(to).as_secs_f64() * 1e3),
    }
}

fn watch(url: &Url, until: Instant) -> mpsc::Receiver<Seen> {
    let (sender, seen) = mpsc::sync_channel(100_000);
    let url = url.clone();
    thread::spawn(move || {
        let result = follow(&url, until, &sender);
        if let Err(error) = result {
            eprintln!("viewer: {error:#}");
        }
    });
    seen
}

fn follow(url: &Url, until: Instant, sender: &mpsc::SyncSender<Seen>) -> anyhow::Result<()> {
    let mut session = Session::play(url)?;
    let mut picture = Picture::default();
    while Instant::now() < until {
        let Some(packet) = session.next()? else { break };
        let at = Instant::now();
        picture.add(packet.payload);
        if packet.marker
            && let Some(hash) = picture.take()
        {
            // Full: the comparison has more than it needs.
            let _ = sender.try_send(Seen { hash, at });
        }
    }
    Ok(())
}

/// The bytes of a picture's slices, whatever packets they come in.
#[derive(Default)]
struct Picture {
    slices: Vec<u8>,
}

impl Picture {
    fn add(&mut self, payload: &[u8]) {
        let Some((&first, rest)) = payload.split_first() else { return };
        match first & 0x1f {
            FU_A => self.add_fragment(first, rest),
            STAP_A => {
                let mut rest = rest;
                while let Some((size, after)) = rest.split_first_chunk::<2>() {
                    let size = usize::from(u16::from_be_bytes(*size)).min(after.len());
                    self.add_unit(&after[..size]);
                    rest = &after[size..];
                }
            }
            _ => self.add_unit(payload),
        }
    }

    fn add_fragment(&mut self, indicator: u8, rest: &[u8]) {
        let Some((&header, data)) = rest.split_first() else { return };
        let kind = header & 0x1f;
        if !is_slice(kind) {
            return;
        }
        if header & 0x80 != 0 {
            self.slices.push((indicator & 0x60) | kind);
        }
        self.slices.extend_from_slice(data);
    }

    /// Parameter sets and the like are left out: servers repeat or drop them as they like.
    fn add_unit(&mut self, unit: &[u8]) {
        if unit.first().is_some_and(|first| is_slice(first & 0x1f)) {
            self.slices.extend_from_slice(unit);
        }
    }

    fn take(&mut self) -> Option<u64> {
        if self.slices.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        self.slices.hash(&mut hasher);
        self.slices.clear();
        Some(hasher.finish())
    }
}

const fn is_slice(kind: u8) -> bool {
    matches!(kind, 1 | 5)
}
