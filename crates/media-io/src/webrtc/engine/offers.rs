//! Offers: how sessions get a seat and keep it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use sightline_model::MediaSessionId;
use sightline_protocol::{Problem, ProblemKind};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Answer, Command, OfferRequest,
        session::{Now, Origin, Renewal, Session},
    },
    Seat, Task, guarded,
    relays::Relays,
};

fn fault() -> Problem {
    Problem::new(ProblemKind::Internal, "the offer could not be handled")
}

impl Task {
    /// Begins a session, or renews it.
    pub(super) fn offer(&mut self, request: OfferRequest, now: Now) -> Result<Answer, Problem> {
        match self.seats.get(&request.session).map(|seat| seat.session.is_restart(&request.sdp)) {
            Some(is_restart) => self.renew(request, is_restart, now),
            None => self.begin(request, now),
        }
    }

    fn renew(
        &mut self,
        request: OfferRequest,
        is_restart: bool,
        now: Now,
    ) -> Result<Answer, Problem> {
        let OfferRequest { session: id, sdp, admission, ice_servers, candidate_tx } = request;
        let fresh = if is_restart { self.fresh_for_restart(now) } else { None };
        let candidates = fresh.as_ref().map(|fresh| fresh.candidates.as_slice());
        let kept = || self.mapped_since(self.seats.get(&id).and_then(|seat| seat.fresh));
        let mapped_since = fresh.as_ref().map_or_else(kept, |fresh| Some(fresh.born));
        let sdp = sdp.as_str();
        let renewal = Renewal { sdp, admission, candidate_tx, fresh: candidates, mapped_since };
        let Some(seat) = self.seats.get_mut(&id) else { return Err(fault()) };
        let mut answer = Err(fault());
        let whole = guarded(seat, &mut self.stats, |session| {
            answer = session.renew(renewal, now, &mut self.feeds);
        });
        if !whole {
            self.remove(&id);
        } else if answer.is_ok() {
            seat.relays.renew(&ice_servers, now.instant + self.config.relay_after);
            seat.fresh = fresh.map(|fresh| fresh.number).or(seat.fresh);
            self.tell_translated(&id);
            self.watch_admission(&id);
            // What the router maps may be what has changed.
            self.stun.next = now.instant;
        }
        answer
    }

    fn begin(&mut self, request: OfferRequest, now: Now) -> Result<Answer, Problem> {
        let OfferRequest { session: id, sdp, admission, ice_servers, candidate_tx } = request;
        if self.seats.len() >= self.config.max_sessions {
            let text = "this camera unit already serves as many viewers as it can";
            return Err(Problem::new(ProblemKind::Busy, text));
        }
        self.stats.started += 1;
        let candidates: Vec<_> = self.candidates.iter().map(|(c, _)| c.clone()).collect();
        let origin = Origin {
            id: id.clone(),
            generation: self.stats.started << 16,
            admission,
            candidate_tx,
            config: &self.config,
            cert: &self.cert,
            candidates: &candidates,
            around: Arc::clone(&self.around),
            mapped_since: self.mapped_since(None),
        };
        let feeds = &mut self.feeds;
        let made = catch_unwind(AssertUnwindSafe(|| Session::new(origin, &sdp, now, feeds)));
        let (session, answer) = made.unwrap_or_else(|_| {
            self.stats.panics += 1;
            Err(fault())
        })?;
        let relays = Relays::new(&ice_servers, now.instant + self.config.relay_after, &self.token);
        let watch = CancellationToken::new();
        let seat = Seat { session, addresses: Vec::new(), watch, relays, fresh: None };
        self.seats.insert(id.clone(), seat);
        self.tell_translated(&id);
        self.watch_admission(&id);
        Ok(answer)
    }

    /// Tells a session that has just begun or restarted where a NAT64 shows its sockets.
    fn tell_translated(&mut self, id: &MediaSessionId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let set = self.fresh.iter().find(|set| Some(set.number) == seat.fresh);
        for address in set.map_or(&self.translated, |set| &set.translated) {
            guarded(seat, &mut self.stats, |session| session.tell_translated(*address));
        }
    }

    /// A task per admission, owned by the session's seat, tells when the right to watch ends.
    fn watch_admission(&mut self, id: &MediaSessionId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        seat.watch.cancel();
        seat.watch = self.token.child_token();
        let (mut ended, generation) = (seat.session.ended(), seat.session.generation);
        let (watch, commands, id) = (seat.watch.clone(), self.commands.clone(), id.clone());
        self.tasks.spawn(watch.run_until_cancelled_owned(async move {
            let problem = match ended.wait_for(Option::is_some).await {
                Ok(problem) => problem.clone(),
                Err(_) => None,
            };
            let problem = problem.unwrap_or_else(|| {
                Problem::new(ProblemKind::DeviceOffline, "the camera is shutting down")
            });
            if let Some(commands) = commands.upgrade() {
                let _ = commands.send(Command::Revoked(id, generation, problem)).await;
            }
        }));
    }
}
