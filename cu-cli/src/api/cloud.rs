//! The cloud storage: over Cm what lies there, over Cc its bytes.

use std::{ops::Range, time::Duration};

use reqwest::Method;
use sightline_model::{CameraId, PuId, SessionToken, StreamTier, UnixMicros};
use sightline_protocol::{cm, flow};

use super::{SignedInApi, check_portal, client, parse, refusal, tier_word};
use crate::error::CuError;

/// Longest wait for all of a segment.
const FETCH_TIMEOUT: Duration = Duration::from_secs(600);

impl SignedInApi {
    /// `GET /cameras/{id}/recordings/segments`: what lies in the cloud storage.
    ///
    /// # Errors
    /// As for every request.
    pub async fn cloud_segments(
        &self,
        id: &CameraId,
        span: &Range<UnixMicros>,
        tier: StreamTier,
        after: Option<String>,
    ) -> Result<cm::CloudSegmentList, CuError> {
        flow::sent("Cm", "CU", "CMU", "segments", id.pu.as_str());
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let path = format!("/cameras/{id}/recordings/segments?{}{after}", of_span(span, tier));
        parse(&self.send::<()>(Method::GET, &path, None).await?)
    }

    /// `GET /cameras/{id}/recordings/proof`: what proves it.
    ///
    /// # Errors
    /// As for every request.
    pub async fn cloud_proof(
        &self,
        id: &CameraId,
        span: &Range<UnixMicros>,
        tier: StreamTier,
    ) -> Result<Vec<u8>, CuError> {
        let path = format!("/cameras/{id}/recordings/proof?{}", of_span(span, tier));
        self.send::<()>(Method::GET, &path, None).await
    }

    /// `POST /cameras/{id}/recordings/playlist`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn playlist(
        &self,
        id: &CameraId,
        request: &cm::PlaylistRequest,
    ) -> Result<cm::PlaylistLink, CuError> {
        let path = format!("/cameras/{id}/recordings/playlist");
        let mut link: cm::PlaylistLink =
            parse(&self.send(Method::POST, &path, Some(request)).await?)?;
        link.url = SessionToken::new(self.joined(link.url.expose())?.into());
        Ok(link)
    }

    /// `GET /cloud`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn cloud_space(&self) -> Result<cm::CloudSpace, CuError> {
        parse(&self.send::<()>(Method::GET, "/cloud", None).await?)
    }

    /// `DELETE /cloud/devices/{pu}`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn cloud_delete(&self, pu: &PuId) -> Result<cm::CloudDeleted, CuError> {
        let path = format!("/cloud/devices/{pu}");
        parse(&self.send::<()>(Method::DELETE, &path, None).await?)
    }

    /// Fetches an object of the cloud storage by its signed address, from a byte on.
    ///
    /// # Errors
    /// As for every request; the address is in none of them.
    pub async fn fetch(&self, url: &SessionToken, from: u64) -> Result<reqwest::Response, CuError> {
        let url = self.joined(url.expose())?;
        // A store elsewhere is vouched for by the public authorities, whoever vouches for the portal.
        let http = if url.origin() == self.portal.url.origin() {
            self.api.http.clone()
        } else {
            check_portal(&url)?;
            client(None)?
        };
        let mut request = http.get(url).timeout(FETCH_TIMEOUT);
        if from > 0 {
            request = request.header(reqwest::header::RANGE, format!("bytes={from}-"));
        }
        let answer = request.send().await;
        let answer = answer.map_err(|e| self.api.transport_error(&e.without_url()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer.status(), &[])) }
    }

    /// A path alone is relative to the portal.
    fn joined(&self, url: &str) -> Result<url::Url, CuError> {
        let joined = self.portal.url.join(url);
        joined.map_err(|_| CuError::other("the portal gave an address that makes no sense"))
    }
}

fn of_span(span: &Range<UnixMicros>, tier: StreamTier) -> String {
    let time =
        |at: UnixMicros| jiff::Timestamp::from_microsecond(at.0).unwrap_or_default().to_string();
    format!("from={}&to={}&tier={}", time(span.start), time(span.end), tier_word(tier))
}
