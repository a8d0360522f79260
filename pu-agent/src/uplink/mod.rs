//! The connection to the centre: one SCU at a time, over QUIC or WebSocket, for ever.
//!
//! [`machine`] holds the dialogue, [`dial`] and [`link`] the sockets, [`Driver`] joins them.
//! While the centre is away the rest of the agent goes on: viewers that are there stay.

pub mod clock;
pub mod dial;
mod driver;
mod frames;
pub mod link;
pub mod machine;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use sightline_model::{TokenHash, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{Addresses, ChannelStatus, PuToScu, ScuToPu, TokenBearer},
    sc::TokenGrant,
};
use sightline_service_kit::telemetry::current_traceparent;
use tokio::sync::{mpsc, oneshot, watch};

pub use driver::{Driver, DriverSettings};
pub use machine::Lease;

use link::Transport;

/// Messages of the agent's parts that may wait for the driver. What is over that is dropped, and
/// counted: each kind is either repeated after a registration or timed out by whoever asked.
const QUEUE: usize = 256;

/// What the rest of the agent knows of the uplink.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The last registration; kept while the centre is away.
    pub lease: Option<Lease>,
    /// Over what the unit is registered now.
    pub up: Option<Transport>,
    /// Why it is not, in words.
    pub fault: Option<String>,
}

impl Status {
    /// The registration that holds now, by its epoch: each has its own. None: the unit has none.
    #[must_use]
    pub fn registration(&self) -> Option<u64> {
        self.up.and(self.lease.as_ref()).map(|lease| lease.epoch)
    }
}

/// Who hears what the SCU says. Called by the uplink's own task: must not block.
pub trait Handler: Send + Sync + 'static {
    /// A message about media or tokens.
    fn message(&self, message: ScuToPu);
    /// The unit is registered, maybe again: the SCU knows nothing of running sessions.
    fn registered(&self);
    /// Whose unit it is now.
    fn owner(&self, owner: Option<UserId>);
}

enum Command {
    Send(Box<PuToScu>),
    /// Only within this registration.
    Answer {
        registration: Option<u64>,
        message: Box<PuToScu>,
    },
    Check {
        token: TokenHash,
        bearer: TokenBearer,
        reply: oneshot::Sender<Reply>,
    },
}

/// A command, and the trace that it belongs to.
type Traced = (Command, Option<String>);

type Reply = Result<Result<TokenGrant, Problem>, CentreAway>;

/// The centre cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the centre cannot be reached")]
pub struct CentreAway;

/// What of the unit may change while it runs.
#[derive(Debug)]
pub struct Watched {
    /// Where it can be reached.
    pub addresses: watch::Receiver<Addresses>,
    /// Its cameras.
    pub channels: watch::Receiver<Vec<ChannelStatus>>,
    /// Whether the button was held.
    pub claim_unlocked: watch::Receiver<bool>,
}

/// The agent's way to speak to the centre; cheap to clone.
#[derive(Debug, Clone)]
pub struct Uplink {
    commands: mpsc::Sender<Traced>,
    status: watch::Receiver<Status>,
}

impl Uplink {
    /// What is known of the uplink, and its changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Sends a message, if the unit is registered.
    pub fn send(&self, message: PuToScu) {
        self.command(Command::Send(Box::new(message)));
    }

    /// Sends what answers a message that came within `registration`, if that still holds: after
    /// another one an SCU may listen that asked something else by the same number.
    pub fn answer(&self, registration: Option<u64>, message: PuToScu) {
        let command = Command::Answer { registration, message: Box::new(message) };
        self.command(command);
    }

    fn command(&self, command: Command) {
        if self.commands.try_send((command, current_traceparent())).is_err() {
            metrics::counter!("sightline_pu_uplink_dropped_total").increment(1);
        }
    }

    /// A8.4 steps 5 to 9: asks the centre what a token grants.
    ///
    /// # Errors
    /// [`CentreAway`]; inside, the centre's refusal, or [`ProblemKind::Timeout`].
    pub async fn check_token(
        &self,
        token: TokenHash,
        bearer: TokenBearer,
        timeout: Duration,
    ) -> Reply {
        let (reply, answer) = oneshot::channel();
        let command = (Command::Check { token, bearer, reply }, current_traceparent());
        if self.commands.try_send(command).is_err() {
            let busy = Problem::new(ProblemKind::Busy, "too many requests are waiting; try again");
            return Ok(Err(busy));
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(CentreAway),
            Err(_) => {
                let why = "the centre did not confirm the play token in time; try again";
                Ok(Err(Problem::new(ProblemKind::Timeout, why)))
            }
        }
    }
}

#[cfg(test)]
impl Uplink {
    /// One whose status the test sets, and behind which nobody sends anything.
    pub(crate) fn without_driver() -> (Self, watch::Sender<Status>) {
        let (commands, _) = mpsc::channel(1);
        let (sender, status) = watch::channel(Status::default());
        (Self { commands, status }, sender)
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Send(_) => "Send",
            Self::Answer { .. } => "Answer",
            Self::Check { .. } => "Check",
        })
    }
}
