//! The offer, and what the PU answers.

use std::time::Duration;

use sightline_p2p_net::{Line, Session as Ways, fingerprint, p2p::Description};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CuToScu, ScuToCu},
};

use super::{
    super::{
        figures::{Figures, Stage},
        session::Session,
        signal::{Signal, sign_offer, verify_answer},
    },
    Failed, over,
};
use crate::error::CuError;

/// How long the PU may take to answer the offer.
const ANSWER: Duration = Duration::from_secs(10);
/// A candidate may come before the answer; so many are kept.
const MAX_EARLY: usize = 64;

/// Offers, and takes the PU's answer once it has proven itself.
pub(super) async fn offer(
    session: &Session,
    signal: &mut Signal,
    ways: &Ways,
    figures: &Figures,
    early: &mut Vec<Line>,
) -> Result<Description, Failed> {
    let answer = &session.answer;
    let sdp = ways.description().to_string();
    let offer = sign_offer(&answer.session, &answer.token, &session.key, sdp.clone())
        .map_err(Failed::For)?;
    let (name, device) = (answer.session.clone(), answer.device.clone());
    signal
        .send(&CuToScu::Offer { session: name, device, offer: Box::new(offer) })
        .await
        .map_err(Failed::Signalling)?;
    figures.stage(Stage::Signalling);
    let answering = async {
        loop {
            match signal.next().await.map_err(Failed::Signalling)? {
                ScuToCu::Answer { session: of, answer: theirs } if of == answer.session => {
                    verify_answer(&of, &answer.device_key, &sdp, &theirs).map_err(Failed::For)?;
                    return described(&theirs.sdp, &answer.device_key).map_err(Failed::For);
                }
                ScuToCu::Candidate { session: of, candidate } if of == answer.session => {
                    // Those of other transports, and the empty one at the end, are of no use.
                    if let Ok(candidate) = candidate.parse()
                        && early.len() < MAX_EARLY
                    {
                        early.push(candidate);
                    }
                }
                ScuToCu::Refused { session: of, problem } if of == answer.session => {
                    return Err(refused(problem));
                }
                ScuToCu::Ended { session: of, problem } if of == answer.session => {
                    return Err(Failed::For(over(problem)));
                }
                ScuToCu::Malformed { problem } => {
                    return Err(Failed::Signalling(CuError::other(problem.detail)));
                }
                ScuToCu::Answer { .. }
                | ScuToCu::Candidate { .. }
                | ScuToCu::Refused { .. }
                | ScuToCu::Ended { .. }
                | ScuToCu::KeepAliveAck { .. } => {}
            }
        }
    };
    tokio::time::timeout(ANSWER, answering).await.unwrap_or_else(|_| {
        Err(Failed::Signalling(CuError::timeout("the camera did not answer in time")))
    })
}

/// Reads the answer; the fingerprint in it must be that of the key that the PU is known by.
fn described(sdp: &str, device_key: &sightline_model::PublicKey) -> Result<Description, CuError> {
    let description: Description = sdp
        .parse()
        .map_err(|e| CuError::other(format!("the camera's answer makes no sense: {e}")))?;
    if description.fingerprint != fingerprint(device_key) {
        return Err(CuError::security(
            "the camera's answer names another key than the camera's: somebody may be in between. Nothing was played",
        ));
    }
    Ok(description)
}

/// A unit that says no would say it to a direct dial too; one that cannot be called, or does not know
/// such offers, may answer there.
fn refused(problem: Problem) -> Failed {
    use ProblemKind::{
        Busy, CameraOffline, Forbidden, TokenExpired, TokenInUse, TokenRevoked, Unauthenticated,
    };
    let final_word = matches!(
        problem.kind,
        Forbidden
            | Unauthenticated
            | TokenRevoked
            | TokenExpired
            | TokenInUse
            | CameraOffline
            | Busy
    );
    if final_word { Failed::For(problem.into()) } else { Failed::Signalling(problem.into()) }
}
