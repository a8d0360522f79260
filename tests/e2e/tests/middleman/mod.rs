//! Somebody in the middle: a signalling server that passes everything on and cheats on demand.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use sightline_model::{PublicKey, Signature};
use sightline_protocol::ps::{answer_bytes, dtls_fingerprint};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{accept_async, connect_async, tungstenite::Message};

/// How the middleman treats the PU's answer.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum Trick {
    /// Passes it on.
    None = 0,
    /// Puts the fingerprint of its own certificate in, with the PU's signature as it was.
    Fingerprint = 1,
    /// The same, signed with a key of its own, which it calls the PU's.
    Key = 2,
}

/// Serves until the runtime ends.
pub struct Middleman {
    trick: Arc<AtomicU8>,
    _runtime: tokio::runtime::Runtime,
}

impl Middleman {
    /// Listens on `port` and passes on to the SCU at `scu`.
    pub fn start(port: u16, scu: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).expect("a port");
        let trick = Arc::new(AtomicU8::new(0));
        let current = Arc::clone(&trick);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, scu, current.load(Ordering::SeqCst)));
            }
        });
        Self { trick, _runtime: runtime }
    }

    /// What happens to connections from now on.
    pub fn play(&self, trick: Trick) {
        self.trick.store(trick as u8, Ordering::SeqCst);
    }
}

async fn pass_on(stream: TcpStream, scu: u16, trick: u8) {
    let Ok(mut viewer) = accept_async(stream).await else { return };
    let Ok((mut scu, _)) = connect_async(format!("ws://localhost:{scu}/cs/v1")).await else {
        return;
    };
    let mut offered = String::new();
    loop {
        tokio::select! {
            Some(Ok(message)) = viewer.next() => {
                if let Some(sdp) = json(&message).pointer("/body/offer/sdp").and_then(Value::as_str) {
                    offered = dtls_fingerprint(sdp).unwrap_or_default();
                }
                if scu.send(message).await.is_err() { return }
            }
            Some(Ok(message)) = scu.next() => {
                let message = cheat(message, &offered, trick);
                if viewer.send(message).await.is_err() { return }
            }
            else => return,
        }
    }
}

fn json(message: &Message) -> Value {
    message.to_text().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn cheat(message: Message, offered: &str, trick: u8) -> Message {
    let mut value = json(&message);
    if trick == Trick::None as u8 || value.pointer("/body/type") != Some(&"answer".into()) {
        return message;
    }
    let sdp = value["body"]["answer"]["sdp"].as_str().unwrap_or_default().to_owned();
    let real = dtls_fingerprint(&sdp).expect("the PU's answer has a fingerprint");
    let own = if let Some(rest) = real.strip_prefix("00") {
        format!("11{rest}")
    } else {
        format!("00{}", &real[2..])
    };
    let sdp = sdp.replace(&real, &own).replace(&real.to_ascii_lowercase(), &own);
    if trick == Trick::Key as u8 {
        let key = SigningKey::from_bytes(&[66; 32]);
        let session = value["body"]["session"].as_str().unwrap_or_default().to_owned();
        let session = session.parse().expect("a session id");
        let signature: Signature = key.sign(&answer_bytes(&session, offered, &own)).into();
        value["body"]["answer"]["public_key"] =
            serde_json::to_value(PublicKey::from(key.verifying_key())).expect("JSON");
        value["body"]["answer"]["signature"] = serde_json::to_value(signature).expect("JSON");
    }
    value["body"]["answer"]["sdp"] = sdp.into();
    Message::text(value.to_string())
}
