//! Calls over QUIC that come through the centre: each has a session of the connection ladder below
//! the unit's one QUIC endpoint. The dialogue is RTSP as on plain dials; only the holder of the key
//! that made the offer gets to speak it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sightline_media_io::{
    gate::Admission,
    rtsp_server::quic::{Carriage, Carrier},
};
use sightline_model::{MediaSessionId, NatReport, PublicKey};
use sightline_p2p_net::{
    Lifetimes, Line, Mux, RelayOptions, Session, SessionConfig, fingerprint,
    gateway::Protocol,
    p2p::{Credentials, Description, Role},
    path_report,
    server::Servers,
    session_of,
};
use sightline_protocol::{Problem, ProblemKind, cm::IceServer, ps::PuToScu};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{outside::Outside, uplink::Uplink};

/// A viewer who was answered and does not come is not waited for any longer.
const COME_WITHIN: Duration = Duration::from_secs(30);
/// The last words of a connection need a path for so long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What all calls have in common.
pub struct LadderSettings {
    /// The endpoint's socket.
    pub mux: Arc<Mux>,
    /// The unit's key.
    pub key: PublicKey,
    /// How to reach relays.
    pub relay: RelayOptions,
    /// Whether loopback addresses count.
    pub loopback: bool,
    /// What is known of how long mappings live.
    pub lifetimes: Lifetimes,
    /// How the unit looks from outside.
    pub outside: Outside,
    /// What the endpoint's socket is bound to.
    pub bound: SocketAddr,
}

/// The calls; cheap to clone.
#[derive(Clone)]
pub struct Ladders {
    shared: Arc<Shared>,
}

struct Shared {
    settings: LadderSettings,
    uplink: Uplink,
    lifecycle: Lifecycle,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    by_name: HashMap<MediaSessionId, Arc<Running>>,
    by_number: HashMap<u64, MediaSessionId>,
}

struct Running {
    session: Session,
    client: PublicKey,
    /// By which the viewer's checks are known.
    credentials: Credentials,
    /// How many connections it has, and whether it ever had one.
    connections: watch::Sender<(usize, bool)>,
    /// Another offer has taken its place.
    replaced: CancellationToken,
}

impl Ladders {
    /// No calls yet.
    #[must_use]
    pub fn new(settings: LadderSettings, uplink: Uplink, lifecycle: &Lifecycle) -> Self {
        let (lifecycle, calls) = (lifecycle.clone(), Mutex::default());
        Self { shared: Arc::new(Shared { settings, uplink, lifecycle, calls }) }
    }

    /// Takes a later line of the viewer; gives it back when it belongs to no call over QUIC.
    pub fn line(&self, session: &MediaSessionId, line: String) -> Option<String> {
        let calls = self.shared.calls.lock();
        let Some(running) = calls.by_name.get(session) else { return Some(line) };
        // Candidates of other transports, and the empty one at the end, are of no use.
        if let Ok(line) = line.parse() {
            running.session.try_add_remote(line);
        }
        None
    }

    /// Answers the offer of an admitted viewer: the unit's description.
    ///
    /// # Errors
    /// In words for the viewer.
    pub async fn answer(
        &self,
        name: &MediaSessionId,
        offer: Description,
        client: PublicKey,
        admission: Admission,
        ice_servers: &[IceServer],
    ) -> Result<Description, Problem> {
        if offer.fingerprint != fingerprint(&client) {
            let why = "the offer's fingerprint is not that of the client's key";
            return Err(Problem::new(ProblemKind::InvalidToken, why));
        }
        if let Some(description) = self.go_on(name, &offer, client).await {
            return Ok(description);
        }
        let settings = &self.shared.settings;
        let config = SessionConfig {
            role: Role::Controlled,
            fingerprint: fingerprint(&settings.key),
            nat: settings.outside.nat.borrow().clone(),
            lifetimes: settings.lifetimes.clone(),
            servers: Servers::read(ice_servers),
            relay: RelayOptions {
                nat64: *settings.outside.nat64.borrow(),
                ..settings.relay.clone()
            },
            warm_relays: 0,
            loopback: settings.loopback,
            mapped: settings.outside.of_socket(Protocol::Udp, settings.bound),
            map: false,
            measure: false,
        };
        let lifecycle = &self.shared.lifecycle;
        let mut session = Session::start(&settings.mux, config, &lifecycle.token, &lifecycle.tasks)
            .map_err(|error| {
                tracing::warn!(%error, "no session for a viewer");
                Problem::new(ProblemKind::Internal, "the camera cannot open a session now")
            })?;
        let description = session.description().clone();
        if let Some(lines) = session.take_lines() {
            self.trickle(name.clone(), lines);
        }
        let credentials = offer.credentials.clone();
        session.set_remote(offer).await;
        let (number, replaced) = (session.number(), CancellationToken::new());
        let connections = watch::Sender::new((0, false));
        let running = Arc::new(Running { session, client, credentials, connections, replaced });
        self.put(name, number, &running);
        let keeping = self.clone().keep(name.clone(), number, running, admission);
        self.shared.lifecycle.spawn(keeping.in_current_span());
        Ok(description)
    }

    /// The same viewer has come back to the centre with the same call: it runs on, with what is new.
    async fn go_on(
        &self,
        name: &MediaSessionId,
        offer: &Description,
        client: PublicKey,
    ) -> Option<Description> {
        let running = self.shared.calls.lock().by_name.get(name).cloned()?;
        if running.client != client || running.credentials != offer.credentials {
            return None;
        }
        for candidate in &offer.candidates {
            running.session.add_remote(Line::Candidate(candidate.clone())).await;
        }
        Some(running.session.description().clone())
    }

    fn put(&self, name: &MediaSessionId, number: u64, running: &Arc<Running>) {
        let mut calls = self.shared.calls.lock();
        calls.by_number.insert(number, name.clone());
        if let Some(old) = calls.by_name.insert(name.clone(), Arc::clone(running)) {
            calls.by_number.remove(&old.session.number());
            old.replaced.cancel();
        }
    }

    fn trickle(&self, session: MediaSessionId, mut lines: mpsc::Receiver<Line>) {
        let uplink = self.shared.uplink.clone();
        self.shared.lifecycle.spawn(async move {
            while let Some(line) = lines.recv().await {
                let (session, candidate) = (session.clone(), line.to_string());
                uplink.send(PuToScu::Candidate { session, candidate });
            }
        });
    }

    /// Until the viewer leaves, may not watch any more, or does not come.
    async fn keep(
        self,
        name: MediaSessionId,
        number: u64,
        running: Arc<Running>,
        mut admission: Admission,
    ) {
        let mut report = running.session.report();
        let mut connections = running.connections.subscribe();
        let come = tokio::time::sleep(COME_WITHIN);
        tokio::pin!(come);
        let path = admission.path.clone();
        let settings = &self.shared.settings;
        // What was found out since the session began is news, too.
        let (mut nat, mut mapped) = (settings.outside.nat.clone(), settings.outside.mapped.clone());
        nat.mark_changed();
        mapped.mark_changed();
        loop {
            let (open, ever) = *connections.borrow_and_update();
            if ever && open == 0 {
                break;
            }
            tokio::select! {
                _ = admission.wait_ended() => break,
                () = running.replaced.cancelled() => break,
                () = &mut come, if !ever => break,
                // Both senders live as long as the call.
                _ = connections.changed() => {}
                // Nothing more is found out by who is gone.
                Ok(()) = nat.changed() => {
                    let now = nat.borrow_and_update().clone();
                    if now != NatReport::default() {
                        running.session.set_nat(now).await;
                    }
                }
                Ok(()) = mapped.changed() => {
                    mapped.borrow_and_update();
                    let now = settings.outside.of_socket(Protocol::Udp, settings.bound);
                    running.session.set_mapped(now).await;
                }
                changed = report.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = path_report(&report.borrow_and_update());
                    if now.is_some() {
                        path.send_replace(now);
                    }
                }
            }
        }
        tokio::time::sleep(LAST_WORDS).await;
        let mut calls = self.shared.calls.lock();
        calls.by_number.remove(&number);
        if calls.by_name.get(&name).is_some_and(|r| Arc::ptr_eq(r, &running)) {
            calls.by_name.remove(&name);
        }
    }

    fn of(&self, remote: SocketAddr) -> Option<Arc<Running>> {
        let calls = self.shared.calls.lock();
        let name = calls.by_number.get(&session_of(remote)?)?;
        calls.by_name.get(name).cloned()
    }
}

impl Carrier for Ladders {
    fn carriage(&self, remote: SocketAddr) -> Carriage {
        let Some(number) = session_of(remote) else { return Carriage::Plain };
        let Some(running) = self.of(remote) else { return Carriage::Over };
        let from = self.shared.settings.mux.remote_of(number).unwrap_or(remote);
        Carriage::Session { client: running.client, from, account: account(number) }
    }

    fn connected(&self, remote: SocketAddr) {
        if let Some(running) = self.of(remote) {
            running.connections.send_modify(|(open, ever)| {
                *open += 1;
                *ever = true;
            });
        }
    }

    fn ended(&self, remote: SocketAddr) {
        if let Some(running) = self.of(remote) {
            running.connections.send_modify(|(open, _)| *open = open.saturating_sub(1));
        }
    }
}

/// A network of its own for each session, where places are counted by network: relays stand for
/// many viewers, and whoever is here was admitted.
fn account(number: u64) -> IpAddr {
    let unique_local = 0xfd_u128 << 120;
    Ipv6Addr::from(unique_local | u128::from(number) << 64).into()
}
