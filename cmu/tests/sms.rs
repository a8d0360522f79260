//! The SMS gateways against made-up peers: an HTTP provider and an SMSC that speaks SMPP 3.4.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use cmu::{
    config::{HttpGatewayConfig, SmppGatewayConfig},
    sms::{SmsError, SmsGateway, http::HttpGateway, smpp::SmppGateway},
};
use futures_util::{SinkExt, StreamExt};
use rusmpp::{
    Command, CommandStatus, Pdu,
    pdus::{BindTransceiverResp, SubmitSmResp},
    tokio_codec::CommandCodec,
    values::DataCoding,
};
use serde_json::{Value, json};
use sightline_model::{PhoneNumber, Secret};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Framed;

fn phone() -> PhoneNumber {
    "+8613800138000".parse().expect("valid")
}

type Seen = Arc<Mutex<Vec<(Option<String>, Value)>>>;

async fn provider() -> (String, Seen, Lifecycle) {
    let seen = Seen::default();
    let handler = |State(seen): State<Seen>, headers: HeaderMap, Json(body): Json<Value>| async move {
        let auth = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let refused = auth != Some("Bearer 0123456789abcdef");
        seen.lock().expect("lock").push((auth.map(str::to_owned), body));
        if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK }
    };
    let router = Router::new().route("/send", post(handler)).with_state(seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/send", listener.local_addr().expect("an address"));
    let lifecycle = Lifecycle::new();
    lifecycle.spawn(async move { axum::serve(listener, router).await.expect("serves") });
    (url, seen, lifecycle)
}

#[tokio::test]
async fn the_http_gateway_posts_its_template_and_reports_refusals() {
    let (url, seen, _lifecycle) = provider().await;
    let dir = tempfile::tempdir().expect("a folder");
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef\n").expect("written");
    let mut config = HttpGatewayConfig {
        url,
        body: r#"{"messages":[{"to":"{phone}","text":"{text}"}]}"#.into(),
        token_file: Some(token),
        ..HttpGatewayConfig::default()
    };
    let gateway = HttpGateway::new(&config).expect("usable");
    gateway.send(&phone(), "your \"code\"").await.expect("sent");
    let (_, body) = seen.lock().expect("lock").pop().expect("a request");
    let expected = json!({"messages": [{"to": "+8613800138000", "text": "your \"code\""}]});
    assert_eq!(body, expected);
    assert!(!format!("{gateway:?}").contains("0123456789abcdef"));

    config.token_file = None;
    let refused = HttpGateway::new(&config).expect("usable").send(&phone(), "x").await;
    assert!(matches!(refused, Err(SmsError::Refused(_))), "{refused:?}");
    config.url = "http://127.0.0.1:9/".into();
    let nobody = HttpGateway::new(&config).expect("usable").send(&phone(), "x").await;
    assert!(matches!(nobody, Err(SmsError::Unreachable(_))), "{nobody:?}");
}

/// What an SMSC has taken: number, coding, octets.
type Taken = Arc<Mutex<Vec<(String, DataCoding, Vec<u8>)>>>;

async fn smsc(connection: TcpStream, taken: Taken, close_after: usize) {
    let mut framed = Framed::new(connection, CommandCodec::new());
    let mut count = 0;
    while let Some(Ok(command)) = framed.next().await {
        let number = command.sequence_number();
        let (status, pdu): (_, Pdu) = match command.pdu() {
            Some(Pdu::BindTransceiver(bind)) => {
                let right = bind.password.to_string() == "x7Kq2_vB";
                let status =
                    if right { CommandStatus::EsmeRok } else { CommandStatus::EsmeRinvpaswd };
                (status, BindTransceiverResp::default().into())
            }
            Some(Pdu::EnquireLink) => (CommandStatus::EsmeRok, Pdu::EnquireLinkResp),
            Some(Pdu::SubmitSm(submit)) => {
                count += 1;
                let to = submit.destination_addr.to_string();
                let refuse = to.ends_with("999");
                let text = submit.short_message().as_ref().to_vec();
                taken.lock().expect("lock").push((to, submit.data_coding, text));
                let status =
                    if refuse { CommandStatus::EsmeRinvdstadr } else { CommandStatus::EsmeRok };
                (status, SubmitSmResp::default().into())
            }
            _ => continue,
        };
        framed.send(Command::new(status, number, pdu)).await.expect("sent");
        if count == close_after {
            return;
        }
    }
}

fn settings(address: String) -> SmppGatewayConfig {
    SmppGatewayConfig {
        address,
        system_id: "sightline".into(),
        enquire_link_s: 1,
        timeout_ms: 5_000,
        ..SmppGatewayConfig::default()
    }
}

#[tokio::test]
async fn the_smpp_gateway_binds_submits_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (taken, lifecycle) = (Taken::default(), Lifecycle::new());
    let seen = taken.clone();
    lifecycle.spawn(async move {
        // The first connection ends after two messages, as when an SMSC restarts.
        for close_after in [2, usize::MAX] {
            let (connection, _) = listener.accept().await.expect("a connection");
            smsc(connection, seen.clone(), close_after).await;
        }
    });
    let password = Secret::new("x7Kq2_vB".to_owned());
    let gateway = SmppGateway::start(&settings(address), password, &lifecycle).expect("usable");
    gateway.send(&phone(), "Code 123456").await.expect("sent");
    let refused = gateway.send(&"+8613800138999".parse().expect("valid"), "验证码").await;
    assert!(matches!(refused, Err(SmsError::Refused(_))), "{refused:?}");
    // The connection is gone; the gateway says so until it is back.
    let again = async {
        while gateway.send(&phone(), "again").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("reconnected");
    let taken = taken.lock().expect("lock");
    assert_eq!(taken[0].0, "8613800138000");
    assert_eq!((taken[0].1, taken[0].2.as_slice()), (DataCoding::McSpecific, &b"Code 123456"[..]));
    let chinese: Vec<u8> = "验证码".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!((taken[1].1, &taken[1].2), (DataCoding::Ucs2, &chinese));
    assert!(taken.len() >= 3);
}

#[tokio::test]
async fn the_smpp_gateway_says_when_it_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let lifecycle = Lifecycle::new();
    lifecycle.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            smsc(connection, Taken::default(), usize::MAX).await;
        }
    });
    let password = Secret::new("wrong123".to_owned());
    let gateway = SmppGateway::start(&settings(address), password, &lifecycle).expect("usable");
    let refused = gateway.send(&phone(), "x").await;
    assert!(matches!(refused, Err(SmsError::Unreachable(_) | SmsError::Timeout)), "{refused:?}");
    let long = gateway.send(&phone(), &"x".repeat(141)).await;
    assert!(matches!(long, Err(SmsError::Settings(_))), "{long:?}");
}
