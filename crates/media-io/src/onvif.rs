//! Cameras of the local network that speak ONVIF: finding them, and where their streams are
//! (A6.1.2).

mod answer;

use std::{cmp::Reverse, time::Duration};

use oxvif::{
    OnvifError, OnvifSession, VideoEncoding, discovery, soap::SoapError, transport::TransportError,
};
use sightline_model::Secret;
use url::Url;

pub use self::answer::Found;
use self::answer::{found, reachable};
use crate::source::percent_decode;

/// Longest time for all questions to one camera.
const QUESTIONS: Duration = Duration::from_secs(15);
/// No camera has more profiles that matter.
const MOST_PROFILES: usize = 16;

/// Where a camera's streams are; no URL carries a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamUrls {
    /// The largest picture.
    pub main: Url,
    /// The smallest, when there is another.
    pub sub: Option<Url>,
}

/// Why a camera does not tell where its streams are. `Display` is for the camera's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnvifProblem {
    /// It does not answer.
    #[error("the camera does not answer")]
    Unreachable,
    /// It wants another user name or password, or any.
    #[error("the camera refuses the user name or password")]
    Refused,
    /// It has no stream of H.264 or H.265.
    #[error("the camera offers no H.264 or H.265 stream")]
    NoStream,
    /// It answers what is no ONVIF.
    #[error("the camera's answer cannot be understood")]
    NotUnderstood,
}

/// Asks the network for cameras and gathers answers for so long; one entry per camera.
pub async fn discover(timeout: Duration) -> Vec<Found> {
    // A single multicast packet is easily lost: ask twice.
    let devices = discovery::probe_rounds(2, timeout / 2, Duration::ZERO).await;
    let mut found: Vec<Found> =
        devices.iter().filter_map(|device| found(&device.scopes, &device.xaddrs)).collect();
    found.sort_by(|a, b| a.device_url.cmp(&b.device_url));
    found.dedup_by(|a, b| a.device_url == b.device_url);
    found
}

/// Asks a camera where its main and sub stream are.
///
/// # Errors
/// When it does not answer, refuses, or has none.
pub async fn streams(
    found: &Found,
    username: &str,
    password: &Secret<String>,
) -> Result<StreamUrls, OnvifProblem> {
    tokio::time::timeout(QUESTIONS, ask(found, username, password))
        .await
        .unwrap_or(Err(OnvifProblem::Unreachable))
}

async fn ask(
    found: &Found,
    username: &str,
    password: &Secret<String>,
) -> Result<StreamUrls, OnvifProblem> {
    let mut builder = OnvifSession::builder(found.device_url.as_str()).with_clock_sync();
    if !username.is_empty() {
        builder = builder.with_credentials(username, password.expose().as_str());
    }
    let session = builder.build().await.map_err(problem)?;
    let mut offers = Vec::new();
    for profile in session.get_profiles().await.map_err(problem)?.iter().take(MOST_PROFILES) {
        let Some(encoder) = &profile.video_encoder_token else { continue };
        // A camera that does not tell the size keeps its own order, which begins with the best.
        let pixels = match session.get_video_encoder_configuration(encoder).await {
            Ok(config) if !is_carried(&config.encoding) => continue,
            Ok(config) => u64::from(config.resolution.width) * u64::from(config.resolution.height),
            Err(error) => {
                tracing::debug!(%error, "ONVIF encoder configuration");
                0
            }
        };
        let uri = session.get_stream_uri(&profile.token).await.map_err(problem)?;
        if let Some(url) = reachable(&uri.uri, &found.device_url) {
            offers.push((pixels, url));
        }
    }
    choose(offers).ok_or(OnvifProblem::NoStream)
}

fn is_carried(encoding: &VideoEncoding) -> bool {
    matches!(encoding, VideoEncoding::H264 | VideoEncoding::H265)
}

fn choose(mut offers: Vec<(u64, Url)>) -> Option<StreamUrls> {
    offers.sort_by_key(|(pixels, _)| Reverse(*pixels));
    let mut urls = offers.into_iter().map(|(_, url)| url);
    let main = urls.next()?;
    let sub = urls.rfind(|url| *url != main);
    Some(StreamUrls { main, sub })
}

fn problem(error: OnvifError) -> OnvifProblem {
    tracing::debug!(%error, "ONVIF");
    match error {
        OnvifError::Transport(TransportError::HttpStatus { status: 401 | 403, .. }) => {
            OnvifProblem::Refused
        }
        OnvifError::Transport(TransportError::HttpStatus { .. })
        | OnvifError::InvalidArgument(_) => OnvifProblem::NotUnderstood,
        OnvifError::Transport(_) => OnvifProblem::Unreachable,
        OnvifError::Soap(SoapError::Fault { subcode, reason, .. }) => {
            let text = format!("{} {reason}", subcode.unwrap_or_default()).to_ascii_lowercase();
            if text.contains("notauthorized") || text.contains("not authorized") {
                OnvifProblem::Refused
            } else {
                OnvifProblem::NotUnderstood
            }
        }
        OnvifError::Soap(_) => OnvifProblem::NotUnderstood,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("URL")
    }

    #[test]
    fn an_answer_gives_a_name_and_an_ipv4_address() {
        let scopes = [
            "onvif://www.onvif.org/type/video_encoder",
            "onvif://www.onvif.org/name/Back%20Yard\u{7}",
        ];
        let addresses = [
            "http://[fe80::1]/onvif/device_service",
            "http://192.0.2.7:8000/onvif/device_service",
            "nonsense",
            "ftp://192.0.2.1/",
        ];
        let answer = found(&scopes.map(String::from), &addresses.map(String::from));
        let expected = Found {
            name: "Back Yard".into(),
            device_url: url("http://192.0.2.7:8000/onvif/device_service"),
        };
        assert_eq!(answer, Some(expected));
        assert_eq!(found(&[], &["nonsense".into()]), None);
        assert_eq!(
            found(&[], &["http://192.0.2.7/".into()]).map(|f| f.name),
            Some("192.0.2.7".into())
        );
    }

    #[test]
    fn largest_is_main_smallest_is_sub() {
        let offers = [(1, "rtsp://h/c"), (9, "rtsp://h/a"), (5, "rtsp://h/b")];
        let chosen = choose(offers.iter().map(|(p, u)| (*p, url(u))).collect()).expect("streams");
        assert_eq!((chosen.main, chosen.sub), (url("rtsp://h/a"), Some(url("rtsp://h/c"))));
        let one = choose(vec![(1, url("rtsp://h/a")), (1, url("rtsp://h/a"))]).expect("a stream");
        assert_eq!(one.sub, None);
        assert_eq!(choose(Vec::new()), None);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_mended() {
        let device = url("http://192.0.2.7/onvif");
        let mended = reachable("rtsp://0.0.0.0:554/s?x=1", &device);
        assert_eq!(mended, Some(url("rtsp://192.0.2.7:554/s?x=1")));
        assert_eq!(reachable("rtsp://u:p@192.0.2.9/s", &device), Some(url("rtsp://192.0.2.9/s")));
        assert_eq!(reachable("http://192.0.2.9/s", &device), None);
        assert_eq!(reachable("", &device), None);
    }
}
