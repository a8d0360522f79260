//! Ending streams whose right has ended, within two seconds, and again later where an SCU could
//! not be reached.

use std::time::Duration;

use cmu_storage::Session;
use sightline_model::{PuId, UserId};
use sightline_protocol::{Named, Problem, ProblemKind, sm::SmRequest};

use crate::{error::ApiError, state::AppState};

/// Waits between tries to reach an SCU. A device that comes back later learns its owner from its
/// registration.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// Takes away `user`'s tokens for a device, and ends their streams.
///
/// # Errors
/// Our own fault: the database fails.
pub async fn user_at_device(app: &AppState, pu: &PuId, user: &UserId) -> Result<(), ApiError> {
    app.db.play_tokens().revoke_for_device(pu, user).await?;
    let request = SmRequest::RevokeUser { device: pu.clone(), user: Some(user.clone()) };
    deliver(app, pu, request).await;
    Ok(())
}

/// Tells a device whose it is now.
pub async fn owner_changed(app: &AppState, pu: &PuId, owner: Option<UserId>) {
    let request = SmRequest::OwnerChanged { device: pu.clone(), owner };
    deliver(app, pu, request).await;
}

/// Ends sessions whose sign-in has ended.
pub async fn sessions(app: &AppState, sessions: Vec<Session>) {
    let problem = Problem::new(ProblemKind::TokenRevoked, "You have signed out.");
    sessions_for(app, sessions, &problem).await;
}

/// Ends sessions, and says why.
pub async fn sessions_for(app: &AppState, sessions: Vec<Session>, problem: &Problem) {
    for Session { pu, session } in sessions {
        let (device, problem) = (pu.clone(), problem.clone());
        let request = SmRequest::EndSession { device, session, problem };
        deliver(app, &pu, request).await;
    }
}

/// Tries once now, and in the background until it is done, the device is offline, or time is up.
async fn deliver(app: &AppState, pu: &PuId, request: SmRequest) {
    let Err(problem) = app.ask_scu(pu, &request).await else { return };
    if problem.kind == ProblemKind::DeviceOffline {
        // Nobody speaks for the device: its next registration brings the owner along.
        return;
    }
    let message = request.name();
    tracing::warn!(%pu, message, kind = ?problem.kind, "an SCU did not take a revocation; retrying");
    let (app, pu) = (app.clone(), pu.clone());
    app.clone().lifecycle.spawn(async move {
        for wait in RETRIES {
            tokio::time::sleep(wait).await;
            match app.ask_scu(&pu, &request).await {
                Ok(_) => return,
                Err(problem) if problem.kind == ProblemKind::DeviceOffline => return,
                Err(_) => {}
            }
        }
        tracing::error!(%pu, message, "an SCU never took a revocation");
    });
}
