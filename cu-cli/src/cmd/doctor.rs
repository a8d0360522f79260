//! `doctor`: what the network allows, in plain words, with the times that were measured.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;
use serde_json::json;
use sightline_model::{Presence, QualityChoice, VideoCodec};
use sightline_protocol::cm::{Camera, IceServer, Player};
use tokio::net::{TcpStream, UdpSocket};

use super::{Context, find_camera};
use crate::{
    api::SignedInApi,
    error::{CuError, Exit},
    home::Home,
    output,
    play::{
        quic_connect,
        session::{Session, Wanted},
        signal::Signal,
    },
    stun::{self, Server},
};

/// How long a STUN server may take; the request is repeated meanwhile (RFC 8489 section 6.2.1).
const STUN_WAIT: Duration = Duration::from_millis(2_500);
const STUN_REPEAT: Duration = Duration::from_millis(500);

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
    let before = checks.len();
    servers(&session.answer.ice_servers, checks).await;
    let udp = checks[before..].iter().any(|c| c.ok && c.what == "UDP");
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
    checks.push(match (direct, udp) {
        (true, _) => Check::good("verdict", None, "you can watch directly"),
        (false, true) => {
            Check::good("verdict", None, "UDP passes, so --via webrtc should find a way")
        }
        (false, false) => {
            Check::good("verdict", None, "try --via webrtc; this network may force a relay")
        }
    });
}

async fn servers(servers: &[IceServer], checks: &mut Vec<Check>) {
    let parsed = servers.iter().flat_map(|s| &s.urls).map(|u| (u, Server::parse(u)));
    let socket = UdpSocket::bind("0.0.0.0:0").await;
    let mut mapped = Vec::new();
    let mut asked = std::collections::HashSet::new();
    for (url, server) in parsed {
        let Some(server) = server else {
            checks.push(Check::bad(
                "UDP",
                None,
                format!("the portal named a server that makes no sense: {url}"),
            ));
            continue;
        };
        let started = Instant::now();
        if server.tcp {
            let connect = TcpStream::connect((server.host.as_str(), server.port));
            checks.push(match tokio::time::timeout(STUN_WAIT, connect).await {
                Ok(Ok(_)) => {
                    Check::good("relay over TCP", Some(started.elapsed()), format!("{url} answers"))
                }
                _ => Check::bad("relay over TCP", None, format!("{url} does not answer")),
            });
            continue;
        }
        let answer = match &socket {
            Ok(socket) => binding(socket, &server).await,
            Err(_) => None,
        };
        checks.push(match answer {
            Some(address) => {
                if asked.insert((server.host.clone(), server.port)) {
                    mapped.push(address);
                }
                let words = format!("{url} answers; seen from there you are {address}");
                Check::good("UDP", Some(started.elapsed()), words)
            }
            None => {
                Check::bad("UDP", None, format!("{url} does not answer; a firewall may block UDP"))
            }
        });
    }
    if let (Some(first), true) = (mapped.first(), mapped.len() > 1) {
        checks.push(if mapped.iter().all(|m| m == first) {
            Check::good("router", None, "keeps one address for all destinations: direct ways are likely")
        } else {
            Check::good("router", None, "uses another address for every destination (symmetric NAT): direct ways are harder")
        });
    }
}

async fn binding(socket: &UdpSocket, server: &Server) -> Option<SocketAddr> {
    let address = tokio::net::lookup_host((server.host.as_str(), server.port))
        .await
        .ok()?
        .find(SocketAddr::is_ipv4)?;
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).ok()?;
    let until = tokio::time::Instant::now() + STUN_WAIT;
    let mut buffer = [0; 1_500];
    while tokio::time::Instant::now() < until {
        socket.send_to(&stun::request(&transaction), address).await.ok()?;
        let repeat = tokio::time::Instant::now() + STUN_REPEAT;
        while let Ok(received) =
            tokio::time::timeout_at(repeat, socket.recv_from(&mut buffer)).await
        {
            let Ok((length, from)) = received else { continue };
            if from == address
                && let Some(mapped) = stun::mapped_address(&buffer[..length], &transaction)
            {
                return Some(mapped);
            }
        }
    }
    None
}
