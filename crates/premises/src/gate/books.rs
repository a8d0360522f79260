//! What the gate remembers: who showed which token, which sessions live, what was taken away.
//!
//! No clock and no I/O. Everything is bounded: entries end with their tokens, and only the CMU can
//! sign tokens, so the bounds are reached only when it goes mad; then new ones are refused.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sightline_model::{Capabilities, MediaSessionId, TokenHash, UnixMicros, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::PathReport,
    ps::{PlayClaims, TokenBearer},
    sc::TokenGrant,
};
use tokio::sync::watch;

/// Tokens, ended sessions, prepared sessions and revoked users remembered, each.
const MAX_REMEMBERED: usize = 4_096;
/// Streams that one session may hold at a time: main, sub, and retries that overlap.
const MAX_STREAMS: usize = 8;
/// How long something that was taken away is remembered by itself: far longer than a play token
/// lives.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long the CU has to come after the SCU announced it.
const PREPARED_FOR: Duration = Duration::from_secs(300);

/// A session that media may flow for.
#[derive(Debug)]
pub struct Live {
    /// Whose.
    pub user: UserId,
    /// Set when it must end.
    pub ended: watch::Sender<Option<Problem>>,
    streams: AtomicUsize,
}

#[derive(Debug)]
struct Remembered {
    bearer: TokenBearer,
    user: UserId,
    until: UnixMicros,
    /// The centre's last yes, and when it came.
    granted: Option<(TokenGrant, UnixMicros)>,
    /// Whether any check of this bearer has succeeded: else a failure forgets the bearer.
    confirmed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Books {
    tokens: HashMap<TokenHash, Remembered>,
    sessions: HashMap<MediaSessionId, (Arc<Live>, Option<PathReport>)>,
    ended: HashMap<MediaSessionId, UnixMicros>,
    prepared: HashMap<MediaSessionId, (Capabilities, UnixMicros)>,
    revoked_users: HashMap<UserId, UnixMicros>,
    revoked_all: Option<UnixMicros>,
    /// Whose the unit is, once the centre has said so.
    owner: Option<Option<UserId>>,
    /// Rises with everything that takes a right away.
    revocations: u64,
    /// Rises with everything that [`Self::ledger`] shows.
    changes: u64,
}

/// The part of the books that outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Whose the unit is, if the centre has ever said so.
    owner: Option<Owner>,
    revoked_all: Option<UnixMicros>,
    revoked_users: Vec<(UserId, UnixMicros)>,
    ended: Vec<(MediaSessionId, UnixMicros)>,
    /// Who showed the tokens that name no key; a token that names one tells its bearer by itself.
    bearers: Vec<Shown>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// `None` while the unit is bound to nobody.
    user: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    token: TokenHash,
    bearer: TokenBearer,
    user: UserId,
    until: UnixMicros,
}

impl Books {
    /// Counts what was taken away so far: an answer that was asked for under another count is
    /// out of date.
    #[must_use]
    pub const fn revocations(&self) -> u64 {
        self.revocations
    }

    /// Counts what has changed in the [`Ledger`] so far.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Who may sign tokens may have changed; that is kept with the [`Ledger`].
    pub const fn authority_changed(&mut self) {
        self.changes += 1;
    }

    /// What must outlive the process.
    #[must_use]
    pub fn ledger(&self, now: UnixMicros) -> Ledger {
        let recent = |at: &UnixMicros| now.since(*at) < REMEMBERED_FOR;
        let shown = |(token, known): (&TokenHash, &Remembered)| {
            let kept = known.confirmed
                && known.until > now
                && matches!(known.bearer, TokenBearer::Address { .. });
            kept.then(|| Shown {
                token: token.clone(),
                bearer: known.bearer.clone(),
                user: known.user.clone(),
                until: known.until,
            })
        };
        let users = self.revoked_users.iter().filter(|(_, at)| recent(at));
        let ended = self.ended.iter().filter(|(_, at)| recent(at));
        Ledger {
            owner: self.owner.clone().map(|user| Owner { user }),
            revoked_all: self.revoked_all,
            revoked_users: users.map(|(user, at)| (user.clone(), *at)).collect(),
            ended: ended.map(|(session, at)| (session.clone(), *at)).collect(),
            bearers: self.tokens.iter().filter_map(shown).collect(),
        }
    }

    /// Books that begin with what an earlier process knew.
    #[must_use]
    pub fn with(ledger: Ledger) -> Self {
        let remembered = |shown: Shown| {
            let Shown { token, bearer, user, until } = shown;
            (token, Remembered { bearer, user, until, granted: None, confirmed: true })
        };
        Self {
            tokens: ledger.bearers.into_iter().take(MAX_REMEMBERED).map(remembered).collect(),
            ended: ledger.ended.into_iter().take(MAX_REMEMBERED).collect(),
            revoked_users: ledger.revoked_users.into_iter().take(MAX_REMEMBERED).collect(),
            revoked_all: ledger.revoked_all,
            owner: ledger.owner.map(|owner| owner.user),
            ..Self::default()
        }
    }

    /// Notes who shows a token.
    ///
    /// # Errors
    /// [`ProblemKind::TokenInUse`] when another bearer showed it before.
    pub fn claim(
        &mut self,
        token: &TokenHash,
        bearer: &TokenBearer,
        claims: &PlayClaims,
        now: UnixMicros,
    ) -> Result<(), Problem> {
        if let Some(known) = self.tokens.get(token) {
            if known.bearer == *bearer {
                return Ok(());
            }
            let why = "another client has used this play token; ask for one of your own";
            return Err(Problem::new(ProblemKind::TokenInUse, why));
        }
        if self.tokens.len() >= MAX_REMEMBERED {
            self.tokens.retain(|_, known| known.until > now);
        }
        if self.tokens.len() >= MAX_REMEMBERED {
            return Err(busy());
        }
        let remembered = Remembered {
            bearer: bearer.clone(),
            user: claims.sub.clone(),
            until: UnixMicros(claims.exp.saturating_mul(1_000_000)),
            granted: None,
            confirmed: false,
        };
        self.tokens.insert(token.clone(), remembered);
        Ok(())
    }

    /// The centre's answer of at most `max_age` ago, if it was yes.
    #[must_use]
    pub fn cached(
        &self,
        token: &TokenHash,
        now: UnixMicros,
        max_age: Duration,
    ) -> Option<TokenGrant> {
        let (grant, at) = self.tokens.get(token)?.granted.as_ref()?;
        (*at <= now && now.since(*at) < max_age && now < grant.expires_at).then(|| grant.clone())
    }

    /// What this bearer was granted with this token, while its session runs.
    #[must_use]
    pub fn running(&self, token: &TokenHash, bearer: &TokenBearer) -> Option<TokenGrant> {
        let known = self.tokens.get(token).filter(|known| known.bearer == *bearer)?;
        let (grant, _) = known.granted.as_ref()?;
        let (live, _) = self.sessions.get(&grant.session)?;
        let runs = live.ended.borrow().is_none() && live.user == grant.user;
        runs.then(|| grant.clone())
    }

    /// The token was found good; `grant` when the centre said so.
    pub fn confirm(&mut self, token: &TokenHash, grant: Option<&TokenGrant>, now: UnixMicros) {
        if let Some(known) = self.tokens.get_mut(token) {
            if !known.confirmed && matches!(known.bearer, TokenBearer::Address { .. }) {
                self.changes += 1;
            }
            known.confirmed = true;
            known.granted = grant.map(|grant| (grant.clone(), now));
        }
    }

    /// The token was found bad: a bearer that never got anything need not be remembered.
    /// `revoked` when the centre has taken the right away: then it stays so while the centre
    /// cannot be asked.
    pub fn refuse(&mut self, token: &TokenHash, revoked: Option<&MediaSessionId>, now: UnixMicros) {
        if let Some(session) = revoked {
            self.remember_ended(session, now);
        }
        if let Some(known) = self.tokens.get_mut(token) {
            known.granted = None;
            if !known.confirmed {
                self.tokens.remove(token);
            }
        }
    }

    /// Whether the unit has itself heard that this right was taken away; asked where the centre
    /// cannot be.
    #[must_use]
    pub fn known_revoked(&self, claims: &PlayClaims) -> bool {
        let before = |at: &UnixMicros| claims.iat <= at.as_secs();
        self.revoked_all.as_ref().is_some_and(before)
            || self.revoked_users.get(&claims.sub).is_some_and(before)
            || self.ended.contains_key(&claims.sid)
    }

    /// Opens a stream of a session, the first or another.
    ///
    /// # Errors
    /// [`ProblemKind::Busy`] at `max_sessions`.
    pub fn open(
        &mut self,
        session: &MediaSessionId,
        user: &UserId,
        max_sessions: usize,
    ) -> Result<Arc<Live>, Problem> {
        if let Some((live, _)) = self.sessions.get(session)
            && live.ended.borrow().is_none()
            && live.user == *user
        {
            if live.streams.load(Ordering::Relaxed) >= MAX_STREAMS {
                return Err(busy());
            }
            live.streams.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::clone(live));
        }
        if self.sessions.len() >= max_sessions {
            return Err(busy());
        }
        let live = Arc::new(Live {
            user: user.clone(),
            ended: watch::Sender::new(None),
            streams: AtomicUsize::new(1),
        });
        self.sessions.insert(session.clone(), (Arc::clone(&live), None));
        Ok(live)
    }

    /// Notes a session's path; false when the session is not current any more.
    pub fn path(&mut self, session: &MediaSessionId, live: &Arc<Live>, path: &PathReport) -> bool {
        match self.sessions.get_mut(session) {
            Some((current, known)) if Arc::ptr_eq(current, live) => {
                let changed = known.as_ref() != Some(path);
                *known = Some(path.clone());
                changed
            }
            Some(_) | None => false,
        }
    }

    /// Closes a stream; true when it was the current session's last.
    pub fn close(&mut self, session: &MediaSessionId, live: &Arc<Live>) -> bool {
        let last = live.streams.fetch_sub(1, Ordering::Relaxed) == 1;
        let current = self.sessions.get(session).is_some_and(|(l, _)| Arc::ptr_eq(l, live));
        if last && current {
            self.sessions.remove(session);
        }
        last && current
    }

    /// Ends a session. With a `problem`, its token opens nothing here while the centre is away.
    pub fn end(&mut self, session: &MediaSessionId, problem: Option<Problem>, now: UnixMicros) {
        self.revocations += 1;
        if problem.is_some() {
            self.remember_ended(session, now);
        }
        // A yes from before the end would open the session anew, and nobody would end it again.
        for known in self.tokens.values_mut() {
            known.granted.take_if(|(grant, _)| grant.session == *session);
        }
        if let Some((live, _)) = self.sessions.get(session) {
            live.ended.send_replace(Some(problem.unwrap_or_else(|| {
                Problem::new(ProblemKind::TokenRevoked, "the session was ended")
            })));
        }
    }

    fn remember_ended(&mut self, session: &MediaSessionId, now: UnixMicros) {
        // When it was said first is enough: by the time that is forgotten, no token of it is left.
        if self.ended.contains_key(session) {
            return;
        }
        self.changes += 1;
        if !room(&mut self.ended, now) {
            self.revoked_all = Some(now);
        }
        self.ended.insert(session.clone(), now);
    }

    /// Ends every session and forgets every token of `user`, or of everybody.
    pub fn revoke(&mut self, user: Option<&UserId>, now: UnixMicros) {
        self.revocations += 1;
        self.changes += 1;
        match user {
            Some(user) => {
                let known = self.revoked_users.contains_key(user);
                if !known && !room(&mut self.revoked_users, now) {
                    self.revoked_all = Some(now);
                }
                self.revoked_users.insert(user.clone(), now);
            }
            None => self.revoked_all = Some(now),
        }
        let concerned = |other: &UserId| user.is_none_or(|user| user == other);
        self.tokens.retain(|_, known| !concerned(&known.user));
        for (live, _) in self.sessions.values().filter(|(live, _)| concerned(&live.user)) {
            let why = "the right to watch this camera was taken away";
            live.ended.send_replace(Some(Problem::new(ProblemKind::TokenRevoked, why)));
        }
    }

    /// Notes whose the unit is; a change takes everybody else's rights away.
    pub fn owner_is(&mut self, owner: Option<&UserId>, now: UnixMicros) {
        let known = self.owner.replace(owner.cloned());
        if known.as_ref().is_none_or(|known| known.as_ref() != owner) {
            self.changes += 1;
        }
        if known.as_ref().is_none_or(|known| known.as_ref() == owner) {
            return;
        }
        let others: HashSet<UserId> = self
            .tokens
            .values()
            .map(|known| &known.user)
            .chain(self.sessions.values().map(|(live, _)| &live.user))
            .filter(|user| owner != Some(*user))
            // The owner before, although nothing of theirs is at hand: their tokens still verify.
            .chain(known.iter().flatten())
            .cloned()
            .collect();
        for user in others {
            self.revoke(Some(&user), now);
        }
    }

    /// Notes what a CU that is about to come can take.
    pub fn prepare(&mut self, session: MediaSessionId, what: Capabilities, now: UnixMicros) {
        if self.prepared.len() >= MAX_REMEMBERED {
            self.prepared.retain(|_, (_, at)| now.since(*at) < PREPARED_FOR);
        }
        if self.prepared.len() >= MAX_REMEMBERED {
            self.prepared.clear();
        }
        self.prepared.insert(session, (what, now));
    }

    /// What [`Self::prepare`] noted.
    #[must_use]
    pub fn prepared(&self, session: &MediaSessionId) -> Option<&Capabilities> {
        self.prepared.get(session).map(|(capabilities, _)| capabilities)
    }

    /// Sessions that run and whose path is known, for an SCU that knows nothing of them.
    #[must_use]
    pub fn paths(&self) -> Vec<(MediaSessionId, PathReport)> {
        let known = |(id, (live, path)): (&MediaSessionId, &(Arc<Live>, Option<PathReport>))| {
            live.ended.borrow().is_none().then_some((id.clone(), path.clone()?))
        };
        self.sessions.iter().filter_map(known).collect()
    }

    /// Sessions now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.sessions.len()
    }
}

/// Makes room for one more thing that was taken away; what is old goes. False when that was not
/// enough and all went: the caller must then count everything of before as taken away.
fn room<K: std::hash::Hash + Eq>(taken: &mut HashMap<K, UnixMicros>, now: UnixMicros) -> bool {
    if taken.len() >= MAX_REMEMBERED {
        taken.retain(|_, at| now.since(*at) < REMEMBERED_FOR);
    }
    let enough = taken.len() < MAX_REMEMBERED;
    if !enough {
        taken.clear();
    }
    enough
}

fn busy() -> Problem {
    Problem::new(ProblemKind::Busy, "this camera serves as many viewers as it can; try again later")
}

#[cfg(test)]
mod tests;
