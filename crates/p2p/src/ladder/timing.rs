//! Times and bounds, in one place.

use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Ta: between two checks of pairs that are not proven yet (RFC 8445 section 14.2).
pub(super) const PACE: Duration = ms(5);
/// First retransmission of a check, doubled each time. RFC 8489 section 6.2.1 recommends 500 ms for
/// packets that are seldom lost; the first checks through closed filters and relays without a
/// permission are lost as a rule.
pub(super) const FIRST_RTO: Duration = ms(150);
/// A path that died is tried again after so long.
pub(super) const AFTER_DEATH: Duration = ms(500);
/// Between two checks of a pair that has not answered for long.
pub(super) const SLOW_RETRY: Duration = ms(10_000);
/// The same while no pair answers at all.
pub(super) const LOST_RETRY: Duration = ms(2_000);
/// While no direct path works, STUN servers are asked so often what sockets look like.
pub(super) const LOOK_AGAIN: Duration = ms(30_000);
/// After so many checks a pair that would be no gain is left alone.
pub(super) const TRIES: u32 = 8;
/// A check that is not answered by then never will be.
pub(super) const ANSWER_WITHIN: Duration = ms(3_000);
/// Bounds of the time within which a proven path has to answer.
pub(super) const MIN_RTO: Duration = ms(60);
pub(super) const MAX_RTO: Duration = ms(500);
/// Between checks of the active path while media comes in, and while it does not.
pub(super) const ACTIVE_BUSY: Duration = ms(500);
pub(super) const ACTIVE_SILENT: Duration = ms(250);
/// Media that flowed and is silent for so long is asked after.
pub(super) const SILENCE: Duration = ms(120);
/// Between checks of the spare, and of further proven paths.
pub(super) const SPARE: Duration = ms(1_000);
pub(super) const IDLE: Duration = ms(5_000);
/// So many checks in a row without an answer: the path is dead; and while media still comes in.
pub(super) const MISSES: u32 = 4;
pub(super) const MISSES_WITH_MEDIA: u32 = 10;
/// A path that died is not chosen for being better before so long, doubled with each death.
pub(super) const PENALTY: Duration = ms(1_000);
/// No pair has worked for so long: a relay is needed.
pub(super) const RELAY_AFTER: Duration = ms(1_000);
/// Between two requests to the caller for the same thing.
pub(super) const ASK_AGAIN: Duration = ms(5_000);
/// A socket that was replaced is kept for so long.
pub(super) const LINGER: Duration = ms(5_000);
/// One that still works is watched for at most so long.
pub(super) const WATCH: Duration = ms(300_000);
/// One on which nothing works any more goes after so long, if there are others.
pub(super) const USELESS: Duration = ms(15_000);
/// Probing of ports starts so long after the remote description, or so soon where nothing else can
/// be hoped for; a round ends so long after that.
pub(super) const PROBE_AFTER: Duration = ms(1_500);
pub(super) const PROBE_SOON: Duration = ms(200);
pub(super) const PROBE_FOR: Duration = ms(10_000);
/// Between two probes: 200 a second.
pub(super) const PROBE_PACE: Duration = ms(5);
/// Each socket that probes keeps its mapping and the other's filter open so often.
pub(super) const PROBE_REPEAT: Duration = ms(3_000);
/// Where others of this machine are at it, a round waits for so long before it asks again.
pub(super) const PROBE_WAIT: Duration = ms(1_000);
/// Most datagrams to unknown ports in a round, and most rounds in a call.
pub(super) const MAX_PROBES: usize = 1_500;
pub(super) const MAX_ROUNDS: u32 = 2;
/// Between the rounds.
pub(super) const PROBE_PAUSE: Duration = ms(10_000);
/// Shorter lifetimes of mappings are not believed: nothing could keep up with them.
pub(super) const MIN_LIFETIME: Duration = ms(10_000);

/// Most sockets that probe.
pub const MAX_PROBE_SOCKETS: usize = 256;
pub(super) const MAX_SOCKETS: usize = 32;
/// No further allocation is asked for, with so many.
pub(super) const MAX_ALLOCATIONS: usize = 4;
/// Addresses that servers have seen of one socket.
pub(super) const MAX_REFLEXIVE: usize = 4;
/// Addresses of the other end, and those that it may name at once.
pub(super) const MAX_REMOTES: usize = 64;
/// So often it may name another: sockets are replaced every few seconds at most.
pub(super) const TELL_EVERY: Duration = ms(2_000);
/// Machines that it may name in a call, and how often the place of one is given back.
pub(super) const MAX_HOSTS: usize = 64;
pub(super) const HOST_EVERY: Duration = ms(60_000);
/// Places of either kind that addresses of interfaces leave to the others.
pub(super) const KEPT_FOR_OUTSIDE: usize = 16;
pub(super) const MAX_PAIRS: usize = 256;
/// Most pairs with addresses that only checks have told.
pub(super) const MAX_PEER_REFLEXIVE: usize = 32;
