//! Datagrams and texts about the network: STUN, TURN, the offer of a viewer.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use ::stun::{attributes::ATTR_USERNAME, message::Message, textattrs::TextAttribute};
use bytes::{Bytes, BytesMut};
use sightline_protocol::{
    MAX_MESSAGE_BYTES, decode,
    ps::{PuToScu, ScuToPu},
};
use sightline_rtsp::rtp::Packet;
use tokio_util::codec::{Decoder, Encoder};

use self::percent::percent_decode;

#[path = "../../../crates/media-io/src/webrtc/offer_text.rs"]
mod clean;
#[path = "../../../cu-cli/src/stun.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "making requests takes no bytes from outside"))]
mod cu_stun;
#[path = "../../../mtu/src/framing.rs"]
mod framing;
#[path = "../../../mtu/src/named_peers.rs"]
mod named_peers;
#[path = "../../../crates/media-io/src/onvif/answer.rs"]
mod onvif_answer;
#[path = "../../../mtu/src/peers.rs"]
mod peers;
#[path = "../../../crates/media-io/src/source/percent.rs"]
mod percent;
#[path = "../../../pu-agent/src/uplink/frames.rs"]
mod pu_frames;
#[path = "../../../crates/media-io/src/webrtc/stun.rs"]
#[expect(dead_code, reason = "the client's side of it is not for bytes from outside")]
mod pu_stun;
#[path = "../../../cu-cli/src/play/reorder.rs"]
mod reorder;
#[path = "../../../scu/src/frames.rs"]
mod scu_frames;
#[path = "../../../cu-cli/src/play/signal/address.rs"]
mod signal_address;
#[path = "../../../mtu/src/user_name.rs"]
mod user_name;

/// Answers of a STUN server, read by the PU's parser and by the CU's, which must agree; and the
/// URLs of such servers.
pub fn stun_answer(data: &[u8]) {
    let transaction = data.get(8..20).and_then(|t| <[u8; 12]>::try_from(t).ok());
    let of_pu = pu_stun::response(data);
    if let Some(transaction) = transaction {
        let of_cu = cu_stun::mapped_address(data, &transaction);
        assert_eq!(of_pu, of_cu.map(|address| (transaction, address)));
        assert_eq!(cu_stun::mapped_address(data, &[0x5a; 12]).is_some(), {
            transaction == [0x5a; 12] && of_cu.is_some()
        });
    } else {
        assert_eq!(of_pu, None);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(server) = cu_stun::Server::parse(text) {
        assert!(!server.host.is_empty());
    }
    // The other address that the portal names.
    if let Ok(url) = signal_address::websocket_url(text) {
        assert!(url.scheme() == "wss" || url.host_str().is_some_and(|host| host != "a.example"));
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

/// STUN and ChannelData from a TCP connection, cut into messages; then whether a request names a
/// peer that relays must not reach.
pub fn turn_request(data: &[u8]) {
    let mut stream = std::io::Cursor::new(data);
    while let Some(Ok(message)) = at_once(framing::read_message(&mut stream)) {
        assert!((4..=1_500).contains(&message.len()));
        let channel_data = message[0] & 0xc0 == 0x40;
        assert_eq!(framing::is_channel_data(&message), channel_data);
        judge(&message);
    }
    // As a datagram, where no length is what the sender says.
    if framing::is_channel_data(data) {
        assert!(data.len() >= 4 + usize::from(u16::from_be_bytes([data[2], data[3]])));
    }
}

fn judge(datagram: &[u8]) {
    let mut message = Message { raw: datagram.to_vec(), ..Default::default() };
    if message.decode().is_err() {
        return;
    }
    let own: IpAddr = [203, 0, 113, 9].into();
    let allowed = "10.1.0.0/16".parse().expect("a network");
    let filter = peers::PeerFilter::new(vec![allowed], vec![own]);
    if let Ok(name) = TextAttribute::get_from_as(&message, ATTR_USERNAME)
        && let Some(expiry) = user_name::expiry(&name.text)
    {
        assert!(
            name.text.trim_start_matches(['+', '0']).starts_with(&expiry.to_string())
                || expiry == 0
        );
    }
    let named = named_peers::names_denied_peer(&filter, &message);
    let relay = SocketAddr::new(own, 50_000);
    filter.opened(relay);
    // A relay of this very MTU may only widen what is allowed.
    assert!(named || !named_peers::names_denied_peer(&filter, &message));
    assert!(filter.allows(relay));
    filter.closed(relay);
    assert!(!filter.allows(relay));
    address(&filter, datagram);
}

/// The first bytes as an address of either family: no port opens what the address forbids.
fn address(filter: &peers::PeerFilter, datagram: &[u8]) {
    let v4 = datagram.first_chunk::<4>().map(|b| IpAddr::from(*b));
    let v6 = datagram.first_chunk::<16>().map(|b| IpAddr::from(*b));
    for ip in v4.into_iter().chain(v6) {
        assert_eq!(filter.allows_ip(ip), filter.allows(SocketAddr::new(ip, 9)));
        assert!(!(ip.is_loopback() && filter.allows_ip(ip)));
    }
}

/// What a future gives that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
