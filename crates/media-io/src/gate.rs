//! Who may watch: the sinks ask, the PU agent answers (A8.4 steps 4 to 10).

use std::{net::IpAddr, pin::Pin};

use sightline_model::SessionToken;
use sightline_protocol::{Problem, pc::PathReport, ps::TokenBearer, sc::TokenGrant};
use tokio::sync::watch;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides over play tokens.
pub trait Gate: Send + Sync + 'static {
    /// Checks a token that `bearer` shows: signature, expiry and device here, its hash at the CMU
    /// by way of the SCU.
    fn admit<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
    ) -> BoxFuture<'a, Result<Admission, Problem>>;

    /// The same where the address that the viewer dials from is known beside its key: a gate may
    /// be kinder to neighbours while the centre is away.
    fn admit_from<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
        _from: IpAddr,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        self.admit(token, bearer)
    }
}

/// Leave to watch. Keep it as long as media flows; dropping it reports the session's end.
pub struct Admission {
    /// What was granted.
    pub grant: TokenGrant,
    /// Becomes `Some` when the session must end at once (revoked, unbound, torn down).
    pub ended: watch::Receiver<Option<Problem>>,
    /// Where the sink says which path the media takes.
    pub path: watch::Sender<Option<PathReport>>,
}

impl Admission {
    /// Resolves when the session must end, with the reason.
    pub async fn wait_ended(&mut self) -> Problem {
        match self.ended.wait_for(Option::is_some).await {
            Ok(problem) => problem.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }
}

fn gone() -> Problem {
    Problem::new(sightline_protocol::ProblemKind::DeviceOffline, "the camera is shutting down")
}
