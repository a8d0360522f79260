//! One allocation: its relayed addresses, permissions and channels (RFC 8656 sections 3.2, 9, 12).

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use stun_rs::TransactionId;

use crate::{
    ClientId,
    driver::{Family, OpenError, RelayProtocol, Usage},
    shortcut::{Lent, Shortcut, Tally, Terms},
    streams::StreamMeter,
    users::User,
};

/// RFC 8656 section 9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 section 12.
const CHANNEL: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Allocation {
    /// Unique among all workers of this run.
    pub(crate) number: u64,
    pub(crate) client: ClientId,
    pub(crate) user_name: Box<str>,
    pub(crate) user: Arc<User>,
    pub(crate) protocol: RelayProtocol,
    /// Relayed addresses, by family.
    relayed: [Option<SocketAddr>; 2],
    /// Of the Allocate request, so that its repetition gets the same answer.
    pub(crate) transaction: TransactionId,
    pub(crate) token: Option<[u8; 8]>,
    /// The family that could not be had, and why (ADDRESS-ERROR-CODE).
    pub(crate) failed: Option<(Family, OpenError)>,
    pub(crate) begun: Instant,
    pub(crate) ends: Instant,
    pub(crate) bytes_to_peers: u64,
    pub(crate) bytes_to_client: u64,
    /// In both directions.
    pub(crate) packets: u64,
    /// What other workers sent to the client; the meter is for all.
    pub(crate) tally: Arc<Tally>,
    /// Of its connections, if it relays those.
    pub(crate) streams: Option<Arc<StreamMeter>>,
    /// Sorted by address.
    permissions: Vec<Permission>,
    /// Sorted by number.
    channels: Vec<Channel>,
}

#[derive(Debug)]
struct Permission {
    ip: IpAddr,
    ends: Instant,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    ends: Instant,
    /// To the worker of this peer, which is a relayed address of ours.
    lent: Option<Lent>,
}

/// Why a channel cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoChannel {
    /// Number or peer is bound otherwise (400).
    Taken,
    /// There are too many (508).
    Full,
}

impl Allocation {
    pub(crate) fn new(
        client: ClientId,
        user_name: &str,
        user: Arc<User>,
        protocol: RelayProtocol,
        transaction: TransactionId,
        now: Instant,
    ) -> Self {
        Self {
            number: 0,
            client,
            user_name: user_name.into(),
            user,
            protocol,
            relayed: [None; 2],
            transaction,
            token: None,
            failed: None,
            begun: now,
            ends: now,
            bytes_to_peers: 0,
            bytes_to_client: 0,
            packets: 0,
            tally: Arc::default(),
            streams: None,
            permissions: vec![],
            channels: vec![],
        }
    }

    /// What it has carried until now.
    pub(crate) fn usage(&self, now: Instant) -> Usage {
        let streams = self.streams.as_ref().map(|streams| streams.carried()).unwrap_or_default();
        let bytes_by_others = self.tally.bytes.load(Ordering::Relaxed);
        let packets_by_others = self.tally.packets.load(Ordering::Relaxed);
        Usage {
            allocation: self.number,
            user: self.user_name.clone(),
            transport: self.client.transport,
            lasted: now.saturating_duration_since(self.begun),
            bytes_to_peers: self.bytes_to_peers + streams.bytes_to_peers,
            bytes_to_client: self.bytes_to_client + bytes_by_others + streams.bytes_to_client,
            packets: self.packets + packets_by_others + streams.pieces,
        }
    }

    pub(crate) fn relayed(&self, family: Family) -> Option<SocketAddr> {
        self.relayed[slot(family)]
    }

    pub(crate) fn set_relayed(&mut self, family: Family, address: Option<SocketAddr>) {
        self.relayed[slot(family)] = address;
    }

    /// All relayed addresses, IPv4 first.
    pub(crate) fn all_relayed(&self) -> impl Iterator<Item = (Family, SocketAddr)> + use<> {
        let [v4, v6] = self.relayed;
        v4.map(|a| (Family::V4, a)).into_iter().chain(v6.map(|a| (Family::V6, a)))
    }

    pub(crate) fn is_permitted(&self, ip: IpAddr, now: Instant) -> bool {
        match &self.permissions[..] {
            // The usual case, without a search.
            [one] => one.ip == ip && one.ends > now,
            all => match all.binary_search_by_key(&ip, |permission| permission.ip) {
                Ok(at) => all[at].ends > now,
                Err(_) => false,
            },
        }
    }

    /// How many more there would be if all of these were permitted.
    pub(crate) fn has_room(&mut self, ips: &[SocketAddr], max: usize, now: Instant) -> bool {
        self.permissions.retain(|permission| permission.ends > now);
        let known = |ip| self.permissions.binary_search_by_key(&ip, |p| p.ip).is_ok();
        let new = ips.iter().filter(|peer| !known(peer.ip())).count();
        self.permissions.len() + new <= max
    }

    pub(crate) fn permit(&mut self, ip: IpAddr, now: Instant) {
        let ends = now + PERMISSION;
        match self.permissions.binary_search_by_key(&ip, |permission| permission.ip) {
            Ok(at) => self.permissions[at].ends = ends,
            Err(at) => {
                // One at a time: most allocations have one or two.
                self.permissions.reserve_exact(1);
                self.permissions.insert(at, Permission { ip, ends });
            }
        }
        self.renew_lent(ip);
    }

    /// The peer of a channel.
    pub(crate) fn peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let at = self.channels.binary_search_by_key(&number, |channel| channel.number).ok()?;
        let channel = &self.channels[at];
        (channel.ends > now).then_some(channel.peer)
    }

    /// The channel of a peer.
    pub(crate) fn channel(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let found = self.channels.iter().find(|channel| channel.peer == peer)?;
        (found.ends > now).then_some(found.number)
    }

    /// What reaches the client from this peer's worker, unless it was told a moment ago.
    pub(crate) fn lend(
        &mut self,
        peer: SocketAddr,
        start: Instant,
        now: Instant,
    ) -> Option<Arc<Shortcut>> {
        let channel = self.channels.iter_mut().find(|channel| channel.peer == peer)?;
        if channel.lent.as_ref().is_some_and(|lent| lent.is_fresh(now)) {
            return None;
        }
        let at = self.permissions.binary_search_by_key(&peer.ip(), |p| p.ip).ok()?;
        let ends = self.permissions[at].ends.min(channel.ends);
        let terms = Terms {
            client: self.client,
            channel: channel.number,
            start,
            ends,
            tally: self.tally.clone(),
            user: self.user.clone(),
        };
        let (lent, shortcut) = (ends > now).then(|| terms.lend(now))?;
        channel.lent = Some(lent);
        Some(shortcut)
    }

    /// What was lent for this peer stands as long as permission and channel do.
    fn renew_lent(&self, ip: IpAddr) {
        let Ok(at) = self.permissions.binary_search_by_key(&ip, |p| p.ip) else { return };
        let theirs = self.channels.iter().filter(|channel| channel.peer.ip() == ip);
        for channel in theirs {
            if let Some(lent) = &channel.lent {
                lent.ends_at(self.permissions[at].ends.min(channel.ends));
            }
        }
    }

    /// What was lent holds no longer.
    pub(crate) fn revoke(&mut self) {
        for channel in &mut self.channels {
            channel.lent = None;
        }
    }

    /// RFC 8656 section 12.2. A binding that has ended may be replaced at once: the client was
    /// told its lifetime.
    pub(crate) fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        max: usize,
        now: Instant,
    ) -> Result<(), NoChannel> {
        self.channels.retain(|channel| channel.ends > now);
        let ends = now + CHANNEL;
        match self.channels.binary_search_by_key(&number, |channel| channel.number) {
            Ok(at) if self.channels[at].peer == peer => self.channels[at].ends = ends,
            Ok(_) => return Err(NoChannel::Taken),
            Err(_) if self.channels.iter().any(|channel| channel.peer == peer) => {
                return Err(NoChannel::Taken);
            }
            Err(_) if self.channels.len() >= max => return Err(NoChannel::Full),
            Err(at) => {
                self.channels.reserve_exact(1);
                self.channels.insert(at, Channel { number, peer, ends, lent: None });
            }
        }
        self.renew_lent(peer.ip());
        Ok(())
    }
}

const fn slot(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}
