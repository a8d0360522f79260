//! The sessions of the CUs that are connected here, wherever their devices are registered.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use sightline_model::{MediaSessionId, PuId};

use crate::{ConnId, calls::ANSWER_WITHIN, timers::Timers};

/// Sessions of one connection.
pub const MAX_SESSIONS: usize = 64;
/// Candidates that wait while an offer is on its way; more are dropped, for ICE needs few.
pub const MAX_HELD: usize = 64;

/// How long an answer may take from the arrival of its offer. The device's SCU refuses earlier,
/// unless it or its refusal is lost.
pub const ANSWERED_WITHIN: Duration = ANSWER_WITHIN.saturating_add(Duration::from_secs(5));

/// One session of a CU.
#[derive(Debug)]
pub struct Viewer {
    /// Its connection; `None` while the CU is away.
    pub conn: Option<ConnId>,
    /// The device that it watches.
    pub device: PuId,
    /// What may be sent to the device.
    pub state: ViewerState,
}

/// What may be sent to the device.
#[derive(Debug)]
pub enum ViewerState {
    /// The offer is on its way over the bus: what comes after it waits, so as not to overtake it.
    Offering {
        /// Candidates in their order.
        held: VecDeque<String>,
        /// The answer was faster than the word that its offer had arrived; or a refusal was, in a
        /// session that goes on.
        answered: bool,
        /// The device has answered an offer before: this one restarts ICE.
        restart: bool,
    },
    /// The offer has arrived; the answer is to come before this, or was lost with its SCU.
    Waiting {
        /// As above.
        restart: bool,
    },
    /// The answer has come.
    Open,
}

/// What became of an offer.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered {
    /// The session is new here.
    New,
    /// The session goes on, perhaps over another connection.
    Again,
    /// The connection has too many sessions, or an offer is still on its way.
    Refused(&'static str),
}

/// The table.
#[derive(Debug, Default)]
pub struct Viewers {
    viewers: HashMap<MediaSessionId, Viewer>,
    by_conn: HashMap<ConnId, HashSet<MediaSessionId>>,
    away: Timers<MediaSessionId>,
    waiting: Timers<MediaSessionId>,
}

impl ViewerState {
    /// Whether the device has ever answered.
    fn let_in(&self) -> bool {
        match self {
            Self::Offering { answered, restart, .. } => *answered || *restart,
            Self::Waiting { restart } => *restart,
            Self::Open => true,
        }
    }
}

impl Viewers {
    /// A CU makes an offer.
    pub fn offer(&mut self, conn: ConnId, session: &MediaSessionId, device: &PuId) -> Offered {
        let known = self.viewers.get(session);
        if known.is_some_and(|v| v.device != *device) {
            return Offered::Refused("the session is for another device");
        }
        if known.is_some_and(|v| matches!(v.state, ViewerState::Offering { .. })) {
            return Offered::Refused("an offer of this session is still on its way");
        }
        let of_conn = self.by_conn.entry(conn).or_default();
        if !of_conn.contains(session) && of_conn.len() >= MAX_SESSIONS {
            return Offered::Refused("this connection has too many sessions");
        }
        of_conn.insert(session.clone());
        self.away.clear(session);
        self.waiting.clear(session);
        let restart = known.is_some_and(|v| v.state.let_in());
        let viewer = Viewer {
            conn: Some(conn),
            device: device.clone(),
            state: ViewerState::Offering { held: VecDeque::new(), answered: false, restart },
        };
        match self.viewers.insert(session.clone(), viewer) {
            None => Offered::New,
            Some(before) => {
                if let Some(old) = before.conn.filter(|old| *old != conn) {
                    self.forget(old, session);
                }
                Offered::Again
            }
        }
    }

    /// A candidate of this connection's session: where it goes now, or `None` when it waits, is
    /// one too many, or the session is not this connection's.
    pub fn candidate(
        &mut self,
        conn: ConnId,
        session: &MediaSessionId,
        candidate: &str,
    ) -> Option<PuId> {
        let viewer = self.viewers.get_mut(session).filter(|v| v.conn == Some(conn))?;
        match &mut viewer.state {
            ViewerState::Waiting { .. } | ViewerState::Open => Some(viewer.device.clone()),
            ViewerState::Offering { held, .. } => {
                if held.len() < MAX_HELD {
                    held.push_back(candidate.to_owned());
                }
                None
            }
        }
    }

    /// The offer has arrived: what has waited, and where it goes.
    pub fn delivered(
        &mut self,
        now: Instant,
        session: &MediaSessionId,
    ) -> Option<(PuId, VecDeque<String>)> {
        let viewer = self.viewers.get_mut(session)?;
        let ViewerState::Offering { held, answered, restart } = &mut viewer.state else {
            return None;
        };
        let (held, answered, restart) = (std::mem::take(held), *answered, *restart);
        if answered {
            viewer.state = ViewerState::Open;
        } else {
            viewer.state = ViewerState::Waiting { restart };
            self.waiting.set(session, now + ANSWERED_WITHIN);
        }
        Some((viewer.device.clone(), held))
    }

    /// The answer has come.
    pub fn answered(&mut self, session: &MediaSessionId) {
        let Some(viewer) = self.viewers.get_mut(session) else { return };
        match &mut viewer.state {
            ViewerState::Offering { answered, .. } => *answered = true,
            ViewerState::Waiting { .. } => {
                viewer.state = ViewerState::Open;
                self.waiting.clear(session);
            }
            ViewerState::Open => {}
        }
    }

    /// An offer was refused, or is lost. Returns whether the session goes on: a restart of ICE
    /// that fails leaves the media where it runs.
    pub fn refused(&mut self, session: &MediaSessionId) -> bool {
        let Some(viewer) = self.viewers.get_mut(session) else { return false };
        let goes_on = viewer.state.let_in();
        match &mut viewer.state {
            // The refusal may be that of an offer before; and whichever it is, the word that this
            // one has arrived is still to come.
            ViewerState::Offering { answered, .. } if goes_on => *answered = true,
            ViewerState::Waiting { .. } | ViewerState::Open if goes_on => {
                viewer.state = ViewerState::Open;
                self.waiting.clear(session);
            }
            ViewerState::Offering { .. } | ViewerState::Waiting { .. } | ViewerState::Open => {}
        }
        goes_on
    }

    /// The offer on its way has not arrived, and will not: another may be made. To be told before
    /// [`Self::refused`], which says whether the session goes on.
    pub fn undelivered(&mut self, session: &MediaSessionId) {
        let Some(viewer) = self.viewers.get_mut(session) else { return };
        if matches!(viewer.state, ViewerState::Offering { .. }) && viewer.state.let_in() {
            viewer.state = ViewerState::Open;
        }
    }

    /// The device of this connection's session, once it has answered an offer.
    #[must_use]
    pub fn answered_device(&self, conn: ConnId, session: &MediaSessionId) -> Option<&PuId> {
        let viewer = self.viewers.get(session).filter(|v| v.conn == Some(conn))?;
        viewer.state.let_in().then_some(&viewer.device)
    }

    /// Whether the session is this connection's.
    #[must_use]
    pub fn owns(&self, conn: ConnId, session: &MediaSessionId) -> bool {
        self.viewers.get(session).is_some_and(|v| v.conn == Some(conn))
    }

    /// The session, if its CU is connected here or was just now.
    #[must_use]
    pub fn get(&self, session: &MediaSessionId) -> Option<&Viewer> {
        self.viewers.get(session)
    }

    /// Forgets a session.
    pub fn remove(&mut self, session: &MediaSessionId) -> Option<Viewer> {
        let viewer = self.viewers.remove(session)?;
        self.away.clear(session);
        self.waiting.clear(session);
        if let Some(conn) = viewer.conn {
            self.forget(conn, session);
        }
        Some(viewer)
    }

    /// A connection is gone; its sessions wait until then for another one to take them up.
    pub fn gone(&mut self, conn: ConnId, until: Instant) {
        for session in self.by_conn.remove(&conn).unwrap_or_default() {
            if let Some(viewer) = self.viewers.get_mut(&session) {
                viewer.conn = None;
                self.away.set(&session, until);
            }
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.viewers.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    fn forget(&mut self, conn: ConnId, session: &MediaSessionId) {
        if let Some(of_conn) = self.by_conn.get_mut(&conn) {
            of_conn.remove(session);
            if of_conn.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    /// A session whose CU did not come back in time.
    pub(crate) fn pop_overdue(&mut self, now: Instant) -> Option<MediaSessionId> {
        self.away.pop(now)
    }

    /// A session whose answer did not come in time.
    pub(crate) fn pop_unanswered(&mut self, now: Instant) -> Option<MediaSessionId> {
        self.waiting.pop(now)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.away.next().into_iter().chain(self.waiting.next()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sightline_model::PublicKey;

    #[test]
    fn an_answer_that_overtakes_the_word_of_its_offers_arrival_counts() {
        let device = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let session: MediaSessionId = "call".parse().expect("valid id");
        let (mut viewers, now) = (Viewers::default(), Instant::now());
        assert_eq!(viewers.offer(ConnId(1), &session, &device), Offered::New);
        assert!(viewers.candidate(ConnId(1), &session, "c").is_none());
        viewers.answered(&session);
        assert_eq!(
            viewers.delivered(now, &session),
            Some((device.clone(), ["c".to_owned()].into()))
        );
        assert_eq!(viewers.poll_timeout(), None);

        assert_eq!(viewers.offer(ConnId(1), &session, &device), Offered::Again);
        viewers.delivered(now, &session);
        assert_eq!(viewers.poll_timeout(), Some(now + ANSWERED_WITHIN));
        viewers.answered(&session);
        assert_eq!(viewers.poll_timeout(), None);
    }

    #[test]
    fn a_late_refusal_lets_nothing_overtake_the_offer_on_its_way() {
        let device = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let session: MediaSessionId = "call".parse().expect("valid id");
        let (mut viewers, now) = (Viewers::default(), Instant::now());
        viewers.offer(ConnId(1), &session, &device);
        viewers.delivered(now, &session);
        viewers.answered(&session);
        viewers.offer(ConnId(1), &session, &device);
        viewers.delivered(now, &session);

        assert_eq!(viewers.offer(ConnId(1), &session, &device), Offered::Again);
        assert!(viewers.candidate(ConnId(1), &session, "a").is_none());
        assert!(viewers.refused(&session), "the offer before");
        assert!(viewers.candidate(ConnId(1), &session, "b").is_none());
        let held = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(viewers.delivered(now, &session), Some((device.clone(), held)));
        assert_eq!(viewers.candidate(ConnId(1), &session, "c"), Some(device.clone()));
        assert_eq!(viewers.poll_timeout(), None);
    }

    #[test]
    fn an_offer_that_has_not_arrived_makes_room_for_another() {
        let device = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let session: MediaSessionId = "call".parse().expect("valid id");
        let (mut viewers, now) = (Viewers::default(), Instant::now());
        viewers.offer(ConnId(1), &session, &device);
        viewers.undelivered(&session);
        assert!(!viewers.refused(&session), "the device has never answered");
        viewers.delivered(now, &session);
        viewers.answered(&session);
        viewers.offer(ConnId(1), &session, &device);
        viewers.undelivered(&session);
        assert!(viewers.refused(&session));
        assert_eq!(viewers.offer(ConnId(1), &session, &device), Offered::Again);
    }
}
