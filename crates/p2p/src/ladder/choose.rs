//! Which path carries media, and which one is the spare.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use sightline_model::Rung;

use super::{
    Event, Ladder, Path,
    pair::{Pair, Proof},
};
use crate::{
    candidate::{CandidateKind, Leg},
    check::Role,
};

/// A path of the same rung has to be faster by this, and by a third, to be worth a switch.
const FASTER: Duration = Duration::from_millis(20);
/// Round trips are compared after so many answers.
const MEASURED: u32 = 3;

impl Ladder {
    /// The rung that a pair is on, or would be on if it worked.
    pub(super) fn rung(&self, path: Path, pair: &Pair) -> Rung {
        let socket = self.sockets.iter().find(|s| s.id == path.socket);
        let local = match (socket, pair.proof()) {
            (Some(socket), Some(proof)) => socket.kind_seen_as(proof.seen_as),
            (Some(socket), None) => socket.leg.map_or(CandidateKind::Host, CandidateKind::Relayed),
            (None, _) => CandidateKind::Host,
        };
        let probed = pair.probed || socket.is_some_and(|s| s.probe);
        match (relayed(local), relayed(pair.remote)) {
            (Some(a), Some(b)) => a.max(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) if probed => Rung::Probed,
            (None, None) => {
                let kinds = [local, pair.remote];
                if kinds.contains(&CandidateKind::Mapped) {
                    Rung::Mapped
                } else if kinds == [CandidateKind::Host; 2] {
                    Rung::Host
                } else {
                    Rung::Punched
                }
            }
        }
    }

    /// How much newer the sockets of `a` are than those of `b`: what replaces is preferred to what
    /// it replaces, before that one dies. Generations are compared as serial numbers.
    fn newer(&self, a: (Path, &Pair), b: (Path, &Pair)) -> i16 {
        let generation = |path: Path| {
            self.sockets.iter().find(|s| s.id == path.socket).map_or(0, |s| s.generation)
        };
        let here = generation(a.0).wrapping_sub(generation(b.0)).cast_signed();
        let there = a.1.remote_generation.wrapping_sub(b.1.remote_generation).cast_signed();
        i16::from(here) + i16::from(there)
    }

    /// `Less` when `a` is the better path.
    fn compare(&self, a: (Path, &Pair), b: (Path, &Pair)) -> Ordering {
        let rtt = |pair: &Pair| pair.proof().map(|proof| proof.rtt);
        self.rung(a.0, a.1)
            .cmp(&self.rung(b.0, b.1))
            .then_with(|| 0.cmp(&self.newer(a, b)))
            .then_with(|| rtt(a.1).cmp(&rtt(b.1)))
            .then_with(|| a.0.cmp(&b.0))
    }

    /// Whether `a` is so much better than the active `b` that media moves.
    fn is_worth_it(&self, a: (Path, &Pair), b: (Path, &Pair)) -> bool {
        let (rung_a, rung_b) = (self.rung(a.0, a.1), self.rung(b.0, b.1));
        let newer = self.newer(a, b);
        let faster = match (a.1.proof(), b.1.proof()) {
            (Some(a), Some(b)) => {
                a.successes >= MEASURED
                    && b.successes >= MEASURED
                    && a.rtt + FASTER < b.rtt
                    && a.rtt * 3 < b.rtt * 2
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        rung_a < rung_b || rung_a == rung_b && (newer > 0 || newer == 0 && faster)
    }

    /// The best path that works and is not in doubt.
    fn best(&self, now: Instant, but: impl Fn(Path, &Pair) -> bool) -> Option<Path> {
        let sound = |pair: &Pair| pair.proof().is_some_and(|proof| !proof.is_suspect(now));
        let proven = self.pairs.iter().filter(|(path, pair)| sound(pair) && !but(**path, pair));
        let best = proven.min_by(|a, b| self.compare((*a.0, a.1), (*b.0, b.1)));
        best.map(|(path, _)| *path)
    }

    /// Chooses the path anew, and the spare.
    pub(super) fn choose(&mut self, now: Instant) {
        let proven = |path: &Path| self.pairs.get(path).is_some_and(|p| p.proof().is_some());
        let active = self.active.filter(proven);
        let wanted = match self.role {
            Role::Controlling => self.choice_of_controlling(now, active),
            Role::Controlled => {
                let nominated = self.nominated.map(|(_, path)| path).filter(proven);
                nominated.or(active).or_else(|| self.best(now, |_, _| false))
            }
        };
        if let Some(path) = wanted
            && self.active != Some(path)
        {
            self.active = Some(path);
            let rung = self.pairs.get(&path).map(|pair| self.rung(path, pair));
            if let Some(rung) = rung {
                self.events.push_back(Event::Active { path, rung });
            }
            if self.role == Role::Controlling {
                // The other end follows as soon as it hears of it.
                self.send_active_check(now, path);
            }
        }
        self.spare = self.choice_of_spare(now);
    }

    fn choice_of_controlling(&self, now: Instant, active: Option<Path>) -> Option<Path> {
        let Some(active) = active else { return self.best(now, |_, _| false) };
        let best = self.best(now, |_, pair| pair.is_penalized(now)).unwrap_or(active);
        match (self.pairs.get(&best), self.pairs.get(&active)) {
            (Some(a), Some(b)) if self.is_worth_it((best, a), (active, b)) => Some(best),
            _ => Some(active),
        }
    }

    /// The spare is of another kind than the active path where possible: a relay beside a direct
    /// path, another relay's allocation beside a relay.
    fn choice_of_spare(&self, now: Instant) -> Option<Path> {
        let active = self.active?;
        let pair = self.pairs.get(&active)?;
        let relayed = self.rung(active, pair).is_relayed();
        let other_kind = self.best(now, |path, pair| {
            let same = if relayed {
                path.socket == active.socket || path.remote == active.remote
            } else {
                !self.rung(path, pair).is_relayed()
            };
            path == active || same
        });
        other_kind
            .or_else(|| self.best(now, |path, _| path.socket == active.socket))
            .or_else(|| self.best(now, |path, _| path == active))
    }

    /// A check that tells the other end of the choice, beside those that keep time.
    fn send_active_check(&mut self, now: Instant, path: Path) {
        self.send_check(now, path);
        if let Some(proof) = self.pairs.get_mut(&path).and_then(Pair::proof_mut) {
            proof.sent_at = now;
            proof.unanswered = proof.unanswered.max(1);
        }
    }

    /// When the spare was last heard, for tests and for the report.
    pub(super) fn spare_rung(&self) -> Option<Rung> {
        let path = self.spare?;
        self.pairs.get(&path).map(|pair| self.rung(path, pair))
    }

    pub(super) fn active_proof(&self) -> Option<&Proof> {
        self.pairs.get(&self.active?)?.proof()
    }
}

const fn relayed(kind: CandidateKind) -> Option<Rung> {
    match kind {
        CandidateKind::Relayed(Leg::Udp) => Some(Rung::RelayUdp),
        CandidateKind::Relayed(Leg::Tcp) => Some(Rung::RelayTcp),
        CandidateKind::Relayed(Leg::Tls) => Some(Rung::RelayTls),
        CandidateKind::Host
        | CandidateKind::Mapped
        | CandidateKind::ServerReflexive
        | CandidateKind::PeerReflexive => None,
    }
}
