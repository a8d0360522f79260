//! `GET /events`: server-sent events.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
};
use futures_util::Stream;
use sightline_model::{CameraId, DeviceId, PuId, UserId};
use sightline_protocol::cm::{AlertKind, Camera, Event, Notice, Subscription};
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    cameras,
    error::{ApiError, ProblemDocument},
    extract::{Caller, CallerUntil},
    state::AppState,
};

/// Events that wait for a slow client before its stream waits too; what it misses meanwhile ends
/// in a [`Event::Resync`].
const QUEUE_LEN: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Changes as they happen: each event's `data` is the JSON of an `Event`.
///
/// The stream begins with `resync` and ends with the access token: fetch the list, then follow the
/// stream, and open another with a fresh token when it ends.
#[utoipa::path(get, path = "/events", operation_id = "streamEvents", tag = "events",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "server-sent events", body = Event, content_type = "text/event-stream"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    CallerUntil(caller, exp): CallerUntil,
) -> Result<Response, ApiError> {
    // Subscribed before the first look at the books, so that nothing falls in between.
    let notices = app.notices.subscribe();
    let left_s = u64::try_from(exp - app.now().as_secs()).unwrap_or(0);
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    let feed = Feed::open(app.clone(), caller, sender).await?;
    app.lifecycle.spawn(async move {
        let _ = tokio::time::timeout_at(
            Instant::now() + Duration::from_secs(left_s),
            feed.run(notices),
        )
        .await;
    });
    let mut response = Sse::new(events(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    // Proxies must pass each event on at once.
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn events(receiver: mpsc::Receiver<Event>) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    use futures_util::StreamExt;
    ReceiverStream::new(receiver)
        .filter_map(|event| async move { SseEvent::default().json_data(&event).ok().map(Ok) })
}

/// The client is gone, or may no longer listen.
struct Over;

/// What one client has been told.
struct Feed {
    app: AppState,
    caller: Caller,
    sender: mpsc::Sender<Event>,
    subscription: Subscription,
    /// Cameras as last sent, by device.
    shown: BTreeMap<PuId, BTreeMap<CameraId, Camera>>,
}

impl Feed {
    async fn open(
        app: AppState,
        caller: Caller,
        sender: mpsc::Sender<Event>,
    ) -> Result<Self, ApiError> {
        let subscription = caller.0.account.subscription;
        let mut feed = Self { app, caller, sender, subscription, shown: BTreeMap::new() };
        for device in feed.app.db.bindings().list(feed.user()).await? {
            // A device whose cameras are not known yet is followed as well.
            feed.shown.insert(device.pu, BTreeMap::new());
        }
        for camera in cameras::list(&feed.app.db, feed.user(), feed.app.now()).await? {
            feed.shown.entry(camera.id.pu.clone()).or_default().insert(camera.id.clone(), camera);
        }
        Ok(feed)
    }

    fn user(&self) -> &UserId {
        &self.caller.0.account.id
    }

    async fn run(mut self, mut notices: broadcast::Receiver<Notice>) {
        if self.send(Event::Resync).await.is_err() {
            return;
        }
        loop {
            let notice = tokio::select! {
                notice = notices.recv() => notice,
                () = self.sender.closed() => return,
            };
            let result = match notice {
                Ok(notice) => self.take(notice).await,
                Err(broadcast::error::RecvError::Lagged(_)) => self.resync().await,
                Err(broadcast::error::RecvError::Closed) => Err(Over),
            };
            if result.is_err() {
                return;
            }
        }
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.sender.send(event).await.map_err(|_| Over)
    }

    async fn take(&mut self, notice: Notice) -> Result<(), Over> {
        match notice {
            Notice::Device { device, lost_by } => {
                if lost_by.contains(self.user()) || self.shown.contains_key(&device) {
                    self.refresh_device(&device).await?;
                }
            }
            Notice::Alert { device, kind } => {
                if self.shown.contains_key(&device) {
                    self.alert(device, kind).await?;
                }
            }
            Notice::User { user } => {
                if user == *self.user() {
                    self.refresh_user().await?;
                }
            }
        }
        Ok(())
    }

    /// Reads a device from the books, the ownership included, and sends what differs.
    async fn refresh_device(&mut self, pu: &PuId) -> Result<(), Over> {
        let found = cameras::of_device(&self.app.db, self.user(), pu, self.app.now()).await;
        let found = found.map_err(failed)?;
        let owned = found.is_some();
        let now = found.map(|(_, cameras)| cameras).unwrap_or_default();
        let mut before = self.shown.remove(pu).unwrap_or_default();
        let mut after = BTreeMap::new();
        for camera in now {
            if before.remove(&camera.id).as_ref() != Some(&camera) {
                self.send(Event::Camera { camera: Box::new(camera.clone()) }).await?;
            }
            after.insert(camera.id.clone(), camera);
        }
        for id in before.into_keys() {
            self.send(Event::CameraGone { id }).await?;
        }
        if owned {
            self.shown.insert(pu.clone(), after);
        }
        Ok(())
    }

    /// Alerts of a device, if it is still the user's.
    async fn alert(&mut self, pu: PuId, kind: AlertKind) -> Result<(), Over> {
        let now = self.app.now();
        let found = cameras::of_device(&self.app.db, self.user(), &pu, now).await;
        let Some((_, cameras)) = found.map_err(failed)? else { return Ok(()) };
        let event = Event::Alert {
            device: DeviceId { domain: self.app.db.domain().clone(), pu },
            cameras: cameras.into_iter().map(|camera| camera.id).collect(),
            kind,
            text: kind.text().to_owned(),
        };
        self.send(event).await
    }

    /// The sign-in, the subscription, or the list of devices has changed.
    async fn refresh_user(&mut self) -> Result<(), Over> {
        let sign_in = self.app.db.sign_ins().get(&self.caller.0.id).await.map_err(failed)?;
        let sign_in = sign_in.filter(|s| !s.revoked).ok_or(Over)?;
        let subscription = sign_in.account.subscription;
        if subscription != self.subscription {
            self.subscription = subscription;
            self.send(Event::Subscription { subscription }).await?;
        }
        let devices = self.app.db.bindings().list(self.user()).await.map_err(failed)?;
        for device in devices {
            if !self.shown.contains_key(&device.pu) {
                self.refresh_device(&device.pu).await?;
            }
        }
        Ok(())
    }

    async fn resync(&mut self) -> Result<(), Over> {
        self.send(Event::Resync).await?;
        self.refresh_user().await?;
        let known: Vec<PuId> = self.shown.keys().cloned().collect();
        for pu in known {
            self.refresh_device(&pu).await?;
        }
        Ok(())
    }
}

/// The client opens another stream, which begins with a resync.
fn failed(error: cmu_storage::StorageError) -> Over {
    tracing::error!(%error, "an event stream ends early");
    Over
}
