//! A span of the cloud storage as HLS (RFC 8216), for players that know neither us nor a sign-in.
//!
//! The address holds a token of its own: for one user, camera, encoding and span. Whether the camera is
//! still the user's, and the sign-in still lasts, is looked up at every request; each segment is an address here that sends the player
//! on to the store, since the store's own addresses end too soon for a film.

use std::fmt::Write as _;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use cmu_storage::SegmentRow;
use sightline_model::Right;
use sightline_protocol::{ProblemKind, cm::Subscription};
use sightline_recording::statement::{Segment, What};

use super::{CloudError, CloudStore, GET_LIFE, entry_of, key_of};
use crate::{
    cameras,
    error::ApiError,
    keys::PlaylistClaims,
    state::{App, AppState},
};

/// Where playlists are served.
pub const PLAYLIST_PATH: &str = "/hls/v1";
/// Most segments of a playlist: six hours of them.
const MAX_LISTED: u32 = 5_400;

/// Serves playlists and their segments.
pub fn router(app: AppState) -> Router {
    Router::new()
        .route(&format!("{PLAYLIST_PATH}/{{token}}/playlist.m3u8"), get(playlist))
        .route(&format!("{PLAYLIST_PATH}/{{token}}/{{chain}}/{{file}}"), get(segment))
        .with_state(app)
}

fn refused() -> ApiError {
    ApiError::new(ProblemKind::InvalidToken, "This address does not work, or not any more.")
}

/// What a token gives leave to, if it still does.
async fn permitted<'a>(
    app: &'a App,
    token: &str,
) -> Result<(PlaylistClaims, &'a CloudStore), ApiError> {
    let Some(cloud) = &app.cloud else { return Err(refused()) };
    let now = app.now();
    let claims = app.keys.verify_playlist(&app.db, token, now).await?.ok_or_else(refused)?;
    let sign_in = app.db.sign_ins().get(&claims.sid).await?.ok_or_else(refused)?;
    let account = &sign_in.account;
    let is_active = account.id == claims.sub && account.subscription == Subscription::Active;
    if sign_in.revoked || !is_active {
        return Err(refused());
    }
    let camera = cameras::one(&app.db, &claims.sub, &claims.camera, now).await?;
    let may = |right| camera.as_ref().is_some_and(|(_, camera)| camera.rights.allows(right));
    // Segments carry sound.
    if may(Right::Playback) && may(Right::Listen) { Ok((claims, cloud)) } else { Err(refused()) }
}

async fn playlist(
    State(app): State<AppState>,
    Path(token): Path<String>,
) -> Result<Response, ApiError> {
    let (claims, _) = permitted(&app, &token).await?;
    let of = (&claims.sub, &claims.camera, claims.tier);
    let rows = app.db.cloud().segments(of, claims.from..claims.to, None, MAX_LISTED).await?;
    let mut listed = Vec::with_capacity(rows.len());
    for row in rows {
        let stated = stated(&row).map_err(|error| failed(&error))?;
        listed.push(Listed { row, stated });
    }
    let kind = HeaderValue::from_static("application/vnd.apple.mpegurl");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, no_store())];
    Ok((headers, text(&listed)).into_response())
}

async fn segment(
    State(app): State<AppState>,
    Path((token, chain, file)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (claims, cloud) = permitted(&app, &token).await?;
    let sequence = file.strip_suffix(".mp4").and_then(|number| number.parse().ok());
    let sequence = sequence.ok_or_else(ApiError::not_found)?;
    let row = app.db.cloud().segment(&chain, sequence).await?;
    let own = |row: &SegmentRow| {
        row.user == claims.sub
            && row.camera == claims.camera
            && row.tier == claims.tier
            && row.state == cmu_storage::SegmentState::Stored
            && row.start < claims.to
            && row.end > claims.from
    };
    let row = row.filter(own).ok_or_else(ApiError::not_found)?;
    let key = key_of(app.db.domain(), &row).map_err(|error| failed(&error))?;
    let url = cloud.store.get_url(&key, app.now(), GET_LIFE);
    let url = url.map_err(|error| failed(&error.into()))?;
    let redirect = Redirect::temporary(url.expose());
    Ok(([(header::CACHE_CONTROL, no_store())], redirect).into_response())
}

const fn no_store() -> HeaderValue {
    HeaderValue::from_static("no-store")
}

fn failed(error: &CloudError) -> ApiError {
    tracing::error!(%error, "a playlist cannot be served");
    ApiError::new(ProblemKind::StorageAway, "The cloud storage cannot be reached now.")
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
}

fn stated(row: &SegmentRow) -> Result<Segment, CloudError> {
    let entry = entry_of(&row.encoded, row.signature)?;
    match sightline_recording::chain::decode(&entry).map(|statement| statement.what) {
        Ok(What::Segment(segment)) => Ok(segment),
        Ok(_) | Err(_) => Err(CloudError::Corrupt),
    }
}

struct Listed {
    row: SegmentRow,
    stated: Segment,
}

/// The playlist. Each segment has a map of its own: heads of a run are the same bytes, but nobody has
/// compared them here, and a head is a few hundred bytes.
fn text(listed: &[Listed]) -> String {
    let longest_us = listed.iter().map(|one| one.stated.duration_us).max().unwrap_or(0);
    let target_s = longest_us.div_ceil(1_000_000).max(1);
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-INDEPENDENT-SEGMENTS");
    let mut before: Option<&Listed> = None;
    for one in listed {
        let Segment { len, head_len, duration_us, .. } = one.stated;
        let uri = format!("{}/{:012}.mp4", one.row.chain, one.row.sequence);
        let goes_on = before.is_some_and(|before| follows(&before.row, &one.row));
        if before.is_some() && !goes_on {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{head_len}@0\"");
        if !goes_on && let Ok(at) = jiff::Timestamp::from_microsecond(one.row.start.0) {
            let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{at:.3}");
        }
        let (whole_s, rest_us) = (duration_us / 1_000_000, duration_us % 1_000_000);
        let body = len.saturating_sub(head_len.into());
        let _ = writeln!(
            text,
            "#EXTINF:{whole_s}.{rest_us:06},\n#EXT-X-BYTERANGE:{body}@{head_len}\n{uri}"
        );
        before = Some(one);
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

fn follows(before: &SegmentRow, next: &SegmentRow) -> bool {
    let same = before.chain == next.chain && before.run == next.run;
    same && before.sequence + 1 == next.sequence
}
