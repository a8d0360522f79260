//! What goes into a [`Machine`](super::Machine) and comes out of it.

use std::time::{Duration, Instant};

use sightline_model::{
    ClaimHash, DeviceKind, DomainName, PuId, PublicKey, Signature, UnixMicros, UserId,
};
use sightline_protocol::{
    cm::IceServer,
    ps::{Addresses, ChannelStatus, PuToScu, Relations, ScuToPu, TokenKey},
};

/// Times of the machine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many SCUs there are to try in turn.
    pub servers: usize,
    /// First wait before a new try.
    pub backoff_min: Duration,
    /// Longest wait before a new try.
    pub backoff_max: Duration,
    /// Wait after the SCU said that it will not have us.
    pub backoff_refused: Duration,
    /// How long opening a link may take.
    pub dial_timeout: Duration,
    /// How long challenge and registration may take, each.
    pub reply_timeout: Duration,
    /// How long the SCU may take to answer after our addresses have changed.
    pub probe_timeout: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Settings {
    /// The usual times, for `servers` SCUs.
    #[must_use]
    pub const fn new(servers: usize, seed: u64) -> Self {
        Self {
            servers,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            backoff_refused: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(8),
            reply_timeout: Duration::from_secs(4),
            probe_timeout: Duration::from_secs(2),
            seed,
        }
    }
}

/// Signs with the unit's key.
pub type Signer = Box<dyn Fn(&[u8]) -> Signature + Send>;

/// What the unit says of itself when it registers.
pub struct Profile {
    /// Its id.
    pub pu: PuId,
    /// Its key.
    pub public_key: PublicKey,
    /// What its claim code hashes to.
    pub claim: ClaimHash,
    /// Whether the button was held.
    pub claim_unlocked: bool,
    /// Maker, model and version.
    pub agent: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Where it can be reached.
    pub addresses: Addresses,
    /// Its cameras.
    pub channels: Vec<ChannelStatus>,
    /// Signs with its key.
    pub sign: Signer,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The one that never jumps.
    pub at: Instant,
    /// The unit's own wall clock.
    pub wall: UnixMicros,
}

/// What happens to the machine.
#[derive(Debug)]
pub enum Input {
    /// A link is open. While another one is open, this one replaces it.
    Connected,
    /// Opening a link failed.
    Failed,
    /// The link has ended.
    Closed,
    /// The SCU said something.
    Message(Box<ScuToPu>),
    /// The SCU said something unreadable.
    Malformed,
    /// Our addresses are now these.
    Addresses(Addresses),
    /// Our cameras are now these.
    Channels(Vec<ChannelStatus>),
    /// Whether the button was held.
    ClaimUnlocked(bool),
    /// A part of the agent wants this sent. Dropped while not registered.
    Send(Box<PuToScu>),
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Open a link to the SCU with this number.
    Dial {
        /// 0 to [`Settings::servers`] - 1.
        server: usize,
    },
    /// Send over the link.
    Send(Box<PuToScu>),
    /// End the link or the dial; nothing more of it is to be fed in.
    Close,
    /// Tell the agent.
    Event(Event),
}

/// What the agent hears.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// Registered.
    Up(Lease),
    /// No longer registered, and why.
    Down(String),
    /// A try to register came to nothing, and why.
    NotUp(String),
    /// The SCU's clock minus ours.
    Clock {
        /// In microseconds.
        offset_us: i64,
    },
    /// The device's owner is now this one.
    Owner(Option<UserId>),
    /// A message about media or tokens.
    Message(Box<ScuToPu>),
}

/// What a registration brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The domain that the unit belongs to.
    pub domain: DomainName,
    /// The lease's number.
    pub epoch: u64,
    /// Keys that sign play tokens.
    pub token_keys: Vec<TokenKey>,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Whose unit it is.
    pub owner: Option<UserId>,
    /// Where the SCU sees the unit.
    pub observed: std::net::SocketAddr,
    /// All its relations, where the centre has told them.
    pub relations: Option<Relations>,
}
