//! The relay's core: whatever clients and peers send, signed or not.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use mtu_turn::{
    ClientId, Credentials, Driver, Fragment, IcmpError, Limits, LiveRelays, Now, OpenError,
    OpenRelay, Opened, RelayId, Server, Settings, Shared, Transport, Usage, WorkerIndex,
    peers::PeerRules,
    wire::{self, Stun},
};
use sightline_model::Secret;
use stun_rs::{
    Algorithm, AlgorithmId, HMACKey, MessageClass, MessageEncoderBuilder, MessageMethod,
    StunMessageBuilder,
    attributes::stun::{Nonce, Realm, UserName},
};

use crate::Choices;

#[path = "../../../crates/p2p-net/src/relay/framing.rs"]
mod client_framing;
#[path = "../../../mtu/src/streams/framing.rs"]
mod framing;

const SECRET: &str = "0123456789abcdef";
const USER: &str = "2000000000:fuzz";
const NOW_S: u64 = 1_800_000_000;
const INTEGRITY: [u8; 4] = [0, 8, 0, 20];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Relays without sockets, and checks of what is asked of them.
#[derive(Default)]
struct Hands {
    open: HashSet<RelayId>,
    held: HashSet<SocketAddr>,
    to_clients: Vec<Vec<u8>>,
    to_peers: usize,
    ended: usize,
    ports: u16,
}

impl Driver for Hands {
    fn send_to_client(&mut self, _: &ClientId, head: &[u8], payload: &[u8], tail: &[u8]) {
        self.to_clients.push([head, payload, tail].concat());
    }

    fn send_to_peer(&mut self, relay: RelayId, peer: SocketAddr, _: &[u8], _: Fragment) {
        assert!(self.open.contains(&relay), "sent from a relay that is closed");
        let ip = peer.ip().to_canonical();
        assert!(!ip.is_loopback() && !ip.is_unspecified() && ip == peer.ip() && peer.port() != 0);
        self.to_peers += 1;
    }

    fn send_to_worker(&mut self, _: WorkerIndex, _: SocketAddr, _: SocketAddr, _: &[u8]) {
        panic!("there is one worker only");
    }

    fn open_relay(&mut self, wanted: &OpenRelay) -> Result<Opened, OpenError> {
        if self.ports > 40 {
            return Err(OpenError::Exhausted);
        }
        assert!(self.open.insert(wanted.relay), "opened twice");
        if let Some(address) = wanted.held {
            assert!(self.held.remove(&address), "was not held");
            return Ok(Opened { address, held: None });
        }
        self.ports += 2;
        let ip = match wanted.family {
            mtu_turn::Family::V4 => "192.0.2.1",
            mtu_turn::Family::V6 => "2001:db9::1",
        };
        let at = |port| SocketAddr::new(ip.parse().expect("an address"), port);
        let held = wanted.even == mtu_turn::EvenPort::EvenAndHoldNext;
        let held = held.then(|| at(50_001 + self.ports));
        self.held.extend(held);
        Ok(Opened { address: at(50_000 + self.ports), held })
    }

    fn close_relay(&mut self, relay: RelayId) {
        assert!(self.open.remove(&relay), "closed what was not open");
    }

    fn release_held(&mut self, address: SocketAddr) {
        assert!(self.held.remove(&address), "released what was not held");
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }

    fn ended(&mut self, _: Usage) {
        self.ended += 1;
    }
}

struct Relay {
    server: Server,
    hands: Hands,
    now: Now,
    client: ClientId,
    nonce: String,
    key: HMACKey,
}

impl Relay {
    fn new() -> Self {
        let instant = Instant::now();
        let ips = ["192.0.2.1", "2001:db9::1"].map(|ip| ip.parse().expect("an address"));
        let shared = Arc::new(Shared::new(ips, &[7; 32], instant));
        let secrets = vec![Secret::new(SECRET.to_owned())];
        let limits = Limits { permissions: 8, channels: 8, ..Limits::default() };
        let settings = Settings {
            credentials: Credentials::new("sightline", secrets).expect("usable"),
            peers: PeerRules { own: ips.to_vec(), ..Default::default() },
            limits,
            listening: vec![],
            draining: false,
            alternates: vec![],
            tcp_relays: true,
        };
        let password = Credentials::password(&Secret::new(SECRET.to_owned()), USER);
        let md5 = Algorithm::from(AlgorithmId::MD5);
        let key = HMACKey::new_long_term(USER, "sightline", password.expose(), md5);
        let mut relay = Self {
            server: Server::new(WorkerIndex(0), shared, Arc::new(settings)),
            hands: Hands::default(),
            now: Now { instant, unix_s: NOW_S },
            client: ClientId::new(
                Transport::Udp,
                address("198.51.100.7:40000"),
                address("192.0.2.1:3478"),
            ),
            nonce: String::new(),
            key: key.expect("a key"),
        };
        relay.input(&[&[0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat());
        let challenge = relay.hands.to_clients.pop().expect("asked for proof");
        let challenge = Stun::parse(&challenge).expect("STUN");
        let nonce = challenge.attributes().flatten().find(|attribute| attribute.kind == 0x0015);
        relay.nonce = String::from_utf8_lossy(nonce.expect("a nonce").value).into_owned();
        relay
    }

    fn input(&mut self, bytes: &[u8]) {
        let (client, stride) = (self.client, bytes.len());
        self.server.handle_input(&client, bytes, stride, self.now, &mut self.hands);
    }

    /// A request that proves itself, with these bytes as further attributes.
    fn request(&mut self, method: u16, attributes: &[u8]) {
        let method = MessageMethod::try_from(method & 0x0fff).expect("a method");
        let message = StunMessageBuilder::new(method, MessageClass::Request)
            .with_transaction_id([method.as_u16() as u8; 12].into())
            .with_attribute(UserName::new(USER).expect("a name"))
            .with_attribute(Realm::new("sightline").expect("a realm"))
            .with_attribute(Nonce::new(&self.nonce).expect("a nonce"))
            .build();
        let mut bytes = vec![0; 1_024];
        let encoder = MessageEncoderBuilder::default().build();
        let length = encoder.encode(&mut bytes, &message).expect("encoded");
        bytes.truncate(length);
        bytes.extend_from_slice(&attributes[..attributes.len() / 4 * 4]);
        let length = u16::try_from(bytes.len() + 24 - 20).expect("short");
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let sha1 = aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
        let key = aws_lc_rs::hmac::Key::new(sha1, self.key.as_bytes());
        let mac = aws_lc_rs::hmac::sign(&key, &bytes);
        bytes.extend(INTEGRITY);
        bytes.extend(mac.as_ref());
        self.input(&bytes);
    }

    fn check(&self) {
        assert!(self.hands.open.len() <= self.server.allocations() * 2);
        for message in &self.hands.to_clients {
            if wire::is_channel(message[0]) {
                assert!(wire::channel_data(message).is_some());
            } else {
                assert!(
                    Stun::parse(message).is_some_and(|stun| {
                        stun.attributes().all(|attribute| attribute.is_ok())
                    })
                );
            }
        }
    }

    fn close(mut self) {
        self.now.instant += Duration::from_secs(4_000);
        self.now.unix_s += 4_000;
        self.server.handle_timeout(self.now, &mut self.hands);
        let Hands { open, held, .. } = &self.hands;
        assert!(open.is_empty() && held.is_empty() && self.server.allocations() == 0);
        assert_eq!(self.server.poll_timeout(), None);
    }
}

/// Attributes: REQUESTED-TRANSPORT UDP.
const ALLOCATE: [u8; 8] = [0, 0x19, 0, 4, 17, 0, 0, 0];

/// What a client sends: bytes as they are, and requests that prove themselves around any bytes.
pub fn relay_client(data: &[u8]) {
    let mut relay = Relay::new();
    let mut choices = Choices::new(data);
    while !choices.is_empty() {
        match choices.below(8) {
            0 => relay.input(choices.piece()),
            1 => relay.request(0x003, &ALLOCATE),
            // Beside UDP's allocation, one of a stream.
            2 => {
                let streams = [Transport::Udp, Transport::Tcp];
                relay.client.transport = streams[usize::from(choices.below(2))];
            }
            3 => {
                relay.now.instant += Duration::from_secs(choices.byte().into());
                relay.server.handle_timeout(relay.now, &mut relay.hands);
            }
            4 => {
                let mut train = choices.piece().to_vec();
                if let Some(first) = train.first_mut() {
                    *first = 0x40 | (*first & 0x3f);
                }
                let (client, stride) = (relay.client, choices.byte().into());
                let hands = &mut relay.hands;
                relay.server.handle_input(&client, &train, stride, relay.now, hands);
            }
            _ => {
                let method = u16::from(choices.below(14));
                relay.request(method, choices.piece());
            }
        }
        relay.check();
    }
    // TCP's nonce is not UDP's: such requests are refused, and end nothing.
    relay.close();
}

/// What peers send to a relayed address with a permission, a channel, or neither.
pub fn relay_peer(data: &[u8]) {
    let mut relay = Relay::new();
    relay.request(0x003, &ALLOCATE);
    let peers = ["203.0.113.5:7000", "203.0.113.5:7001", "203.0.113.6:7000"].map(address);
    let mut bind = vec![0, 0x0c, 0, 4, 0x40, 0, 0, 0, 0, 0x12, 0, 8];
    let mut value = [0; 20];
    let length = wire::write_xor(&mut value, peers[0], &[9; 12]);
    bind.extend_from_slice(&value[..length]);
    relay.request(0x009, &bind);
    relay.hands.to_clients.clear();
    let Some(&id) = relay.hands.open.iter().next() else { panic!("no relay") };
    let mut choices = Choices::new(data);
    while !choices.is_empty() {
        let which = usize::from(choices.below(3));
        if choices.below(4) == 0 {
            let [kind, code] = [choices.byte(), choices.byte()];
            let error = IcmpError { kind, code, data: choices.u16().into() };
            let hands = &mut relay.hands;
            relay.server.handle_icmp(id, peers[which], error, relay.now, hands);
            assert!(relay.hands.to_clients.len() <= usize::from(which < 2));
            relay.check();
            relay.hands.to_clients.clear();
            continue;
        }
        let stride = usize::from(choices.byte());
        let train = choices.piece();
        let hands = &mut relay.hands;
        relay.server.handle_peer_input(id, peers[which], train, stride, relay.now, hands);
        let expected = match which {
            2 => 0,
            _ => train.len().div_ceil(stride.max(1)).max(1),
        };
        assert_eq!(relay.hands.to_clients.len(), expected);
        relay.check();
        let payloads = relay.hands.to_clients.iter().flat_map(|message| {
            let channel = wire::channel_data(message).map(|(_, payload)| payload);
            let data = || {
                let stun = Stun::parse(message)?;
                stun.attributes().flatten().find(|attribute| attribute.kind == 0x0013)
            };
            channel.or_else(|| data().map(|data| data.value)).expect("a payload")
        });
        assert!(expected == 0 || payloads.copied().eq(train.iter().copied()));
        relay.hands.to_clients.clear();
    }
    relay.close();
}

/// A stream of messages to the relay, and peers of any address.
pub fn relay_stream(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(frame)) = framing::frame(rest, framing::MAX_STRANGERS_MESSAGE) {
        assert!((4..=framing::MAX_STRANGERS_MESSAGE).contains(&frame.length));
        assert!(frame.padded - frame.length < 4 && frame.length <= framing::MAX_MESSAGE);
        let Some(message) = rest.get(..frame.length) else { break };
        // What was cut out is one message, or nothing that the core knows.
        match (wire::is_channel(message[0]), wire::channel_data(message)) {
            (true, read) => {
                assert!(read.is_some_and(|(_, payload)| payload.len() + 4 == message.len()))
            }
            (false, read) => assert!(read.is_none()),
        }
        if let Some(send) = Stun::parse(message).as_ref().and_then(wire::send) {
            assert!(send.payload.len() < message.len());
        }
        rest = rest.get(frame.padded..).unwrap_or_default();
    }
    let v4 = data.first_chunk::<4>().map(|b| IpAddr::from(*b));
    let v6 = data.first_chunk::<16>().map(|b| IpAddr::from(*b));
    for ip in v4.into_iter().chain(v6) {
        peer_rules(ip);
    }
}

/// What a relay sends to its client over TCP, in two pieces of which the first byte tells the length:
/// the client cuts it into the same messages wherever the pieces end, and as the relay does.
pub fn relay_message(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let (head, tail) = stream.split_at(usize::from(*cut) % (stream.len() + 1));
    let cut_out = messages(&[stream]);
    assert_eq!(messages(&[head, tail]), cut_out);
    let (mut rest, (messages, _)) = (stream, cut_out);
    for message in messages {
        assert!(message.len() >= 4 && message[0] < 0x80);
        let Ok(Some(frame)) = framing::frame(rest, framing::MAX_MESSAGE) else { break };
        // There is no such message of STUN, and nobody knows how it would be padded.
        if !wire::is_channel(message[0]) && !frame.length.is_multiple_of(4) {
            break;
        }
        assert_eq!(message, rest[..frame.length]);
        rest = &rest[frame.padded..];
    }
}

/// What a client cuts out of a stream that comes in these pieces, and whether it gives up.
fn messages(pieces: &[&[u8]]) -> (Vec<Bytes>, bool) {
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match client_framing::next_message(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

/// No port opens what the address forbids, but for live relays of our own.
fn peer_rules(ip: IpAddr) {
    let own: IpAddr = [203, 0, 113, 9].into();
    let rules = PeerRules { own: vec![own], ..Default::default() };
    let live = LiveRelays::new([own]);
    let peer = SocketAddr::new(ip, 9);
    assert_eq!(rules.allows_ip(&live, ip), rules.allows(&live, peer));
    let inner = ip.to_canonical();
    assert!(!((inner.is_loopback() || inner.is_unspecified()) && rules.allows(&live, peer)));
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        assert!(!rules.allows_ip(&live, ip), "{v4} by another name");
    }
}
