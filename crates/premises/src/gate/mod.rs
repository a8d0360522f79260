//! Who may watch (A8.4 steps 4 to 10): the unit judges every play token itself, then asks the
//! centre. What the centre takes away ends here at once.

mod books;
mod keep;
mod token;

use std::{collections::HashMap, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sightline_media_io::gate::{Admission, BoxFuture, Gate};
use sightline_model::{
    Capabilities, ChannelId, MediaSessionId, PuId, Right, SessionToken, UnixMicros, UserId,
};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::PathReport,
    ps::{PlayClaims, PuToScu, Relations, TokenBearer},
    sc::TokenGrant,
};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::{Notify, watch};

use crate::{
    relations::{RelationBook, Told},
    uplink::{CentreAway, Uplink, clock::Clock},
};
use books::{Books, Live};
pub use keep::FILE as MEMORY_FILE;
use keep::Kept;
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

struct Shared {
    settings: GateSettings,
    uplink: Uplink,
    clock: Clock,
    books: Mutex<Books>,
    /// Who could sign play tokens when an earlier process last knew, and when that was.
    earlier: Option<(Authority, UnixMicros)>,
    /// Sessions of NVRs, and the relations that they run by.
    recorded: Mutex<HashMap<MediaSessionId, (PuId, ChannelId)>>,
    /// The books have changed in what must be kept.
    changed: Notify,
    lifecycle: Lifecycle,
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
        let shared = Arc::new(Shared {
            settings,
            uplink,
            clock,
            books: Mutex::new(books),
            earlier,
            recorded: Mutex::default(),
            changed: Notify::new(),
            lifecycle: lifecycle.clone(),
        });
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

impl Shared {
    /// Who may sign: as the centre said in this process's life, else as it said to an earlier one.
    fn authority(&self, now: UnixMicros) -> Result<Authority, Problem> {
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
    fn check_relation(&self, claims: &PlayClaims) -> Result<(), Problem> {
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
    fn note_nvr(&self, claims: &PlayClaims) -> Result<(), Problem> {
        let Some(nvr) = &claims.nvr else { return Ok(()) };
        self.recorded.lock().insert(claims.sid.clone(), (nvr.clone(), claims.ch));
        self.check_relation(claims)
    }

    /// Changes the books; what of it must be kept goes to the disk soon.
    fn note<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.books.lock();
        let before = books.changes();
        let result = change(&mut books);
        if books.changes() != before {
            self.changed.notify_one();
        }
        result
    }

    /// What is to be kept, with its number, when that is not `written`.
    fn kept(&self, written: u64) -> Option<(u64, Kept)> {
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

    fn report(&self, session: MediaSessionId, path: Option<PathReport>) {
        self.uplink.send(PuToScu::SessionReport { session, path });
    }
}

/// What an NVR is told whose relation does not hold.
fn withdrawn() -> Problem {
    let why = "this camera is not related to that recorder";
    Problem::new(ProblemKind::TokenRevoked, why)
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
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use sightline_model::{DomainName, PublicKey};

    use super::*;
    use crate::uplink::{Lease, Status};

    fn registered_in(domain: &DomainName) -> Status {
        let lease = Lease {
            domain: domain.clone(),
            epoch: 1,
            token_keys: Vec::new(),
            ice_servers: Vec::new(),
            owner: None,
            observed: ([192, 0, 2, 1], 9).into(),
            relations: None,
        };
        Status { lease: Some(lease), ..Status::default() }
    }

    #[test]
    fn what_is_kept_is_never_an_older_authority_under_a_newer_number() {
        let (uplink, status) = Uplink::without_driver();
        let [before, after] = ["a.example", "b.example"].map(|d| d.parse().expect("domain"));
        status.send_replace(registered_in(&before));
        let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let settings = GateSettings::new(pu, 8);
        let gate = PuGate::new(settings, uplink, Clock::default(), &Lifecycle::new());
        gate.registered();
        let shared = &gate.shared;
        let kept = thread::scope(|scope| {
            let mut keeping = None;
            // Nobody can read the lease until this is done; the books must be locked before.
            status.send_modify(|status| {
                keeping = Some(scope.spawn(|| shared.kept(0)));
                let begun = Instant::now();
                while shared.books.try_lock().is_some() {
                    assert!(begun.elapsed() < Duration::from_secs(10), "the books are not locked");
                    thread::yield_now();
                }
                *status = registered_in(&after);
            });
            keeping.expect("started").join().expect("no panic")
        });
        let (changes, kept) = kept.expect("there is something to keep");
        assert_eq!((changes, kept.authority.domain), (1, after));
        gate.registered();
        assert!(shared.kept(changes).is_some(), "and once more, for the new lease");
    }
}
