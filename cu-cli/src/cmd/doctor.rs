//! `doctor`: what the network allows, in plain words, with the times that were measured.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;
use sightline_model::{NatDependence, Presence, QualityChoice, Rung, VideoCodec};
use sightline_p2p_net::{
    Relay, RelayOptions, nat,
    p2p::Report,
    server::{RelayServer, RelayTransport, Servers},
};
use sightline_protocol::cm::{Camera, Player};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Context, find_camera};
use crate::{
    api::SignedInApi,
    error::{CuError, Exit},
    home::Home,
    output,
    play::{
        best_way, quic_connect,
        session::{Session, Wanted},
        signal::Signal,
    },
    tls,
};

/// How long a better way may take to show after the first.
const SETTLE: Duration = Duration::from_secs(3);
/// Relays that are tried.
const MAX_RELAYS: usize = 8;

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    /// Absent where nothing was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<f64>,
    words: String,
    #[serde(skip)]
    exit: Option<Exit>,
}

impl Check {
    fn good(what: &'static str, took: Option<Duration>, words: impl Into<String>) -> Self {
        let time_ms = took.map(|t| (t.as_secs_f64() * 10_000.0).round() / 10.0);
        Self { what, ok: true, time_ms, words: words.into(), exit: None }
    }

    fn bad(what: &'static str, exit: Option<Exit>, words: impl Into<String>) -> Self {
        Self { what, ok: false, time_ms: None, words: words.into(), exit }
    }
}

pub(super) async fn run(context: &Context, camera: Option<&str>) -> Result<(), CuError> {
    let bar = output::progress("looking at the network");
    let mut checks = Vec::new();
    let result = examine(context, camera, &mut checks).await;
    bar.finish_and_clear();
    if context.json {
        output::json(&json!({"checks": checks}));
    } else {
        for check in &checks {
            let time = check.time_ms.map_or_else(String::new, |t| format!(" ({t} ms)"));
            let mark = if check.ok { "ok  " } else { "FAIL" };
            output::line(&format!("{mark}  {}: {}{time}", check.what, check.words));
        }
    }
    result?;
    match checks.iter().find_map(|c| c.exit) {
        Some(exit) => Err(CuError::new(exit, "not everything that is needed works; see above")),
        None => Ok(()),
    }
}

async fn examine(
    context: &Context,
    camera: Option<&str>,
    checks: &mut Vec<Check>,
) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    if !portal(&api, checks).await {
        return Ok(());
    }
    let cameras = match api.cameras().await {
        Ok(cameras) => cameras,
        Err(e) => {
            checks.push(Check::bad("sign-in", Some(e.exit), e.message));
            return Ok(());
        }
    };
    checks.push(Check::good("sign-in", None, format!("works; {} cameras", cameras.len())));
    let camera = match camera {
        Some(wanted) => Some(find_camera(&api, wanted).await?),
        None => cameras.into_iter().find(|c| c.presence != Presence::Offline),
    };
    let Some(camera) = camera else {
        checks.push(Check::good("ways to a camera", None, "not tried: no camera is online"));
        return Ok(());
    };
    match ask(&api, &context.home, camera).await {
        Ok(session) => ways(&session, checks).await,
        Err(e) => checks.push(Check::bad("camera", Some(e.exit), e.message)),
    }
    Ok(())
}

async fn ask(api: &SignedInApi, home: &Home, camera: Camera) -> Result<Session, CuError> {
    let codecs = vec![VideoCodec::H264, VideoCodec::H265];
    let player = Player::Client;
    let wanted = Wanted { codecs, quality: QualityChoice::Auto, require_pin: false, player };
    Session::ask(api, home, camera, &wanted).await
}

async fn portal(api: &SignedInApi, checks: &mut Vec<Check>) -> bool {
    let url = &api.portal.url;
    match api.api().clock().await {
        Err(e) => {
            checks.push(Check::bad("portal", Some(e.exit), e.message));
            false
        }
        Ok((date, took)) => {
            checks.push(Check::good("portal", Some(took), format!("{url} answers")));
            checks.push(match (url.scheme(), &api.portal.ca_pem) {
                ("https", Some(_)) => {
                    Check::good("encryption", None, "TLS, with the portal's own authority")
                }
                ("https", None) => Check::good("encryption", None, "TLS, with a public authority"),
                _ => Check::good(
                    "encryption",
                    None,
                    "none, and none needed: the portal is this machine",
                ),
            });
            checks.push(clock(date, took));
            true
        }
    }
}

/// The header tells whole seconds only.
fn clock(date: Option<SystemTime>, took: Duration) -> Check {
    let Some(date) = date else {
        return Check::good("clock", None, "the portal does not tell its time");
    };
    let here = SystemTime::now() - took / 2;
    let (ahead, apart) = match here.duration_since(date) {
        Ok(apart) => ("ahead of", apart),
        Err(e) => ("behind", e.duration()),
    };
    let seconds = apart.as_secs();
    if seconds <= 2 {
        Check::good("clock", None, "agrees with the portal's to the second or two that can be told")
    } else if seconds <= 60 {
        Check::good(
            "clock",
            None,
            format!(
                "{seconds} s {ahead} the portal's; harmless, but latency figures will be wrong"
            ),
        )
    } else {
        Check::bad(
            "clock",
            Some(Exit::Other),
            format!("{seconds} s {ahead} the portal's; tokens may be refused: set the clock"),
        )
    }
}

async fn ways(session: &Session, checks: &mut Vec<Check>) {
    checks.push(Check::good("camera", None, format!("{} may be watched", session.camera.name)));
    let named = Servers::read(&session.answer.ice_servers);
    let (nat, relays) = tokio::join!(router(&named), relays(&named, session));
    checks.extend(nat);
    checks.extend(relays);
    let started = Instant::now();
    let quic = match quic_connect(session).await {
        Ok((connection, address)) => {
            let took = started.elapsed();
            connection.close(quinn::VarInt::from_u32(0), b"doctor");
            Check::good(
                "QUIC to the camera",
                Some(took),
                format!("works, at {address}, with the right key"),
            )
        }
        Err(e) => {
            let exit = (e.exit == Exit::Security).then_some(e.exit);
            Check::bad("QUIC to the camera", exit, e.message)
        }
    };
    let direct = quic.ok;
    checks.push(quic);
    let started = Instant::now();
    match Signal::connect(&session.answer.signal_url, session.ca_pem.as_deref()).await {
        Ok(signal) => {
            let took = started.elapsed();
            signal.close().await;
            checks.push(Check::good("signalling", Some(took), "WebSocket works"));
        }
        Err(e) => checks.push(Check::bad("signalling", Some(e.exit), e.message)),
    }
    match best_way(session, SETTLE).await {
        Ok((took, report)) => verdict(took, &report, checks),
        Err(_) if direct => checks.push(Check::good("verdict", None, "you can watch directly")),
        Err(e) => {
            let exit = (e.exit == Exit::Security).then_some(e.exit);
            checks.push(Check::bad("verdict", exit, e.message));
        }
    }
}

fn verdict(took: Duration, report: &Report, checks: &mut Vec<Check>) {
    let words = match report.rung {
        Some(Rung::Host) => "you can watch directly: the ends reach each other's own addresses",
        Some(Rung::Mapped) => "you can watch directly, by a port that a home gateway maps",
        Some(Rung::Punched) => "you can watch directly, through the routers",
        Some(Rung::Probed) => "you can watch directly, through a router with changing ports",
        Some(Rung::RelayUdp) => "you can watch, through a relay over UDP",
        Some(Rung::RelayTcp) => "you can watch, through a relay over TCP",
        Some(Rung::RelayTls) => "you can watch, through a relay over TLS",
        None => "the way that was found is gone again",
    };
    for why in &report.why_not_better {
        checks.push(Check::good("why not better", None, why.clone()));
    }
    checks.push(match report.rung {
        Some(_) => Check::good("verdict", Some(took), words),
        None => Check::bad("verdict", None, words),
    });
}

/// What routers stand before this machine, in plain words.
async fn router(servers: &Servers) -> Vec<Check> {
    if servers.stun.is_empty() {
        return vec![Check::good("UDP", None, "not tried: the portal names no server to ask")];
    }
    let started = Instant::now();
    let nat = match nat::measure(servers, None).await {
        Ok(nat) => nat,
        Err(e) => return vec![Check::bad("UDP", None, format!("no UDP socket to be had: {e}"))],
    };
    let took = started.elapsed();
    match nat.udp {
        None => return vec![Check::good("UDP", None, "not measured: this machine has no IPv4")],
        Some(false) => {
            let words = "no server answers; a firewall may block UDP";
            return vec![Check::bad("UDP", None, words)];
        }
        Some(true) => {}
    }
    let mut checks = vec![Check::good("UDP", Some(took), "passes")];
    if nat.translated == Some(false) {
        checks.push(Check::good("router", None, "none: this machine has a public address"));
        return checks;
    }
    let mapping = match nat.mapping {
        Some(NatDependence::EndpointIndependent) => {
            "keeps one port for all destinations: direct ways are likely"
        }
        Some(NatDependence::AddressDependent | NatDependence::AddressAndPortDependent) => {
            "gives every destination another port (symmetric NAT): direct ways are harder"
        }
        None => "translates addresses; how it chooses ports could not be told",
    };
    checks.push(Check::good("router", None, mapping));
    let filtering = match nat.filtering {
        Some(NatDependence::EndpointIndependent) => "lets in packets from anybody",
        Some(NatDependence::AddressDependent) => "lets in packets from hosts that were sent to",
        Some(NatDependence::AddressAndPortDependent) => {
            "lets in packets only from exactly where was sent to"
        }
        None => return checks,
    };
    checks.push(Check::good("router's filter", None, filtering));
    checks
}

/// Whether each relay gives a place, as a session would need it.
async fn relays(servers: &Servers, session: &Session) -> Vec<Check> {
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let tls = tls::client_config(session.ca_pem.as_deref()).ok().map(Arc::new);
    let options = RelayOptions { tls, ..RelayOptions::default() };
    // All at once: one that is silent takes its time.
    let tries = servers.relays.iter().take(MAX_RELAYS);
    let checks = join_all(tries.map(|server| relay(server, &options, &token, &tasks))).await;
    token.cancel();
    tasks.close();
    // Their goodbyes need not be waited for longer.
    let _ = tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await;
    checks
}

async fn relay(
    server: &RelayServer,
    options: &RelayOptions,
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> Check {
    let what = match server.transport {
        RelayTransport::Udp => "relay over UDP",
        RelayTransport::Tcp => "relay over TCP",
        RelayTransport::Tls => "relay over TLS",
    };
    let started = Instant::now();
    let sink = Arc::new(|_, _| {});
    match Relay::allocate(server, options, sink, token, tasks).await {
        Ok(_) => Check::good(what, Some(started.elapsed()), format!("{} works", server.place)),
        Err(e) => Check::bad(what, None, format!("{}: {e}", server.place)),
    }
}
