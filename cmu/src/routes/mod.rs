//! The REST API of interface Cm. One file for each route holds its handler, its refusals and its
//! OpenAPI text.

mod bindings;
mod cameras;
mod cloud;
mod devices;
mod events;
mod info;
mod me;
mod nvrs;
mod operator;
mod sessions;
mod sms_codes;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::Response,
};
use sightline_protocol::{ProblemKind, cm::PREFIX};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    error::{ApiError, ProblemDocument},
    state::AppState,
};

/// Longest request body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Where the OpenAPI document is served.
pub const OPENAPI_PATH: &str = "/api/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sightline CMU",
        description = "Interface Cm of ITU-T H.626.4, between the central management unit and customer units. \
            Refusals are problem documents (RFC 9457) whose `type` is a stable word.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(
        ProblemDocument,
        sightline_protocol::cm::Event,
        sightline_protocol::cm::NetworkSide
    )),
    modifiers(&Bearer),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn api() -> OpenApiRouter<AppState> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(info::get::handler))
        .routes(routes!(sms_codes::post::handler))
        .routes(routes!(sessions::post::handler))
        .routes(routes!(sessions::refresh::handler))
        .routes(routes!(sessions::delete::handler))
        .routes(routes!(me::get::handler))
        .routes(routes!(bindings::post::handler))
        .routes(routes!(devices::delete_binding::handler))
        .routes(routes!(cameras::list::handler))
        .routes(routes!(cameras::get::handler, cameras::patch::handler))
        .routes(routes!(cameras::play::handler))
        .routes(routes!(cameras::recordings::list::handler))
        .routes(routes!(cameras::recordings::days::handler))
        .routes(routes!(cameras::recordings::lock::handler))
        .routes(routes!(cameras::recordings::segments::handler))
        .routes(routes!(cameras::recordings::proof::handler))
        .routes(routes!(cameras::recordings::playlist::handler))
        .routes(routes!(cameras::plans::list::handler))
        .routes(routes!(cameras::plans::put::handler))
        .routes(routes!(cameras::plans::manual::handler))
        .routes(routes!(nvrs::list::handler))
        .routes(routes!(nvrs::relate::handler, nvrs::unrelate::handler))
        .routes(routes!(cloud::get::handler))
        .routes(routes!(cloud::delete_device::handler))
        .routes(routes!(events::get::handler))
        .routes(routes!(operator::list_subscriptions::handler))
        .routes(routes!(operator::put_subscription::handler))
        .routes(routes!(operator::put_cloud::handler))
        .routes(routes!(operator::list_audit::handler))
        .routes(routes!(operator::list_networks::handler))
        .routes(routes!(operator::list_usage::handler))
        .routes(routes!(operator::list_mtus::handler))
        .routes(routes!(operator::put_mtu::handler));
    OpenApiRouter::with_openapi(Document::openapi()).nest(PREFIX, v1)
}

/// The OpenAPI document as it is served and kept under `docs/api/`.
#[must_use]
pub fn openapi_json() -> String {
    let (_, document) = api().split_for_parts();
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The API with its document; everything else under `/api` is a 404 problem.
pub fn router(app: AppState) -> Router {
    let (api, document) = api().split_for_parts();
    let document = document.to_pretty_json().unwrap_or_default();
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    api.route(OPENAPI_PATH, axum::routing::get(move || async move { (json, document) }))
        .route("/api", axum::routing::any(unknown_path))
        .route("/api/{*rest}", axum::routing::any(unknown_path))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(api_headers))
        .with_state(app)
}

async fn unknown_path() -> ApiError {
    ApiError::new(ProblemKind::NotFound, "The API has no such path.")
}

async fn wrong_method() -> ApiError {
    ApiError::new(ProblemKind::InvalidRequest, "This path does not know the request's method.")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Answers are about one person and one moment: nobody may keep or guess about them.
async fn api_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
