//! What every store must do.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use sightline_cloud::object::{Kind, Meta, ObjectKey, Place};
use sightline_cloud_store::{CONTENT_HASH, Found, NewObject, SegmentStore};
use sightline_model::{CameraId, ChannelId, PuId, PublicKey, Signature, StreamTier, UnixMicros};
use sightline_protocol::cp::PutRequest;
use sightline_recording::statement::{ChainId, Entry, Sequence};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::wall;

const LIFE: Duration = Duration::from_secs(300);
const LONG_AGO: Duration = Duration::from_secs(3_600);

pub struct Tried {
    pub store: Arc<dyn SegmentStore>,
    pub http: Client,
}

fn key(chain: u8, sequence: u64) -> ObjectKey {
    let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
    let place = Place {
        domain: "home.example".parse().expect("a domain"),
        user: "anna".parse().expect("a user"),
        camera: CameraId { pu, channel: ChannelId(0) },
        tier: StreamTier::Main,
        chain: ChainId([chain; 16]),
    };
    ObjectKey::new(place, Sequence(sequence), Kind::Segment).expect("a name")
}

fn meta() -> Meta {
    let entry = Entry { encoded: vec![9; 200], signature: Signature::from_bytes([7; 64]) };
    Meta { entry, correction_us: -5, time_known: true }
}

fn film() -> Bytes {
    (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect()
}

fn before(life: Duration) -> UnixMicros {
    let life = i64::try_from(life.as_micros()).expect("short");
    UnixMicros(wall().0 - life)
}

impl Tried {
    fn request(&self, key: &ObjectKey, bytes: &[u8], at: UnixMicros) -> PutRequest {
        let sha256 = Sha256::digest(bytes).into();
        let new = NewObject { key, len: bytes.len() as u64, sha256, meta: &meta() };
        self.store.put_request(&new, at, LIFE).expect("signed")
    }

    async fn put(&self, request: &PutRequest, url: &str, bytes: Bytes) -> StatusCode {
        let mut put = self.http.put(url);
        for (name, value) in &request.headers {
            put = put.header(name, value);
        }
        put.body(bytes).send().await.expect("an answer").status()
    }

    async fn send(&self, key: &ObjectKey, bytes: Bytes) {
        let request = self.request(key, &bytes, wall());
        let status = self.put(&request, request.url.expose(), bytes).await;
        assert!(status.is_success(), "{status}");
    }

    async fn get(&self, url: &str, range: Option<&str>) -> Response {
        let mut get = self.http.get(url);
        if let Some(range) = range {
            get = get.header(header::RANGE, range);
        }
        get.send().await.expect("an answer")
    }

    fn url(&self, key: &ObjectKey, at: UnixMicros) -> String {
        self.store.get_url(key, at, LIFE).expect("signed").into_inner()
    }

    async fn is_there(&self, key: &ObjectKey) -> bool {
        self.store.look(key).await.expect("the store answers").is_some()
    }
}

pub async fn what_is_sent_is_found_read_and_deleted(tried: &Tried) {
    let (key, film) = (key(1, 7), film());
    assert!(!tried.is_there(&key).await);
    assert_eq!(tried.store.hash(&key).await.expect("asked"), None);
    tried.send(&key, film.clone()).await;
    let found = tried.store.look(&key).await.expect("asked");
    let len = film.len() as u64;
    assert_eq!(found, Some(Found { len, meta: Some(meta()) }));
    let hash = tried.store.hash(&key).await.expect("asked");
    assert_eq!(hash, Some(Sha256::digest(&film).into()));
    let head = tried.store.read(&key, 100).await.expect("asked");
    assert_eq!(head, Some(film.slice(..100)));

    let url = tried.url(&key, wall());
    let whole = tried.get(&url, None).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.headers()[header::ACCEPT_RANGES], "bytes");
    assert_eq!(whole.bytes().await.expect("bytes"), film);
    let part = tried.get(&url, Some("bytes=10-19")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[header::CONTENT_RANGE], format!("bytes 10-19/{len}"));
    assert_eq!(part.bytes().await.expect("bytes"), film.slice(10..20));
    let end = tried.get(&url, Some("bytes=-5")).await;
    assert_eq!(end.bytes().await.expect("bytes"), film.slice(film.len() - 5..));
    let beyond = tried.get(&url, Some(&format!("bytes={len}-"))).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);

    // Sent twice it is still the same one.
    tried.send(&key, film.clone()).await;
    assert_eq!(tried.store.look(&key).await.expect("asked").map(|found| found.len), Some(len));
    tried.store.delete(&key).await.expect("deleted");
    assert!(!tried.is_there(&key).await);
    assert_eq!(tried.get(&url, None).await.status(), StatusCode::NOT_FOUND);
    tried.store.delete(&key).await.expect("deleted already");
}

pub async fn a_request_stores_one_object_of_one_length_and_content(tried: &Tried) {
    let (mine, other, film) = (key(1, 7), key(1, 8), film());
    let request = tried.request(&mine, &film, wall());
    let url = request.url.expose().clone();
    // Under another name.
    let (name, swapped) = ("000000000007.mp4", "000000000008.mp4");
    let elsewhere = url.replace(name, swapped);
    assert_ne!(elsewhere, url);
    let status = tried.put(&request, &elsewhere, film.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // Of another length.
    for bytes in [film.slice(1..), [&film[..], b"x"].concat().into(), Bytes::new()] {
        let status = tried.put(&request, &url, bytes).await;
        assert!(status.is_client_error(), "{status}");
    }
    // With other metadata, or another hash.
    let mut meta = request.clone();
    meta.headers.insert("x-amz-meta-time".into(), "99,1".into());
    assert_eq!(tried.put(&meta, &url, film.clone()).await, StatusCode::FORBIDDEN);
    let mut hash = request.clone();
    let wrong = data_encoding::BASE64.encode(&[0; 32]);
    hash.headers.insert(CONTENT_HASH.into(), wrong);
    assert_eq!(tried.put(&hash, &url, film.clone()).await, StatusCode::FORBIDDEN);
    assert!(!tried.is_there(&mine).await && !tried.is_there(&other).await);
    // Of another content: refused by the store, or found out by its hash.
    let mut altered = film.to_vec();
    altered[5] ^= 1;
    let status = tried.put(&request, &url, altered.into()).await;
    if tried.store.checks_content().await.expect("probed") {
        assert!(status.is_client_error(), "{status}");
        assert!(!tried.is_there(&mine).await);
    } else {
        let stored = tried.store.hash(&mine).await.expect("asked");
        assert_ne!(stored, Some(Sha256::digest(&film).into()));
    }
    // And what it is for.
    assert!(tried.put(&request, &url, film).await.is_success());
    // It reads nothing.
    assert_eq!(tried.get(&url, None).await.status(), StatusCode::FORBIDDEN);
}

pub async fn an_altered_or_expired_address_is_refused(tried: &Tried) {
    let (mine, other, film) = (key(1, 7), key(2, 7), film());
    tried.send(&mine, film.clone()).await;
    tried.send(&other, film.clone()).await;
    let url = tried.url(&mine, wall());
    assert_eq!(tried.get(&url, None).await.status(), StatusCode::OK);
    let chain = |n: u8| format!("{n:02x}").repeat(16);
    let swapped = url.replace(&chain(1), &chain(2));
    assert_ne!(swapped, url);
    assert_eq!(tried.get(&swapped, None).await.status(), StatusCode::FORBIDDEN);
    let (bare, query) = url.split_once('?').expect("a query");
    assert_eq!(tried.get(bare, None).await.status(), StatusCode::FORBIDDEN);
    // Longer than it was signed for: the number of seconds, or when it ends.
    let later: String = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some(("expires", at)) => format!("expires={}", at.parse::<u64>().expect("s") + 9),
            Some(("X-Amz-Expires", _)) => "X-Amz-Expires=900".to_owned(),
            _ => pair.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&");
    assert_ne!(later, query);
    let longer = tried.get(&format!("{bare}?{later}"), None).await;
    assert_eq!(longer.status(), StatusCode::FORBIDDEN);

    let expired = tried.url(&mine, before(LONG_AGO));
    assert_eq!(tried.get(&expired, None).await.status(), StatusCode::FORBIDDEN);
    let request = tried.request(&key(3, 1), &film, before(LONG_AGO));
    let status = tried.put(&request, request.url.expose(), film).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(!tried.is_there(&key(3, 1)).await);
    // An address to read stores and deletes nothing.
    let put = tried.http.put(&url).body("x").send().await.expect("an answer").status();
    assert_eq!(put, StatusCode::FORBIDDEN);
    let deleted = tried.http.delete(&url).send().await.expect("an answer").status();
    assert!(deleted.is_client_error(), "{deleted}");
    assert!(tried.is_there(&mine).await);
}

pub async fn no_path_leads_elsewhere(tried: &Tried) {
    let (mine, film) = (key(1, 7), film());
    tried.send(&mine, film.clone()).await;
    let url = tried.url(&mine, wall());
    let name = mine.to_string();
    for path in [
        name.replace("v1/", "v1/../v1/"),
        name.replace("v1/", "v1/%2e%2e/v1/"),
        name.replace("/anna/", "/anna/../anna/"),
        name.replace("/anna/", "/anna%2f..%2fanna/"),
        name.replace("/anna/", "/anna%2f../anna/"),
        name.replace(".mp4", ".mp4%00"),
        format!("{name}/../000000000007.mp4"),
        name.replace("v1/", "../../../../etc/"),
        name.replace("v1/", "%2fetc%2fpasswd/"),
    ] {
        let altered = url.replace(&name, &path);
        assert_ne!(altered, url);
        let status = as_it_stands("GET", &altered, &[], b"").await;
        assert!((400..500).contains(&status) || is_moved(status), "{path}: {status}");
        let request = tried.request(&mine, &film, wall());
        let altered = request.url.expose().replace(&name, &path);
        let headers: Vec<_> = request.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        let status = as_it_stands("PUT", &altered, &headers, &film).await;
        assert!((400..500).contains(&status) || is_moved(status), "PUT {path}: {status}");
    }
}

/// Some servers send whoever asks for a path with dots to the path without: with another signature.
const fn is_moved(status: u16) -> bool {
    matches!(status, 301 | 307 | 308)
}

/// Sends a request whose path no client has made sense of before; the status.
async fn as_it_stands(method: &str, url: &str, headers: &[String], body: &[u8]) -> u16 {
    let rest = url.strip_prefix("http://").expect("a URL");
    let (host, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).await.expect("the store listens");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let len = body.len();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-length: {len}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // A server that has refused need not read the rest.
    let _ = stream.write_all(body).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("a status line");
    let answer = String::from_utf8(answer).expect("text");
    answer[9..].parse().expect("a status")
}

pub async fn lists_are_whole_and_come_in_pages(tried: &Tried) {
    let prefix = ObjectKey::prefix_of(&"home.example".parse().expect("a domain"));
    let empty = tried.store.list(&prefix, None).await.expect("listed");
    assert_eq!((empty.objects.len(), empty.next), (0, None));
    let mut keys = Vec::new();
    for (chain, count) in [(1, 700), (2, 400)] {
        for sequence in 0..count {
            let key = key(chain, sequence);
            tried.store.put(&key, Bytes::from_static(b"small")).await.expect("stored");
            keys.push(key.to_string());
        }
    }
    keys.sort();
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = tried.store.list(&prefix, after.as_deref()).await.expect("listed");
        pages += 1;
        assert!(page.objects.iter().all(|(_, len)| *len == 5), "{page:?}");
        found.extend(page.objects.into_iter().map(|(name, _)| name));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort();
    assert_eq!(found, keys);
    assert!(pages > 1, "{pages}");
    let other = ObjectKey::prefix_of(&"other.example".parse().expect("a domain"));
    assert_eq!(tried.store.list(&other, None).await.expect("listed").objects, []);
}
