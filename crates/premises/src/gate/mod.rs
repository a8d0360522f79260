//! Who may watch (A8.4 steps 4 to 10): the unit judges every play token itself, then asks the
//! centre. What the centre takes away ends here at once.

mod books;
mod keep;
mod shared;
mod token;
mod told;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use sightline_media_io::gate::{Admission, BoxFuture, Gate};
use sightline_model::{MediaSessionId, PuId, Right, SessionToken, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::PathReport,
    ps::{PlayClaims, TokenBearer},
    sc::TokenGrant,
};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::watch;

use crate::{
    relations::RelationBook,
    uplink::{CentreAway, Uplink, clock::Clock},
};
use books::{Books, Live};
pub use keep::FILE as MEMORY_FILE;
use keep::Kept;
use shared::Shared;
use token::Authority;

/// How long the centre may take to confirm a token.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long its yes counts for the same bearer and token: DESCRIBE, SETUP and PLAY of one player
/// need not ask three times, a revoked right must not outlive 2 s.
const CACHE_FOR: Duration = Duration::from_secs(2);

/// How often one token is asked about when rights change meanwhile.
const MAX_ASKS: usize = 3;

/// Limits of a [`PuGate`].
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// The unit.
    pub pu: PuId,
    /// Sessions at a time.
    pub max_sessions: usize,
    /// How long the centre may take to confirm a token.
    pub check_timeout: Duration,
    /// Where that is kept which a restart must not forget; nowhere if absent.
    pub memory: Option<PathBuf>,
    /// Which NVRs may take streams; none where absent.
    pub relations: Option<RelationBook>,
}

impl GateSettings {
    /// The usual limits.
    #[must_use]
    pub const fn new(pu: PuId, max_sessions: usize) -> Self {
        Self { pu, max_sessions, check_timeout: CHECK_TIMEOUT, memory: None, relations: None }
    }
}

/// The unit's [`Gate`]; cheap to clone.
#[derive(Clone)]
pub struct PuGate {
    shared: Arc<Shared>,
}

impl Gate for PuGate {
    fn admit<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        Box::pin(self.admit_seen(token, bearer, None))
    }

    fn admit_from<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
        from: IpAddr,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        Box::pin(self.admit_seen(token, bearer, Some(from)))
    }
}

impl PuGate {
    async fn admit_seen(
        &self,
        token: &SessionToken,
        bearer: TokenBearer,
        from: Option<IpAddr>,
    ) -> Result<Admission, Problem> {
        let result = self.judge(token, canonical(bearer), from).await;
        let outcome = if result.is_ok() { "granted" } else { "refused" };
        metrics::counter!("sightline_pu_admissions_total", "outcome" => outcome).increment(1);
        if let Err(problem) = &result {
            tracing::info!(kind = ?problem.kind, %problem, "a viewer was refused");
        }
        result
    }

    /// A gate that asks the centre through `uplink`. It begins with what an earlier one has kept.
    #[must_use]
    pub fn new(
        settings: GateSettings,
        uplink: Uplink,
        clock: Clock,
        lifecycle: &Lifecycle,
    ) -> Self {
        let memory = settings.memory.clone();
        let (books, earlier) = match memory.as_deref().and_then(Kept::read) {
            Some(kept) => {
                clock.set_offset(kept.clock_offset_us);
                (Books::with(kept.ledger), Some((kept.authority, kept.at)))
            }
            None => (Books::default(), None),
        };
        let shared = Arc::new(Shared::new(settings, uplink, clock, (books, earlier), lifecycle));
        if let Some(path) = memory {
            let keeping = Arc::clone(&shared);
            lifecycle.spawn_graceful(|token| keep::run(keeping, path, token));
        }
        Self { shared }
    }

    async fn judge(
        &self,
        token: &SessionToken,
        bearer: TokenBearer,
        from: Option<IpAddr>,
    ) -> Result<Admission, Problem> {
        let near = from.or(match &bearer {
            TokenBearer::Address { ip } => Some(*ip),
            TokenBearer::Key { .. } => None,
        });
        let near = near.is_some_and(is_private);
        let shared = &self.shared;
        let now = shared.clock.now();
        let authority = shared.authority(now)?;
        let claims = token::verify(token, &bearer, &authority, &shared.settings.pu, now)?;
        shared.check_relation(&claims)?;
        for _ in 0..MAX_ASKS {
            shared.books.lock().claim(&token.hash(), &bearer, &claims, now)?;
            let (grant, revocations) =
                self.granted(token, &bearer, &claims, &authority, near).await?;
            if let Some(admission) = self.open(grant, revocations)? {
                shared.note_nvr(&claims)?;
                return Ok(admission);
            }
        }
        let why = "rights are being changed; try again";
        Err(Problem::new(ProblemKind::Busy, why))
    }

    /// Admits once more who watches already, so that a session may look for another path (RFC 8445
    /// section 9). Leave to watch stands as long as the session runs, and ends with it: neither is
    /// the centre asked again, nor does it matter that the token's time is over meanwhile.
    /// `None` when no such session runs; then [`Gate::admit`] decides.
    #[must_use]
    pub fn again(&self, token: &SessionToken, bearer: &TokenBearer) -> Option<Admission> {
        let (grant, revocations) = {
            let books = self.shared.books.lock();
            (books.running(&token.hash(), bearer)?, books.revocations())
        };
        self.open(grant, revocations).ok().flatten()
    }

    /// What the token grants, with the state of revocations under which that was said.
    async fn granted(
        &self,
        token: &SessionToken,
        bearer: &TokenBearer,
        claims: &PlayClaims,
        authority: &Authority,
        near: bool,
    ) -> Result<(TokenGrant, u64), Problem> {
        let shared = &self.shared;
        let hash = token.hash();
        let (revocations, cached) = {
            let books = shared.books.lock();
            (books.revocations(), books.cached(&hash, shared.clock.now(), CACHE_FOR))
        };
        if let Some(grant) = cached {
            return Ok((grant, revocations));
        }
        let timeout = shared.settings.check_timeout;
        let answer = shared.uplink.check_token(hash.clone(), bearer.clone(), timeout).await;
        let by_centre = answer.is_ok();
        let result = match answer {
            Ok(result) => result.and_then(|grant| fitting(grant, claims)),
            Err(CentreAway) => self.without_centre(claims, authority, near),
        };
        let now = shared.clock.now();
        match result {
            Ok(grant) => {
                shared.note(|books| books.confirm(&hash, by_centre.then_some(&grant), now));
                Ok((grant, revocations))
            }
            Err(problem) => {
                let revoked = by_centre && problem.kind == ProblemKind::TokenRevoked;
                let session = revoked.then_some(&claims.sid);
                shared.note(|books| books.refuse(&hash, session, now));
                Err(problem)
            }
        }
    }

    /// On the LAN with the centre away, an unexpired signed token is enough.
    fn without_centre(
        &self,
        claims: &PlayClaims,
        authority: &Authority,
        near: bool,
    ) -> Result<TokenGrant, Problem> {
        if !near {
            let why = "this camera cannot reach its centre, so only viewers on its own network \
                       may watch";
            return Err(Problem::new(ProblemKind::DeviceOffline, why));
        }
        let books = self.shared.books.lock();
        if books.known_revoked(claims) {
            let why = "the right to watch this camera was taken away";
            return Err(Problem::new(ProblemKind::TokenRevoked, why));
        }
        Ok(TokenGrant {
            domain: authority.domain.clone(),
            user: claims.sub.clone(),
            session: claims.sid.clone(),
            channel: claims.ch,
            rights: claims.rights.clone(),
            capabilities: books.prepared(&claims.sid).cloned().unwrap_or_default(),
            expires_at: UnixMicros(claims.exp.saturating_mul(1_000_000)),
        })
    }

    /// `None` when something was taken away while the centre was asked: its yes may be older.
    fn open(&self, grant: TokenGrant, revocations: u64) -> Result<Option<Admission>, Problem> {
        if !grant.rights.allows(Right::View) {
            let why = "the play token does not allow watching";
            return Err(Problem::new(ProblemKind::Forbidden, why));
        }
        let live = {
            let mut books = self.shared.books.lock();
            if books.revocations() != revocations {
                return Ok(None);
            }
            let live =
                books.open(&grant.session, &grant.user, self.shared.settings.max_sessions)?;
            gauge(&books);
            live
        };
        let ended = live.ended.subscribe();
        let path = watch::Sender::new(None);
        self.follow(grant.session.clone(), live, path.subscribe());
        Ok(Some(Admission { grant, ended, path }))
    }

    /// Reports paths until the admission is dropped, then the session's end.
    fn follow(
        &self,
        session: MediaSessionId,
        live: Arc<Live>,
        mut paths: watch::Receiver<Option<PathReport>>,
    ) {
        let shared = Arc::clone(&self.shared);
        self.shared.lifecycle.spawn(async move {
            while paths.changed().await.is_ok() {
                let path = paths.borrow_and_update().clone();
                if let Some(path) = path
                    && shared.books.lock().path(&session, &live, &path)
                {
                    shared.report(session.clone(), Some(path));
                }
            }
            let over = {
                let mut books = shared.books.lock();
                let over = books.close(&session, &live);
                gauge(&books);
                over
            };
            if over {
                shared.recorded.lock().remove(&session);
                shared.report(session, None);
            }
        });
    }
}

/// A grant that speaks of something else than the token was answered by mistake or by an enemy.
fn fitting(grant: TokenGrant, claims: &PlayClaims) -> Result<TokenGrant, Problem> {
    let same =
        grant.session == claims.sid && grant.channel == claims.ch && grant.user == claims.sub;
    same.then_some(grant).ok_or_else(|| {
        let why = "the centre's answer does not fit the play token";
        Problem::new(ProblemKind::InvalidToken, why)
    })
}

fn canonical(bearer: TokenBearer) -> TokenBearer {
    match bearer {
        TokenBearer::Address { ip } => TokenBearer::Address { ip: ip.to_canonical() },
        key @ TokenBearer::Key { .. } => key,
    }
}

/// Whether an address can only be a neighbour's: RFC 1918, RFC 4193, link-local, loopback.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn gauge(books: &Books) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    metrics::gauge!("sightline_pu_sessions").set(books.live() as f64);
}

#[cfg(test)]
mod tests;
