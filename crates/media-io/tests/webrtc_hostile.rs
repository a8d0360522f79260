//! What strangers and bad viewers send: rows "DTLS ClientHello race" and "RTPBleed / RTP
//! injection" of the security table, and offers that cannot be answered.

mod webrtc_support;

use std::{io::ErrorKind, net::SocketAddr, time::Instant};

use sightline_media_io::webrtc::OfferRequest;
use sightline_model::Capabilities;
use sightline_protocol::{ProblemKind, pc::PuToCu};
use tokio::{net::UdpSocket, sync::mpsc};
use webrtc_support::{CHANNEL, PATIENCE, Seen, Tell, Unit, Viewer, admission};

/// A DTLS 1.2 record with the head of a ClientHello.
fn client_hello() -> Vec<u8> {
    let mut bytes = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60];
    bytes.extend([1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 254, 253]);
    bytes.resize(73, 7);
    bytes
}

/// A DTLS ChangeCipherSpec of epoch 1.
const CHANGE_CIPHER_SPEC: [u8; 14] = [20, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1];

fn rtp(seq: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend(seq.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.resize(200, 9);
    bytes
}

/// Sends from an address that no session knows; everything is to be dropped without a byte back.
async fn spray(unit: &Unit) {
    let target: SocketAddr = unit.engine.bound()[0];
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("loopback is there");
    let before = unit.engine.stats().await.expect("runs").strangers;
    let mut sent = 0;
    for seq in 0..100 {
        for bytes in [client_hello(), CHANGE_CIPHER_SPEC.to_vec(), rtp(seq), vec![0; 20], vec![]] {
            stranger.send_to(&bytes, target).await.expect("sent");
            sent += 1;
        }
        tokio::task::yield_now().await;
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let stats = unit.engine.stats().await.expect("runs");
        // Empty datagrams are not counted; the kernel may drop a few of the rest.
        if stats.strangers - before >= sent / 5 * 4 {
            assert_eq!(stats.panics, 0);
            break;
        }
        assert!(Instant::now() < until, "only {} of {sent} seen", stats.strangers - before);
        tokio::task::yield_now().await;
    }
    let back = stranger.try_recv(&mut [0; 2_000]).expect_err("nothing may come back");
    assert_eq!(back.kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn dtls_and_rtp_from_unvalidated_addresses_are_dropped() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    spray(&unit).await;
    let mut viewer = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    spray(&unit).await;
    let mut expected = *viewer.video_packet().await.seq_no;
    spray(&unit).await;
    for _ in 0..200 {
        expected += 1;
        let seq = *viewer.video_packet().await.seq_no;
        assert_eq!(seq, expected, "the viewer's stream must not suffer");
    }
    let path = viewer.right.path.borrow().clone().expect("known");
    assert!(!path.relayed);
    viewer.say(Tell::Stop);
    unit.stop().await;
}

#[tokio::test]
async fn offers_that_cannot_be_answered_are_refused_in_words() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n";
    let media = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
                 a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n\
                 a=recvonly\r\na=rtcp-mux\r\n";
    let vp8 = format!("{head}{media}{fingerprint}\r\na=rtpmap:96 VP8/90000\r\n");
    let bad = [
        (String::new(), ProblemKind::InvalidRequest),
        ("\u{0}\u{ffff}".repeat(100), ProblemKind::InvalidRequest),
        (format!("{head}{media}"), ProblemKind::InvalidRequest),
        (format!("{head}{fingerprint}\r\n"), ProblemKind::InvalidRequest),
        (format!("{head}{media}{fingerprint}\r\na=rtpmap"), ProblemKind::InvalidRequest),
        ("x".repeat(100_000), ProblemKind::InvalidRequest),
        (vp8, ProblemKind::NotDecodable),
    ];
    for (sdp, kind) in bad {
        let session = "bad".parse().expect("an id");
        let (admission, _right) = admission(&session, Capabilities::default());
        let request = OfferRequest {
            session,
            sdp: sdp.clone(),
            admission,
            ice_servers: Vec::new(),
            candidate_tx: mpsc::channel(1).0,
        };
        let refused = unit.engine.offer(request).await.expect_err("refused");
        assert_eq!(refused.kind, kind, "{refused}: {sdp:.80}");
        assert!(refused.detail.len() > 10);
    }
    let (mut other, _right) = admission(&"s".parse().expect("an id"), Capabilities::default());
    other.grant.channel.0 = CHANNEL.0 + 1;
    unit.engine.candidate("none".parse().expect("an id"), "candidate:junk".into()).await;
    let stats = unit.engine.stats().await.expect("runs");
    assert_eq!((stats.sessions, stats.panics), (0, 0));
    unit.stop().await;
}

#[tokio::test]
async fn one_viewer_too_many_is_refused_and_a_place_becomes_free() {
    let unit = Unit::with(std::sync::Arc::new(sightline_media_io::webrtc::NoTranscoder), 1);
    unit.wait_for_picture().await;
    let mut first = Viewer::connect(&unit.engine, "s1", &unit.tasks).await;
    first.message(|m| matches!(m, PuToCu::Serving { .. }).then_some(())).await;
    let Err(refused) = Viewer::try_connect(&unit.engine, "s2", &unit.tasks).await else {
        panic!("the second is one too many");
    };
    assert_eq!(refused.kind, ProblemKind::Busy);
    unit.engine.end(first.session.clone(), None).await;
    first.wait(|seen| matches!(seen, Seen::Closed).then_some(())).await;
    let mut third = Viewer::connect(&unit.engine, "s3", &unit.tasks).await;
    third.video_packet().await;
    third.say(Tell::Stop);
    unit.stop().await;
}
