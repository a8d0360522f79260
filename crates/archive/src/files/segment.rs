//! One segment's file, or a part of it.

use std::{
    io::SeekFrom,
    ops::{Range, RangeInclusive},
};

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{self, HeaderMap},
};
use sightline_model::UnixMicros;
use sightline_protocol::{Problem, ProblemKind};
use sightline_recording::statement::{Sequence, Subject};
use sightline_recording_store::{OpenFile, Opened, SegmentRow, Store};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    body::{Body, CHUNK, empty},
    connection::Refusal,
    failed, nothing,
};
use crate::StoreArchive;

impl StoreArchive {
    /// Opens a segment that may be seen whole.
    pub(super) async fn segment(
        &self,
        store: &Store,
        subject: &Subject,
        sequence: Sequence,
    ) -> Result<OpenFile, Refusal> {
        let opened = store.open_file(subject, sequence).await.map_err(|error| failed(&error))?;
        match opened {
            Opened::File(opened) if self.may_show(&times(&opened.row)) => Ok(opened),
            Opened::Damaged(row) if self.may_show(&times(&row)) => Err(Refusal::lost()),
            Opened::File(_) | Opened::Damaged(_) | Opened::Expired => Err(nothing().into()),
        }
    }
}

/// When a segment was recorded, corrected.
pub(super) const fn times(row: &SegmentRow) -> Range<UnixMicros> {
    row.start()..row.end()
}

/// A segment's bytes, or those of it that were asked for (RFC 9110, 14).
pub(super) async fn answer(
    opened: OpenFile,
    headers: &HeaderMap,
    is_head: bool,
) -> Result<Response<Body>, Problem> {
    let OpenFile { file, len, row } = opened;
    let internal = |e: &dyn std::fmt::Display| Problem::new(ProblemKind::Internal, e.to_string());
    let etag = format!("\"{}\"", row.segment.content);
    let asked = match wanted(headers, &etag, len) {
        Ok(asked) => asked,
        Err(Unsatisfiable) => {
            return Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{len}"))
                .body(empty())
                .map_err(|e| internal(&e));
        }
    };
    let answer = Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, etag)
        .header(header::CACHE_CONTROL, "private, immutable");
    let (from, count, answer) = match asked {
        None => (0, len, answer),
        Some(range) => {
            let (from, to) = (*range.start(), *range.end());
            let stated = format!("bytes {from}-{to}/{len}");
            let answer = answer.status(StatusCode::PARTIAL_CONTENT);
            (from, to - from + 1, answer.header(header::CONTENT_RANGE, stated))
        }
    };
    let answer = answer.header(header::CONTENT_LENGTH, count);
    let body = if is_head { empty() } else { stream(file, from, count).await? };
    answer.body(body).map_err(|e| internal(&e))
}

async fn stream(file: std::fs::File, from: u64, count: u64) -> Result<Body, Problem> {
    let mut file = tokio::fs::File::from_std(file);
    let sought = file.seek(SeekFrom::Start(from)).await;
    sought.map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))?;
    let chunks = ReaderStream::with_capacity(file.take(count), CHUNK);
    Ok(StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync())
}

#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// The one range that is asked for; none: all of it.
fn wanted(
    headers: &HeaderMap,
    etag: &str,
    len: u64,
) -> Result<Option<RangeInclusive<u64>>, Unsatisfiable> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(range) = text(header::RANGE) else { return Ok(None) };
    if text(header::IF_RANGE).is_some_and(|condition| condition != etag) {
        return Ok(None);
    }
    // What is no range of bytes is left out of account (RFC 9110, 14.2).
    let Ok(parsed) = http_range_header::parse_range_header(range) else { return Ok(None) };
    let valid = parsed.validate(len).map_err(|_| Unsatisfiable)?;
    let mut valid = valid.into_iter();
    match (valid.next(), valid.next()) {
        (Some(one), None) => Ok(Some(one)),
        // Several at once nobody asks us for; all of it holds them.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_file() {
        let wanted = |range: &str, condition: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().expect("a value"));
            if let Some(condition) = condition {
                headers.insert(header::IF_RANGE, condition.parse().expect("a value"));
            }
            super::wanted(&headers, "\"a\"", 100)
        };
        assert_eq!(wanted("bytes=0-", None), Ok(Some(0..=99)));
        assert_eq!(wanted("bytes=10-19", None), Ok(Some(10..=19)));
        assert_eq!(wanted("bytes=-1", None), Ok(Some(99..=99)));
        assert_eq!(wanted("bytes=90-200", None), Ok(Some(90..=99)));
        assert_eq!(wanted("bytes=100-", None), Err(Unsatisfiable));
        assert_eq!(wanted("bytes=10-", Some("\"b\"")), Ok(None), "it is another file");
        assert_eq!(wanted("bytes=10-", Some("\"a\"")), Ok(Some(10..=99)));
        assert_eq!(wanted("lines=1-2", None), Ok(None));
    }
}
