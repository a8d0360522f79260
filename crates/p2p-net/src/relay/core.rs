//! The protocol's state of one relay, and what this side adds to it: asking for permissions and
//! channels when they are needed, and the few packets that wait for them.

use std::{
    collections::{HashMap, VecDeque},
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use turn_client_proto::{
    api::{Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet},
    client::TurnClient,
    prelude::DelayedTransmitBuild,
    stun::Instant as TurnInstant,
    tcp::TurnClientTcp,
    types::TransportType,
    udp::TurnClientUdp,
};

use super::{
    io::Io,
    permissions::{ASK_AGAIN, MAX_PEERS, Permissions, UNUSED, peer_of_request},
};
use crate::stun;

/// Transmissions that wait for permissions; more are lost.
const MAX_WAITING: usize = 32;
/// A peer to which more datagrams were sent gets a channel: four bytes of header instead of 36.
const CHANNEL_AFTER: u32 = 8;
/// Steps without waiting that the protocol may take in a row.
const MAX_STEPS: usize = 256;

/// What the server answered to the request for an allocation, beyond what the library tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) mapped: Option<SocketAddr>,
    pub(super) alternate: Option<SocketAddr>,
    pub(super) refusal: Option<(u16, String)>,
    /// The second 401: the credential is not good. The library waits for another answer.
    pub(super) wrong: bool,
    challenges: Vec<[u8; 12]>,
}

/// State shared by the relay's task and its users.
pub(super) struct Core {
    inner: Mutex<Inner>,
    /// The task has something to do.
    pub(super) wake: Notify,
    origin: Instant,
}

struct Inner {
    client: TurnClient,
    /// To whom, what, in datagrams of which size.
    waiting: VecDeque<(SocketAddr, Box<[u8]>, Option<usize>)>,
    permissions: Permissions,
    peers: HashMap<SocketAddr, PeerState>,
    answers: Answers,
    allocated: bool,
    /// Messages to the server; kept for its memory.
    out: Vec<u8>,
}

struct PeerState {
    sent: u32,
    /// When something was last sent there.
    used: Instant,
    /// Not before this, when it is set.
    channel_asked: Option<Instant>,
}

/// What a step leads to.
pub(super) struct Step {
    /// Next step at the latest.
    pub(super) at: Instant,
    /// No allocation is left.
    pub(super) closed: bool,
}

impl Core {
    pub(super) fn new(
        tcp: bool,
        local: SocketAddr,
        server: SocketAddr,
        config: TurnConfig,
        now: Instant,
    ) -> Self {
        let client = if tcp {
            TurnClientTcp::allocate(local, server, config).into()
        } else {
            TurnClientUdp::allocate(local, server, config).into()
        };
        let inner = Inner {
            client,
            waiting: VecDeque::new(),
            permissions: Permissions::default(),
            peers: HashMap::new(),
            answers: Answers::default(),
            allocated: false,
            out: Vec::new(),
        };
        Self { inner: Mutex::new(inner), wake: Notify::new(), origin: now }
    }

    fn turn_time(&self, now: Instant) -> TurnInstant {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        TurnInstant::from_nanos(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Where peers reach it; empty while there is no allocation.
    pub(super) fn relayed(&self) -> Vec<SocketAddr> {
        self.inner.lock().client.relayed_addresses().map(|(_, address)| address).collect()
    }

    pub(super) fn answers(&self) -> Answers {
        self.inner.lock().answers.clone()
    }

    pub(super) fn permit(&self, peer: IpAddr, now: Instant) {
        let at = self.turn_time(now);
        if self.inner.lock().ask_permission(peer.to_canonical(), now, at) {
            self.wake.notify_one();
        }
    }

    pub(super) fn send(
        &self,
        io: &Io,
        peer: SocketAddr,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> std::io::Result<()> {
        let now = Instant::now();
        let at = self.turn_time(now);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let mut inner = self.inner.lock();
        if !inner.client.have_permission(TransportType::Udp, peer.ip()) {
            let asked = inner.ask_permission(peer.ip(), now, at);
            let hopeful = inner.permissions.is_hopeful(peer.ip());
            if hopeful && inner.waiting.len() < MAX_WAITING {
                inner.waiting.push_back((peer, contents.into(), segment_size));
            }
            drop(inner);
            if asked {
                self.wake.notify_one();
            }
            return Ok(());
        }
        inner.permissions.sent(peer.ip(), now);
        let result = inner.transmit(io, peer, contents, segment_size, at);
        let asked = inner.count(peer, now, at);
        drop(inner);
        if asked || result.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
            self.wake.notify_one();
        }
        result
    }

    /// One message of the server. Gives back what a peer sent.
    pub(super) fn receive(&self, io: &Io, message: &Bytes) -> Option<(SocketAddr, Bytes)> {
        let at = self.turn_time(Instant::now());
        let mut inner = self.inner.lock();
        if !inner.allocated {
            inner.peek(message);
        }
        let transport = if io.is_stream() { TransportType::Tcp } else { TransportType::Udp };
        let transmit = Transmit::new(&message[..], transport, io.server(), io.local());
        match inner.client.recv(transmit, at) {
            TurnRecvRet::PeerData(data) => Some((data.peer, Bytes::copy_from_slice(data.data()))),
            TurnRecvRet::Handled | TurnRecvRet::Ignored(_) | TurnRecvRet::PeerIcmp { .. } => None,
        }
    }

    /// Does all that is due: sends requests, takes their results.
    pub(super) fn step(&self, io: &Io, now: Instant) -> Step {
        let at = self.turn_time(now);
        let mut inner = self.inner.lock();
        if inner.answers.wrong && !inner.allocated {
            return Step { at: now, closed: true };
        }
        for _ in 0..MAX_STEPS {
            while let Some(message) = inner.client.poll_transmit(at) {
                // The library refreshes for ever: what nobody uses any more is to end.
                let peer = peer_of_request(&message.data);
                if peer.is_some_and(|peer| !inner.permissions.keeps(peer)) {
                    continue;
                }
                // Requests are repeated when they are lost.
                let _ = io.send(&framed(io, &message.data), None);
            }
            while let Some(event) = inner.client.poll_event() {
                inner.event(io, event, now, at);
            }
            match inner.client.poll(at) {
                TurnPollRet::WaitUntil(until) if until <= at => {}
                TurnPollRet::WaitUntil(until) => {
                    let wait = until.saturating_duration_since(at);
                    return Step { at: now + wait, closed: false };
                }
                TurnPollRet::Closed => return Step { at: now, closed: true },
                // Allocations for TCP (RFC 6062) are not asked for.
                TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => {}
            }
        }
        Step { at: now + Duration::from_millis(50), closed: false }
    }

    /// Asks the server to forget the allocation; nobody waits for the answer.
    pub(super) fn delete(&self, io: &Io, now: Instant) {
        let at = self.turn_time(now);
        let mut inner = self.inner.lock();
        if inner.client.delete(at).is_err() {
            return;
        }
        // The library spaces requests by 50 ms.
        let later = at + Duration::from_millis(60);
        while let Some(message) = inner.client.poll_transmit(later) {
            let _ = io.send(&framed(io, &message.data), None);
        }
    }
}

impl Inner {
    /// Whether the task must run for it.
    fn ask_permission(&mut self, peer: IpAddr, now: Instant, at: TurnInstant) -> bool {
        if !self.permissions.wants(peer, now) {
            return false;
        }
        self.permissions.asked(peer, now);
        // A relay has at most one address a family, and may lack the peer's.
        let asked = matches!(
            self.client.create_permission(TransportType::Udp, peer, at),
            Ok(()) | Err(turn_client_proto::api::CreatePermissionError::AlreadyExists)
        );
        if !asked {
            self.permissions.refused(peer, now);
        }
        asked
    }

    /// Counts a transmission; asks for a channel when there were enough. Whether the task must run.
    fn count(&mut self, peer: SocketAddr, now: Instant, at: TurnInstant) -> bool {
        if !self.peers.contains_key(&peer) && !self.has_room_for_peer(now) {
            return false;
        }
        let new = PeerState { sent: 0, used: now, channel_asked: None };
        let state = self.peers.entry(peer).or_insert(new);
        state.sent = state.sent.saturating_add(1);
        state.used = now;
        if state.sent < CHANNEL_AFTER || state.channel_asked.is_some_and(|until| until > now) {
            return false;
        }
        // Channels last for ten minutes and are refreshed; a lost one is noticed by its event.
        state.channel_asked = Some(now + Duration::from_secs(3_600));
        self.client.bind_channel(TransportType::Udp, peer, at).is_ok()
    }

    /// Whether another peer is counted; those that are sent nothing any more are forgotten for it.
    fn has_room_for_peer(&mut self, now: Instant) -> bool {
        if self.peers.len() >= MAX_PEERS {
            self.peers.retain(|_, state| now.saturating_duration_since(state.used) < UNUSED);
        }
        self.peers.len() < MAX_PEERS
    }

    fn transmit(
        &mut self,
        io: &Io,
        peer: SocketAddr,
        contents: &[u8],
        segment_size: Option<usize>,
        at: TurnInstant,
    ) -> std::io::Result<()> {
        self.out.clear();
        let mut first = None;
        for datagram in contents.chunks(segment_size.unwrap_or(contents.len()).max(1)) {
            let built = match self.client.send_to(TransportType::Udp, peer, datagram, at) {
                Ok(Some(built)) => built.data,
                Ok(None) => continue,
                Err(_) => return Err(ErrorKind::NotConnected.into()),
            };
            let begin = self.out.len();
            let length = built.len();
            self.out.resize(begin + length, 0);
            built.write_into(&mut self.out[begin..]);
            if io.is_stream() {
                // RFC 8656 section 12.5.
                self.out.resize(self.out.len().next_multiple_of(4), 0);
            }
            first.get_or_insert(length);
        }
        let several = segment_size.is_some_and(|size| contents.len() > size);
        io.send(&self.out, first.filter(|_| several))
    }

    fn event(&mut self, io: &Io, event: TurnEvent, now: Instant, at: TurnInstant) {
        match event {
            TurnEvent::AllocationCreated(..) => self.allocated = true,
            TurnEvent::PermissionCreated(_, ip) => {
                self.permissions.granted(ip);
                for (peer, contents, segment_size) in std::mem::take(&mut self.waiting) {
                    if peer.ip() == ip {
                        // Lost if the socket is full.
                        let _ = self.transmit(io, peer, &contents, segment_size, at);
                    } else {
                        self.waiting.push_back((peer, contents, segment_size));
                    }
                }
            }
            TurnEvent::PermissionCreateFailed(_, ip) => {
                self.permissions.refused(ip, now);
                self.waiting.retain(|(peer, ..)| peer.ip() != ip);
            }
            TurnEvent::ChannelCreateFailed(_, peer) => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.channel_asked = Some(now + ASK_AGAIN);
                }
            }
            TurnEvent::AllocationCreateFailed(_)
            | TurnEvent::ChannelCreated(..)
            | TurnEvent::TcpConnected(_)
            | TurnEvent::TcpConnectFailed(_) => {}
        }
    }

    /// Keeps of an answer what the library does not tell.
    fn peek(&mut self, message: &[u8]) {
        let Some(answer) = stun::Answer::parse(message) else { return };
        if let Some(mapped) = answer.mapped {
            self.answers.mapped = Some(mapped);
        }
        if answer.alternate.is_some() {
            self.answers.alternate = answer.alternate;
        }
        if let Some((code, _)) = answer.error {
            let again = self.answers.refusal.as_ref().is_some_and(|(before, _)| *before == 401);
            self.answers.wrong =
                again && code == 401 && !self.answers.challenges.contains(&answer.transaction);
            self.answers.challenges.push(answer.transaction);
            self.answers.refusal = answer.error;
        }
    }
}

/// A message as the leg to the server carries it.
fn framed(io: &Io, message: &[u8]) -> Vec<u8> {
    let mut out = message.to_vec();
    if io.is_stream() {
        // Messages of STUN are multiples of four already.
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
