//! What is done as time goes by: checks, their repetition, deaths.

use std::time::{Duration, Instant};

use super::{
    Event, Ladder, Path, State,
    pair::{Pair, Proof},
    timing::{
        ACTIVE_BUSY, ACTIVE_SILENT, AFTER_DEATH, ASK_AGAIN, FIRST_RTO, IDLE, LOST_RETRY,
        MAX_ALLOCATIONS, PACE, RELAY_AFTER, SLOW_RETRY, SPARE, TRIES,
    },
};
use crate::check::Role;

impl Ladder {
    /// Everything that is due.
    pub(super) fn tend(&mut self, now: Instant) {
        self.forget_unanswered(now);
        self.bury(now);
        self.keep_alive(now);
        self.check_unproven(now);
        self.probe(now);
        self.renew(now);
        self.ask_for_relay(now);
        self.look_again(now);
        // What has just become the active path or the spare is checked more often: perhaps now.
        while self.keep_alive(now) {}
    }

    /// When something is due next: what `tend` would do is done at that time, not before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.remote.as_ref()?;
        let proven = self.pairs.iter().filter_map(|(path, pair)| {
            let proof = pair.proof()?;
            let check = proof.next_check(self.interval(*path, pair));
            Some(proof.dead_at().map_or(check, |dead| dead.min(check)))
        });
        let unproven = self.pairs.iter().filter_map(|(path, pair)| match pair.state {
            State::Unproven { next, .. } if self.is_worth_checking(*path, pair) => Some(next),
            State::Unproven { .. } | State::Proven(_) => None,
        });
        let unproven = if self.triggered.is_empty() {
            unproven.min().map(|next| next.max(self.next_paced))
        } else {
            Some(self.next_paced)
        };
        let others =
            [unproven, self.probe_due(), self.renewal_due(), self.relay_due(), self.look_at];
        proven.min().into_iter().chain(others.into_iter().flatten()).min()
    }

    fn interval(&self, path: Path, pair: &Pair) -> Duration {
        let busy = pair.proof().is_some_and(|p| p.media_at.is_some_and(|at| at >= p.sent_at));
        if self.active == Some(path) {
            if busy { ACTIVE_BUSY } else { ACTIVE_SILENT }
        } else if self.spare == Some(path) {
            SPARE
        } else {
            IDLE
        }
    }

    fn bury(&mut self, now: Instant) {
        let dead = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.proof().and_then(Proof::dead_at).is_some_and(|at| now >= at));
        let dead: Vec<Path> = dead.map(|(path, _)| *path).collect();
        for path in dead {
            self.suspect_mapping(path);
            let was_relayed =
                self.pairs.get(&path).is_some_and(|p| self.rung(path, p).is_relayed());
            let Some(pair) = self.pairs.get_mut(&path) else { continue };
            pair.die(now, now + AFTER_DEATH);
            if was_relayed {
                // If it was the only one, another is needed at once.
                self.relay_wanted = Some(now);
            }
            if self.active != Some(path) {
                continue;
            }
            self.active = None;
            self.reawaken(now);
            self.choose(now);
            if self.active.is_none() {
                self.events.push_back(Event::Lost);
            }
        }
    }

    /// Checks of the paths that work; whether any was due.
    fn keep_alive(&mut self, now: Instant) -> bool {
        let due = self.pairs.iter().filter(|(path, pair)| {
            pair.proof().is_some_and(|p| now >= p.next_check(self.interval(**path, pair)))
        });
        let mut due: Vec<Path> = due.map(|(path, _)| *path).collect();
        let in_doubt = |path: &Path| {
            self.active == Some(*path)
                && self.pairs.get(path).and_then(Pair::proof).is_some_and(|p| p.unanswered > 0)
        };
        if let Some(spare) = self.spare
            && due.iter().any(in_doubt)
            && !due.contains(&spare)
        {
            // Whether the spare is sound is found out at the same time.
            due.push(spare);
        }
        let any = !due.is_empty();
        for path in due {
            self.send_check(now, path);
            if let Some(proof) = self.pairs.get_mut(&path).and_then(Pair::proof_mut) {
                proof.sent_at = now;
                proof.unanswered += 1;
            }
        }
        if any {
            self.choose(now);
        }
        any
    }

    /// Checks of the others, paced: first what the other end has just checked, then what was never
    /// tried, best first but every third a relay's, then repetitions.
    fn check_unproven(&mut self, now: Instant) {
        while self.remote.is_some() && now >= self.next_paced {
            let Some(path) = self.next_unproven(now) else { return };
            let slowest = if self.active.is_some() { SLOW_RETRY } else { LOST_RETRY };
            let Some(pair) = self.pairs.get_mut(&path) else { continue };
            if let State::Unproven { tries, next } = &mut pair.state {
                let wait = FIRST_RTO * (1 << (*tries).min(7));
                *next = now + wait.min(slowest);
                *tries = tries.saturating_add(1);
                self.send_check(now, path);
                self.next_paced = now + PACE;
            }
        }
    }

    fn next_unproven(&mut self, now: Instant) -> Option<Path> {
        while let Some(path) = self.triggered.pop_front() {
            if self.pairs.get(&path).is_some_and(|p| p.proof().is_none()) {
                return Some(path);
            }
        }
        self.turn = self.turn.wrapping_add(1);
        let relays_turn = self.turn.is_multiple_of(3);
        let due = self.pairs.iter().filter_map(|(path, pair)| match pair.state {
            State::Unproven { tries, next }
                if next <= now && self.is_worth_checking(*path, pair) =>
            {
                let others_turn = self.rung(*path, pair).is_relayed() != relays_turn;
                let never = tries == 0;
                Some(((!never, never && others_turn, u64::MAX - pair.priority), *path))
            }
            State::Unproven { .. } | State::Proven(_) => None,
        });
        due.min().map(|(_, path)| path)
    }

    /// A pair that never answered is left alone when it would be no gain.
    fn is_worth_checking(&self, path: Path, pair: &Pair) -> bool {
        let State::Unproven { tries, .. } = pair.state else { return false };
        let Some(active) = self.active.and_then(|a| self.pairs.get(&a).map(|p| self.rung(a, p)))
        else {
            return true;
        };
        let rung = self.rung(path, pair);
        tries < TRIES || rung < active || self.spare.is_none() && rung.is_relayed()
    }

    /// Whoever has no relayed path needs one: the viewer as a warm spare, the camera only when
    /// nothing else works.
    fn ask_for_relay(&mut self, now: Instant) {
        let relayed = self
            .pairs
            .iter()
            .any(|(path, pair)| pair.proof().is_some() && self.rung(*path, pair).is_relayed());
        // Of those that are there one may still come into its own.
        let allocations = self.sockets.iter().filter(|s| s.leg.is_some()).count();
        if relayed || self.remote.is_none() || allocations >= MAX_ALLOCATIONS {
            self.relay_wanted = None;
            return;
        }
        let blocked = self.nat_local.udp == Some(false);
        let wanted = if blocked { now } else { now + RELAY_AFTER };
        self.relay_wanted.get_or_insert(wanted);
        if self.relay_due().is_some_and(|due| now >= due) {
            self.asked_for_relay = Some(now);
            self.events.push_back(Event::NeedRelay);
        }
    }

    fn relay_due(&self) -> Option<Instant> {
        if self.role == Role::Controlled && self.active.is_some() {
            return None;
        }
        let first = self.relay_wanted?;
        Some(self.asked_for_relay.map_or(first, |asked| first.max(asked + ASK_AGAIN)))
    }
}
