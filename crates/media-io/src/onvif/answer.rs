//! What cameras answer about themselves, before anything of it is believed.

use std::net::IpAddr;

use url::Url;

use super::percent_decode;

/// Scope that carries a device's name (ONVIF Core, 7.3.2.2).
const NAME_SCOPE: &str = "onvif://www.onvif.org/name/";

/// A camera that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it calls itself.
    pub name: String,
    /// Its device service.
    pub device_url: Url,
}

/// The camera behind an answer to the probe; `None` when it names no address.
pub(super) fn found(scopes: &[String], addresses: &[String]) -> Option<Found> {
    let mut urls: Vec<Url> = addresses
        .iter()
        .filter_map(|address| address.parse::<Url>().ok())
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .collect();
    // Cameras list link-local IPv6 addresses, which need a scope that the URL lacks.
    urls.sort_by_key(|url| !matches!(url.host(), Some(url::Host::Ipv4(_))));
    let device_url = urls.into_iter().next()?;
    let name = scopes
        .iter()
        .find_map(|scope| scope.strip_prefix(NAME_SCOPE))
        .map(readable)
        .filter(|name| !name.is_empty())
        .or_else(|| device_url.host_str().map(str::to_owned))?;
    Some(Found { name, device_url })
}

/// A scope's escapes resolved; at most 64 characters, none of them a control character.
fn readable(scope: &str) -> String {
    let text = percent_decode(scope);
    text.replace('_', " ").chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The camera's URL, with the host that we reach it by when it names none that can be reached.
pub(super) fn reachable(uri: &str, device: &Url) -> Option<Url> {
    let mut url: Url = uri.trim().parse().ok()?;
    if url.scheme() != "rtsp" {
        return None;
    }
    // The host of an RTSP URL is opaque to the parser: an address is not told from a name.
    let host = url.host_str()?.trim_matches(['[', ']']);
    let nowhere = host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified() || ip.is_loopback());
    if nowhere {
        url.set_host(device.host_str()).ok()?;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}
