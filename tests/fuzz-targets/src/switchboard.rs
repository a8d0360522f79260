//! The SCU's machines together: connections of PUs and CUs and the switchboard between them, with
//! whatever those say in whatever order.

mod parts;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use parts::{
    DEVICE_IDS, channels, device, key, lease, offer, path, problem, registration, session,
};
use scu_session::{
    ConnId, CuPath, Input, Output, PuMedia, Request, Switchboard,
    cu::{CuConnection, CuInput, CuOutput},
    pu::{PuConnection, PuInput, PuOutput, PuSettings},
};
use sightline_model::{
    Capabilities, ChannelId, MediaSessionId, MtuId, Presence, PuId, Signature, UnixMicros, UserId,
};
use sightline_protocol::{
    Named,
    cs::{CsRequest, CuToScu, ScuToCu},
    decode,
    ps::{Addresses, MediaAnswer, PuToScu, ScuToPu},
    sc::{ScReply, ScRequest},
    sd::MtuStatus,
    sm::SmRequest,
};

use crate::Choices;

const DEVICES: u8 = 3;
const SESSIONS: u8 = 4;

#[derive(Default)]
struct World {
    board: Switchboard<()>,
    now: Option<Instant>,
    pus: BTreeMap<ConnId, Pu>,
    /// Each CU with the sessions that it has ever asked for.
    cus: BTreeMap<ConnId, (CuConnection, BTreeSet<MediaSessionId>)>,
    listening: BTreeSet<MediaSessionId>,
    next: u64,
    epoch: u64,
}

struct Pu {
    machine: PuConnection,
    /// Which device it registered as, once it did.
    admitted: Option<PuId>,
    waits_for_cmu: Option<PuId>,
}

/// Any order of messages, losses and times: what a viewer hears is of a session that it asked for,
/// what a PU hears comes after its admission, and when everybody has gone nothing is left.
pub fn switchboard(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World { now: Some(Instant::now()), ..World::default() };
    while !choices.is_empty() {
        world.step(&mut choices);
    }
    world.end();
}

impl World {
    fn now(&self) -> Instant {
        self.now.unwrap_or_else(Instant::now)
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            0 => self.connect_pu(),
            1 => self.connect_cu(),
            2..=5 => self.pu_says(choices),
            6..=8 => self.cu_says(choices),
            9 => self.cmu_replies(choices),
            10 | 11 => self.request(choices),
            12 => self.bus(choices),
            13 => self.board_timeout(Duration::from_millis(choices.u16().into())),
            14 => self.disconnect(choices),
            _ => self.mtu(choices),
        }
    }

    fn connect_pu(&mut self) {
        if self.pus.len() >= 6 {
            return;
        }
        let settings = PuSettings {
            scu: "scu".parse().expect("a valid id"),
            domain: "d".parse().expect("a valid name"),
            scu_url: String::new(),
            keep_alive: Duration::from_secs(10),
            sign_in_timeout: Duration::from_secs(5),
            cmu_timeout: Duration::from_secs(5),
        };
        let from: SocketAddr = ([192, 0, 2, 1], 1).into();
        let machine = PuConnection::new(settings, from, "nonce".to_owned(), self.now());
        self.next += 1;
        let conn = ConnId(self.next);
        self.pus.insert(conn, Pu { machine, admitted: None, waits_for_cmu: None });
        self.drain_pu(conn);
    }

    fn connect_cu(&mut self) {
        if self.cus.len() >= 4 {
            return;
        }
        self.next += 1;
        let cu = CuConnection::new(self.now());
        self.cus.insert(ConnId(self.next), (cu, BTreeSet::new()));
    }

    fn pu(&self, choices: &mut Choices<'_>) -> Option<ConnId> {
        let n = usize::from(choices.byte());
        self.pus.keys().nth(n % self.pus.len().max(1)).copied()
    }

    fn cu(&self, choices: &mut Choices<'_>) -> Option<ConnId> {
        let n = usize::from(choices.byte());
        self.cus.keys().nth(n % self.cus.len().max(1)).copied()
    }

    fn pu_says(&mut self, choices: &mut Choices<'_>) {
        let Some(conn) = self.pu(choices) else { return };
        let session = session(choices.below(SESSIONS));
        let message = match choices.below(10) {
            0..=2 => registration(choices.below(DEVICES)),
            3 => PuToScu::KeepAlive { pu_time: UnixMicros(choices.byte().into()) },
            4 => PuToScu::Addresses(Addresses::default()),
            5 => PuToScu::Channels { channels: channels(choices.byte()) },
            6 => {
                let answer = MediaAnswer {
                    sdp: String::new(),
                    public_key: key(0),
                    signature: Signature::from_bytes([0; 64]),
                };
                let result = if choices.flag() { Ok(answer) } else { Err(problem()) };
                PuToScu::MediaAnswer { session, result }
            }
            7 => PuToScu::Candidate { session, candidate: "c".to_owned() },
            8 => PuToScu::SessionReport { session, path: path(choices) },
            // As it comes from the wire.
            _ => match decode::<PuToScu>(choices.piece()) {
                Ok(envelope) => envelope.body,
                Err(error) => return self.feed_pu(conn, PuInput::Unreadable(error.to_string())),
            },
        };
        self.feed_pu(conn, PuInput::Message(Box::new(message)));
    }

    fn cmu_replies(&mut self, choices: &mut Choices<'_>) {
        let Some(conn) = self.pu(choices) else { return };
        let waits = self.pus.get(&conn).and_then(|pu| pu.waits_for_cmu.clone());
        let input = match (choices.below(6), waits) {
            (0..=3, Some(pu)) => {
                self.epoch += 1;
                let lease = Box::new(lease(pu, self.epoch));
                PuInput::Registered(Ok(ScReply::Registered(lease)), vec![])
            }
            (4, _) => PuInput::Registered(Err(problem()), vec![]),
            _ => PuInput::Checked { request: choices.byte().into(), result: Err(problem()) },
        };
        self.feed_pu(conn, input);
    }

    fn cu_says(&mut self, choices: &mut Choices<'_>) {
        let Some(conn) = self.cu(choices) else { return };
        let session = session(choices.below(SESSIONS));
        let message = match choices.below(8) {
            0..=3 => CuToScu::Offer {
                session,
                device: lease(device(choices.below(DEVICES)), 0).device,
                offer: offer(),
            },
            4 => CuToScu::Candidate { session, candidate: "c".to_owned() },
            5 => CuToScu::End { session },
            6 if choices.flag() => match path(choices) {
                Some(path) => CuToScu::PathReport { session, path, stages: None, nat: None },
                None => return,
            },
            6 => CuToScu::KeepAlive { cu_time: UnixMicros(1) },
            _ => match decode::<CuToScu>(choices.piece()) {
                Ok(envelope) => envelope.body,
                Err(error) => return self.feed_cu(conn, CuInput::Unreadable(error.to_string())),
            },
        };
        self.feed_cu(conn, CuInput::Message(message));
    }

    /// What the CMU or another SCU asks of the device behind a connection.
    fn request(&mut self, choices: &mut Choices<'_>) {
        let Some(conn) = self.pu(choices) else { return };
        let session = session(choices.below(SESSIONS));
        let device = device(choices.below(DEVICES));
        let user = UserId::from_random([choices.below(2); 16]);
        let request = match choices.below(9) {
            0..=2 => Request::Sm(SmRequest::PrepareMedia {
                device,
                session,
                user,
                channel: ChannelId(0),
                capabilities: Capabilities::default(),
            }),
            3 => Request::Sm(SmRequest::EndSession { device, session, problem: problem() }),
            4 => {
                Request::Sm(SmRequest::RevokeUser { device, user: choices.flag().then_some(user) })
            }
            5 => Request::Sm(SmRequest::OwnerChanged { device, owner: None }),
            6 => Request::Cs(CsRequest::Offer { session, offer: offer() }),
            7 => Request::Cs(CsRequest::Candidate { session, candidate: "c".to_owned() }),
            _ => Request::Cs(CsRequest::End { session }),
        };
        self.feed(Input::Device { conn, request, from: () });
    }

    /// What comes over the bus, late, twice, or about somebody unknown.
    fn bus(&mut self, choices: &mut Choices<'_>) {
        let session = session(choices.below(SESSIONS));
        let device = device(choices.below(DEVICES));
        match choices.below(5) {
            0 => {
                let result = if choices.flag() { Ok(()) } else { Err(problem()) };
                self.feed(Input::Delivered { session, result });
            }
            1 => {
                let message = match choices.below(3) {
                    0 => ScuToCu::Refused { session: session.clone(), problem: problem() },
                    1 => ScuToCu::Ended { session: session.clone(), problem: None },
                    _ => ScuToCu::Candidate { session: session.clone(), candidate: String::new() },
                };
                self.feed(Input::ForCu { session, message });
            }
            2 => {
                self.epoch += u64::from(choices.flag());
                self.feed(Input::LeaseGranted { device, epoch: self.epoch });
            }
            3 => self.feed(Input::LeasesLost(vec![device])),
            _ => {
                // A message of a connection that nobody knows.
                let media = PuMedia::Report { session, path: None };
                self.feed(Input::PuMedia { conn: ConnId(u64::MAX), media });
            }
        }
    }

    fn mtu(&mut self, choices: &mut Choices<'_>) {
        let mtu: MtuId = format!("mtu-{}", choices.below(3)).parse().expect("a valid id");
        let load = f32::from_bits(u32::from(choices.u16()) << 16);
        let accepting = choices.flag();
        let status = MtuStatus::new(mtu, vec![], load, accepting, UnixMicros(0));
        self.feed(Input::Mtu(status));
    }

    fn disconnect(&mut self, choices: &mut Choices<'_>) {
        if choices.flag() {
            let Some(conn) = self.pu(choices) else { return };
            let end = [PuInput::Disconnected, PuInput::Shutdown, PuInput::Fenced];
            let end = end.into_iter().nth(choices.below(3).into());
            self.feed_pu(conn, end.unwrap_or(PuInput::Disconnected));
        } else if let Some(conn) = self.cu(choices) {
            self.feed_cu(conn, CuInput::Disconnected { clean: choices.flag() });
        }
    }

    fn board_timeout(&mut self, by: Duration) {
        let now = self.now() + by;
        self.now = Some(now);
        self.board.handle_timeout(now);
        self.drain();
        for conn in self.pus.keys().copied().collect::<Vec<_>>() {
            if let Some(pu) = self.pus.get_mut(&conn) {
                pu.machine.handle_timeout(now);
            }
            self.drain_pu(conn);
        }
        for conn in self.cus.keys().copied().collect::<Vec<_>>() {
            if let Some((cu, _)) = self.cus.get_mut(&conn) {
                cu.handle_timeout(now);
            }
            self.drain_cu(conn);
        }
    }

    fn feed_pu(&mut self, conn: ConnId, input: PuInput) {
        let now = self.now();
        if let Some(pu) = self.pus.get_mut(&conn) {
            pu.machine.handle_input(now, UnixMicros(0), input);
            self.drain_pu(conn);
        }
    }

    fn drain_pu(&mut self, conn: ConnId) {
        loop {
            let Some(pu) = self.pus.get_mut(&conn) else { return };
            let Some(output) = pu.machine.poll_output() else { return };
            match output {
                PuOutput::Register(request) => {
                    let ScRequest::Register { registration, .. } = *request else {
                        panic!("not a registration")
                    };
                    assert!(pu.waits_for_cmu.is_none(), "registered twice on one connection");
                    pu.waits_for_cmu = Some(registration.pu);
                }
                PuOutput::Admit { lease, channels } => {
                    let pu_id = lease.device.pu;
                    assert_eq!(pu.waits_for_cmu.as_ref(), Some(&pu_id));
                    pu.admitted = Some(pu_id.clone());
                    let epoch = lease.epoch;
                    self.feed(Input::PuAdmitted { conn, pu: pu_id, epoch, channels });
                }
                PuOutput::Channels(channels) => self.feed(Input::PuChannels { conn, channels }),
                PuOutput::Media(media) => self.feed(Input::PuMedia { conn, media }),
                PuOutput::Recorded(answer) => self.feed(Input::PuRecorded { conn, answer }),
                PuOutput::Release => self.feed(Input::PuGone { conn }),
                PuOutput::Close => {
                    self.pus.remove(&conn);
                    return;
                }
                PuOutput::Send(_)
                | PuOutput::Report(_)
                | PuOutput::AskTicket { .. }
                | PuOutput::CheckToken { .. }
                | PuOutput::AskCloud { .. } => {}
            }
        }
    }

    fn feed_cu(&mut self, conn: ConnId, input: CuInput) {
        let now = self.now();
        if let Some((cu, _)) = self.cus.get_mut(&conn) {
            cu.handle_input(now, UnixMicros(0), input);
            self.drain_cu(conn);
        }
    }

    fn drain_cu(&mut self, conn: ConnId) {
        loop {
            let Some((cu, asked)) = self.cus.get_mut(&conn) else { return };
            let Some(output) = cu.poll_output() else { return };
            match output {
                CuOutput::Send(_) => {}
                CuOutput::Call(CuToScu::Offer { session, device, offer }) => {
                    asked.insert(session.clone());
                    let device = device.pu;
                    self.feed(Input::CuOffer { conn, session, device, offer });
                }
                CuOutput::Call(CuToScu::Candidate { session, candidate }) => {
                    self.feed(Input::CuCandidate { conn, session, candidate });
                }
                CuOutput::Call(CuToScu::End { session }) => {
                    self.feed(Input::CuEnd { conn, session });
                }
                CuOutput::Call(CuToScu::PathReport { session, path, stages, nat }) => {
                    let report = Box::new(CuPath { path, stages, nat });
                    self.feed(Input::CuPath { conn, session, report });
                }
                CuOutput::Call(CuToScu::KeepAlive { .. }) => panic!("not part of a call"),
                CuOutput::Gone { until } => self.feed(Input::CuGone { conn, until }),
                CuOutput::Close => {
                    self.cus.remove(&conn);
                    return;
                }
            }
        }
    }

    fn feed(&mut self, input: Input<()>) {
        self.board.handle_input(self.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.board.poll_output() {
            match output {
                Output::ToPu { conn, message } => self.heard_by_pu(conn, &message),
                Output::OfferToPu { conn, .. } => {
                    let pu = self.pus.get(&conn).expect("an offer goes to a living connection");
                    assert!(pu.admitted.is_some());
                }
                Output::FencePu { conn } => self.feed_pu(conn, PuInput::Fenced),
                Output::ToCu { conn, message } => self.heard_by_cu(conn, &message),
                Output::TellCmu { session, request } => {
                    assert_eq!(request.about(), Some(session.as_str()));
                    let asked = self.cus.values().any(|(_, asked)| asked.contains(&session));
                    assert!(asked, "a report of a session that nobody asked for");
                }
                Output::Listen { session } => {
                    assert!(self.listening.insert(session), "listens twice");
                }
                Output::Unlisten { session } => {
                    assert!(self.listening.remove(&session), "did not listen");
                }
                Output::Reply { .. }
                | Output::OfferElsewhere { .. }
                | Output::Elsewhere { .. }
                | Output::ToCuElsewhere { .. } => {}
            }
        }
    }

    fn heard_by_pu(&self, conn: ConnId, message: &ScuToPu) {
        let pu = self.pus.get(&conn);
        assert!(pu.is_none_or(|pu| pu.admitted.is_some()), "before admission: {message:?}");
    }

    fn heard_by_cu(&self, conn: ConnId, message: &ScuToCu) {
        let Some((_, asked)) = self.cus.get(&conn) else { return };
        match message {
            ScuToCu::Answer { session, .. }
            | ScuToCu::Refused { session, .. }
            | ScuToCu::Candidate { session, .. }
            | ScuToCu::Ended { session, .. } => assert!(asked.contains(session), "{message:?}"),
            ScuToCu::KeepAliveAck { .. } | ScuToCu::Malformed { .. } => {}
        }
    }

    /// What the metrics and the other units are told about the devices.
    fn check_presence(&self) {
        let devices = self.board.devices();
        let leases: BTreeMap<_, _> = devices.leases().collect();
        assert_eq!(leases.len(), devices.len());
        assert_eq!(leases.is_empty(), devices.is_empty());
        for pu in DEVICE_IDS.iter() {
            let here = self.board.presence(pu) != Presence::Offline;
            assert_eq!(here, leases.contains_key(pu));
        }
        let calls = self.board.calls();
        assert_eq!(calls.routes().count(), calls.len());
        assert_eq!(calls.routes().next().is_none(), calls.is_empty());
    }

    /// Everybody goes, and time passes.
    fn end(&mut self) {
        self.check_presence();
        for conn in self.pus.keys().copied().collect::<Vec<_>>() {
            self.feed_pu(conn, PuInput::Disconnected);
        }
        for conn in self.cus.keys().copied().collect::<Vec<_>>() {
            self.feed_cu(conn, CuInput::Disconnected { clean: true });
        }
        for _ in 0..64 {
            let Some(at) = self.board.poll_timeout() else { break };
            self.board_timeout(at.saturating_duration_since(self.now()));
        }
        self.check_presence();
        assert!(self.listening.is_empty(), "still listens for {:?}", self.listening);
        assert_eq!(self.board.poll_timeout(), None, "something is left to wait for");
    }
}
