//! Which devices are here, and who may speak for them: the connection with the highest epoch.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sightline_model::{Presence, PuId};
use sightline_protocol::ps::ChannelStatus;

use crate::{ConnId, timers::Timers};

/// How long a grant to another SCU is remembered, so that a reply that it has overtaken cannot
/// bring the older lease back.
const FENCE: Duration = Duration::from_secs(30);

/// One device that is registered here.
#[derive(Debug)]
pub struct Present {
    /// Its connection.
    pub conn: ConnId,
    /// Its lease.
    pub epoch: u64,
    /// Whether any of its cameras gives a picture.
    pub picture: bool,
}

/// The devices that are registered with this SCU.
#[derive(Debug, Default)]
pub struct Devices {
    present: HashMap<PuId, Present>,
    by_conn: HashMap<ConnId, PuId>,
    fences: HashMap<PuId, u64>,
    fence_timers: Timers<PuId>,
}

/// What an admission led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// The device is here now; any connection named is fenced.
    Admitted(Option<ConnId>),
    /// A newer lease is known already: the new connection itself is fenced.
    Stale,
}

impl Devices {
    /// A device has registered.
    pub fn admit(&mut self, pu: PuId, new: Present) -> Admission {
        let newer_here = self.present.get(&pu).is_some_and(|p| p.epoch >= new.epoch);
        let newer_elsewhere = self.fences.get(&pu).is_some_and(|epoch| *epoch > new.epoch);
        if newer_here || newer_elsewhere {
            return Admission::Stale;
        }
        self.by_conn.insert(new.conn, pu.clone());
        let old = self.present.insert(pu, new);
        Admission::Admitted(old.map(|old| {
            self.by_conn.remove(&old.conn);
            old.conn
        }))
    }

    /// A lease was granted, here or elsewhere. Returns the connection that it fences.
    pub fn granted(&mut self, now: Instant, pu: &PuId, epoch: u64) -> Option<ConnId> {
        let fence = self.fences.entry(pu.clone()).or_insert(epoch);
        *fence = epoch.max(*fence);
        self.fence_timers.set(pu, now + FENCE);
        if self.present.get(pu)?.epoch >= epoch {
            return None;
        }
        self.remove(pu)
    }

    /// Forgets a device. Returns its connection.
    pub fn remove(&mut self, pu: &PuId) -> Option<ConnId> {
        let gone = self.present.remove(pu)?;
        self.by_conn.remove(&gone.conn);
        Some(gone.conn)
    }

    /// The device that this connection speaks for, unless it has been fenced.
    #[must_use]
    pub fn of(&self, conn: ConnId) -> Option<&PuId> {
        self.by_conn.get(&conn)
    }

    /// The device, if it is here.
    #[must_use]
    pub fn get(&self, pu: &PuId) -> Option<&Present> {
        self.present.get(pu)
    }

    /// New state of the device's cameras.
    pub fn channels(&mut self, conn: ConnId, channels: &[ChannelStatus]) {
        if let Some(present) = self.by_conn.get(&conn).and_then(|pu| self.present.get_mut(pu)) {
            present.picture = channels.iter().any(|c| c.online);
        }
    }

    /// The state that A7.2 calls presence.
    #[must_use]
    pub fn presence(&self, pu: &PuId, watched: bool) -> Presence {
        match self.present.get(pu) {
            None => Presence::Offline,
            Some(present) if !present.picture => Presence::Inactive,
            Some(_) if watched => Presence::Active,
            Some(_) => Presence::Online,
        }
    }

    /// Every lease that is held here.
    pub fn leases(&self) -> impl Iterator<Item = (&PuId, u64)> {
        self.present.iter().map(|(pu, present)| (pu, present.epoch))
    }

    /// How many devices are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// Whether no device is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(pu) = self.fence_timers.pop(now) {
            self.fences.remove(&pu);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.fence_timers.next()
    }
}
