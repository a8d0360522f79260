//! A unit with a gate, as the agent puts it together.

#![allow(dead_code, reason = "every test file uses a part")]

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use pu_agent::{
    gate::{GateSettings, MEMORY_FILE, PuGate},
    identity::Identity,
    relations::RelationBook,
    uplink::{Handler, Status, clock::Clock, dial::Server},
};
use sightline_media_io::gate::{Admission, Gate};
use sightline_model::{PuId, PublicKey, SessionToken, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{PlayClaims, ScuToPu, TokenBearer},
};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::watch;

use crate::support::{Centre, FakeScu};

pub struct Unit {
    pub gate: PuGate,
    pub pu: PuId,
    pub status: watch::Receiver<Status>,
    pub clock: Clock,
    pub lifecycle: Lifecycle,
    pub dir: tempfile::TempDir,
    _levers: crate::support::Levers,
}

/// Hands revocations to the gate, as the agent does.
struct Ears(PuGate);

impl Handler for Ears {
    fn message(&self, message: ScuToPu) {
        match message {
            ScuToPu::EndSession { session, problem } => self.0.end_session(&session, problem),
            ScuToPu::RevokeUser { user } => self.0.revoke(user.as_ref()),
            _ => {}
        }
    }

    fn registered(&self) {
        self.0.registered();
    }

    fn owner(&self, owner: Option<UserId>) {
        self.0.owner_is(owner.as_ref());
    }
}

pub async fn unit(centre: &Centre, scu: &mut FakeScu, max_sessions: usize) -> Unit {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut unit = started(centre, scu.quic, max_sessions, dir);
    scu.registered().await;
    unit.status.wait_for(|s| s.up.is_some()).await.expect("runs");
    unit
}

/// A unit with this data folder, registered or not.
pub fn started(
    centre: &Centre,
    scu: SocketAddr,
    max_sessions: usize,
    dir: tempfile::TempDir,
) -> Unit {
    let identity = Arc::new(Identity::load_or_create(dir.path()).expect("identity"));
    let lifecycle = Lifecycle::new();
    let clock = Clock::default();
    let server = Server { quic: Some(scu.to_string()), websocket: None };
    let (driver, uplink, levers) =
        crate::support::uplink(&identity, centre, server, &clock, &lifecycle);
    let pu = identity.pu_id().clone();
    let settings = GateSettings {
        check_timeout: Duration::from_millis(700),
        memory: Some(dir.path().join(MEMORY_FILE)),
        relations: Some(RelationBook::open(dir.path())),
        ..GateSettings::new(pu.clone(), max_sessions)
    };
    let status = uplink.status();
    let gate = PuGate::new(settings, uplink, clock.clone(), &lifecycle);
    lifecycle.spawn(driver.run(Arc::new(Ears(gate.clone()))));
    Unit { gate, pu, status, clock, lifecycle, dir, _levers: levers }
}

pub fn lan() -> TokenBearer {
    at("192.168.1.20")
}

pub fn at(ip: &str) -> TokenBearer {
    TokenBearer::Address { ip: ip.parse::<IpAddr>().expect("address") }
}

pub fn key(seed: u8) -> PublicKey {
    SigningKey::from_bytes(&[seed; 32]).verifying_key().into()
}

pub fn holder(seed: u8) -> TokenBearer {
    TokenBearer::Key { client: key(seed) }
}

impl Unit {
    pub async fn admit(
        &self,
        token: &SessionToken,
        bearer: TokenBearer,
    ) -> Result<Admission, Problem> {
        self.gate.admit(token, bearer).await
    }

    pub async fn refused(&self, token: &SessionToken, bearer: TokenBearer) -> ProblemKind {
        match self.admit(token, bearer).await {
            Ok(_) => panic!("a viewer got in"),
            Err(problem) => problem.kind,
        }
    }

    pub async fn centre_is_away(&mut self) {
        self.status.wait_for(|s| s.up.is_none()).await.expect("runs");
    }

    /// Ends the agent and starts it again, with nobody where its SCU was.
    pub async fn restarted_alone(self, centre: &Centre) -> Self {
        assert!(self.lifecycle.shutdown().await, "the agent did not end");
        started(centre, ([127, 0, 0, 1], 1).into(), 8, self.dir)
    }

    /// Waits until the file that outlives the agent holds `text`.
    pub async fn kept(&self, text: &str) {
        let path = self.dir.path().join(MEMORY_FILE);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        let written = async {
            while !std::fs::read_to_string(&path).is_ok_and(|content| content.contains(text)) {
                tick.tick().await;
            }
        };
        tokio::time::timeout(crate::support::PATIENCE, written).await.expect("kept in time");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

pub fn changed(claims: &PlayClaims, change: impl FnOnce(&mut PlayClaims)) -> PlayClaims {
    let mut claims = claims.clone();
    change(&mut claims);
    claims
}
