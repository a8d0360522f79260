//! What the parts of the gate share: the books, who may sign, and which relations hold.

use std::collections::HashMap;

use parking_lot::Mutex;
use sightline_model::{ChannelId, MediaSessionId, PuId, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::PathReport,
    ps::{PlayClaims, PuToScu},
};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::Notify;

use super::{GateSettings, books::Books, keep::Kept, token::Authority};
use crate::uplink::{Uplink, clock::Clock};

/// See the module.
pub(super) struct Shared {
    pub(super) settings: GateSettings,
    pub(super) uplink: Uplink,
    pub(super) clock: Clock,
    pub(super) books: Mutex<Books>,
    /// Who could sign play tokens when an earlier process last knew, and when that was.
    pub(super) earlier: Option<(Authority, UnixMicros)>,
    /// Sessions of NVRs, and the relations that they run by.
    pub(super) recorded: Mutex<HashMap<MediaSessionId, (PuId, ChannelId)>>,
    /// The books have changed in what must be kept.
    pub(super) changed: Notify,
    pub(super) lifecycle: Lifecycle,
}

impl Shared {
    /// `known`: the books to begin with, and who could sign when an earlier process last knew.
    pub(super) fn new(
        settings: GateSettings,
        uplink: Uplink,
        clock: Clock,
        (books, earlier): (Books, Option<(Authority, UnixMicros)>),
        lifecycle: &Lifecycle,
    ) -> Self {
        Self {
            settings,
            uplink,
            clock,
            books: Mutex::new(books),
            earlier,
            recorded: Mutex::default(),
            changed: Notify::new(),
            lifecycle: lifecycle.clone(),
        }
    }

    /// Who may sign: as the centre said in this process's life, else as it said to an earlier one.
    pub(super) fn authority(&self, now: UnixMicros) -> Result<Authority, Problem> {
        if let Some(lease) = &self.uplink.status().borrow().lease {
            return Ok(lease.into());
        }
        let offline = |why| Problem::new(ProblemKind::DeviceOffline, why);
        let (authority, at) = self.earlier.as_ref().ok_or_else(|| {
            offline("this camera has not reached its centre since it was started")
        })?;
        // Without a battery the clock starts somewhere in the past, where no token has expired.
        if now < *at {
            return Err(offline("this camera does not know the time until it reaches its centre"));
        }
        Ok(authority.clone())
    }

    /// A ticket of an NVR opens only what the centre has told this device of, by a way of its own: the
    /// ticket may have been withdrawn while the centre cannot be asked.
    pub(super) fn check_relation(&self, claims: &PlayClaims) -> Result<(), Problem> {
        let Some(nvr) = &claims.nvr else { return Ok(()) };
        let holds_key = claims.cnf.as_ref().is_some_and(|key| nvr.matches(key));
        if !holds_key {
            let why = "the ticket does not name the recorder's own key";
            return Err(Problem::new(ProblemKind::InvalidToken, why));
        }
        let book = self.settings.relations.as_ref();
        if book.is_some_and(|book| book.allows(nvr, claims.ch)) { Ok(()) } else { Err(withdrawn()) }
    }

    /// Notes by which relation an NVR's session runs. It may have been withdrawn since it was looked at:
    /// whoever withdraws it looks for sessions after that, and so finds this one or is found here.
    pub(super) fn note_nvr(&self, claims: &PlayClaims) -> Result<(), Problem> {
        let Some(nvr) = &claims.nvr else { return Ok(()) };
        self.recorded.lock().insert(claims.sid.clone(), (nvr.clone(), claims.ch));
        self.check_relation(claims)
    }

    /// Changes the books; what of it must be kept goes to the disk soon.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.books.lock();
        let before = books.changes();
        let result = change(&mut books);
        if books.changes() != before {
            self.changed.notify_one();
        }
        result
    }

    /// What is to be kept, with its number, when that is not `written`.
    pub(super) fn kept(&self, written: u64) -> Option<(u64, Kept)> {
        let now = self.clock.now();
        // The number before the authority: a registration that comes in between is counted after
        // its keys are there ([`PuGate::registered`]), and so is written once more. Whoever holds
        // the uplink's status never waits for the books.
        let books = self.books.lock();
        let changes = books.changes();
        // Nothing is kept before the centre was reached once: nobody gets in then.
        let authority = self.authority(now).ok()?;
        (changes != written).then(|| {
            (changes, Kept::new(now, self.clock.offset_us(), authority, books.ledger(now)))
        })
    }

    pub(super) fn report(&self, session: MediaSessionId, path: Option<PathReport>) {
        self.uplink.send(PuToScu::SessionReport { session, path });
    }
}

/// What an NVR is told whose relation does not hold.
pub(super) fn withdrawn() -> Problem {
    let why = "this camera is not related to that recorder";
    Problem::new(ProblemKind::TokenRevoked, why)
}
