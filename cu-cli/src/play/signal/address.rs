//! Where to signal, as the portal says.

use std::net::IpAddr;

use url::{Host, Url};

/// Nothing is sent there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WrongAddress {
    /// Not an address of this kind.
    Nonsense,
    /// Others could read along.
    InClear,
}

/// The offer carries a play token: in clear it travels within this machine only.
///
/// # Errors
/// [`WrongAddress`].
pub(super) fn websocket_url(url: &str) -> Result<Url, WrongAddress> {
    let text = match url.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => url.to_owned(),
    };
    let url: Url = text.parse().map_err(|_| WrongAddress::Nonsense)?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    };
    match url.scheme() {
        "wss" => Ok(url),
        "ws" if local => Ok(url),
        "ws" => Err(WrongAddress::InClear),
        _ => Err(WrongAddress::Nonsense),
    }
}
