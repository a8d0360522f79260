//! Straight to one of the PU's addresses, with its key and ours.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::{Connection, Endpoint};
use sightline_media_io::rtsp_server::quic as rtsp_quic;
use sightline_model::PublicKey;
use sightline_premises::identity::Identity;

/// How long an address may take to answer: on a LAN it takes a moment, and elsewhere the ladder is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// The next address is tried after this (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(150);
/// Addresses that are tried.
const MOST: usize = 16;

/// Sockets for dialling, shared by all cameras.
#[derive(Debug)]
pub struct Dialler {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
    identity: Arc<Identity>,
}

impl Dialler {
    /// A socket for each family that the machine has.
    ///
    /// # Errors
    /// When it has none.
    pub fn new(identity: Arc<Identity>) -> std::io::Result<Self> {
        let v4 = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into());
        let v6 = Endpoint::client((Ipv6Addr::UNSPECIFIED, 0).into()).ok();
        let v4 = match (v4, &v6) {
            (Ok(endpoint), _) => Some(endpoint),
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(error),
        };
        Ok(Self { v4, v6, identity })
    }

    /// The first of these addresses at which the holder of that key answers.
    pub async fn connect(
        &self,
        addresses: &[SocketAddr],
        key: PublicKey,
    ) -> Option<(Connection, SocketAddr)> {
        let mut tries: FuturesUnordered<_> = addresses
            .iter()
            .take(MOST)
            .enumerate()
            .map(|(n, address)| async move {
                tokio::time::sleep(STAGGER * u32::try_from(n).unwrap_or(u32::MAX)).await;
                (self.connect_to(*address, key).await, *address)
            })
            .collect();
        while let Some((connection, address)) = tries.next().await {
            if let Some(connection) = connection {
                return Some((connection, address));
            }
        }
        None
    }

    async fn connect_to(&self, address: SocketAddr, key: PublicKey) -> Option<Connection> {
        let endpoint = if address.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }?;
        let own = self.identity.pkcs8();
        let connecting = rtsp_quic::connect(endpoint, address, &own, key);
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Some(connection),
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a camera's device is not there");
                None
            }
            Err(_) => {
                tracing::debug!(%address, "a camera's device does not answer there");
                None
            }
        }
    }
}
