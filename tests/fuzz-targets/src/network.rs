//! Datagrams and texts about the network: STUN, TURN, the offer of a viewer.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    task::{Context, Poll, Waker},
};

use ::stun::message::Message;

#[path = "../../../crates/media-io/src/webrtc/offer_text.rs"]
mod clean;
#[path = "../../../cu-cli/src/stun.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "making requests takes no bytes from outside"))]
mod cu_stun;
#[path = "../../../mtu/src/framing.rs"]
mod framing;
#[path = "../../../mtu/src/named_peers.rs"]
mod named_peers;
#[path = "../../../mtu/src/peers.rs"]
mod peers;
#[path = "../../../crates/media-io/src/webrtc/stun.rs"]
#[expect(dead_code, reason = "the client's side of it is not for bytes from outside")]
mod pu_stun;

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
    if let Some(server) = std::str::from_utf8(data).ok().and_then(cu_stun::Server::parse) {
        assert!(!server.host.is_empty());
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
        judge(&message);
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
