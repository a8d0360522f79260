//! Signalling with the SCU (interface Cs), and the check that no centre can cheat: the answer's
//! DTLS fingerprint is signed with the PU's key.

mod address;

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use sightline_model::{MediaSessionId, PublicKey, SessionToken};
use sightline_protocol::{
    MAX_MESSAGE_BYTES, Named,
    cs::{CuToScu, MediaOffer, ScuToCu},
    decode, encode, flow,
    ps::{MediaAnswer, answer_bytes, dtls_fingerprint, offer_bytes},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use self::address::WrongAddress;
use crate::{error::CuError, home::ClientKey, tls, trace};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// An offer, signed so that the PU knows that the holder of the token's key made it.
///
/// # Errors
/// When the SDP has no single SHA-256 fingerprint: our own fault.
pub fn sign_offer(
    session: &MediaSessionId,
    token: &SessionToken,
    key: &ClientKey,
    sdp: String,
) -> Result<MediaOffer, CuError> {
    let fingerprint = dtls_fingerprint(&sdp)
        .ok_or_else(|| CuError::other("the WebRTC offer has no usable fingerprint"))?;
    let signature = key.sign(&offer_bytes(session, token, &fingerprint));
    Ok(MediaOffer {
        sdp,
        token: token.clone(),
        client_key: key.public(),
        signature,
        ice_servers: Vec::new(),
    })
}

/// Whether the PU itself made this answer to this offer. Call it before the answer is used.
///
/// # Errors
/// [`crate::error::Exit::Security`].
pub fn verify_answer(
    session: &MediaSessionId,
    device_key: &PublicKey,
    offer_sdp: &str,
    answer: &MediaAnswer,
) -> Result<(), CuError> {
    let cheated = |what: &str| {
        CuError::security(format!(
            "{what}: somebody between you and the camera may have tried to listen in. Nothing was played"
        ))
    };
    if answer.public_key != *device_key {
        return Err(cheated("the answer was signed with another key than the camera's"));
    }
    let (Some(offered), Some(answered)) =
        (dtls_fingerprint(offer_sdp), dtls_fingerprint(&answer.sdp))
    else {
        return Err(cheated("the answer has no single fingerprint"));
    };
    if !device_key.verify(&answer_bytes(session, &offered, &answered), &answer.signature) {
        return Err(cheated("the fingerprint in the answer is not the one that the camera signed"));
    }
    Ok(())
}

/// A connection to the SCU.
pub struct Signal {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Signal {
    /// Connects; `url` as the play answer gives it.
    ///
    /// # Errors
    /// Unreachable, or a certificate that is not trusted.
    pub async fn connect(url: &str, ca_pem: Option<&str>) -> Result<Self, CuError> {
        let url = websocket_url(url)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let connector = Connector::Rustls(Arc::new(tls::client_config(ca_pem)?));
        let connecting =
            connect_async_tls_with_config(url.as_str(), Some(config), true, Some(connector));
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Self { socket }),
            Ok(Err(e)) if tls::is_certificate_error(&e) => Err(CuError::security(format!(
                "the signalling server showed a certificate that is not trusted here: {e}"
            ))),
            Ok(Err(e)) => Err(CuError::unreachable(format!(
                "the signalling server cannot be reached over WebSocket: {e}. A proxy may be in the way; try `cu doctor`"
            ))),
            Err(_) => Err(CuError::timeout(
                "the signalling server did not answer in time. Try `cu doctor`",
            )),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, message: &CuToScu) -> Result<(), CuError> {
        flow::sent("Cs", "CU", "SCU", message.name(), message.about().unwrap_or_default());
        let traceparent = match message {
            CuToScu::KeepAlive { .. } => None,
            CuToScu::Offer { .. }
            | CuToScu::Candidate { .. }
            | CuToScu::PathReport { .. }
            | CuToScu::End { .. } => trace::traceparent(),
        };
        let text = String::from_utf8(encode(message, traceparent))
            .map_err(|e| CuError::other(e.to_string()))?;
        self.socket.send(Message::text(text)).await.map_err(|e| broken(&e))
    }

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is gone, or what comes is no message.
    pub async fn next(&mut self) -> Result<ScuToCu, CuError> {
        loop {
            let message = self.socket.next().await.ok_or_else(|| broken(&"closed"))?;
            match message.map_err(|e| broken(&e))? {
                Message::Text(text) => {
                    let message = decode::<ScuToCu>(text.as_bytes()).map_err(|e| {
                        CuError::other(format!(
                            "the signalling server's message makes no sense: {e}"
                        ))
                    })?;
                    return Ok(message.body);
                }
                Message::Close(_) => return Err(broken(&"closed by the server")),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // It may be gone already, which is as good.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }
}

fn broken(why: &dyn std::fmt::Display) -> CuError {
    CuError::unreachable(format!("the connection to the signalling server broke: {why}"))
}

fn websocket_url(url: &str) -> Result<url::Url, CuError> {
    address::websocket_url(url).map_err(|wrong| match wrong {
        WrongAddress::Nonsense => {
            CuError::other("the portal named a signalling address that makes no sense")
        }
        WrongAddress::InClear => CuError::security(
            "the portal named a signalling address without encryption; nothing was sent there",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signalling_is_encrypted_beyond_this_machine() {
        assert_eq!(
            websocket_url("https://a.example/cs/v1").expect("valid").as_str(),
            "wss://a.example/cs/v1"
        );
        assert_eq!(websocket_url("http://127.0.0.1:1/cs/v1").expect("local").scheme(), "ws");
        let refused = websocket_url("ws://a.example/cs/v1").expect_err("clear");
        assert_eq!(refused.exit, crate::error::Exit::Security);
        for bad in ["", "a.example", "ftp://a.example/"] {
            assert!(websocket_url(bad).is_err(), "{bad:?} was taken");
        }
    }
}
