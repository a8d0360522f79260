//! What is told of a span: its proof, and a playlist of it. Both are made in memory.

use std::{ops::Range, sync::Arc, time::Duration};

use hyper::{Response, header};
use sha2::{Digest as _, Sha256};
use sightline_model::{ChannelId, SessionToken, StreamTier, UnixMicros};
use sightline_protocol::{Problem, ProblemKind};
use sightline_recording::{
    chain::Proof,
    statement::{Digest, Subject},
};
use sightline_recording_store::{
    MAX_PAGE, OpenFile, Opened, SegmentRow, Store, StoreError, Wanted,
};
use tokio::{io::AsyncReadExt, sync::OwnedSemaphorePermit};

use super::{
    body::{Body, placed},
    failed, nothing,
    playlist::{Listed, MAX_LISTED, playlist},
    segment::times,
};
use crate::StoreArchive;

/// Most segments that one proof is made for: more than a day of them.
pub const MAX_PROVEN: usize = 25_000;
/// Who waits for a place for longer is told so: before players give up.
const PLACE_WITHIN: Duration = Duration::from_secs(10);

impl StoreArchive {
    pub(super) fn subject(&self, channel: ChannelId, tier: StreamTier) -> Option<Subject> {
        let camera = (self.camera_of)(channel)?;
        Some(Subject { recorder: self.recorder.clone(), camera, tier })
    }

    /// Whether all of these times may be seen, and belong together.
    pub(super) fn may_show(&self, times: &Range<UnixMicros>) -> bool {
        let Some(visible) = &self.visible else { return true };
        let visible = visible.borrow().clone();
        visible.iter().any(|part| part.start <= times.start && times.end <= part.end)
    }

    /// Of a span what may be seen. A segment across the bounds of it belongs to nobody.
    fn wanted(&self, span: &Range<UnixMicros>) -> Vec<Wanted> {
        let Some(visible) = &self.visible else {
            let within = UnixMicros(i64::MIN)..UnixMicros(i64::MAX);
            return vec![Wanted { span: span.clone(), within }];
        };
        let visible = visible.borrow().clone();
        let part = |within: &Range<UnixMicros>| {
            let span = crate::cut(span, within)?;
            Some(Wanted { span, within: within.clone() })
        };
        visible.iter().filter_map(part).collect()
    }

    pub(super) async fn proof(
        &self,
        store: &Store,
        subject: &Subject,
        span: &Range<UnixMicros>,
    ) -> Result<Response<Body>, Problem> {
        let place = self.place().await?;
        let proven = match store.prove(subject, &self.wanted(span), MAX_PROVEN).await {
            Ok(proven) => proven,
            Err(StoreError::Misuse(_)) => {
                let why = "that is more than a day, or in too many pieces; ask for less at a time";
                return Err(Problem::new(ProblemKind::InvalidRequest, why));
            }
            Err(error) => return Err(failed(&error)),
        };
        if proven.is_empty() {
            return Err(nothing());
        }
        let chains = proven.into_iter().map(|proven| proven.proof).collect();
        let json = Proof::new(chains).to_json();
        let json = json.map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))?;
        answer("application/json", json, place)
    }

    pub(super) async fn playlist(
        &self,
        store: &Store,
        subject: &Subject,
        span: &Range<UnixMicros>,
        token: Option<&SessionToken>,
    ) -> Result<Response<Body>, Problem> {
        let place = self.place().await?;
        let mut listed = Vec::new();
        for row in self.rows(store, subject, span).await? {
            listed.extend(head_of(store, subject, row).await?);
        }
        if listed.is_empty() {
            return Err(nothing());
        }
        let token = token.map(|token| {
            let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
            query.append_pair("token", token.expose()).finish()
        });
        let text = playlist(&listed, token.as_deref().unwrap_or_default());
        answer("application/vnd.apple.mpegurl", text.into_bytes(), place)
    }

    /// What a playlist of a span may list.
    async fn rows(
        &self,
        store: &Store,
        subject: &Subject,
        span: &Range<UnixMicros>,
    ) -> Result<Vec<SegmentRow>, Problem> {
        let mut rows = Vec::new();
        for wanted in self.wanted(span) {
            let mut after = None;
            loop {
                let page = store.segments(subject, wanted.span.clone(), after, MAX_PAGE).await;
                let page = page.map_err(|error| failed(&error))?;
                let whole = page.rows.into_iter().filter(|row| wanted.has(&times(row)));
                rows.extend(whole.filter(|row| !row.damaged));
                if rows.len() > MAX_LISTED {
                    let why = "that is more than six hours; ask for less at a time";
                    return Err(Problem::new(ProblemKind::InvalidRequest, why));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(rows)
    }

    /// A place for an answer that is made in memory.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.answering).acquire_owned();
        match tokio::time::timeout(PLACE_WITHIN, place).await {
            Ok(Ok(place)) => Ok(place),
            // Nobody closes the semaphore.
            Ok(Err(_)) | Err(_) => {
                let why = "others are fetching recordings from here; try again in a moment";
                Err(Problem::new(ProblemKind::Busy, why))
            }
        }
    }
}

/// A segment as a playlist lists it; none: it has expired since it was found, or is lost.
async fn head_of(
    store: &Store,
    subject: &Subject,
    row: SegmentRow,
) -> Result<Option<Listed>, Problem> {
    let opened = store.open_file(subject, row.sequence).await.map_err(|error| failed(&error))?;
    let OpenFile { file, .. } = match opened {
        Opened::File(opened) => opened,
        Opened::Damaged(_) | Opened::Expired => return Ok(None),
    };
    let SegmentRow { sequence, segment, correction_us, .. } = row;
    let mut head = Vec::new();
    let mut file = tokio::fs::File::from_std(file).take(segment.head_len.into());
    let read = file.read_to_end(&mut head).await;
    read.map_err(|e| Problem::new(ProblemKind::StorageAway, e.to_string()))?;
    let head = Digest(Sha256::digest(&head).into());
    Ok(Some(Listed { sequence, segment, head, correction_us }))
}

fn answer(
    kind: &'static str,
    bytes: Vec<u8>,
    place: OwnedSemaphorePermit,
) -> Result<Response<Body>, Problem> {
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-store")
        .body(placed(bytes, place))
        .map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))
}
