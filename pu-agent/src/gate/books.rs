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
}

impl Books {
    /// Counts what was taken away so far: an answer that was asked for under another count is
    /// out of date.
    #[must_use]
    pub const fn revocations(&self) -> u64 {
        self.revocations
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

    /// The token was found good; `grant` when the centre said so.
    pub fn confirm(&mut self, token: &TokenHash, grant: Option<&TokenGrant>, now: UnixMicros) {
        if let Some(known) = self.tokens.get_mut(token) {
            known.confirmed = true;
            known.granted = grant.map(|grant| (grant.clone(), now));
        }
    }

    /// The token was found bad: a bearer that never got anything need not be remembered.
    pub fn refuse(&mut self, token: &TokenHash) {
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
            trim(&mut self.ended, |at| now.since(*at) < Duration::from_secs(24 * 3_600));
            self.ended.insert(session.clone(), now);
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

    /// Ends every session and forgets every token of `user`, or of everybody.
    pub fn revoke(&mut self, user: Option<&UserId>, now: UnixMicros) {
        self.revocations += 1;
        match user {
            Some(user) => {
                trim(&mut self.revoked_users, |at| {
                    now.since(*at) < Duration::from_secs(24 * 3_600)
                });
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
        trim(&mut self.prepared, |(_, at)| now.since(*at) < PREPARED_FOR);
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

/// Makes room for one more: first what is old goes, then, if that is not enough, everything.
fn trim<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, young: impl Fn(&V) -> bool) {
    if map.len() >= MAX_REMEMBERED {
        map.retain(|_, value| young(value));
    }
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
}

fn busy() -> Problem {
    Problem::new(ProblemKind::Busy, "this camera serves as many viewers as it can; try again later")
}
