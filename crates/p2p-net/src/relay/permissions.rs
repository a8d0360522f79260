//! Whom a relay lets send here: the permissions that this side has asked for, and which of them it
//! still wants.
//!
//! There is room for so many. Whoever is new takes the place of the one that was sent nothing for
//! longest; the permission of that one ends by itself, since it is not refreshed any more.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use turn_client_proto::types::{
    attribute::XorPeerAddress,
    message::{CHANNEL_BIND, CREATE_PERMISSION},
    stun::message::{Message, MessageClass},
};

/// Peers of one relay; more are not sent to while all of these are.
pub(super) const MAX_PEERS: usize = 64;
/// A permission or channel that was refused is not asked for again before.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A peer that was sent nothing for so long gives way to another: those that are of any use are
/// sent a check every few seconds.
pub(super) const UNUSED: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Permission {
    /// When something was last sent there, or was to be.
    used: Instant,
    /// It was refused, and is not asked for again before.
    refused_until: Option<Instant>,
}

/// The permissions of one relay.
#[derive(Debug, Default)]
pub(super) struct Permissions(HashMap<IpAddr, Permission>);

impl Permissions {
    /// Something is to be sent to this peer, for which the server has given no permission. Whether
    /// it is to be asked for one now.
    pub(super) fn wants(&mut self, peer: IpAddr, now: Instant) -> bool {
        match self.0.get_mut(&peer) {
            Some(known) => {
                known.used = now;
                known.refused_until.is_some_and(|until| until <= now)
            }
            None => self.make_room(now),
        }
    }

    /// The server is asked for it.
    pub(super) fn asked(&mut self, peer: IpAddr, now: Instant) {
        self.0.insert(peer, Permission { used: now, refused_until: None });
    }

    /// The server has given it.
    pub(super) fn granted(&mut self, peer: IpAddr) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.refused_until = None;
        }
    }

    /// It was refused, or has ended.
    pub(super) fn refused(&mut self, peer: IpAddr, now: Instant) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.refused_until = Some(now + ASK_AGAIN);
        }
    }

    /// Something is sent to this peer, for which the server has given a permission. It comes back
    /// to those that are wanted.
    pub(super) fn sent(&mut self, peer: IpAddr, now: Instant) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.used = now;
        } else if self.make_room(now) {
            self.asked(peer, now);
        }
    }

    /// Whether there is a permission, or soon may be.
    pub(super) fn is_hopeful(&self, peer: IpAddr) -> bool {
        self.0.get(&peer).is_some_and(|known| known.refused_until.is_none())
    }

    /// Whether it is wanted: only then it is refreshed.
    pub(super) fn keeps(&self, peer: IpAddr) -> bool {
        self.0.contains_key(&peer)
    }

    /// Whether there is room for another; takes the place of one that is unused, if there has to.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.0.len() < MAX_PEERS {
            return true;
        }
        let oldest = self.0.iter().min_by_key(|(_, known)| known.used);
        let unused = |known: &Permission| now.saturating_duration_since(known.used) >= UNUSED;
        let Some(peer) = oldest.filter(|(_, known)| unused(known)).map(|(peer, _)| *peer) else {
            return false;
        };
        self.0.remove(&peer);
        true
    }
}

/// Whom a request for a permission or a channel is about (RFC 8656 sections 10 and 12); `None` for
/// every other message.
pub(super) fn peer_of_request(message: &[u8]) -> Option<IpAddr> {
    let message = Message::from_bytes(message).ok()?;
    let asks = message.has_method(CREATE_PERMISSION) || message.has_method(CHANNEL_BIND);
    if !asks || !message.has_class(MessageClass::Request) {
        return None;
    }
    let peer: XorPeerAddress = message.attribute().ok()?;
    Some(peer.addr(message.transaction_id()).ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> IpAddr {
        IpAddr::from([198, 18, (n >> 8) as u8, n as u8])
    }

    /// As many as there is room for; one was asked for after the other.
    fn full(start: Instant) -> Permissions {
        let mut permissions = Permissions::default();
        for n in 0..MAX_PEERS {
            let now = start + Duration::from_secs(1) * u32::try_from(n).expect("small");
            assert!(permissions.wants(peer(n), now));
            permissions.asked(peer(n), now);
            permissions.granted(peer(n));
        }
        permissions
    }

    #[test]
    fn a_new_peer_takes_the_place_of_the_one_unused_for_longest() {
        let start = Instant::now();
        let mut permissions = full(start);
        let now = start + UNUSED + Duration::from_secs(1);
        // The first is in use; the second is unused for longest then.
        permissions.sent(peer(0), now);
        assert!(permissions.wants(peer(100), now));
        permissions.asked(peer(100), now);
        assert!(permissions.is_hopeful(peer(100)));
        assert!(permissions.keeps(peer(0)) && !permissions.keeps(peer(1)));
        assert!(permissions.keeps(peer(2)));
        // All others were sent something less than a minute ago.
        assert!(!permissions.wants(peer(101), now));
        assert!(permissions.wants(peer(101), now + Duration::from_secs(1)));
    }

    #[test]
    fn however_many_peers_there_were_the_next_one_has_a_place() {
        let start = Instant::now();
        let mut permissions = Permissions::default();
        for n in 0..1_000 {
            let now = start + UNUSED * u32::try_from(n).expect("small");
            assert!(permissions.wants(peer(n), now), "peer {n}");
            permissions.asked(peer(n), now);
            assert!(permissions.0.len() <= MAX_PEERS);
        }
    }

    #[test]
    fn nobody_who_is_in_use_gives_way() {
        let start = Instant::now();
        let mut permissions = full(start);
        let now = start + UNUSED * 10;
        for n in 0..MAX_PEERS {
            permissions.sent(peer(n), now);
        }
        assert!(!permissions.wants(peer(100), now));
        // The server's word about one that has given way brings it back no more.
        permissions.refused(peer(100), now);
        assert!(!permissions.keeps(peer(100)));
    }

    #[test]
    fn what_was_refused_is_asked_for_later() {
        let start = Instant::now();
        let mut permissions = Permissions::default();
        assert!(permissions.wants(peer(1), start));
        permissions.asked(peer(1), start);
        assert!(!permissions.wants(peer(1), start) && permissions.is_hopeful(peer(1)));
        permissions.refused(peer(1), start);
        assert!(!permissions.wants(peer(1), start) && !permissions.is_hopeful(peer(1)));
        assert!(permissions.wants(peer(1), start + ASK_AGAIN));
    }

    #[test]
    fn the_peer_of_a_request_is_read() {
        const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
        for kind in [0x08, 0x09] {
            let mut message = vec![0, kind, 0, 12];
            message.extend_from_slice(&MAGIC);
            message.extend_from_slice(&[9; 12]);
            // XOR-PEER-ADDRESS (RFC 8656 section 18): 198.51.100.7.
            message.extend_from_slice(&[0, 0x12, 0, 8, 0, 1, MAGIC[0], MAGIC[1]]);
            let ip: [u8; 4] = [198, 51, 100, 7];
            message.extend(ip.iter().zip(MAGIC).map(|(byte, mask)| byte ^ mask));
            assert_eq!(peer_of_request(&message), Some(IpAddr::from(ip)));
            for length in 0..message.len() {
                assert_eq!(peer_of_request(&message[..length]), None);
            }
            // The answer to it, and another request.
            message[0] = 1;
            assert_eq!(peer_of_request(&message), None);
            message[..2].copy_from_slice(&[0, 4]);
            assert_eq!(peer_of_request(&message), None);
        }
    }
}
