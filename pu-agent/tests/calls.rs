//! Calls over QUIC that come through the centre: who may make one, and whom the unit lets speak.

mod support;

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use ed25519_dalek::{Signer, SigningKey};
use pu_agent::{
    Config, Running,
    config::{CameraConfig, Listen, ScuConfig, SyntheticForm},
};
use sightline_media_io::rtsp_server::{pinned_tls, quic};
use sightline_model::{MediaSessionId, NatReport, PublicKey, SessionToken, Signature};
use sightline_p2p_net::{
    Lifetimes, Mux, RelayOptions, Session, SessionConfig, fingerprint,
    p2p::{Description, Role},
    server::Servers,
};
use sightline_protocol::{
    Problem, ProblemKind, cs,
    ps::{self, MediaAnswer, PlayClaims, PuToScu, ScuToPu},
};
use sightline_service_kit::lifecycle::Lifecycle;
use support::{Centre, FakeScu, PATIENCE};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

struct World {
    centre: Centre,
    scu: FakeScu,
    running: Running,
    _lifecycle: Lifecycle,
    _dir: tempfile::TempDir,
}

fn config(centre: &Centre, dir: &Path, scu: &FakeScu) -> Config {
    let any = Listen { listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
    Config {
        data_dir: dir.join("unit"),
        centre_ca: Some(centre.ca()),
        scu: vec![ScuConfig {
            quic: Some(format!("localhost:{}", scu.quic.port())),
            websocket: None,
        }],
        camera: vec![CameraConfig {
            name: "Yard".into(),
            source: "synthetic".into(),
            synthetic: SyntheticForm { width: 320, height: 180, ..SyntheticForm::default() },
            ..CameraConfig::default()
        }],
        announce_loopback: true,
        rtsp: any,
        quic: any,
        webrtc: any,
        http: any,
        ..Config::default()
    }
}

impl World {
    async fn new() -> Self {
        let centre = Centre::new();
        let mut scu = FakeScu::on_any_port(&centre).await;
        let dir = tempfile::tempdir().expect("temporary folder");
        let lifecycle = Lifecycle::new();
        let config = config(&centre, dir.path(), &scu);
        let mut running = pu_agent::start(config, &lifecycle).await.expect("started");
        scu.registered().await;
        let up = running.uplink.wait_for(|s| s.up.is_some());
        tokio::time::timeout(PATIENCE, up).await.expect("in time").expect("runs");
        let online = running.channels.wait_for(|c| c[0].online);
        tokio::time::timeout(PATIENCE, online).await.expect("in time").expect("runs");
        Self { centre, scu, running, _lifecycle: lifecycle, _dir: dir }
    }

    fn token(&self, viewer: &Viewer) -> (PlayClaims, SessionToken) {
        let mut claims = self.centre.claims(&self.running.pu_id);
        claims.cnf = Some(viewer.public());
        let token = self.centre.sign(&claims);
        self.centre.grant(&token, &claims);
        (claims, token)
    }

    async fn answer(
        &mut self,
        of: &MediaSessionId,
        offer: cs::MediaOffer,
    ) -> Result<MediaAnswer, Problem> {
        self.scu.say(ScuToPu::MediaOffer { session: of.clone(), offer: Box::new(offer) });
        self.scu
            .heard(|m| match m {
                PuToScu::MediaAnswer { session, result } if session == *of => Some(result),
                _ => None,
            })
            .await
    }
}

/// A CU.
struct Viewer {
    key: SigningKey,
    endpoint: quinn::Endpoint,
    session: Session,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Viewer {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mux = Mux::new(UdpSocket::bind("127.0.0.1:0").expect("a socket")).expect("works");
        let config = SessionConfig {
            role: Role::Controlling,
            fingerprint: fingerprint(&key.verifying_key().into()),
            nat: NatReport::default(),
            lifetimes: Lifetimes::default(),
            servers: Servers::default(),
            relay: RelayOptions::default(),
            warm_relays: 0,
            loopback: true,
            mapped: Vec::new(),
            map: false,
            measure: false,
        };
        let endpoint = mux.endpoint(None).expect("an endpoint");
        let session = Session::start(&mux, config, &token, &tasks).expect("starts");
        Self { key, endpoint, session, token, tasks }
    }

    fn public(&self) -> PublicKey {
        self.key.verifying_key().into()
    }

    fn offer(&self, session: &MediaSessionId, token: &SessionToken) -> cs::MediaOffer {
        self.offer_of(self.session.description(), session, token)
    }

    fn offer_of(
        &self,
        description: &Description,
        session: &MediaSessionId,
        token: &SessionToken,
    ) -> cs::MediaOffer {
        let signed = ps::offer_bytes(session, token, &description.fingerprint_text());
        cs::MediaOffer {
            sdp: description.to_string(),
            token: token.clone(),
            client_key: self.public(),
            signature: Signature::from(self.key.sign(&signed)),
            ice_servers: Vec::new(),
        }
    }

    /// Takes the answer and dials, showing `key`.
    async fn dial(
        &self,
        answer: &MediaAnswer,
        key: &SigningKey,
    ) -> Result<quinn::Connection, quic::QuicError> {
        let description: Description = answer.sdp.parse().expect("a description");
        assert_eq!(description.fingerprint, fingerprint(&answer.public_key));
        self.session.set_remote(description).await;
        let mut first = self.session.first_path();
        let found = first.wait_for(Option::is_some);
        tokio::time::timeout(PATIENCE, found).await.expect("in time").expect("a path");
        let pkcs8 = pinned_tls::pkcs8(key.as_bytes());
        let address = self.session.address();
        let connecting = quic::connect(&self.endpoint, address, &pkcs8, answer.public_key);
        tokio::time::timeout(PATIENCE, connecting).await.expect("in time")
    }

    async fn end(self) {
        self.token.cancel();
        drop(self.session);
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("every task ends");
    }
}

/// The status of the answer to a DESCRIBE.
async fn describe(connection: &quinn::Connection, token: &SessionToken) -> String {
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    let token = token.expose();
    let request = format!("DESCRIBE rtsp://camera/0?token={token} RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    send.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let reading = tokio::time::timeout(PATIENCE, receive.read(&mut answer));
    let length = reading.await.expect("in time").expect("read").expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn who_was_admitted_watches_over_quic_until_the_session_ends() {
    let mut world = World::new().await;
    let viewer = Viewer::new(31);
    let (claims, token) = world.token(&viewer);
    let offer = viewer.offer(&claims.sid, &token);
    let answer = world.answer(&claims.sid, offer).await.expect("answered");
    assert!(world.running.pu_id.matches(&answer.public_key));
    let offered = viewer.session.description().fingerprint_text();
    let answered = ps::dtls_fingerprint(&answer.sdp).expect("a fingerprint");
    let signed = ps::answer_bytes(&claims.sid, &offered, &answered);
    assert!(answer.public_key.verify(&signed, &answer.signature));
    let connection = viewer.dial(&answer, &viewer.key).await.expect("connected");
    assert_eq!(describe(&connection, &token).await, "200");
    let path = world
        .scu
        .heard(|m| match m {
            PuToScu::SessionReport { session, path: Some(path) } if session == claims.sid => {
                Some(path)
            }
            _ => None,
        })
        .await;
    assert_eq!(path.rung, Some(sightline_model::Rung::Host));
    connection.close(0_u8.into(), b"done");
    world
        .scu
        .heard(|m| match m {
            PuToScu::SessionReport { session, path: None } => (session == claims.sid).then_some(()),
            _ => None,
        })
        .await;
    viewer.end().await;
}

#[tokio::test]
async fn another_key_than_the_offers_gets_no_word_in() {
    let mut world = World::new().await;
    let viewer = Viewer::new(31);
    let (claims, token) = world.token(&viewer);
    let offer = viewer.offer(&claims.sid, &token);
    let answer = world.answer(&claims.sid, offer).await.expect("answered");
    // Whoever knows the passwords of the checks (the centre does) gets a path, and no more.
    let thief = SigningKey::from_bytes(&[32; 32]);
    let connection = viewer.dial(&answer, &thief).await.expect("TLS takes any key");
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.expect("closed");
    let quinn::ConnectionError::ApplicationClosed(close) = closed else {
        panic!("closed otherwise: {closed}");
    };
    assert_eq!(close.reason.as_ref(), b"another's session");
    viewer.end().await;
}

#[tokio::test]
async fn offers_that_do_not_fit_the_clients_key_are_refused() {
    let mut world = World::new().await;
    let viewer = Viewer::new(31);
    let (claims, token) = world.token(&viewer);
    let mut other = viewer.session.description().clone();
    other.fingerprint = [9; 32];
    let signed_for_another = viewer.offer_of(&other, &claims.sid, &token);
    let mut swapped = viewer.offer(&claims.sid, &token);
    swapped.sdp = other.to_string();
    let mut broken = viewer.offer(&claims.sid, &token);
    broken.sdp = broken.sdp.replace("a=ice-pwd", "a=x-nothing");
    for (offer, kind) in [
        (signed_for_another, ProblemKind::InvalidToken),
        (swapped, ProblemKind::InvalidToken),
        (broken, ProblemKind::InvalidRequest),
    ] {
        let problem = world.answer(&claims.sid, offer).await.expect_err("refused");
        assert_eq!(problem.kind, kind, "{problem}");
    }
    viewer.end().await;
}

#[tokio::test]
async fn the_end_of_the_right_ends_the_call() {
    let mut world = World::new().await;
    let viewer = Viewer::new(31);
    let (claims, token) = world.token(&viewer);
    let offer = viewer.offer(&claims.sid, &token);
    let answer = world.answer(&claims.sid, offer).await.expect("answered");
    let connection = viewer.dial(&answer, &viewer.key).await.expect("connected");
    assert_eq!(describe(&connection, &token).await, "200");
    let problem = Some(Problem::new(ProblemKind::TokenRevoked, "not any more"));
    world.scu.say(ScuToPu::EndSession { session: claims.sid.clone(), problem });
    // The path is taken away within seconds: checks are not answered any more.
    let mut report = viewer.session.report();
    let lost = report.wait_for(|r| r.rung.is_none());
    tokio::time::timeout(Duration::from_secs(15), lost).await.expect("in time").expect("alive");
    viewer.end().await;
}
