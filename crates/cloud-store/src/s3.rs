//! An S3-compatible store: requests are signed by `rusty-s3` (decision 0097) and sent by `reqwest`.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::StreamExt;
use jiff::Timestamp;
use reqwest::{Client, Method, Response, StatusCode, header};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle, actions::ListObjectsV2};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sightline_cloud::object::{META_ENTRY, META_TIME, Meta, ObjectKey};
use sightline_model::{Secret, UnixMicros};
use sightline_protocol::cp::PutRequest;
use url::Url;

use crate::{CONTENT_HASH, Found, NewObject, Page, SegmentStore, StoreError, ends};

/// How long our own requests are good for.
const OWN: Duration = Duration::from_secs(60);
/// What the store is tried with: one name, so that whoever is killed in the middle leaves one object, which the
/// next one removes.
const PROBE: &str = "probe/content";
/// Longest list that is read, in bytes: a thousand objects take a third of it.
const MAX_LIST: usize = 2 << 20;

/// How to reach the store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// `https://…` of the store, as units and viewers reach it.
    pub url: Url,
    /// The bucket, which must exist.
    pub bucket: String,
    /// Its region.
    #[serde(default = "region")]
    pub region: String,
    /// The bucket stands in the path, not in the host's name.
    #[serde(default = "yes")]
    pub path_style: bool,
}

fn region() -> String {
    "us-east-1".to_owned()
}

const fn yes() -> bool {
    true
}

/// See the module.
#[derive(Debug)]
pub struct S3Store {
    bucket: Bucket,
    credentials: Secret<Credentials>,
    http: Client,
    checks: AtomicU8,
}

const UNKNOWN: u8 = 0;
const CHECKS: u8 = 1;
const CHECKS_NOT: u8 = 2;

impl S3Store {
    /// A store that is reached with this key. Nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreError::Config`].
    pub fn new(
        config: &S3Config,
        access_key: &str,
        secret_key: &Secret<String>,
        http: Client,
    ) -> Result<Self, StoreError> {
        let wrong = |why: &str| StoreError::Config(why.to_owned());
        if !matches!(config.url.scheme(), "http" | "https") || !config.url.has_host() {
            return Err(wrong("cloud.s3.url must be the https:// URL of the store"));
        }
        if config.bucket.is_empty() || config.bucket.contains('/') {
            return Err(wrong("cloud.s3.bucket must name the bucket"));
        }
        let style = if config.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let Config { url, bucket, region } = Config::of(config);
        let bucket = Bucket::new(url, style, bucket, region)
            .map_err(|error| StoreError::Config(format!("cloud.s3: {error}")))?;
        let credentials = Secret::new(Credentials::new(access_key, secret_key.expose().as_str()));
        Ok(Self { bucket, credentials, http, checks: AtomicU8::new(UNKNOWN) })
    }

    fn keys(&self) -> Option<&Credentials> {
        Some(self.credentials.expose())
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &BTreeMap<String, String>,
        body: Option<Bytes>,
    ) -> Result<Response, StoreError> {
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        // The URL holds a signature: it is in no message.
        request.send().await.map_err(|error| StoreError::Away(error.without_url().to_string()))
    }

    async fn get(&self, key: &str, range: Option<u64>) -> Result<Option<Response>, StoreError> {
        let url = self.bucket.get_object(self.keys(), key).sign(OWN);
        let mut headers = BTreeMap::new();
        if let Some(most) = range {
            headers.insert("range".into(), format!("bytes=0-{}", most.saturating_sub(1)));
        }
        found(self.send(Method::GET, url, &headers, None).await?)
    }

    fn signed_put(
        &self,
        key: &str,
        headers: &[(&'static str, String)],
        at: &Timestamp,
        life: Duration,
    ) -> Url {
        let mut action = self.bucket.put_object(self.keys(), key);
        for (name, value) in headers {
            action.headers_mut().insert(*name, value.clone());
        }
        action.sign_with_time(life, at)
    }

    async fn delete_named(&self, key: &str) -> Result<(), StoreError> {
        let Some(credentials) = self.keys() else { return Ok(()) };
        let url = self.bucket.delete_object(Some(credentials), key).sign(OWN);
        let response = self.send(Method::DELETE, url, &BTreeMap::new(), None).await?;
        found(response).map(|_| ())
    }

    /// Sends bytes under the hash of `right`.
    async fn put_claiming(&self, key: &str, body: &'static [u8]) -> Result<Response, StoreError> {
        let hash = BASE64.encode(&Sha256::digest(b"right"));
        let signed = [(CONTENT_HASH, hash.clone())];
        let url = self.signed_put(key, &signed, &Timestamp::now(), OWN);
        let headers = BTreeMap::from([(CONTENT_HASH.to_owned(), hash)]);
        self.send(Method::PUT, url, &headers, Some(Bytes::from_static(body))).await
    }

    /// Tries to store bytes under a wrong hash.
    async fn probe(&self) -> Result<bool, StoreError> {
        let right = self.put_claiming(PROBE, b"right").await?;
        if !right.status().is_success() {
            return Err(refusal(right).await);
        }
        let wrong = self.put_claiming(PROBE, b"wrong").await?;
        let checks = wrong.status().is_client_error();
        self.delete_named(PROBE).await?;
        if !checks {
            tracing::info!("the store does not check what it is sent: objects are read once");
        }
        Ok(checks)
    }
}

/// The parts of the configuration that the bucket takes over.
struct Config {
    url: Url,
    bucket: String,
    region: String,
}

impl Config {
    fn of(config: &S3Config) -> Self {
        let S3Config { url, bucket, region, path_style: _ } = config.clone();
        Self { url, bucket, region }
    }
}

#[async_trait]
impl SegmentStore for S3Store {
    fn put_request(
        &self,
        new: &NewObject<'_>,
        now: UnixMicros,
        life: Duration,
    ) -> Result<PutRequest, StoreError> {
        let [entry, time] = new.meta.headers();
        let hash = (CONTENT_HASH, BASE64.encode(&new.sha256));
        let kind = ("content-type", "video/mp4".to_owned());
        let sent = [hash, kind, entry, time];
        let mut signed = sent.to_vec();
        signed.push(("content-length", new.len.to_string()));
        let url = self.signed_put(&new.key.to_string(), &signed, &timestamp(now)?, life);
        Ok(PutRequest {
            url: Secret::new(url.into()),
            headers: sent.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            expires_at: ends(now, life),
        })
    }

    fn get_url(
        &self,
        key: &ObjectKey,
        now: UnixMicros,
        life: Duration,
    ) -> Result<Secret<String>, StoreError> {
        let key = key.to_string();
        let action = self.bucket.get_object(self.keys(), &key);
        Ok(Secret::new(action.sign_with_time(life, &timestamp(now)?).into()))
    }

    async fn checks_content(&self) -> Result<bool, StoreError> {
        match self.checks.load(Ordering::Relaxed) {
            CHECKS => Ok(true),
            CHECKS_NOT => Ok(false),
            _ => {
                let checks = self.probe().await?;
                self.checks.store(if checks { CHECKS } else { CHECKS_NOT }, Ordering::Relaxed);
                Ok(checks)
            }
        }
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Found>, StoreError> {
        let key = key.to_string();
        let url = self.bucket.head_object(self.keys(), &key).sign(OWN);
        let response = self.send(Method::HEAD, url, &BTreeMap::new(), None).await?;
        let Some(response) = found(response)? else { return Ok(None) };
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let len = text(header::CONTENT_LENGTH.as_str()).and_then(|len| len.parse().ok());
        let len = len.ok_or_else(|| StoreError::Strange("an object without a length".into()))?;
        let meta = text(META_ENTRY).zip(text(META_TIME));
        let meta = meta.and_then(|(entry, time)| Meta::read(entry, time));
        Ok(Some(Found { len, meta }))
    }

    async fn hash(&self, key: &ObjectKey) -> Result<Option<[u8; 32]>, StoreError> {
        let Some(response) = self.get(&key.to_string(), None).await? else { return Ok(None) };
        let (mut chunks, mut hash) = (response.bytes_stream(), Sha256::new());
        while let Some(chunk) = chunks.next().await {
            hash.update(chunk.map_err(|e| StoreError::Away(e.without_url().to_string()))?);
        }
        Ok(Some(hash.finalize().into()))
    }

    async fn read(&self, key: &ObjectKey, most: u64) -> Result<Option<Bytes>, StoreError> {
        let Some(response) = self.get(&key.to_string(), Some(most)).await? else {
            return Ok(None);
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (mut chunks, mut bytes) = (response.bytes_stream(), Vec::new());
        // A store that knows no ranges sends all of it.
        while let Some(chunk) = chunks.next().await {
            bytes.extend(chunk.map_err(|e| StoreError::Away(e.without_url().to_string()))?);
            if bytes.len() >= most {
                bytes.truncate(most);
                break;
            }
        }
        Ok(Some(bytes.into()))
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let url = self.signed_put(&key.to_string(), &[], &Timestamp::now(), OWN);
        let response = self.send(Method::PUT, url, &BTreeMap::new(), Some(bytes)).await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.delete_named(&key.to_string()).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let mut action = self.bucket.list_objects_v2(self.keys());
        action.with_prefix(prefix);
        if let Some(after) = after {
            action.with_start_after(after);
        }
        let url = action.sign(OWN);
        let response = self.send(Method::GET, url, &BTreeMap::new(), None).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let (mut chunks, mut text) = (response.bytes_stream(), Vec::new());
        while let Some(chunk) = chunks.next().await {
            text.extend(chunk.map_err(|e| StoreError::Away(e.without_url().to_string()))?);
            if text.len() > MAX_LIST {
                return Err(StoreError::Strange("a list without end".into()));
            }
        }
        let text = String::from_utf8(text).map_err(|e| StoreError::Strange(e.to_string()))?;
        read_list(&text)
    }
}

/// Reads the answer to a list.
fn read_list(text: &str) -> Result<Page, StoreError> {
    let list = ListObjectsV2::parse_response(text);
    let list = list.map_err(|error| StoreError::Strange(error.to_string()))?;
    let more = list.next_continuation_token.is_some();
    let objects: Vec<_> = list.contents.into_iter().map(|one| (one.key, one.size)).collect();
    let next = objects.last().map(|(key, _)| key.clone()).filter(|_| more);
    Ok(Page { objects, next })
}

fn timestamp(at: UnixMicros) -> Result<Timestamp, StoreError> {
    let time = Timestamp::from_microsecond(at.0);
    time.map_err(|_| StoreError::Config("the clock shows no time".into()))
}

/// The answer, unless the object is not there.
fn found(response: Response) -> Result<Option<Response>, StoreError> {
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(response)),
        status if status.is_client_error() => Err(StoreError::Refused(status.to_string())),
        status => Err(StoreError::Away(status.to_string())),
    }
}

async fn refusal(response: Response) -> StoreError {
    let status = response.status();
    // The store's own words name the reason, such as `SignatureDoesNotMatch`.
    let text = response.text().await.unwrap_or_default();
    let code = text.split("<Code>").nth(1).and_then(|rest| rest.split('<').next());
    let words = format!("{status} {}", code.unwrap_or_default());
    if status.is_client_error() { StoreError::Refused(words) } else { StoreError::Away(words) }
}
