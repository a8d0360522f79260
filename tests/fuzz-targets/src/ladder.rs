//! The connection ladder: descriptions of the other end, and two ladders with a network between
//! them that does whatever the bytes say.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use sightline_model::{NatReport, Secret};
use sightline_p2p::{
    Candidate, CandidateKind, Config, Consumed, Credentials, Description, Event, Ladder, Leg,
    Local, MAX_CANDIDATES, Nat64Prefix, NatSocket, NatTest, NetworkId, Path, Role, SocketId,
    Transmit, addressee,
};

use crate::Choices;

/// What is read is what is written, and within its bounds.
pub fn description(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(read) = text.parse::<Description>() {
        assert!(Description::is_quic(text) && read.candidates.len() <= MAX_CANDIDATES);
        assert_eq!(read.to_string().parse(), Ok(read));
    }
    for line in text.lines() {
        if let Ok(read) = line.parse::<Candidate>() {
            assert_eq!(read.to_string().parse(), Ok(read));
        }
    }
}

struct Side {
    ladder: Ladder,
    /// Everything that it has sent: also what is lost, repeated and changed.
    sent: Vec<Transmit>,
    sockets: u64,
}

struct World {
    now: Instant,
    sides: [Side; 2],
}

/// Any order of packets, candidates, sockets and times: what was changed on its way is never
/// believed, the active path has proven itself, and time never stands still.
pub fn ladder(data: &[u8]) {
    let mut choices = Choices::new(data);
    let now = Instant::now();
    let mut world = World { now, sides: [side(now, 0), side(now, 1)] };
    while !choices.is_empty() {
        world.step(&mut choices);
        world.check();
    }
    // Nobody answers any more.
    world.wait(Duration::from_secs(40));
    world.check();
}

fn credentials(side: usize) -> Credentials {
    let password = Secret::new(format!("aPasswordOfEnoughLength{side}"));
    Credentials { ufrag: format!("end{side}"), password }
}

fn side(now: Instant, side: usize) -> Side {
    let config = Config {
        role: if side == 0 { Role::Controlling } else { Role::Controlled },
        credentials: credentials(side),
        seed: [side as u8; 32],
        nat: NatReport::default(),
        lifetimes: BTreeMap::new(),
        probing: true,
    };
    Side { ladder: Ladder::new(now, config), sent: Vec::new(), sockets: 0 }
}

fn address(choices: &mut Choices<'_>) -> SocketAddr {
    let port = u16::from(choices.below(8)) + 1;
    match choices.below(6) {
        0 => SocketAddr::from(([192, 0, 2, choices.below(4)], port)),
        1 => SocketAddr::from(([10, 0, 0, choices.below(4)], port)),
        2 => SocketAddr::from(([127, 0, 0, 1], port)),
        3 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], port)),
        4 => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201], port)),
        _ => SocketAddr::from(([choices.byte(), choices.byte(), 0, 1], choices.u16())),
    }
}

fn kind(choices: &mut Choices<'_>) -> CandidateKind {
    match choices.below(7) {
        0 => CandidateKind::ServerReflexive,
        1 => CandidateKind::Mapped,
        2 => CandidateKind::Relayed(Leg::Udp),
        3 => CandidateKind::Relayed(Leg::Tls),
        4 => CandidateKind::PeerReflexive,
        _ => CandidateKind::Host,
    }
}

impl World {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let side = usize::from(choices.below(2));
        match choices.below(12) {
            0 | 1 => self.add_local(choices, side),
            2 => {
                let socket = SocketId(u64::from(choices.below(8)));
                self.sides[side].ladder.remove_local(self.now, socket);
            }
            3 => self.add_remote(choices, side),
            4 => self.describe(side),
            5..=7 => self.deliver(choices, side),
            8 => self.deliver_changed(choices, side),
            9 => {
                let (socket, from) = (SocketId(u64::from(choices.below(8))), address(choices));
                let bytes = choices.piece();
                let consumed =
                    self.sides[side].ladder.handle_datagram(self.now, socket, from, bytes);
                assert!(consumed != Consumed::Check, "nobody can guess a password");
                let _ = addressee(bytes);
            }
            10 => self.wait(Duration::from_millis(u64::from(choices.u16()))),
            _ => {
                let (socket, remote) = (SocketId(u64::from(choices.below(8))), address(choices));
                let ladder = &mut self.sides[side].ladder;
                ladder.on_media_received(self.now, Path { socket, remote });
                if choices.flag() {
                    ladder.set_nat64(self.now, Nat64Prefix::WELL_KNOWN);
                }
            }
        }
        self.drain();
    }

    fn add_local(&mut self, choices: &mut Choices<'_>, side: usize) {
        let (socket, replaces) = (choices.below(8), choices.flag().then(|| choices.below(8)));
        let local = Local {
            socket: SocketId(u64::from(socket)),
            kind: kind(choices),
            address: address(choices),
            network: NetworkId(u64::from(choices.below(2))),
            replaces: replaces.map(|id| SocketId(u64::from(id))),
            since: choices.flag().then_some(self.now),
        };
        if let Some(line) = self.sides[side].ladder.add_local(self.now, &local) {
            assert_eq!(line.to_string().parse(), Ok(line.clone()));
            if choices.flag() {
                self.sides[1 - side].ladder.add_remote(self.now, &line);
            }
        }
    }

    fn add_remote(&mut self, choices: &mut Choices<'_>, side: usize) {
        let (kind, address) = (kind(choices), address(choices));
        let priority = u32::from(choices.u16()) << 12;
        let candidate = Candidate { foundation: "1".into(), priority, address, kind };
        self.sides[side].ladder.add_remote(self.now, &candidate);
    }

    fn describe(&mut self, side: usize) {
        let text = self.sides[1 - side].ladder.description([5; 32]).to_string();
        let read = text.parse().expect("what a ladder writes can be read");
        self.sides[side].ladder.set_remote(self.now, &read);
    }

    /// A packet, new or old, comes in somewhere, from somewhere.
    fn deliver(&mut self, choices: &mut Choices<'_>, side: usize) {
        let Some(transmit) = self.pick(choices, 1 - side) else { return };
        let (socket, from) = (SocketId(u64::from(choices.below(8))), address(choices));
        let ladder = &mut self.sides[side].ladder;
        ladder.handle_datagram(self.now, socket, from, &transmit.bytes);
        let again = ladder.handle_datagram(self.now, socket, from, &transmit.bytes);
        assert!(again != Consumed::Check, "a replay was believed");
    }

    fn deliver_changed(&mut self, choices: &mut Choices<'_>, side: usize) {
        let Some(transmit) = self.pick(choices, 1 - side) else { return };
        let mut bytes = transmit.bytes.to_vec();
        let at = usize::from(choices.byte()) % bytes.len();
        bytes[at] ^= choices.byte().max(1);
        let (socket, from) = (SocketId(u64::from(choices.below(8))), address(choices));
        let consumed = self.sides[side].ladder.handle_datagram(self.now, socket, from, &bytes);
        assert!(consumed != Consumed::Check, "a changed packet was believed");
    }

    fn pick(&self, choices: &mut Choices<'_>, side: usize) -> Option<Transmit> {
        let back = usize::from(choices.byte());
        self.sides[side].sent.iter().rev().nth(back).cloned()
    }

    /// Lets time go by, and every timer on the way.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..500 {
            let due = self.sides.iter().filter_map(|side| side.ladder.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            for side in &mut self.sides {
                side.ladder.handle_timeout(self.now);
                let next = side.ladder.poll_timeout();
                // What is due is done; at most there is more of it than goes out at once.
                assert!(next.is_none_or(|next| next > self.now), "time stands still");
            }
            self.drain();
        }
        self.now = self.now.max(end);
        for side in &mut self.sides {
            side.ladder.handle_timeout(self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        for side in &mut self.sides {
            while let Some(transmit) = side.ladder.poll_transmit() {
                assert!(transmit.bytes.len() < 300);
                side.sent.push(transmit);
            }
            let excess = side.sent.len().saturating_sub(300);
            side.sent.drain(..excess);
            while let Some(event) = side.ladder.poll_event() {
                if let Event::NeedProbeSockets { count } = event {
                    let ids: Vec<_> = (0..count as u64 + 1)
                        .map(|at| SocketId(1_000 + side.sockets + at))
                        .collect();
                    side.sockets += ids.len() as u64;
                    side.ladder.add_probe_sockets(self.now, NetworkId(0), &ids);
                }
            }
        }
    }

    fn check(&self) {
        for side in &self.sides {
            let paths: Vec<_> = side.ladder.paths().collect();
            for path in [side.ladder.active_path(), side.ladder.spare_path()].into_iter().flatten()
            {
                let known = paths.iter().find(|state| state.path == path);
                assert!(known.is_some_and(|state| state.proven), "{path:?} is not proven");
            }
            let report = side.ladder.report();
            assert_eq!(report.rung.is_some(), side.ladder.active_path().is_some());
            assert!(paths.len() <= 300 && report.why_not_better.iter().all(|why| !why.is_empty()));
        }
    }
}

/// Whatever servers answer, the measurement of NATs comes to an end.
pub fn nat_test(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut now = Instant::now();
    let own = SocketAddr::from(([10, 0, 0, 1], 1));
    let servers: Vec<_> = (0..choices.below(4)).map(|_| address(&mut choices)).collect();
    let mut test = NatTest::new(now, [1; 32], own, &servers);
    let mut sent = Vec::new();
    while !choices.is_empty() {
        while let Some(transmit) = test.poll_transmit() {
            sent.push(transmit);
        }
        let at = usize::from(choices.byte());
        let socket = if choices.flag() { NatSocket::Mapping } else { NatSocket::Filtering };
        let Some(asked) = sent.get(at) else { continue };
        // A success with the transaction asked for, and attributes as they come.
        let attributes = choices.piece();
        let length = attributes.len() as u16;
        let mut answer = vec![1, 1];
        answer.extend(length.to_be_bytes());
        answer.extend(&asked.bytes[4..20]);
        answer.extend(attributes);
        let from = if choices.flag() { asked.to } else { address(&mut choices) };
        test.handle_datagram(now, socket, from, &answer);
    }
    for _ in 0..100 {
        let Some(due) = test.poll_timeout() else { break };
        now = now.max(due);
        test.handle_timeout(now);
    }
    assert!(test.result().is_some(), "it does not end");
}
