//! Ps over QUIC.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator, crypto};
use sightline_protocol::{MAX_MESSAGE_BYTES, ps};
use sightline_service_kit::tls::Identity;

use crate::{StartError, admission::Place, pu, unit::Unit, wire::Wire};

/// Binds the socket and serves PUs until the service ends.
pub(crate) fn start(unit: &Arc<Unit>, identity: &Identity) -> Result<SocketAddr, StartError> {
    let tls = identity.server_config(&[ps::ALPN])?;
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)
        .map_err(|e| StartError::Quic(e.to_string()))?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
    server.transport_config(Arc::new(transport(unit)));
    let listen = unit.config.quic_listen;
    let failed = |source| StartError::Listen { address: listen, source };
    let socket = UdpSocket::bind(listen).map_err(failed)?;
    let name = unit.config.id.as_ref().map_or("", |id| id.as_str());
    let reset_key = identity.lasting_secret(&format!("quic reset {name} {listen}"));
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(endpoint_config(&reset_key), Some(server), socket, runtime)
        .map_err(failed)?;
    let address = endpoint.local_addr().map_err(failed)?;
    let accepting = unit.clone();
    unit.lifecycle.spawn_graceful(|token| async move {
        tokio::select! {
            () = accept(&accepting, &endpoint) => {}
            () = token.cancelled() => {}
        }
        endpoint.set_server_config(None);
        // The connections' own tasks say goodbye; this lets their last packets out.
        endpoint.wait_idle().await;
    });
    Ok(address)
}

/// An SCU that was started anew tells the PUs of its predecessor at their first packet that their
/// connections are gone (RFC 9000 section 10.3). Each SCU needs a key of its own: another one with
/// the same key could be made to end its connections (section 10.3.2).
fn endpoint_config(reset_key: &[u8]) -> quinn::EndpointConfig {
    let mut config = quinn::EndpointConfig::new(Arc::new(ResetKey(hmac::Key::new(
        hmac::HMAC_SHA256,
        reset_key,
    ))));
    config
        // The default knows only ids of its own run, and answers no others.
        .cid_generator(|| Box::new(RandomId))
        // Each is smaller than what it answers; thousands of PUs may be waiting for theirs.
        .min_reset_interval(Duration::from_micros(100));
    config
}

struct ResetKey(hmac::Key);

impl crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        out.copy_from_slice(hmac::sign(&self.0, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), crypto::CryptoError> {
        hmac::verify(&self.0, data, signature).map_err(|_| crypto::CryptoError)
    }
}

/// Connection ids of 64 random bits.
struct RandomId;

impl ConnectionIdGenerator for RandomId {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        // Without random numbers no handshake comes so far.
        let _ = rand::fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport(unit: &Unit) -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    let idle = 3 * unit.settings.keep_alive;
    config
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(0u8.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window((2 * MAX_MESSAGE_BYTES as u32).into())
        .receive_window((2 * MAX_MESSAGE_BYTES as u32).into())
        .send_window(2 * MAX_MESSAGE_BYTES as u64)
        .max_idle_timeout(idle.try_into().ok());
    config
}

async fn accept(unit: &Arc<Unit>, endpoint: &quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_address();
        if !incoming.remote_address_validated() && unit.admission.is_crowded() {
            // RFC 9000 section 8.1: the address proves itself before anything is kept for it.
            let _ = incoming.retry();
            continue;
        }
        let Some(place) = unit.admission.admit(from.ip()) else {
            incoming.refuse();
            continue;
        };
        let serving = unit.clone();
        unit.lifecycle.tasks.spawn(async move {
            if let Err(error) = serve(serving, incoming, place).await {
                tracing::debug!(%error, "a PU's connection failed");
            }
        });
    }
}

async fn serve(
    unit: Arc<Unit>,
    incoming: quinn::Incoming,
    place: Place,
) -> Result<(), quinn::ConnectionError> {
    let patience = unit.config.limits.sign_in_timeout();
    let shutdown = unit.lifecycle.token.clone();
    let opened = tokio::time::timeout(patience, async {
        let connection = incoming.await?;
        let streams = connection.accept_bi().await?;
        Ok::<_, quinn::ConnectionError>((connection, streams))
    });
    let opened = tokio::select! {
        opened = opened => opened,
        () = shutdown.cancelled() => return Ok(()),
    };
    let Ok(opened) = opened else { return Ok(()) };
    let (connection, (send, recv)) = opened?;
    let observed = connection.remote_address();
    pu::serve(unit, Wire::quic(send, recv), observed, place).await;
    // The last message has to arrive before the connection is torn down under it.
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await;
    connection.close(0u8.into(), b"");
    Ok(())
}
