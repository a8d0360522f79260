//! What lies in the cloud storage, for a player: the portal lists it, with an address of each segment, and
//! the store gives the bytes. Nothing is shown that the camera's unit has not signed.

use std::{
    collections::HashSet,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use sightline_media::mp4::read::read;
use sightline_media_io::{
    archive::{Archive, ArchiveError, Found, Loaded, Look, Recording},
    gate::BoxFuture,
};
use sightline_model::{StreamTier, UnixMicros};
use sightline_protocol::{
    ProblemKind,
    cm::{Camera, CloudSegment, CloudSegmentList},
    flow,
};
use sightline_recording::{
    replay::Way,
    statement::{Digest, RunId, Subject},
};

use super::page::{Page, Shown, signed};
use crate::{
    api::{SignedInApi, now},
    error::{CuError, Exit},
};

/// What the wanted encoding has within this is played rather than the other one's, as recorders do it; in
/// microseconds.
const NEAR_US: i64 = 10_000_000;
/// In reverse so much is looked at first, in microseconds.
const BACK_US: i64 = 600_000_000;
/// Less than this is not cut into parts, in microseconds.
const LEAST_US: i64 = 1_000_000;
/// An address must work for so long yet.
const MARGIN: Duration = Duration::from_secs(60);
/// What grows is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A segment longer than this is not one of ours; in bytes.
const LONGEST_FILE: u64 = 512 << 20;
/// A segment that does not come is asked for so often.
const TRIES: u32 = 5;
/// Between two of them at first; longer after each.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct CloudArchive {
    api: SignedInApi,
    camera: Camera,
    /// Nothing beyond is looked for.
    bounds: Range<UnixMicros>,
    /// Whether more is uploaded behind its end.
    grows: bool,
    shelf: tokio::sync::Mutex<Shelf>,
    /// Why the last look failed: more than an archive can say.
    failed: Mutex<Option<CuError>>,
}

/// What has been listed.
#[derive(Default)]
struct Shelf {
    main: Option<Page>,
    sub: Option<Page>,
    /// Their places are the chains' numbers.
    chains: Vec<String>,
}

impl Shelf {
    const fn page(&mut self, tier: StreamTier) -> &mut Option<Page> {
        match tier {
            StreamTier::Main => &mut self.main,
            StreamTier::Sub => &mut self.sub,
        }
    }
}

impl Archive for CloudArchive {
    fn find(
        self: Arc<Self>,
        of: Recording,
        at: UnixMicros,
        way: Way,
    ) -> BoxFuture<'static, Result<Look, ArchiveError>> {
        Box::pin(async move {
            self.look(of.tier, at, way).await.map_err(|error| {
                let words = error.to_string();
                *self.failed.lock() = Some(error);
                ArchiveError(words)
            })
        })
    }
}

impl CloudArchive {
    pub fn new(api: &SignedInApi, camera: &Camera, bounds: Range<UnixMicros>, grows: bool) -> Self {
        let (api, camera) = (api.clone(), camera.clone());
        Self { api, camera, bounds, grows, shelf: Default::default(), failed: Mutex::default() }
    }

    /// Why the last look failed.
    pub fn why(&self) -> Option<CuError> {
        self.failed.lock().take()
    }

    async fn look(&self, tier: StreamTier, at: UnixMicros, way: Way) -> Result<Look, CuError> {
        for is_last in [false, true] {
            let Some(shown) = self.nearest(tier, at, way).await? else {
                let later = self.grows && way == Way::Forwards;
                return Ok(if later { Look::Later } else { Look::End });
            };
            match self.load(&shown).await {
                // Its address has ended, or it has been deleted meanwhile: the list says which.
                Err(error) if error.exit == Exit::Refused => {
                    tracing::debug!(%error, "a segment was not given");
                    *self.shelf.lock().await.page(shown.segment.tier) = None;
                    if is_last {
                        return Ok(Look::Unreadable(shown.window));
                    }
                }
                found => return found,
            }
        }
        Ok(Look::End)
    }

    /// Of the encodings the wanted one, unless it has nothing near and the other has.
    async fn nearest(
        &self,
        tier: StreamTier,
        at: UnixMicros,
        way: Way,
    ) -> Result<Option<Shown>, CuError> {
        let other = match tier {
            StreamTier::Main => StreamTier::Sub,
            StreamTier::Sub => StreamTier::Main,
        };
        let mut best: Option<Shown> = None;
        for tier in [tier, other] {
            let Some(found) = self.shown(tier, at, way).await? else { continue };
            let far_us = found.far_us(at, way);
            if best.as_ref().is_none_or(|best| far_us < best.far_us(at, way)) {
                best = Some(found);
            }
            if far_us <= NEAR_US {
                break;
            }
        }
        Ok(best)
    }

    async fn shown(
        &self,
        tier: StreamTier,
        at: UnixMicros,
        way: Way,
    ) -> Result<Option<Shown>, CuError> {
        let mut shelf = self.shelf.lock().await;
        let mut at = match way {
            Way::Forwards => at.max(self.bounds.start),
            Way::Backwards => at.min(self.bounds.end),
        };
        loop {
            let is_over = match way {
                Way::Forwards => at >= self.end(),
                Way::Backwards => at <= self.bounds.start,
            };
            if is_over {
                return Ok(None);
            }
            let usable = |page: &mut Page| {
                let tells = page.tells(at, way) && page.expires_at > now().plus(MARGIN);
                let was_asked = self.grows && page.asked.elapsed() < LOOK_AGAIN;
                tells || (was_asked && page.span.end <= at)
            };
            if !shelf.page(tier).as_mut().is_some_and(usable) {
                let page = match way {
                    Way::Forwards => self.ahead(tier, at).await?,
                    Way::Backwards => self.behind(tier, at).await?,
                };
                *shelf.page(tier) = Some(page);
            }
            let Shelf { main, sub, chains } = &mut *shelf;
            let page = if tier == StreamTier::Main { main } else { sub };
            let Some(page) = page else { return Ok(None) };
            if let Some(shown) = page.shown(at, way, chains) {
                return Ok(Some(shown));
            }
            let next = match way {
                Way::Forwards => page.span.end.max(at),
                Way::Backwards => page.span.start.min(at),
            };
            if next == at {
                return Ok(None);
            }
            at = next;
        }
    }

    /// Where looking ends.
    fn end(&self) -> UnixMicros {
        if self.grows { now().max(self.bounds.end) } else { self.bounds.end }
    }

    /// What is listed from a time on.
    async fn ahead(&self, tier: StreamTier, at: UnixMicros) -> Result<Page, CuError> {
        let end = self.end();
        let list = self.list(tier, at..end).await?;
        let last = list.segments.last();
        let until = match last {
            // The last one may be overlapped by one that is not listed here.
            Some(last) if list.next.is_some() && last.from > at => last.from,
            Some(last) if list.next.is_some() || self.grows => last.to.min(end),
            None if self.grows => at,
            Some(_) | None => end,
        };
        self.page(tier, at..until, list).await
    }

    /// What is listed before a time, back to the first that is found.
    async fn behind(&self, tier: StreamTier, at: UnixMicros) -> Result<Page, CuError> {
        // Nothing lies between this and `at`.
        let mut empty_from = at;
        let mut long_us = BACK_US;
        loop {
            let from = UnixMicros(empty_from.0.saturating_sub(long_us)).max(self.bounds.start);
            let list = self.list(tier, from..empty_from).await?;
            let is_empty = list.segments.is_empty();
            if is_empty && from > self.bounds.start {
                (empty_from, long_us) = (from, long_us.saturating_mul(4));
            } else if list.next.is_some() && long_us > LEAST_US {
                // The last of it are wanted, and lists begin with the first.
                long_us = empty_from.0.saturating_sub(from.0) / 2;
            } else {
                return self.page(tier, from..at, list).await;
            }
        }
    }

    async fn list(
        &self,
        tier: StreamTier,
        span: Range<UnixMicros>,
    ) -> Result<CloudSegmentList, CuError> {
        self.api.cloud_segments(&self.camera.id, &span, tier, None).await
    }

    async fn page(
        &self,
        tier: StreamTier,
        span: Range<UnixMicros>,
        list: CloudSegmentList,
    ) -> Result<Page, CuError> {
        let CloudSegmentList { segments, expires_at, .. } = list;
        let signed = self.signed(tier, &segments).await?;
        Ok(Page { span, segments, signed, expires_at, asked: Instant::now() })
    }

    /// Which of them the camera's unit has signed.
    async fn signed(
        &self,
        tier: StreamTier,
        segments: &[CloudSegment],
    ) -> Result<HashSet<String>, CuError> {
        let id = &self.camera.id;
        let subject = Subject { recorder: id.pu.clone(), camera: id.clone(), tier };
        let mut all = HashSet::with_capacity(segments.len());
        let mut parts = vec![segments];
        while let Some(part) = parts.pop() {
            let Some((first, end)) = part.first().zip(part.iter().map(|one| one.to).max()) else {
                continue;
            };
            match self.api.cloud_proof(id, &(first.from..end), tier).await {
                Ok(proof) => all.extend(signed(&proof, &subject)?),
                // A recording with many holes is proven by parts.
                Err(error)
                    if error.problem == Some(ProblemKind::InvalidRequest) && part.len() > 1 =>
                {
                    let (before, behind) = part.split_at(part.len() / 2);
                    parts.extend([before, behind]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn load(&self, shown: &Shown) -> Result<Look, CuError> {
        let Shown { key, segment, window, is_signed } = shown;
        let unreadable = |why: &str| {
            tracing::warn!(sequence = segment.sequence, why, "a segment cannot be played");
            Ok(Look::Unreadable(window.clone()))
        };
        if !is_signed {
            return unreadable("nothing proves that the camera's unit has recorded it");
        }
        if segment.bytes > LONGEST_FILE {
            return unreadable("it is too long");
        }
        let bytes = self.fetch(segment).await?;
        if Digest(Sha256::digest(&bytes).into()).to_string() != segment.sha256 {
            return Err(CuError::security(
                "the bytes of a segment in the cloud are not those that the camera's unit has signed",
            ));
        }
        let start = segment.from;
        let loading = tokio::task::spawn_blocking(move || {
            let contents = read(&bytes, start).map_err(|e| e.to_string())?;
            Loaded::new(contents).map_err(|e| e.to_string())
        });
        match loading.await.map_err(|e| CuError::other(e.to_string()))? {
            Ok(loaded) => Ok(Look::Found(Found {
                key: *key,
                run: RunId(segment.run),
                start,
                window: window.clone(),
                loaded: Arc::new(loaded),
            })),
            Err(why) => unreadable(&why),
        }
    }

    /// The bytes of a segment, through breaks of the connection.
    async fn fetch(&self, segment: &CloudSegment) -> Result<Bytes, CuError> {
        let (mut tries, mut pause) = (TRIES, PAUSE);
        loop {
            tries -= 1;
            match self.fetch_once(segment).await {
                Err(error)
                    if tries > 0 && matches!(error.exit, Exit::Unreachable | Exit::Timeout) =>
                {
                    tracing::debug!(%error, "a segment has not come; once more");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
    }

    async fn fetch_once(&self, segment: &CloudSegment) -> Result<Bytes, CuError> {
        flow::sent("Cc", "CU", "CS", "segment", &segment.chain);
        let mut answer = self.api.fetch(&segment.url, 0).await?;
        let mut bytes = BytesMut::new();
        let lost = |e: reqwest::Error| {
            let why = e.without_url();
            CuError::unreachable(format!("the connection to the cloud storage broke: {why}"))
        };
        while let Some(chunk) = answer.chunk().await.map_err(lost)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > segment.bytes {
                break;
            }
        }
        Ok(bytes.freeze())
    }
}
