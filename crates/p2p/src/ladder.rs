//! The ladder of one session: which pairs are checked, which one carries media, which is the spare.

mod addresses;
mod choose;
mod hear;
mod pair;
mod probe;
mod renew;
mod report;
mod seekers;
mod socket;
mod tend;
mod timing;
mod told;
mod types;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sightline_model::NatReport;

use self::{
    pair::{Pair, State},
    probe::Probing,
    socket::Socket,
    timing::{ANSWER_WITHIN, PACE},
};
pub use self::{
    seekers::Seekers,
    timing::MAX_PROBE_SOCKETS,
    told::Allowance,
    types::{
        Config, Consumed, Event, Local, NetworkId, Path, PathState, Report, SocketId, Transmit,
    },
};
use crate::{
    candidate::{CandidateKind, priority},
    check::{Check, ReplayWindow, Role, Transaction},
    description::{Credentials, Description},
    nat64::Nat64Prefix,
};

/// An address of the other end.
#[derive(Clone, Copy, Debug)]
struct Remote {
    address: SocketAddr,
    kind: CandidateKind,
    priority: u32,
    /// Put together by this end, for its NAT64.
    synthesized: bool,
}

/// A check that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    path: Path,
    sent: Instant,
}

/// The ladder of one session at one end. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Ladder {
    role: Role,
    local: Credentials,
    remote: Option<Credentials>,
    rng: StdRng,
    tie_breaker: u64,
    nat_local: NatReport,
    nat_remote: NatReport,
    lifetimes: BTreeMap<NetworkId, Duration>,
    nat64: Option<Nat64Prefix>,
    sockets: Vec<Socket>,
    remotes: Vec<Remote>,
    allowance: Allowance,
    seekers: Seekers,
    pairs: BTreeMap<Path, Pair>,
    /// Pairs that the other end has checked, to be checked next.
    triggered: VecDeque<Path>,
    outstanding: BTreeMap<Transaction, Outstanding>,
    /// Their order in time.
    sent: VecDeque<(Instant, Transaction)>,
    counter: u32,
    window: ReplayWindow,
    active: Option<Path>,
    spare: Option<Path>,
    /// The newest check that nominated, by its counter, and where it came from.
    nominated: Option<(u32, Path)>,
    /// Counts paced checks, so that relays get every third.
    turn: u32,
    next_paced: Instant,
    /// When there was something to check for the first time.
    started: Option<Instant>,
    /// No relayed path works: one is asked for then.
    relay_wanted: Option<Instant>,
    asked_for_relay: Option<Instant>,
    /// No direct path works: when STUN servers are asked again.
    look_at: Option<Instant>,
    probing: Probing,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Ladder {
    /// A ladder without any address yet.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        let mut rng = StdRng::from_seed(config.seed);
        let tie_breaker = rng.random();
        Self {
            role: config.role,
            local: config.credentials,
            remote: None,
            rng,
            tie_breaker,
            nat_local: config.nat,
            nat_remote: NatReport::default(),
            lifetimes: config.lifetimes,
            nat64: None,
            sockets: Vec::new(),
            remotes: Vec::new(),
            allowance: Allowance::new(now),
            seekers: Seekers::new(1),
            pairs: BTreeMap::new(),
            triggered: VecDeque::new(),
            outstanding: BTreeMap::new(),
            sent: VecDeque::new(),
            counter: 0,
            window: ReplayWindow::new(),
            active: None,
            spare: None,
            nominated: None,
            turn: 0,
            next_paced: now,
            started: None,
            relay_wanted: None,
            asked_for_relay: None,
            look_at: None,
            probing: Probing::new(config.probing),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Within bounds that are not this ladder's alone: what earlier ladders of the call have left
    /// of its allowance, and the machine's places for those that try ports.
    #[must_use]
    pub fn within(mut self, allowance: Allowance, seekers: Seekers) -> Self {
        self.allowance = allowance;
        self.seekers = seekers;
        self
    }

    /// What the other end is to be told: credentials, NATs, the candidates found so far. Later ones
    /// are what [`add_local`](Self::add_local) returns.
    #[must_use]
    pub fn description(&self, fingerprint: [u8; 32]) -> Description {
        let candidates = self.sockets.iter().flat_map(Socket::candidates).collect();
        let (credentials, nat) = (self.local.clone(), self.nat_local.clone());
        Description { credentials, fingerprint, nat, candidates }
    }

    /// Takes what has been measured of this end's NATs in the meantime.
    pub fn set_nat(&mut self, now: Instant, nat: NatReport) {
        let learned = self.nat_local.mapping_lifetime_ms;
        self.nat_local = nat;
        self.nat_local.mapping_lifetime_ms = self.nat_local.mapping_lifetime_ms.or(learned);
        self.tend(now);
    }

    /// Takes what the other end has measured of its NATs in the meantime.
    pub fn set_remote_nat(&mut self, now: Instant, nat: NatReport) {
        self.nat_remote = nat;
        self.tend(now);
    }

    /// Media has come in on this path. Cheap; best called once for a batch.
    pub fn on_media_received(&mut self, now: Instant, path: Path) {
        if let Some(proof) = self.pairs.get_mut(&path).and_then(Pair::proof_mut) {
            proof.media_at = Some(now);
        }
    }

    /// Does what is due. To be called at [`poll_timeout`](Self::poll_timeout), or any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tend(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_due()
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What the caller has to know or to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Where media goes now.
    #[must_use]
    pub const fn active_path(&self) -> Option<Path> {
        self.active
    }

    /// The path that takes over when the active one dies.
    #[must_use]
    pub const fn spare_path(&self) -> Option<Path> {
        self.spare
    }

    /// Every path on which the other end has proven itself: packets from there are this session's.
    pub fn paths(&self) -> impl Iterator<Item = PathState> + '_ {
        self.pairs.iter().filter(|(_, pair)| pair.announced).map(|(path, pair)| PathState {
            path: *path,
            rung: self.rung(*path, pair),
            proven: pair.proof().is_some(),
            rtt: pair.proof().map(|proof| proof.rtt),
        })
    }

    /// What has been learned of how long mappings live.
    #[must_use]
    pub const fn lifetimes(&self) -> &BTreeMap<NetworkId, Duration> {
        &self.lifetimes
    }

    /// Sends a check on a path, whatever is known of it.
    fn send_check(&mut self, now: Instant, path: Path) {
        let nominate = self.role == Role::Controlling && self.active == Some(path);
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.last_sent = Some(now);
        }
        self.send_bare_check(now, path, nominate);
    }

    fn send_bare_check(&mut self, now: Instant, path: Path, nominate: bool) {
        let Some(remote) = &self.remote else { return };
        let Some(socket) = self.sockets.iter().find(|s| s.id == path.socket) else { return };
        // Counters come to an end after years.
        self.counter = self.counter.saturating_add(1);
        let mut transaction = [0; 12];
        transaction[..4].copy_from_slice(&self.counter.to_be_bytes());
        self.rng.fill(&mut transaction[4..]);
        let ip = socket.host().map_or(path.remote.ip(), |host| host.ip());
        let check = Check {
            transaction,
            role: self.role,
            tie_breaker: self.tie_breaker,
            priority: priority(CandidateKind::PeerReflexive, socket.generation, ip),
            nominate,
            local: &self.local,
            remote,
        };
        let Some(bytes) = check.encode() else { return };
        self.transmits.push_back(Transmit { socket: path.socket, to: path.remote, bytes });
        self.outstanding.insert(transaction, Outstanding { path, sent: now });
        self.sent.push_back((now, transaction));
    }

    fn forget_unanswered(&mut self, now: Instant) {
        while let Some((sent, transaction)) = self.sent.front()
            && now.saturating_duration_since(*sent) >= ANSWER_WITHIN
        {
            self.outstanding.remove(transaction);
            self.sent.pop_front();
        }
    }

    /// After a death or a change of network everything is worth another try, now.
    fn reawaken(&mut self, now: Instant) {
        for pair in self.pairs.values_mut() {
            if matches!(pair.state, State::Unproven { tries: 1.., .. })
                && pair.last_sent.is_none_or(|sent| now.saturating_duration_since(sent) > PACE * 20)
            {
                pair.restart(now);
            }
        }
    }
}

/// RFC 8445 section 6.1.2.3.
fn pair_priority(role: Role, local: u32, remote: u32) -> u64 {
    let (local, remote) = (u64::from(local), u64::from(remote));
    let (controlling, controlled) = match role {
        Role::Controlling => (local, remote),
        Role::Controlled => (remote, local),
    };
    (local.min(remote) << 32) + 2 * local.max(remote) + u64::from(controlling > controlled)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
