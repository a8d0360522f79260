//! The portal's REST API (interface Cm), with a sign-in that renews itself.
//!
//! A refresh token works once, and a second use ends the whole sign-in. So a refresh happens under
//! the home folder's lock, and whoever waited for the lock takes the tokens that it finds then.

mod cloud;

use std::time::{Duration, SystemTime};

use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use sightline_model::{
    CameraId, ClaimCode, PuId, RecordingPlace, SessionToken, StreamTier, UnixMicros,
};
use sightline_protocol::{Problem, cm, flow};

use crate::{
    error::{CuError, Exit},
    home::{Home, Portal, Tokens},
    tls, trace,
};

/// Longest wait for any answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A token that ends this soon is renewed first: it must outlive the request.
const MARGIN: Duration = Duration::from_secs(20);
/// Longest answer that is read.
const MAX_BODY: usize = 4 << 20;

/// A portal, without a sign-in.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: url::Url,
}

impl Api {
    /// A client for the portal at `base`.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a URL that is neither HTTPS nor local.
    pub fn new(base: &url::Url, ca_pem: Option<&str>) -> Result<Self, CuError> {
        check_portal(base)?;
        Ok(Self { http: client(ca_pem)?, base: base.clone() })
    }

    async fn send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        token: Option<&SessionToken>,
        body: Option<&B>,
    ) -> Result<Vec<u8>, CuError> {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        url.set_path(&format!("{}{path}", cm::PREFIX));
        url.set_query(query);
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(traceparent) = trace::traceparent() {
            request = request.header("traceparent", traceparent);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| self.transport_error(&e))?;
        let status = response.status();
        let bytes = self.read_body(response).await?;
        if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }

    async fn read_body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, CuError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport_error(&e))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(CuError::other(
                    "the portal's answer is too long; is this a Sightline portal?",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport_error(&self, error: &reqwest::Error) -> CuError {
        let host = self.base.host_str().unwrap_or("the portal");
        if tls::is_certificate_error(error) {
            return CuError::security(format!(
                "{host} showed a certificate that is not trusted here: {}. If the portal has an \
                 authority of its own, sign in with --ca FILE; otherwise somebody may be in between",
                root_cause(error)
            ));
        }
        if error.is_timeout() {
            return CuError::timeout(format!("{host} did not answer in time. Try `cu doctor`"));
        }
        CuError::unreachable(format!(
            "{host} cannot be reached: {}. Check the address and your network, or try `cu doctor`",
            root_cause(error)
        ))
    }

    /// `GET /info`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn info(&self) -> Result<cm::Info, CuError> {
        parse(&self.send::<()>(Method::GET, "/info", None, None).await?)
    }

    /// `POST /sms-codes`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn send_code(
        &self,
        request: &cm::SmsCodeRequest,
    ) -> Result<cm::SmsCodeSent, CuError> {
        parse(&self.send(Method::POST, "/sms-codes", None, Some(request)).await?)
    }

    /// `POST /sessions`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn sign_in(&self, request: &cm::SignInRequest) -> Result<cm::SignedIn, CuError> {
        parse(&self.send(Method::POST, "/sessions", None, Some(request)).await?)
    }

    async fn refresh(&self, token: &SessionToken) -> Result<cm::SignedIn, CuError> {
        let request = cm::RefreshRequest { refresh_token: Some(token.clone()) };
        parse(&self.send(Method::POST, "/sessions/refresh", None, Some(&request)).await?)
    }

    /// The date that the portal's clock shows, with the time that asking took.
    ///
    /// # Errors
    /// As for every request.
    pub async fn clock(&self) -> Result<(Option<SystemTime>, Duration), CuError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/info", cm::PREFIX));
        let started = tokio::time::Instant::now();
        let response = self.http.get(url).send().await.map_err(|e| self.transport_error(&e))?;
        let date = response.headers().get(reqwest::header::DATE).and_then(|d| d.to_str().ok());
        Ok((date.and_then(|d| httpdate::parse_http_date(d).ok()), started.elapsed()))
    }
}

/// A portal, signed in.
#[derive(Clone)]
pub struct SignedInApi {
    api: Api,
    home: Home,
    /// As remembered.
    pub portal: Portal,
}

impl SignedInApi {
    /// The sign-in of the home folder.
    ///
    /// # Errors
    /// [`Exit::NotSignedIn`] when there is none.
    pub fn open(home: &Home) -> Result<Self, CuError> {
        let portal = home.portal()?;
        let api = Api::new(&portal.url, portal.ca_pem.as_deref())?;
        Ok(Self { api, home: home.clone(), portal })
    }

    /// The portal without the sign-in.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// A token that works for a while, renewed when `refused` or when the kept one ends soon.
    async fn access_token(&self, refused: Option<&SessionToken>) -> Result<SessionToken, CuError> {
        let usable = |tokens: &Tokens| {
            Some(&tokens.access) != refused && tokens.access_until > now().plus(MARGIN)
        };
        let tokens = self.home.tokens()?;
        if usable(&tokens) {
            return Ok(tokens.access);
        }
        let home = self.home.clone();
        let lock = tokio::task::spawn_blocking(move || home.lock())
            .await
            .map_err(|e| CuError::other(e.to_string()))??;
        let tokens = self.home.tokens()?;
        if usable(&tokens) {
            return Ok(tokens.access);
        }
        let signed_in = self.api.refresh(&tokens.refresh).await?;
        let tokens = tokens_from(&signed_in)?;
        self.home.save_tokens(&tokens)?;
        drop(lock);
        Ok(tokens.access)
    }

    async fn send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Vec<u8>, CuError> {
        let token = self.access_token(None).await?;
        match self.api.send(method.clone(), path, Some(&token), body).await {
            Err(e) if e.exit == Exit::NotSignedIn => {
                let token = self.access_token(Some(&token)).await?;
                self.api.send(method, path, Some(&token), body).await
            }
            other => other,
        }
    }

    /// `DELETE /sessions/current`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn sign_out(&self) -> Result<(), CuError> {
        self.send::<()>(Method::DELETE, "/sessions/current", None).await.map(drop)
    }

    /// `POST /bindings`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn bind(&self, code: &ClaimCode) -> Result<cm::Bound, CuError> {
        let request = cm::BindRequest { claim_code: SessionToken::new(code.to_string()) };
        flow::sent("Cm", "CU", "CMU", "bind", code.pu_id().as_str());
        parse(&self.send(Method::POST, "/bindings", Some(&request)).await?)
    }

    /// `DELETE /devices/{pu}/binding`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn release(&self, pu: &PuId) -> Result<(), CuError> {
        self.send::<()>(Method::DELETE, &format!("/devices/{pu}/binding"), None).await.map(drop)
    }

    /// `GET /cameras`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn cameras(&self) -> Result<Vec<cm::Camera>, CuError> {
        let list: cm::CameraList = parse(&self.send::<()>(Method::GET, "/cameras", None).await?)?;
        Ok(list.cameras)
    }

    /// `PATCH /cameras/{id}`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn rename(&self, id: &CameraId, name: &str) -> Result<(), CuError> {
        let change = cm::CameraChange { name: name.to_owned() };
        self.send(Method::PATCH, &format!("/cameras/{id}"), Some(&change)).await.map(drop)
    }

    /// `GET /cameras/{id}/recordings`; times as in RFC 3339, in UTC; of one encoding, or all.
    ///
    /// # Errors
    /// As for every request.
    pub async fn recordings(
        &self,
        id: &CameraId,
        (from, to): (&str, &str),
        tier: Option<StreamTier>,
    ) -> Result<cm::CameraTimeline, CuError> {
        flow::sent("Cm", "CU", "CMU", "recordings", id.pu.as_str());
        let tier = tier.map(|tier| format!("&tier={}", tier_word(tier))).unwrap_or_default();
        let path = format!("/cameras/{id}/recordings?from={from}&to={to}{tier}");
        parse(&self.send::<()>(Method::GET, &path, None).await?)
    }

    /// `PUT /cameras/{id}/recordings/lock`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn lock(
        &self,
        id: &CameraId,
        change: &cm::LockChange,
    ) -> Result<cm::Locked, CuError> {
        let path = format!("/cameras/{id}/recordings/lock");
        parse(&self.send(Method::PUT, &path, Some(change)).await?)
    }

    /// `GET /cameras/{id}/plans`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn plans(&self, id: &CameraId) -> Result<cm::PlanList, CuError> {
        parse(&self.send::<()>(Method::GET, &format!("/cameras/{id}/plans"), None).await?)
    }

    /// `PUT /cameras/{id}/plans/{place}`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn set_plan(
        &self,
        id: &CameraId,
        place: RecordingPlace,
        change: &cm::PlanChange,
    ) -> Result<(), CuError> {
        flow::sent("Cm", "CU", "CMU", "set_plan", id.pu.as_str());
        let place = serde_json::to_value(place).unwrap_or_default();
        let path = format!("/cameras/{id}/plans/{}", place.as_str().unwrap_or_default());
        self.send(Method::PUT, &path, Some(change)).await.map(drop)
    }

    /// `GET /nvrs`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn nvrs(&self) -> Result<Vec<cm::Nvr>, CuError> {
        let list: cm::NvrList = parse(&self.send::<()>(Method::GET, "/nvrs", None).await?)?;
        Ok(list.nvrs)
    }

    /// `PUT /nvrs/{pu}/cameras/{id}`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn relate(&self, nvr: &PuId, id: &CameraId) -> Result<cm::Related, CuError> {
        flow::sent("Cm", "CU", "CMU", "relate", nvr.as_str());
        let path = format!("/nvrs/{nvr}/cameras/{id}");
        parse(&self.send::<()>(Method::PUT, &path, None).await?)
    }

    /// `DELETE /nvrs/{pu}/cameras/{id}`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn unrelate(&self, nvr: &PuId, id: &CameraId) -> Result<(), CuError> {
        flow::sent("Cm", "CU", "CMU", "unrelate", nvr.as_str());
        let path = format!("/nvrs/{nvr}/cameras/{id}");
        self.send::<()>(Method::DELETE, &path, None).await.map(drop)
    }

    /// `POST /cameras/{id}/play`.
    ///
    /// # Errors
    /// As for every request.
    pub async fn play(
        &self,
        id: &CameraId,
        request: &cm::PlayRequest,
    ) -> Result<cm::PlayAnswer, CuError> {
        flow::sent("Cm", "CU", "CMU", "play", id.pu.as_str());
        let answer = self.send(Method::POST, &format!("/cameras/{id}/play"), Some(request)).await?;
        let mut answer: cm::PlayAnswer = parse(&answer)?;
        // A path alone is relative to the portal.
        if answer.signal_url.starts_with('/')
            && let Ok(url) = self.portal.url.join(&answer.signal_url)
        {
            answer.signal_url = url.into();
        }
        Ok(answer)
    }
}

/// The tokens of an answer, with the time when they end.
///
/// # Errors
/// When the portal kept the refresh token to itself.
pub fn tokens_from(signed_in: &cm::SignedIn) -> Result<Tokens, CuError> {
    let refresh = signed_in.refresh_token.clone().ok_or_else(|| {
        CuError::other("the portal gave no refresh token; it may be too old for this cu")
    })?;
    let access_until = now().plus(Duration::from_secs(signed_in.expires_in_s.into()));
    Ok(Tokens { access: signed_in.access_token.clone(), access_until, refresh })
}

/// An encoding, as queries name it.
const fn tier_word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

/// The wall clock.
#[must_use]
pub fn now() -> UnixMicros {
    UnixMicros::from(SystemTime::now())
}

fn client(ca_pem: Option<&str>) -> Result<reqwest::Client, CuError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(ca_pem)?)
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_secs(8))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("sightline-cu/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| CuError::other(format!("HTTP cannot be set up: {e}")))
}

/// HTTPS, or HTTP to this very machine: anything else would send codes and tokens in clear.
fn check_portal(base: &url::Url) -> Result<(), CuError> {
    let local = match base.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match base.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        "http" => Err(CuError::usage("the portal's address must begin with https://")),
        _ => Err(CuError::usage("the portal's address must look like https://portal.example.org")),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CuError> {
    serde_json::from_slice(bytes).map_err(|e| {
        CuError::other(format!(
            "the portal's answer makes no sense ({e}); is it a Sightline portal of this version?"
        ))
    })
}

fn refusal(status: StatusCode, body: &[u8]) -> CuError {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return problem.into();
    }
    let exit = match status.as_u16() {
        401 => Exit::NotSignedIn,
        408 | 504 => Exit::Timeout,
        502 | 503 => Exit::Unreachable,
        400..=499 => Exit::Refused,
        _ => Exit::Other,
    };
    CuError::new(
        exit,
        format!("the portal answered {status} without saying why; is it a Sightline portal?"),
    )
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
