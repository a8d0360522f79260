//! Calls over QUIC that come through the centre: each has a session of the connection ladder below
//! the unit's one QUIC endpoint. The dialogue is RTSP as on plain dials; only the holder of the key
//! that made the offer gets to speak it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
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
    p2p::{Allowance, Credentials, Description, Role},
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
/// What a viewer has used up of a call's allowance is remembered for so long after its last offer:
/// all but the rounds of probing has come back by then. And of so many calls, the latest.
const REMEMBER: Duration = Duration::from_secs(65 * 60);
const MAX_REMEMBERED: usize = 1_024;

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

impl LadderSettings {
    fn session(&self, ice_servers: &[IceServer]) -> SessionConfig {
        SessionConfig {
            role: Role::Controlled,
            fingerprint: fingerprint(&self.key),
            nat: self.outside.nat.borrow().clone(),
            lifetimes: self.lifetimes.clone(),
            servers: Servers::read(ice_servers),
            relay: RelayOptions { nat64: *self.outside.nat64.borrow(), ..self.relay.clone() },
            warm_relays: 0,
            loopback: self.loopback,
            mapped: self.outside.of_socket(Protocol::Udp, self.bound),
            map: false,
            measure: false,
        }
    }
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
    allowances: Allowances,
}

/// What is left to the viewers of calls, whatever they offer, and whether they leave in between:
/// each session of the ladder has packets sent to whomever the viewer names.
#[derive(Default)]
struct Allowances(HashMap<MediaSessionId, (Allowance, Instant)>);

impl Allowances {
    fn of(&mut self, name: &MediaSessionId, now: Instant) -> Allowance {
        self.0.retain(|_, (_, offered)| now.saturating_duration_since(*offered) < REMEMBER);
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(name) {
            let oldest = self.0.iter().min_by_key(|(_, (_, offered))| *offered);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&oldest);
            }
        }
        let entry = self.0.entry(name.clone()).or_insert_with(|| (Allowance::new(now), now));
        entry.1 = now;
        entry.0.clone()
    }
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
        if let Some(description) = self.go_on(name, &offer, client, ice_servers).await {
            return Ok(description);
        }
        let Shared { settings, lifecycle, calls, .. } = &*self.shared;
        let config = settings.session(ice_servers);
        let allowance = calls.lock().allowances.of(name, Instant::now());
        let (token, tasks) = (&lifecycle.token, &lifecycle.tasks);
        let mut session = Session::start_within(&settings.mux, config, allowance, token, tasks)
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
    /// The credentials of relays always are.
    async fn go_on(
        &self,
        name: &MediaSessionId,
        offer: &Description,
        client: PublicKey,
        ice_servers: &[IceServer],
    ) -> Option<Description> {
        let running = self.shared.calls.lock().by_name.get(name).cloned()?;
        if running.client != client || running.credentials != offer.credentials {
            return None;
        }
        for candidate in &offer.candidates {
            running.session.add_remote(Line::Candidate(candidate.clone())).await;
        }
        // It may have been told over the connection that has died.
        if offer.nat != NatReport::default() {
            running.session.add_remote(Line::Nat(offer.nat.clone())).await;
        }
        running.session.set_servers(Servers::read(ice_servers)).await;
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use ed25519_dalek::SigningKey;
    use sightline_model::{Capabilities, ChannelId, Rights, SessionToken, UnixMicros};
    use sightline_p2p_net::p2p::{Candidate, CandidateKind};
    use sightline_protocol::sc::TokenGrant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn ladders(lifecycle: &Lifecycle) -> Ladders {
        let main = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let bound = main.local_addr().expect("bound");
        let settings = LadderSettings {
            mux: Mux::new(main).expect("works"),
            key: SigningKey::from_bytes(&[1; 32]).verifying_key().into(),
            relay: RelayOptions::default(),
            loopback: true,
            lifetimes: Lifetimes::default(),
            outside: Outside::new().1,
            bound,
        };
        Ladders::new(settings, Uplink::without_driver().0, lifecycle)
    }

    fn name() -> MediaSessionId {
        "s1".parse().expect("an id")
    }

    fn viewer() -> PublicKey {
        SigningKey::from_bytes(&[2; 32]).verifying_key().into()
    }

    /// One that was made with those credentials, and names so many machines.
    fn offer(credentials: u8, machines: u8) -> Description {
        let candidate = |n| Candidate {
            foundation: "1".into(),
            priority: 1,
            address: SocketAddr::from(([127, 0, credentials, n], 9)),
            kind: CandidateKind::ServerReflexive,
        };
        Description {
            credentials: Credentials {
                ufrag: format!("offer{credentials}"),
                password: SessionToken::new("x".repeat(24)),
            },
            fingerprint: fingerprint(&viewer()),
            nat: NatReport::default(),
            candidates: (0..machines).map(candidate).collect(),
        }
    }

    async fn answer(ladders: &Ladders, offer: Description) {
        answer_with(ladders, offer, &[]).await;
    }

    /// With the servers that the SCU has put into the offer. The leave to watch ends with what comes
    /// back.
    async fn answer_with(
        ladders: &Ladders,
        offer: Description,
        servers: &[IceServer],
    ) -> watch::Sender<Option<Problem>> {
        let grant = TokenGrant {
            domain: "example.org".parse().expect("a name"),
            user: "u1".parse().expect("an id"),
            session: name(),
            channel: ChannelId(0),
            rights: Rights::default(),
            capabilities: Capabilities::default(),
            expires_at: UnixMicros(i64::MAX),
        };
        let (leave, ended) = watch::channel(None);
        let admission = Admission { grant, ended, path: watch::Sender::new(None) };
        ladders.answer(&name(), offer, viewer(), admission, servers).await.expect("answered");
        leave
    }

    #[tokio::test]
    async fn an_offer_with_other_credentials_gets_what_the_first_has_left() {
        let lifecycle = Lifecycle::new();
        let ladders = ladders(&lifecycle);
        let all = Allowance::new(Instant::now()).machines_left();
        let left = async |wanted: usize| {
            let allowance = ladders.shared.calls.lock().allowances.of(&name(), Instant::now());
            while allowance.machines_left() != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        for (credentials, wanted) in [(1, all - 40), (2, 0), (3, 0)] {
            answer(&ladders, offer(credentials, 40)).await;
            tokio::time::timeout(PATIENCE, left(wanted)).await.expect("in time");
        }
        lifecycle.token.cancel();
    }

    #[test]
    fn a_call_is_remembered_and_forgotten_in_the_end() {
        let (mut allowances, now) = (Allowances::default(), Instant::now());
        let mut of = |n: usize, at| {
            allowances.of(&format!("s{n}").parse().expect("an id"), at);
            allowances.0.len()
        };
        assert_eq!((of(1, now), of(1, now + REMEMBER / 2)), (1, 1));
        let most = (2..2_000).map(|n| of(n, now + REMEMBER)).max();
        assert_eq!(most, Some(MAX_REMEMBERED));
        assert_eq!(of(1, now + REMEMBER * 2), 1);
    }

    #[tokio::test]
    async fn the_same_offer_once_more_tells_what_was_lost_on_the_way() {
        let lifecycle = Lifecycle::new();
        let ladders = ladders(&lifecycle);
        answer(&ladders, offer(1, 0)).await;
        let measured = NatReport { udp: Some(true), ..NatReport::default() };
        answer(&ladders, Description { nat: measured.clone(), ..offer(1, 0) }).await;
        let running = ladders.shared.calls.lock().by_name.get(&name()).cloned();
        let mut report = running.expect("it runs").session.report();
        let told = report.wait_for(|report| report.nat_remote == measured);
        tokio::time::timeout(PATIENCE, told).await.expect("in time").expect("alive");
        lifecycle.token.cancel();
    }

    /// Nothing but a relay helps here, and the first offer named none.
    #[tokio::test]
    async fn the_same_offer_once_more_brings_servers_and_their_credentials() {
        let lifecycle = Lifecycle::new();
        let ladders = ladders(&lifecycle);
        let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let at = relay.local_addr().expect("bound");
        let _leave = answer_with(&ladders, offer(1, 0), &[]).await;
        let server = IceServer {
            urls: vec![format!("turn:{at}?transport=udp")],
            username: Some("1700000000:s1".into()),
            credential: Some(SessionToken::new("secret".to_owned())),
        };
        let _again = answer_with(&ladders, offer(1, 0), &[server]).await;
        let asked = async {
            let mut bytes = [0; 1_500];
            // Allocate, RFC 8656 section 18; questions to a STUN server come here too.
            while bytes[..2] != [0, 3] {
                relay.recv_from(&mut bytes).await.expect("received");
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("the relay is asked");
        assert_eq!(ladders.shared.calls.lock().by_name.len(), 1);
        lifecycle.token.cancel();
    }
}
