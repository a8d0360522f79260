//! Plug and play (A6.1.2): finds the cameras of the LAN by ONVIF, and finds them again when they
//! have moved to another address.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sightline_media_io::{
    hub::{Hub, Publisher, SourceState},
    onvif::{self, Found, StreamUrls},
    source::rtsp::{self, RtspSourceConfig},
};
use sightline_model::{Secret, StreamTier};
use tokio_util::sync::CancellationToken;

/// How long cameras get to answer.
const LISTEN: Duration = Duration::from_secs(3);
/// Between two searches while there is no camera.
const SEARCH_EVERY: Duration = Duration::from_secs(10);
/// A camera that was away for so long is looked for at another address.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// How to get into discovered cameras.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// User name; empty for none.
    pub username: String,
    /// Its password.
    pub password: Secret<String>,
}

/// A camera that was found, or the place for one that has not been found yet.
#[derive(Debug, Clone)]
pub struct Finder {
    found: Arc<Mutex<Option<Found>>>,
    credentials: Credentials,
    /// Whether it has a small encoding.
    pub has_sub: bool,
}

impl Finder {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> String {
        let found = self.found.lock();
        found.as_ref().map_or_else(|| "Camera".to_owned(), |found| found.name.clone())
    }

    /// Publishes one of the camera's streams; returns why it is to be looked for anew.
    ///
    /// # Errors
    /// In words for the camera's owner.
    pub async fn run(
        self,
        tier: StreamTier,
        publisher: Publisher,
        token: CancellationToken,
    ) -> Result<(), String> {
        let hub = publisher.hub();
        let urls = tokio::select! {
            () = token.cancelled() => return Ok(()),
            urls = self.locate(&publisher) => urls?,
        };
        let url = match tier {
            StreamTier::Main => urls.main,
            StreamTier::Sub => urls.sub.ok_or("the camera has no small encoding any more")?,
        };
        let mut config = RtspSourceConfig::new(url);
        if !self.credentials.username.is_empty() {
            config.username = Some(self.credentials.username.clone());
            config.password = Some(self.credentials.password.clone());
        }
        // Ends the source when it is lost, as well as with the unit.
        let source = token.child_token();
        tokio::select! {
            () = rtsp::run(config, publisher, source.clone()) => Ok(()),
            () = lost(hub) => {
                source.cancel();
                Err("the camera does not answer; looking for it".to_owned())
            }
        }
    }

    async fn locate(&self, publisher: &Publisher) -> Result<StreamUrls, String> {
        let known = self.found.lock().clone();
        if let Some(known) = &known
            && let Ok(urls) = self.ask(known).await
        {
            return Ok(urls);
        }
        loop {
            publisher.offline("looking for a camera on this network");
            let candidates = onvif::discover(LISTEN).await;
            let mut candidates =
                candidates.into_iter().filter(|c| known.as_ref().is_none_or(|k| k.name == c.name));
            if let Some(found) = candidates.next() {
                let urls = self.ask(&found).await?;
                *self.found.lock() = Some(found);
                return Ok(urls);
            }
            publisher.offline("no camera was found on this network yet");
            tokio::time::sleep(SEARCH_EVERY).await;
        }
    }

    async fn ask(&self, found: &Found) -> Result<StreamUrls, String> {
        let Credentials { username, password } = &self.credentials;
        onvif::streams(found, username, password).await.map_err(|problem| problem.to_string())
    }
}

/// Looks once for cameras; where there is none, one place waits for the first to come.
pub async fn look(credentials: Credentials) -> Vec<Finder> {
    let mut finders = Vec::new();
    let mut found = onvif::discover(LISTEN).await;
    // The order gives the channel numbers: keep it the same from start to start.
    found.sort_by(|a, b| (&a.name, a.device_url.as_str()).cmp(&(&b.name, b.device_url.as_str())));
    for camera in found {
        match onvif::streams(&camera, &credentials.username, &credentials.password).await {
            Ok(urls) => {
                tracing::info!(name = camera.name, "found a camera");
                let found = Arc::new(Mutex::new(Some(camera)));
                let credentials = credentials.clone();
                finders.push(Finder { found, credentials, has_sub: urls.sub.is_some() });
            }
            Err(problem) => {
                tracing::warn!(name = camera.name, %problem, "a camera is left out");
            }
        }
    }
    if finders.is_empty() {
        finders.push(Finder { found: Arc::default(), credentials, has_sub: false });
    }
    finders
}

/// Resolves when the stream has been away for long.
async fn lost(hub: Hub) {
    let mut state = hub.watch_state();
    let online = |state: &SourceState| matches!(state, SourceState::Online(_));
    loop {
        if tokio::time::timeout(LOST_AFTER, state.wait_for(online)).await.is_err() {
            return;
        }
        // The publisher keeps the hub alive.
        let _ = state.wait_for(|state| !online(state)).await;
    }
}
