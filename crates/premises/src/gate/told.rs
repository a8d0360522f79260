//! What the centre tells of viewers: who comes, what was taken away, and by which relations NVRs come.

use sightline_model::{Capabilities, MediaSessionId, UserId};
use sightline_protocol::{Problem, ProblemKind, ps::Relations};

use super::{PuGate, books::Books, shared::withdrawn};
use crate::relations::Told;

impl PuGate {
    /// The SCU announces a CU (clause 7).
    pub fn prepare(&self, session: MediaSessionId, capabilities: Capabilities) {
        self.shared.books.lock().prepare(session, capabilities, self.shared.clock.now());
    }

    /// Ends a session.
    pub fn end_session(&self, session: &MediaSessionId, problem: Option<Problem>) {
        let now = self.shared.clock.now();
        self.shared.note(|books| books.end(session, problem, now));
    }

    /// Ends every session and forgets every token of `user`, or of everybody.
    pub fn revoke(&self, user: Option<&UserId>) {
        let now = self.shared.clock.now();
        self.shared.note(|books| books.revoke(user, now));
    }

    /// The centre says whose the unit is. When that has changed, maybe while the unit was offline,
    /// the streams of others end and nothing that was granted to them counts any more.
    pub fn owner_is(&self, owner: Option<&UserId>) {
        let now = self.shared.clock.now();
        self.shared.note(|books| books.owner_is(owner, now));
    }

    /// The centre tells all relations of this device. Streams of NVRs whose relation was withdrawn end.
    ///
    /// # Errors
    /// As [`RelationBook::told`].
    pub fn relate(&self, relations: Relations, how: Told) -> Result<u64, Problem> {
        let Some(book) = &self.shared.settings.relations else {
            let why = "this device has no relations";
            return Err(Problem::new(ProblemKind::NotFound, why));
        };
        let told = book.told(relations, how);
        let running = self.shared.recorded.lock().clone();
        for (session, (nvr, channel)) in running {
            if !book.allows(&nvr, channel) {
                self.end_session(&session, Some(withdrawn()));
            }
        }
        told
    }

    /// The unit is registered, maybe again: its token keys are to be kept, its relations hold, and the
    /// SCU is to be told which sessions run.
    pub fn registered(&self) {
        let status = self.shared.uplink.status();
        let told = status.borrow().lease.as_ref().and_then(|lease| lease.relations.clone());
        if let Some(relations) = told
            && let Err(problem) = self.relate(relations, Told::ByRegistration)
        {
            tracing::warn!(%problem, "the relations of the registration");
        }
        self.shared.note(Books::authority_changed);
        let paths = self.shared.books.lock().paths();
        for (session, path) in paths {
            self.shared.report(session, Some(path));
        }
    }

    /// Sessions now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.books.lock().live()
    }
}
