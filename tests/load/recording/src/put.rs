//! Files into an S3 store with nothing between: what the store itself takes at most.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use reqwest::{Client, StatusCode};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle, actions::CreateBucket};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use url::Url;

/// How long a signed request is good for, and one request may take.
const REQUEST: Duration = Duration::from_secs(60);
/// Between two tries to reach a store that is coming up.
const AGAIN: Duration = Duration::from_millis(100);

/// A bucket of a store, and the key to it.
#[derive(Debug, Clone)]
pub struct Store {
    bucket: Bucket,
    credentials: Credentials,
    http: Client,
}

impl Store {
    /// Reads the key from two files.
    ///
    /// # Errors
    /// When they cannot be read, or the address is none of a store.
    pub fn new(url: Url, bucket: &str, access: &Path, secret: &Path) -> anyhow::Result<Self> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let read =
            |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
        let bucket = Bucket::new(url, UrlStyle::Path, bucket.to_owned(), "us-east-1")?;
        let credentials = Credentials::new(read(access)?.trim(), read(secret)?.trim());
        let http = Client::builder().timeout(REQUEST).no_proxy().build()?;
        Ok(Self { bucket, credentials, http })
    }

    /// Makes the bucket, as soon as the store takes it.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub async fn make_bucket(&self, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        loop {
            let url = CreateBucket::new(&self.bucket, &self.credentials).sign(REQUEST);
            let tried = self.http.put(url).send().await;
            let is_there =
                |status: StatusCode| status.is_success() || status == StatusCode::CONFLICT;
            let words = match tried {
                Ok(answer) if is_there(answer.status()) => return Ok(()),
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.without_url().to_string(),
            };
            ensure!(Instant::now() < until, "the store makes no bucket: {words}");
            sleep(AGAIN).await;
        }
    }

    /// Stores files, so many at a time. Returns figures.
    ///
    /// # Errors
    /// When one of them is not taken.
    pub async fn put(&self, files: Vec<PathBuf>, at_once: usize) -> anyhow::Result<Value> {
        ensure!(!files.is_empty(), "there is nothing to store");
        let (files, next) = (Arc::new(files), Arc::new(AtomicUsize::new(0)));
        let begin = Instant::now();
        let mut lanes = JoinSet::new();
        for _ in 0..at_once.max(1) {
            let (store, files, next) = (self.clone(), Arc::clone(&files), Arc::clone(&next));
            lanes.spawn(async move {
                let mut sent = 0;
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sent += store.put_one(file).await?;
                }
                anyhow::Ok(sent)
            });
        }
        let mut bytes = 0_u64;
        while let Some(lane) = lanes.join_next().await {
            bytes += lane??;
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok(json!({ "objects": files.len(), "bytes": bytes, "seconds": seconds }))
    }

    async fn put_one(&self, file: &Path) -> anyhow::Result<u64> {
        let body = tokio::fs::read(file).await.with_context(|| file.display().to_string())?;
        let length = body.len() as u64;
        // The store keeps one object of a name: every run writes it anew.
        let key = format!("limit/{}", file.display().to_string().trim_start_matches('/'));
        let url = self.bucket.put_object(Some(&self.credentials), &key).sign(REQUEST);
        let answer = self.http.put(url).body(body).send().await;
        let status = answer.map_err(reqwest::Error::without_url)?.status();
        if !status.is_success() {
            bail!("the store answers {status}");
        }
        Ok(length)
    }
}

/// The newest segments below a folder, until they are so many bytes.
///
/// # Errors
/// When a folder cannot be read.
pub fn newest(folder: &Path, most_bytes: u64) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, &mut found).with_context(|| folder.display().to_string())?;
    found.sort_by_key(|(written, ..)| std::cmp::Reverse(*written));
    let mut taken = 0;
    let within = found.into_iter().take_while(|(_, bytes, _)| {
        let goes_on = taken < most_bytes;
        taken += bytes;
        goes_on
    });
    Ok(within.map(|(.., path)| path).collect())
}

type Found = (std::time::SystemTime, u64, PathBuf);

fn collect(folder: &Path, found: &mut Vec<Found>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, about) = (entry.path(), entry.metadata()?);
        if about.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "mp4") {
            found.push((about.modified()?, about.len(), path));
        }
    }
    Ok(())
}
