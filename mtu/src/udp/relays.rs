//! The relayed addresses of one worker.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    sync::Arc,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use mtu_turn::{EvenPort, Family, LiveRelays, OpenError, OpenRelay, Opened, RelayId};
use parking_lot::Mutex;

use super::{
    options::{Options, RelayAddress},
    sockets::{self, Udp},
};

/// Tokens from here on are those of relays.
pub(super) const FIRST_TOKEN: usize = 1 << 16;
/// How many random ports are tried before all are.
const TRIES: usize = 64;

/// Ports that are held for later, by the address that peers see; for all workers.
pub(super) type Held = Arc<Mutex<HashMap<SocketAddr, Udp>>>;

#[derive(Debug)]
enum Slot {
    Free,
    Udp(Udp),
    Tcp,
}

/// By the number of the relay.
#[derive(Debug)]
pub(super) struct Relays {
    slots: Vec<Slot>,
    held: Held,
}

impl Relays {
    pub(super) const fn new(held: Held) -> Self {
        Self { slots: vec![], held }
    }

    pub(super) fn token(relay: RelayId) -> Token {
        Token(FIRST_TOKEN + relay.0 as usize)
    }

    pub(super) fn relay(token: Token) -> Option<RelayId> {
        token.0.checked_sub(FIRST_TOKEN).and_then(|n| u32::try_from(n).ok()).map(RelayId)
    }

    pub(super) fn get(&self, relay: RelayId) -> Option<&Udp> {
        match self.slots.get(relay.0 as usize)? {
            Slot::Udp(udp) => Some(udp),
            Slot::Free | Slot::Tcp => None,
        }
    }

    fn put(&mut self, relay: RelayId, slot: Slot) {
        let at = relay.0 as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || Slot::Free);
        }
        self.slots[at] = slot;
    }

    pub(super) fn put_tcp(&mut self, relay: RelayId) {
        self.put(relay, Slot::Tcp);
    }

    /// Whether it was one of TCP's.
    pub(super) fn close(&mut self, relay: RelayId) -> bool {
        // Closing a socket takes it out of the poll, too.
        let slot = self.slots.get_mut(relay.0 as usize);
        match slot.map(|slot| std::mem::replace(slot, Slot::Free)) {
            Some(Slot::Tcp) => true,
            Some(Slot::Free | Slot::Udp(_)) | None => false,
        }
    }

    pub(super) fn release_held(&self, address: SocketAddr) {
        self.held.lock().remove(&address);
    }

    pub(super) fn open(
        &mut self,
        wanted: &OpenRelay<'_>,
        options: &Options,
        live: &LiveRelays,
        registry: &Registry,
    ) -> Result<Opened, OpenError> {
        let (opened, udp) = match wanted.held {
            Some(address) => {
                let udp = self.held.lock().remove(&address).ok_or(OpenError::Exhausted)?;
                (Opened { address, held: None }, udp)
            }
            None => self.find(wanted, options, live)?,
        };
        let fd = udp.socket.as_raw_fd();
        let token = Self::token(wanted.relay);
        if let Err(error) = registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            tracing::warn!(%error, "cannot wait for a relay");
            if let Some(held) = opened.held {
                self.release_held(held);
            }
            return Err(OpenError::Exhausted);
        }
        self.put(wanted.relay, Slot::Udp(udp));
        Ok(opened)
    }

    fn find(
        &self,
        wanted: &OpenRelay<'_>,
        options: &Options,
        live: &LiveRelays,
    ) -> Result<(Opened, Udp), OpenError> {
        let fits = |relay: &&RelayAddress| Family::of(relay.bind) == wanted.family;
        let addresses: Vec<_> = options.relays.iter().filter(fits).collect();
        if addresses.is_empty() {
            return Err(OpenError::Family);
        }
        // All relays of one client at one address, while there is room (RFC 4787 section 4.1).
        let first = preference(wanted.client.address.ip()) % addresses.len();
        for n in 0..addresses.len() {
            let relay = addresses[(first + n) % addresses.len()];
            match self.at(relay, wanted.even, options, live) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot open a relay");
                    return Err(OpenError::Exhausted);
                }
            }
        }
        Err(OpenError::Exhausted)
    }

    /// `None`: no port is free there.
    fn at(
        &self,
        relay: &RelayAddress,
        even: EvenPort,
        options: &Options,
        live: &LiveRelays,
    ) -> io::Result<Option<(Opened, Udp)>> {
        let (first, last) = (*options.ports.start(), *options.ports.end());
        // Random, so that a stranger cannot guess where a relay is (CVE-2025-69217). When hardly
        // any is free, all are tried, from a random one on.
        let random = (0..TRIES).map(|_| rand::random_range(first..=last));
        let begin = rand::random_range(first..=last);
        let all = (begin..=last).chain(first..begin);
        for port in random.chain(all) {
            let port = if even == EvenPort::Any { port } else { port & !1 };
            let address = SocketAddr::new(relay.announced, port);
            if port < first || live.owner(address).is_some() {
                continue;
            }
            let Some(udp) = bind(relay.bind, port)? else { continue };
            if even != EvenPort::EvenAndHoldNext {
                return Ok(Some((Opened { address, held: None }, udp)));
            }
            let Some(next) = port.checked_add(1).filter(|next| *next <= last) else { continue };
            if let Some(next_udp) = bind(relay.bind, next)? {
                let held = SocketAddr::new(relay.announced, next);
                self.held.lock().insert(held, next_udp);
                return Ok(Some((Opened { address, held: Some(held) }, udp)));
            }
        }
        Ok(None)
    }
}

/// `None` when somebody has it.
fn bind(ip: IpAddr, port: u16) -> io::Result<Option<Udp>> {
    match sockets::relay(SocketAddr::new(ip, port)) {
        Ok(udp) => Ok(Some(udp)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        // Another program's port, which the system keeps for it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

fn preference(ip: IpAddr) -> usize {
    let bits = match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    };
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}
