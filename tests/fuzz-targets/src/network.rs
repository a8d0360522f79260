//! Datagrams and texts about the network: STUN, TURN, the offer of a viewer.

use std::{
    io::ErrorKind,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use mtu_turn::wire::{Attribute, Stun, read_xor};
use sightline_p2p_net::server::{RelayTransport, ServerUrl};
use sightline_protocol::{
    MAX_MESSAGE_BYTES, decode,
    ps::{PuToScu, ScuToPu},
};
use sightline_rtsp::rtp::Packet;
use tokio_util::codec::{Decoder, Encoder};

use self::percent::percent_decode;

#[cfg_attr(not(test), expect(dead_code, reason = "this target takes its share"))]
#[path = "../../../crates/media-io/src/webrtc/offer_text.rs"]
mod clean;
#[path = "../../../crates/p2p-net/src/stun.rs"]
mod ladder_stun;
#[path = "../../../crates/media-io/src/onvif/answer.rs"]
mod onvif_answer;
#[path = "../../../crates/media-io/src/source/percent.rs"]
mod percent;
#[path = "../../../crates/uplink/src/frames.rs"]
mod pu_frames;
#[path = "../../../crates/media-io/src/webrtc/stun.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the client's side of it is not for bytes from outside")
)]
mod pu_stun;
#[path = "../../../cu-cli/src/play/reorder.rs"]
mod reorder;
#[path = "../../../scu/src/frames.rs"]
mod scu_frames;
#[path = "../../../cu-cli/src/play/signal/address.rs"]
mod signal_address;

/// Answers of a STUN server, read by the PU's parser and by the relay's, which must agree; and the
/// URL of the other server that a viewer is told of.
pub fn stun_answer(data: &[u8]) {
    let of_pu = pu_stun::response(data);
    if let (Some((transaction, address)), Some(stun)) = (of_pu, Stun::parse(data)) {
        assert_eq!(&transaction, stun.transaction);
        let mapped = |attribute: Attribute<'_>| {
            attribute.kind == 0x0020 && read_xor(attribute.value, &transaction) == Some(address)
        };
        assert!(stun.attributes().flatten().any(mapped));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The other address that the portal names.
    if let Ok(url) = signal_address::websocket_url(text) {
        assert!(url.scheme() == "wss" || url.host_str().is_some_and(|host| host != "a.example"));
    }
}

/// Answers of STUN and TURN servers, read below the ladder and by the relay's parser, which must agree
/// where both take them.
pub fn ladder_stun(data: &[u8]) {
    let Some(answer) = ladder_stun::Answer::parse(data) else { return };
    assert!(ladder_stun::is_stun(data));
    assert_eq!(answer.transaction, data[8..20]);
    if let Some((code, reason)) = &answer.error {
        // A code has one digit of three bits before two others (RFC 8489 section 14.8).
        assert!(*code <= 799 && !reason.chars().any(char::is_control));
    }
    let Some(stun) = Stun::parse(data) else { return };
    assert_eq!(&answer.transaction, stun.transaction);
    let told = |kind: u16| stun.attributes().flatten().filter(move |a| a.kind == kind);
    if let Some(mapped) = answer.mapped {
        let mut all = told(0x0020).map(|a| read_xor(a.value, stun.transaction));
        assert!(all.any(|read| read == Some(mapped)));
    }
    assert!(answer.alternate.is_none() || told(0x8023).next().is_some());
}

/// The URL of a STUN or TURN server, as the centre names it: what was read of it says the same again.
pub fn server_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(url) = ServerUrl::parse(text) else { return };
    let (scheme, place, query) = match &url {
        ServerUrl::Stun(place) => ("stun", place, ""),
        ServerUrl::Turn(place, RelayTransport::Udp) => ("turn", place, "?transport=udp"),
        ServerUrl::Turn(place, RelayTransport::Tcp) => ("turn", place, "?transport=tcp"),
        ServerUrl::Turn(place, RelayTransport::Tls) => ("turns", place, "?transport=tcp"),
    };
    assert!(!place.host.is_empty() && place.port != 0);
    // No name begins so; written without brackets of its own, it would look like an address.
    if !place.host.starts_with('[') {
        assert_eq!(ServerUrl::parse(&format!("{scheme}:{place}{query}")).as_ref(), Some(&url));
    }
}

/// Messages on a QUIC stream, read by the PU's framing and by the SCU's, which must agree.
pub fn ps_frames(data: &[u8]) {
    let mut stream = std::io::Cursor::new(data);
    let mut bytes = BytesMut::from(data);
    let mut codec = scu_frames::codec();
    loop {
        let of_pu = at_once(pu_frames::read_frame(&mut stream)).expect("it never waits");
        match (of_pu, codec.decode(&mut bytes)) {
            (Ok(of_pu), Ok(Some(of_scu))) => message(&of_pu, &of_scu),
            // The PU waits for the end of a message that never comes, the SCU for more bytes.
            (Err(error), Ok(None)) => return assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
            (Err(of_pu), Err(of_scu)) => {
                assert_eq!(
                    (of_pu.kind(), of_scu.kind()),
                    (ErrorKind::InvalidData, ErrorKind::InvalidData)
                );
                return;
            }
            (of_pu, of_scu) => panic!("the PU reads {of_pu:?}, the SCU {of_scu:?}"),
        }
    }
}

fn message(of_pu: &Bytes, of_scu: &[u8]) {
    assert_eq!(of_pu, of_scu);
    assert!(of_pu.len() <= MAX_MESSAGE_BYTES);
    let mut again = BytesMut::new();
    scu_frames::codec().encode(of_pu.clone(), &mut again).expect("it is not too long");
    let read = at_once(pu_frames::read_frame(&mut std::io::Cursor::new(&again)));
    assert_eq!(read.expect("it never waits").expect("whole"), of_pu);
    // Either end refuses what is not for it.
    let _ = (decode::<ScuToPu>(of_pu), decode::<PuToScu>(of_pu));
}

/// What cameras answer to the probe, one address or scope a line: a name and an address that can be
/// shown and used, whatever they say.
pub fn onvif_answer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(found) = onvif_answer::found(&lines, &lines) else { return };
    assert!(matches!(found.device_url.scheme(), "http" | "https"));
    assert!(!found.name.is_empty() && !found.name.chars().any(char::is_control));
    for url in lines.iter().filter_map(|line| onvif_answer::reachable(line, &found.device_url)) {
        assert!(url.scheme() == "rtsp" && url.password().is_none() && url.username().is_empty());
    }
    let decoded = percent_decode(text);
    assert!(text.contains('%') || decoded == text);
}

/// Packets in any order, repeated and late: they come out in order, each once.
pub fn reorder(data: &[u8]) {
    let (mut reorder, mut now) = (reorder::Reorder::default(), Instant::now());
    let mut last = None::<u16>;
    for step in data.chunks_exact(3) {
        now += Duration::from_millis(u64::from(step[0]));
        let sequence = u16::from_be_bytes([step[1], step[2]]);
        let payload = Bytes::new();
        let packet =
            Packet { payload_type: 0, marker: false, sequence, timestamp: 0, ssrc: 0, payload };
        reorder.push(packet, now);
        while let Some(packet) = reorder.poll(now) {
            let ahead = last.map_or(1, |last| packet.sequence.wrapping_sub(last));
            assert!((1..=0x8000).contains(&ahead), "{last:?}, then {}", packet.sequence);
            last = Some(packet.sequence);
        }
        let _ = reorder.take_lost();
    }
    if let Some(at) = reorder.poll_timeout() {
        assert!(reorder.poll(at).is_some(), "nothing at the time that was named");
    }
}

/// The offer without what nobody here can resolve: cleaning twice changes nothing more.
pub fn offer_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let once = clean::clean(text);
    assert_eq!(clean::clean(&once), once);
    assert!(once.is_empty() || once.ends_with("\r\n"));
    assert!(once.len() <= 2 * text.len() + 2, "a short text became a long one");
}

/// What a future gives that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
