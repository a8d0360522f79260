//! How long a viewer of recordings waits: from asking for a moment until the first picture is there as a
//! whole. What is decoded from there on costs every player the same, and is not in it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use crate::rtsp::Session;

/// Of H.264 (its table 7-1, and RFC 6184 table 1).
const IDR: u8 = 5;
const FU_A: u8 = 28;
/// How much MediaMTX is asked for, in seconds. It is left when its first picture begins.
const ASKED_S: u32 = 10;
/// How long an answer over HTTP may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Most bytes in front of the first picture of an MP4 stream.
const MOST_HEADER: usize = 4 << 20;

/// Seeks: each URL gets its share of the moments.
pub fn run(urls: &[Url], at_us: &[i64], anew: bool) -> anyhow::Result<Value> {
    let mut found = Found::default();
    for (number, url) in urls.iter().enumerate() {
        let own = at_us.iter().skip(number).step_by(urls.len());
        let own: Vec<Timestamp> =
            own.map(|us| Timestamp::from_microsecond(*us)).collect::<Result<_, _>>()?;
        match url.scheme() {
            "rtsp" if anew => own.iter().for_each(|at| found.add(in_new_session(url, *at))),
            "rtsp" => in_one_session(url, &own, &mut found)?,
            "http" => over_http(url, &own, &mut found)?,
            other => bail!("{other}:// is not understood: rtsp:// or http://"),
        }
    }
    Ok(json!({ "samples_ms": found.samples_ms, "failed": found.failed }))
}

#[derive(Default)]
struct Found {
    samples_ms: Vec<f64>,
    failed: u32,
}

impl Found {
    fn add(&mut self, took: anyhow::Result<Duration>) {
        match took {
            Ok(took) => self.samples_ms.push(took.as_secs_f64() * 1e3),
            Err(error) => {
                eprintln!("seek: {error:#}");
                self.failed += 1;
            }
        }
    }
}

/// As in RFC 2326 section 3.7.
fn clock(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S%.6fZ").to_string()
}

/// The session stays: what follows the answer to PLAY is of the moment that was asked for.
fn in_one_session(url: &Url, moments: &[Timestamp], found: &mut Found) -> anyhow::Result<()> {
    if moments.is_empty() {
        return Ok(());
    }
    let mut session = Session::open(url)?;
    for at in moments {
        let begin = Instant::now();
        let played = session.play_range(&format!("clock={}-", clock(*at)));
        let first = played.and_then(|()| first_picture(&mut session));
        let took = begin.elapsed();
        let is_over = first.is_err();
        found.add(first.map(|()| took));
        if is_over {
            // What came in between is not known: the next one begins with a session of its own.
            session = Session::open(url)?;
        }
    }
    Ok(())
}

/// As a player does that was given a URL of this moment.
fn in_new_session(url: &Url, at: Timestamp) -> anyhow::Result<Duration> {
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/').trim_end_matches("/main").to_owned();
    url.set_path(&format!("{path}/main/{}-", clock(at)));
    let begin = Instant::now();
    let mut session = Session::play(&url)?;
    first_picture(&mut session)?;
    Ok(begin.elapsed())
}

fn first_picture(session: &mut Session) -> anyhow::Result<()> {
    let mut keyframe = false;
    loop {
        let packet = session.next()?.context("the session was ended")?;
        keyframe |= is_of_idr(packet.payload);
        if packet.marker {
            ensure!(keyframe, "the first picture cannot be decoded: it is no keyframe");
            return Ok(());
        }
    }
}

fn is_of_idr(payload: &[u8]) -> bool {
    let kind = |at: usize| payload.get(at).map(|byte| byte & 0x1f);
    kind(0) == Some(IDR) || (kind(0) == Some(FU_A) && kind(1) == Some(IDR))
}

/// MediaMTX: until the first byte of the first picture, which is a little less than a whole one.
fn over_http(url: &Url, moments: &[Timestamp], found: &mut Found) -> anyhow::Result<()> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let http = reqwest::Client::builder().timeout(ANSWER).no_proxy().build()?;
    for at in moments {
        let mut asked = url.clone();
        let (start, duration) = (at.to_string(), ASKED_S.to_string());
        asked.query_pairs_mut().append_pair("start", &start).append_pair("duration", &duration);
        let begin = Instant::now();
        let first = runtime.block_on(first_media(&http, asked));
        let took = begin.elapsed();
        found.add(first.map(|()| took));
    }
    Ok(())
}

async fn first_media(http: &reqwest::Client, url: Url) -> anyhow::Result<()> {
    let mut answer = http.get(url).send().await?.error_for_status()?;
    let mut got: Vec<u8> = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        got.extend_from_slice(&chunk);
        if has_media(&got) {
            // The rest is not taken: the connection goes with the answer.
            return Ok(());
        }
        ensure!(got.len() < MOST_HEADER, "no picture in {MOST_HEADER} bytes");
    }
    bail!("the answer ended without a picture")
}

/// Whether an MP4 stream (ISO/IEC 14496-12 section 4.2) has reached the content of its first `mdat`.
fn has_media(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let Some((header, content)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        if kind == *b"mdat" {
            return !content.is_empty();
        }
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(next) = size.checked_sub(8).and_then(|size| content.get(size..)) else {
            return false;
        };
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rtsp_reads_them() {
        let at = Timestamp::from_microsecond(1_795_280_400_500_000).expect("a time");
        assert_eq!(clock(at), "20261121T170000.500000Z");
        assert_eq!(at.to_string(), "2026-11-21T17:00:00.5Z");
    }

    #[test]
    fn only_keyframes_begin_a_picture_that_can_be_decoded() {
        assert!(is_of_idr(&[0x65, 1]));
        assert!(is_of_idr(&[0x7c, 0x85, 1]), "the first piece of one");
        assert!(!is_of_idr(&[0x61, 1]));
        assert!(!is_of_idr(&[0x7c, 0x81, 1]));
        assert!(!is_of_idr(&[]));
    }

    #[test]
    fn media_begins_behind_the_head_of_the_first_mdat() {
        let mut stream = Vec::new();
        let boxes = [(b"ftyp", &b"isom"[..]), (b"moov", &b"mdat"[..]), (b"mdat", &b"x"[..])];
        for (kind, content) in boxes {
            assert!(!has_media(&stream));
            stream.extend_from_slice(&u32::to_be_bytes(8 + content.len() as u32));
            stream.extend_from_slice(kind);
            assert!(!has_media(&stream));
            stream.extend_from_slice(content);
        }
        assert!(has_media(&stream));
        assert!(!has_media(b"\0\0\0\0ftyp"), "a size that cannot be");
    }
}
