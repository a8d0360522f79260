//! The web server of the portal (A7.1): the built web client from a folder, or from inside the
//! program.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::map_response,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Largest portal that is held in memory, in bytes.
const MAX_TOTAL_BYTES: u64 = 64 * 1024 * 1024;
/// Smaller files are sent as they are.
const MIN_COMPRESSED_BYTES: usize = 512;

mod embedded {
    //! Written by `build.rs` from `web/dist`.
    include!(concat!(env!("OUT_DIR"), "/portal.rs"));
}

/// No inline script, no foreign origin, no frame. WebSocket goes to the SCU, which may be another
/// host; `blob:` serves recordings and workers that the page itself makes.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
    connect-src 'self' ws: wss:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <title>Sightline</title><h1>The portal has not been built</h1>\
    <p>This program was compiled without the web client. Run <code>cargo xtask web</code> and \
    compile again, or set <code>portal_dir</code> to a folder with the built client. \
    The API works: see <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p></html>\n";

/// The portal cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("portal_dir {}: {reason}", path.display())]
pub struct PortalError {
    path: PathBuf,
    reason: String,
}

#[derive(Debug)]
struct Asset {
    plain: Bytes,
    gzip: OnceLock<Option<Bytes>>,
    brotli: OnceLock<Option<Bytes>>,
    content_type: &'static str,
    etag: HeaderValue,
    immutable: bool,
}

impl Asset {
    fn new(path: &str, plain: Bytes) -> Self {
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&plain)[..12]);
        let etag = HeaderValue::from_str(&format!("\"{digest}\""))
            .unwrap_or(HeaderValue::from_static("\"\""));
        Self {
            plain,
            gzip: OnceLock::new(),
            brotli: OnceLock::new(),
            content_type: content_type(path),
            etag,
            // Vite puts a hash of the content into the names under assets/.
            immutable: path.starts_with("assets/"),
        }
    }

    fn compressible(&self) -> bool {
        let ty = self.content_type;
        let is_text = ty.starts_with("text/")
            || ty.contains("json")
            || ty.contains("javascript")
            || ty.contains("svg")
            || ty.contains("wasm");
        is_text && self.plain.len() >= MIN_COMPRESSED_BYTES
    }

    /// The best form that the browser takes. Each form is made once, at its first use.
    fn encoded(&self, accepted: &str) -> (Bytes, Option<&'static str>) {
        let takes = |coding: &str| {
            accepted.split(',').any(|c| {
                let mut parts = c.split(';');
                let name = parts.next().unwrap_or_default().trim();
                let refused =
                    parts.any(|p| matches!(p.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
                name.eq_ignore_ascii_case(coding) && !refused
            })
        };
        if self.compressible() {
            if takes("br")
                && let Some(bytes) = self.brotli.get_or_init(|| brotli(&self.plain))
            {
                return (bytes.clone(), Some("br"));
            }
            if takes("gzip")
                && let Some(bytes) = self.gzip.get_or_init(|| gzip(&self.plain))
            {
                return (bytes.clone(), Some("gzip"));
            }
        }
        (self.plain.clone(), None)
    }
}

fn brotli(plain: &[u8]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(plain.len() / 3);
    {
        let mut writer = brotli::CompressorWriter::new(&mut out, 4096, 9, 22);
        writer.write_all(plain).ok()?;
        writer.flush().ok()?;
    }
    (out.len() < plain.len()).then(|| out.into())
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut writer = flate2::write::GzEncoder::new(
        Vec::with_capacity(plain.len() / 3),
        flate2::Compression::best(),
    );
    writer.write_all(plain).ok()?;
    let out = writer.finish().ok()?;
    (out.len() < plain.len()).then(|| out.into())
}

type Assets = Arc<BTreeMap<String, Asset>>;

/// Routes of the portal: its files, and `index.html` for paths that the client itself resolves.
/// `store_origin`: where the page fetches recordings from the cloud, when not here.
///
/// # Errors
/// [`PortalError`] when `dir` cannot be read.
pub fn router(dir: Option<&Path>, store_origin: Option<&str>) -> Result<Router, PortalError> {
    let files = match dir {
        Some(dir) => read_dir(dir)?,
        None => embedded::FILES
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), Bytes::from_static(bytes)))
            .collect(),
    };
    let assets =
        files.into_iter().map(|(path, bytes)| (path.clone(), Asset::new(&path, bytes))).collect();
    let csp = store_origin.map_or_else(
        || CSP.to_owned(),
        |origin| CSP.replace("connect-src 'self'", &format!("connect-src 'self' {origin}")),
    );
    let csp = HeaderValue::from_str(&csp).unwrap_or(HeaderValue::from_static(CSP));
    let guard = move |mut response: Response| {
        let csp = csp.clone();
        async move {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, csp);
            response
        }
    };
    let served = Router::new().fallback(serve).layer(map_response(guard));
    Ok(served.with_state(Arc::new(assets)))
}

fn read_dir(dir: &Path) -> Result<Vec<(String, Bytes)>, PortalError> {
    let fail = |reason: String| PortalError { path: dir.to_owned(), reason };
    let (mut files, mut folders, mut total) = (Vec::new(), vec![dir.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| fail(e.to_string()))? {
            let path = entry.map_err(|e| fail(e.to_string()))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            total += std::fs::metadata(&path).map_err(|e| fail(e.to_string()))?.len();
            if total > MAX_TOTAL_BYTES {
                return Err(fail("holds more than 64 MB; is it the built client?".into()));
            }
            let name = path.strip_prefix(dir).map_err(|e| fail(e.to_string()))?;
            let name = name.to_string_lossy().replace('\\', "/");
            files.push((name, std::fs::read(&path).map_err(|e| fail(e.to_string()))?.into()));
        }
    }
    if !files.iter().any(|(name, _)| name == "index.html") {
        return Err(fail("has no index.html".into()));
    }
    Ok(files)
}

async fn serve(State(assets): State<Assets>, request: Request) -> Response {
    // The body is dropped here: it may not be shared across an await.
    let (parts, _) = request.into_parts();
    let mut response = respond(&assets, &parts).await;
    let headers = response.headers_mut();
    let fixed =
        [(header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::REFERRER_POLICY, "no-referrer")];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // The camera of the phone scans claim codes; its microphone speaks through the PU.
    let policy = "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()";
    headers.insert("permissions-policy", HeaderValue::from_static(policy));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

async fn respond(assets: &Assets, request: &Parts) -> Response {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if assets.is_empty() {
        let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        return (StatusCode::SERVICE_UNAVAILABLE, html, NOT_BUILT).into_response();
    }
    let path = request.uri.path().trim_start_matches('/');
    // A path with an extension names a file; any other one is a place inside the client.
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let key = match (assets.contains_key(path), is_file) {
        (true, _) => path.to_owned(),
        (false, true) => return StatusCode::NOT_FOUND.into_response(),
        (false, false) => "index.html".to_owned(),
    };
    send(assets.clone(), key, &request.headers).await
}

async fn send(assets: Assets, key: String, request: &HeaderMap) -> Response {
    let Some(asset) = assets.get(&key) else { return StatusCode::NOT_FOUND.into_response() };
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, asset.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let caching = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    let same = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).any(
        |value| {
            let etag = asset.etag.to_str().unwrap_or_default();
            value.split(',').any(|v| v.trim().trim_start_matches("W/") == etag)
        },
    );
    if same {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    let accepted = request.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    let accepted = accepted.unwrap_or_default().to_owned();
    // Compressing takes a while at the first use; other requests must not wait for it.
    let encoded =
        tokio::task::spawn_blocking(move || assets.get(&key).map(|asset| asset.encoded(&accepted)));
    let Ok(Some((body, coding))) = encoded.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    (headers, body).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
