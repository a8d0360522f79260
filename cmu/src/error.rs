//! Refusals and failures as RFC 9457 problem documents.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cmu_storage::StorageError;
use serde::Serialize;
use sightline_protocol::{Problem, ProblemKind};

/// What a handler answers when it does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    problem: Problem,
    status: u16,
    retry_after_s: Option<u32>,
}

impl ApiError {
    /// A problem with its usual status.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    /// Too many tries.
    #[must_use]
    pub fn rate_limited(retry_after_s: u32) -> Self {
        let detail = format!("Too many tries. Please try again in {retry_after_s} seconds.");
        Self { retry_after_s: Some(retry_after_s), ..Self::new(ProblemKind::RateLimited, detail) }
    }

    /// The one answer for every camera or device that the caller may not know of.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ProblemKind::NotFound, "There is no such thing in your account.")
    }

    /// The same problem with another status.
    #[must_use]
    pub const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    /// Which problem it is.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        self.problem.kind
    }

    /// Its word, for the audit log.
    #[must_use]
    pub fn word(&self) -> String {
        kind_word(self.problem.kind)
    }
}

/// The stable word of a problem.
#[must_use]
pub fn kind_word(kind: ProblemKind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => "internal".to_owned(),
    }
}

/// A problem document as it is sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// Which problem: a stable word that programs may match on.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do about it, in words for the person.
    pub detail: String,
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { status: problem.kind.status(), problem, retry_after_s: None }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        tracing::error!(%error, "a request failed");
        Self::internal()
    }
}

impl ApiError {
    /// Our own fault; the caller has logged it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(ProblemKind::Internal, "Something failed on our side. Please try again later.")
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let too_long = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let error = Self::new(ProblemKind::InvalidRequest, rejection.body_text());
        if too_long { error.with_status(StatusCode::PAYLOAD_TOO_LARGE) } else { error }
    }
}

impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::not_found()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let document = ProblemDocument {
            kind: self.problem.kind,
            title: status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: status.as_u16(),
            detail: self.problem.detail,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
