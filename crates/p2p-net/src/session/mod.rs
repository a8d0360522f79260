//! A session of the ladder with real sockets: [`Session`].
//!
//! One task owns the ladder. It gathers this end's addresses (interfaces, STUN from the very
//! sockets, the gateway's mappings, relays), tells later ones to the caller for the other end,
//! opens the sockets that the ladder asks for, and looks for changes of the network.

mod driver;
mod probes;
mod relays;

use std::{net::SocketAddr, str::FromStr, sync::Arc, time::Instant};

use rand::{SeedableRng, rngs::StdRng};
use sightline_model::NatReport;
use sightline_p2p::{
    Allowance, Candidate, CandidateError, Config, Credentials, Description, Ladder, Report, Role,
    nat_line, read_nat_line,
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::driver::Driver;
use crate::{
    lifetimes::Lifetimes,
    mux::{Mux, session_address},
    network::Surroundings,
    relay::RelayOptions,
    server::Servers,
};

/// Lines for the other end that may wait for the caller; more are lost, as RFC 8838 allows.
const LINES: usize = 128;
/// What the caller says and the task has not heard; the caller waits then.
const COMMANDS: usize = 64;

/// What a session starts with.
#[derive(Clone)]
pub struct SessionConfig {
    /// The CU controls, the PU is controlled.
    pub role: Role,
    /// SHA-256 of this end's Ed25519 public key.
    pub fingerprint: [u8; 32],
    /// What is known of this end's NATs.
    pub nat: NatReport,
    /// What is known of how long mappings live.
    pub lifetimes: Lifetimes,
    /// STUN servers and relays.
    pub servers: Servers,
    /// How to reach relays.
    pub relay: RelayOptions,
    /// Relays that are kept ready before they are needed: on different MTUs, or by different
    /// transports where there is one MTU alone.
    pub warm_relays: usize,
    /// Whether loopback addresses count: both ends on one machine.
    pub loopback: bool,
    /// Addresses at which gateways map the main socket.
    pub mapped: Vec<SocketAddr>,
    /// Whether the session asks the home gateway to map the main socket for as long as it runs.
    pub map: bool,
    /// Whether the session measures this end's NATs itself, and tells the other end.
    pub measure: bool,
}

/// The session cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// No address.
    #[error("the socket does not work: {0}")]
    Socket(#[from] std::io::Error),
}

/// What one end tells the other after its description: a line of SDP (RFC 8840).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A further candidate.
    Candidate(Candidate),
    /// What has been measured of the end's NATs.
    Nat(NatReport),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Candidate(candidate) => candidate.fmt(f),
            Self::Nat(nat) => f.write_str(&nat_line(nat).unwrap_or_default()),
        }
    }
}

impl FromStr for Line {
    type Err = CandidateError;

    fn from_str(line: &str) -> Result<Self, CandidateError> {
        match read_nat_line(line) {
            Some(nat) => Ok(Self::Nat(nat)),
            None => line.parse().map(Self::Candidate),
        }
    }
}

pub(super) enum Command {
    Remote(Box<Description>),
    Line(Line),
    /// This end's NATs have been measured.
    Nat(NatReport),
    /// A gateway maps the main socket.
    Mapped(Vec<SocketAddr>),
    /// The centre has named servers anew.
    Servers(Servers),
}

/// A ladder of its own random numbers and credentials.
fn ladder(
    mux: &Mux,
    config: &SessionConfig,
    allowance: Allowance,
) -> Result<(Ladder, Credentials), SessionError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(SessionError::Random)?;
    let credentials = Credentials::generate(&mut StdRng::from_seed(seed));
    getrandom::fill(&mut seed).map_err(SessionError::Random)?;
    let of_ladder = Config {
        role: config.role,
        credentials: credentials.clone(),
        seed,
        nat: config.nat.clone(),
        lifetimes: config.lifetimes.all(),
        probing: true,
    };
    let ladder = Ladder::new(Instant::now(), of_ladder).within(allowance, mux.seekers().clone());
    Ok((ladder, credentials))
}

/// A session; dropping it ends it.
pub struct Session {
    number: u64,
    description: Description,
    commands: mpsc::Sender<Command>,
    report: watch::Receiver<Report>,
    lines: Option<mpsc::Receiver<Line>>,
    /// When this end's checks and the other's first agreed.
    first_path: watch::Receiver<Option<Instant>>,
    surroundings: watch::Receiver<Surroundings>,
    _alive: tokio_util::sync::DropGuard,
}

impl Session {
    /// Starts a session below `mux`; its tasks belong to `tasks` and end with `token` or with the
    /// session.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn start(
        mux: &Arc<Mux>,
        config: SessionConfig,
        token: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, SessionError> {
        Self::start_within(mux, config, Allowance::new(Instant::now()), token, tasks)
    }

    /// The same for a call that may have had sessions before: with what they have left of the
    /// other end's allowance.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn start_within(
        mux: &Arc<Mux>,
        config: SessionConfig,
        allowance: Allowance,
        token: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, SessionError> {
        let (ladder, credentials) = ladder(mux, &config, allowance)?;
        let number = mux.new_session();
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let (lines_tx, lines) = mpsc::channel(LINES);
        let (report_tx, report) = watch::channel(Report::default());
        let (first_tx, first_path) = watch::channel(None);
        let surroundings = mux.lookout().subscribe(config.loopback, token, tasks);
        let seen = surroundings.clone();
        let token = token.child_token();
        let fingerprint = config.fingerprint;
        let (route, inbox) = mux.routes().add_session(number, credentials.ufrag);
        let ends = driver::Ends {
            inbox,
            commands: commanded,
            lines: lines_tx,
            report: report_tx,
            first_path: first_tx,
            surroundings,
        };
        let mut driver =
            Driver::new(Arc::clone(mux), route, ladder, config, ends, token.clone(), tasks.clone());
        driver.gather_hosts()?;
        let description = driver.description(fingerprint);
        tasks.spawn(driver.run());
        let alive = token.drop_guard();
        Ok(Self {
            number,
            description,
            commands,
            report,
            lines: Some(lines),
            first_path,
            surroundings: seen,
            _alive: alive,
        })
    }

    /// The session's number in its [`Mux`].
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The address by which quinn knows the other end.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        session_address(self.number)
    }

    /// What the other end is to be told first.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Lines to be told later, until the session ends. Once.
    pub fn take_lines(&mut self) -> Option<mpsc::Receiver<Line>> {
        self.lines.take()
    }

    /// What the other end has told first.
    pub async fn set_remote(&self, description: Description) {
        // The session has ended.
        let _ = self.commands.send(Command::Remote(Box::new(description))).await;
    }

    /// What the other end has told later.
    pub async fn add_remote(&self, line: Line) {
        let _ = self.commands.send(Command::Line(line)).await;
    }

    /// The same; lost when the session does not keep up.
    pub fn try_add_remote(&self, line: Line) {
        let _ = self.commands.try_send(Command::Line(line));
    }

    /// What the caller has measured of this end's NATs; the other end is told.
    pub async fn set_nat(&self, nat: NatReport) {
        let _ = self.commands.send(Command::Nat(nat)).await;
    }

    /// Where gateways map the main socket now, as the caller has found: in place of what it found
    /// before. The other end is told of what is new.
    pub async fn set_mapped(&self, mapped: Vec<SocketAddr>) {
        let _ = self.commands.send(Command::Mapped(mapped)).await;
    }

    /// STUN servers and relays as the centre has named them since, with credentials that last
    /// longer. Allocations with older ones get successors, the spares first, and are given up when
    /// those work: none outlives its credential. A list without relays leaves those that there are.
    pub async fn set_servers(&self, servers: Servers) {
        let _ = self.commands.send(Command::Servers(servers)).await;
    }

    /// Where the session stands, and its changes.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Where the machine is in the network, and its changes.
    #[must_use]
    pub fn surroundings(&self) -> watch::Receiver<Surroundings> {
        self.surroundings.clone()
    }

    /// Becomes the time at which a path first worked.
    #[must_use]
    pub fn first_path(&self) -> watch::Receiver<Option<Instant>> {
        self.first_path.clone()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("number", &self.number).finish_non_exhaustive()
    }
}
