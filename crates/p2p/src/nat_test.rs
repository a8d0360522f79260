//! What NATs stand before this end: the tests of RFC 5780, without I/O.
//!
//! Mapping is judged from one socket, filtering from another, at the same time: a packet of the one
//! would open the filter for the other. With a server that has a second address both are told
//! exactly; with a second port only, or with several servers, as well as it goes: what cannot be
//! told stays unknown, or is taken for the stricter case. With one exception: a mapping that is the
//! same for a second port is taken for the same at a second address too. Hardly any NAT minds the
//! address alone, and an unknown mapping would keep every home from port probing where the centre
//! has a single address; where it is wrong, the rounds of probing are in vain.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sightline_model::{NatDependence, NatReport};
use stun_rs::{
    MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessageBuilder, TransactionId,
    attributes::{
        discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress},
        stun::XorMappedAddress,
    },
    methods::BINDING,
};

use crate::{candidate::is_usable, check::is_stun};

/// Each question is sent at these times, and given up after the last.
const SENDS_MS: [u64; 3] = [0, 200, 600];
const GIVE_UP: Duration = Duration::from_millis(1_200);
const MAX_SERVERS: usize = 4;

/// Which of the two sockets of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatSocket {
    /// Used before or after, as the caller likes.
    Mapping,
    /// A fresh one, which sends nothing else.
    Filtering,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatTransmit {
    /// From there.
    pub socket: NatSocket,
    /// To there.
    pub to: SocketAddr,
    /// All of it.
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// To a server as it was named.
    Named,
    /// To its other address, at the port that was named.
    OtherIp,
    /// To its other port.
    OtherPort,
    /// To its other address and port.
    OtherBoth,
    /// Answer from the other port.
    FromOtherPort,
    /// Answer from the other address and port.
    FromOtherBoth,
}

#[derive(Debug)]
struct Query {
    question: Question,
    socket: NatSocket,
    to: SocketAddr,
    /// Where the answer comes from; `None`: anywhere but from there.
    answer_from: SocketAddr,
    transaction: [u8; 12],
    asked: Instant,
    sends: usize,
    mapped: Option<SocketAddr>,
    over: bool,
}

/// The measurement. Drive it as a [`Ladder`](crate::Ladder) is driven, until
/// [`result`](Self::result) gives something.
#[derive(Debug)]
pub struct NatTest {
    rng: StdRng,
    own: SocketAddr,
    queries: Vec<Query>,
    transmits: VecDeque<NatTransmit>,
    /// Whether a server with a second address or port has been found.
    other: bool,
}

impl NatTest {
    /// Asks these servers; at most four are. `own` is the address of the mapping socket.
    #[must_use]
    pub fn new(now: Instant, seed: [u8; 32], own: SocketAddr, servers: &[SocketAddr]) -> Self {
        let (rng, queries, transmits) = (StdRng::from_seed(seed), Vec::new(), VecDeque::new());
        let mut test = Self { rng, own, queries, transmits, other: false };
        let same_family = servers.iter().filter(|s| s.is_ipv6() == own.is_ipv6());
        for server in same_family.take(MAX_SERVERS) {
            test.ask(now, Question::Named, *server, *server);
        }
        test.handle_timeout(now);
        test
    }

    fn ask(&mut self, now: Instant, question: Question, to: SocketAddr, answer_from: SocketAddr) {
        let socket = match question {
            Question::FromOtherPort | Question::FromOtherBoth => NatSocket::Filtering,
            Question::Named | Question::OtherIp | Question::OtherPort | Question::OtherBoth => {
                NatSocket::Mapping
            }
        };
        let transaction = self.rng.random();
        let (asked, sends, mapped, over) = (now, 0, None, false);
        self.queries.push(Query {
            question,
            socket,
            to,
            answer_from,
            transaction,
            asked,
            sends,
            mapped,
            over,
        });
    }

    /// Takes a datagram; false when it is not for the measurement.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: NatSocket,
        from: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        if !is_stun(bytes) {
            return false;
        }
        let Ok((message, _)) = MessageDecoderBuilder::default().build().decode(bytes) else {
            return false;
        };
        let transaction = message.transaction_id().as_bytes();
        let Some(query) = self.queries.iter_mut().find(|q| q.transaction == *transaction) else {
            return false;
        };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if query.socket != socket || query.answer_from != from || query.over {
            return true;
        }
        query.over = true;
        if message.class() != MessageClass::SuccessResponse {
            return true;
        }
        let mapped = message.get::<XorMappedAddress>().and_then(|a| a.as_xor_mapped_address().ok());
        query.mapped = mapped.map(|a| *a.socket_address());
        let (question, named) = (query.question, query.to);
        let other = message.get::<OtherAddress>().and_then(|a| a.as_other_address().ok());
        if let (Question::Named, Some(other)) = (question, other) {
            self.ask_other(now, named, *other.socket_address());
        }
        self.handle_timeout(now);
        true
    }

    /// A server has a second address: it is asked there, and asked to answer from there.
    fn ask_other(&mut self, now: Instant, named: SocketAddr, other: SocketAddr) {
        if self.other || !is_usable(other) || other.is_ipv6() != named.is_ipv6() {
            return;
        }
        let other_port = SocketAddr::new(named.ip(), other.port());
        if other.ip() != named.ip() {
            let other_ip = SocketAddr::new(other.ip(), named.port());
            self.ask(now, Question::OtherIp, other_ip, other_ip);
            self.ask(now, Question::OtherBoth, other, other);
            self.ask(now, Question::FromOtherBoth, named, other);
        } else if other.port() != named.port() {
            self.ask(now, Question::OtherPort, other_port, other_port);
        } else {
            return;
        }
        self.ask(now, Question::FromOtherPort, named, other_port);
        self.other = true;
    }

    /// Repeats questions, gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        for query in &mut self.queries {
            if query.over {
                continue;
            }
            query.over = now >= query.asked + GIVE_UP;
            let due = SENDS_MS.get(query.sends).map(|ms| query.asked + Duration::from_millis(*ms));
            if !query.over && due.is_some_and(|due| now >= due) {
                query.sends += 1;
                self.transmits.extend(transmit(query));
            }
        }
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self) -> Option<NatTransmit> {
        self.transmits.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when all is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let open = self.queries.iter().filter(|q| !q.over);
        open.map(|query| match SENDS_MS.get(query.sends) {
            Some(ms) => query.asked + Duration::from_millis(*ms),
            None => query.asked + GIVE_UP,
        })
        .min()
    }

    /// How the mapping socket looks from outside, as soon as a server has said.
    #[must_use]
    pub fn reflexive(&self) -> Option<SocketAddr> {
        self.queries.iter().find(|q| q.question == Question::Named && q.mapped.is_some())?.mapped
    }

    /// The result, once everything has been answered or given up.
    #[must_use]
    pub fn result(&self) -> Option<NatReport> {
        if self.queries.iter().any(|q| !q.over) {
            return None;
        }
        let mut report = NatReport::default();
        if self.queries.is_empty() {
            return Some(report);
        }
        let reflexive = self.reflexive();
        report.udp = Some(reflexive.is_some());
        report.translated = reflexive.map(|seen| seen != self.own);
        if let Some(seen) = reflexive {
            report.mapping = self.mapping(seen);
            report.filtering = self.filtering();
        }
        Some(report)
    }

    /// RFC 5780 section 4.3.
    fn mapping(&self, seen: SocketAddr) -> Option<NatDependence> {
        use NatDependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        if seen == self.own {
            return Some(EndpointIndependent);
        }
        let of = |question| self.queries.iter().find(|q| q.question == question)?.mapped;
        match (of(Question::OtherIp), of(Question::OtherBoth), of(Question::OtherPort)) {
            (Some(ip), _, _) if ip == seen => Some(EndpointIndependent),
            (Some(ip), Some(both), _) if ip == both => Some(AddressDependent),
            (Some(_), _, _) => Some(AddressAndPortDependent),
            (None, Some(both), _) if both == seen => Some(EndpointIndependent),
            (None, _, Some(port)) if port != seen => Some(AddressAndPortDependent),
            // No second address: several servers know better than a second port.
            (None, _, port) => self.mapping_by_servers().or(port.map(|_| EndpointIndependent)),
        }
    }

    /// By what several servers have seen.
    fn mapping_by_servers(&self) -> Option<NatDependence> {
        let named = self.queries.iter().filter(|q| q.question == Question::Named);
        let mut seen = named.filter_map(|q| q.mapped);
        let first = seen.next()?;
        let second = seen.next()?;
        Some(if first == second && seen.all(|other| other == first) {
            NatDependence::EndpointIndependent
        } else {
            NatDependence::AddressAndPortDependent
        })
    }

    /// RFC 5780 section 4.4. Without a second address, an answer from the second port shows that
    /// the port does not matter; that the address does is assumed.
    fn filtering(&self) -> Option<NatDependence> {
        let answered = |question| {
            self.queries.iter().find(|q| q.question == question).map(|q| q.mapped.is_some())
        };
        match (answered(Question::FromOtherBoth), answered(Question::FromOtherPort)) {
            (Some(true), _) => Some(NatDependence::EndpointIndependent),
            (_, Some(true)) => Some(NatDependence::AddressDependent),
            (_, Some(false)) => Some(NatDependence::AddressAndPortDependent),
            (Some(false) | None, None) => None,
        }
    }
}

fn transmit(query: &Query) -> Option<NatTransmit> {
    let mut message = StunMessageBuilder::new(BINDING, MessageClass::Request)
        .with_transaction_id(TransactionId::from(query.transaction));
    let flags = match query.question {
        Question::FromOtherPort => Some(ChangeRequestFlags::ChangePort.into()),
        Question::FromOtherBoth => {
            Some(ChangeRequestFlags::ChangePort | ChangeRequestFlags::ChangeIp)
        }
        Question::Named | Question::OtherIp | Question::OtherPort | Question::OtherBoth => None,
    };
    if flags.is_some() {
        message = message.with_attribute(ChangeRequest::new(flags));
    }
    let mut buffer = [0; 64];
    let encoder = MessageEncoderBuilder::default().build();
    let length = encoder.encode(&mut buffer, &message.build()).ok()?;
    let bytes = Bytes::copy_from_slice(&buffer[..length]);
    Some(NatTransmit { socket: query.socket, to: query.to, bytes })
}
