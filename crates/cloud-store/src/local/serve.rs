//! Objects over HTTP, for whoever shows a signed address. Every refusal is a 403 without words: it says
//! nothing of what is there.

use std::{io::SeekFrom, ops::RangeInclusive};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::BASE64;
use futures_util::StreamExt;
use serde::Deserialize;
use sightline_cloud::{
    MAX_SEGMENT_BYTES,
    object::{META_ENTRY, META_TIME, Meta, ObjectKey},
};
use sightline_model::UnixMicros;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{Asked, LOCAL_PATH, LocalStore, blocking};
use crate::{CONTENT_HASH, StoreError};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug, Deserialize)]
struct Signed {
    expires: i64,
    signature: String,
}

impl LocalStore {
    /// Serves the objects below [`LOCAL_PATH`].
    pub fn router(&self) -> Router {
        Router::new()
            .route(&format!("{LOCAL_PATH}/{{*key}}"), get(read).put(store))
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }

    /// Whether the address is signed for this, and has not ended.
    fn permits(&self, asked: &Asked<'_>, signature: &str) -> bool {
        let inner = &*self.inner;
        asked.expires_s > (inner.now)().as_secs() && inner.signer.is_signed(asked, signature)
    }
}

fn refused() -> Response {
    StatusCode::FORBIDDEN.into_response()
}

fn failed(error: &StoreError) -> Response {
    tracing::error!(%error, "an object cannot be served");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

const fn at(expires_s: i64) -> UnixMicros {
    UnixMicros(expires_s.saturating_mul(1_000_000))
}

/// GET and HEAD.
async fn read(
    State(store): State<LocalStore>,
    Path(key): Path<String>,
    signed: Result<Query<Signed>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let (Ok(key), Ok(Query(signed))) = (key.parse::<ObjectKey>(), signed) else {
        return refused();
    };
    if !store.permits(&Asked::get(&key, at(signed.expires)), &signed.signature) {
        return refused();
    }
    let files = store.inner.files.clone();
    match blocking("opening an object", move || files.open_object(&key)).await {
        Ok(Some((file, len))) => send(file, len, &headers).await,
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => failed(&error),
    }
}

async fn send(file: std::fs::File, len: u64, headers: &HeaderMap) -> Response {
    let range = match wanted(headers, len) {
        Ok(range) => range,
        Err(Unsatisfiable) => {
            let stated = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, stated).into_response();
        }
    };
    let (from, count) = range.as_ref().map_or((0, len), |r| (*r.start(), r.end() - r.start() + 1));
    let mut file = tokio::fs::File::from_std(file);
    if let Err(source) = file.seek(SeekFrom::Start(from)).await {
        return failed(&StoreError::Io { what: "reading an object", source });
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(count), CHUNK));
    let mut response = body.into_response();
    let sent = response.headers_mut();
    let fixed = HeaderValue::from_static;
    sent.insert(header::CONTENT_TYPE, fixed("video/mp4"));
    sent.insert(header::ACCEPT_RANGES, fixed("bytes"));
    sent.insert(header::CACHE_CONTROL, fixed("private, max-age=300"));
    sent.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    sent.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    if let Some(range) = range {
        let stated = format!("bytes {}-{}/{len}", range.start(), range.end());
        if let Ok(stated) = HeaderValue::from_str(&stated) {
            sent.insert(header::CONTENT_RANGE, stated);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// The one range that is asked for (RFC 9110, 14); none: all of it.
fn wanted(headers: &HeaderMap, len: u64) -> Result<Option<RangeInclusive<u64>>, Unsatisfiable> {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some(Ok(parsed)) = range.map(http_range_header::parse_range_header) else {
        return Ok(None);
    };
    let valid = parsed.validate(len).map_err(|_| Unsatisfiable)?;
    let mut valid = valid.into_iter();
    match (valid.next(), valid.next()) {
        (Some(one), None) => Ok(Some(one)),
        // Several at once nobody asks us for; all of it holds them.
        _ => Ok(None),
    }
}

/// PUT.
async fn store(
    State(store): State<LocalStore>,
    Path(key): Path<String>,
    signed: Result<Query<Signed>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (Ok(key), Ok(Query(signed))) = (key.parse::<ObjectKey>(), signed) else {
        return refused();
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let len = text(header::CONTENT_LENGTH.as_str()).and_then(|len| len.parse().ok());
    let (Some(len), Some(hash), Some(entry), Some(time)) =
        (len, text(CONTENT_HASH), text(META_ENTRY), text(META_TIME))
    else {
        return refused();
    };
    let asked = Asked::put(&key, at(signed.expires), len, hash, (entry, time));
    if len > MAX_SEGMENT_BYTES || !store.permits(&asked, &signed.signature) {
        return refused();
    }
    let (Some(meta), Ok(hash)) = (Meta::read(entry, time), BASE64.decode(hash.as_bytes())) else {
        return refused();
    };
    match receive(&store, &key, (len, &hash), meta, body).await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => StatusCode::BAD_REQUEST.into_response(),
        Err(error) => failed(&error),
    }
}

/// Whether what came was what had been promised; only then it is there.
async fn receive(
    store: &LocalStore,
    key: &ObjectKey,
    (len, hash): (u64, &[u8]),
    meta: Meta,
    body: Body,
) -> Result<bool, StoreError> {
    let files = store.inner.files.clone();
    let mut incoming = blocking("receiving an object", move || files.receive()).await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        // The unit has gone: it begins anew.
        let Ok(chunk) = chunk else { return Ok(false) };
        if incoming.len().saturating_add(chunk.len() as u64) > len {
            return Ok(false);
        }
        incoming = blocking("receiving an object", move || {
            incoming.write(&chunk)?;
            Ok(incoming)
        })
        .await?;
    }
    if incoming.len() != len || incoming.hash()[..] != *hash {
        return Ok(false);
    }
    let (files, key) = (store.inner.files.clone(), key.clone());
    blocking("storing an object", move || files.keep(&key, &incoming, Some(&meta))).await?;
    Ok(true)
}
