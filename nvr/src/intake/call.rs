//! By way of the centre, over whatever path the ladder finds: an offer over Cs, as `cu` makes it. It carries
//! the ticket, so the connection to the SCU needs no sign-in.
//!
//! The centre cannot take the place of either end: both descriptions are signed, and each end's QUIC
//! certificate has to have the key that signed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{SinkExt, StreamExt};
use quinn::{Connection, Endpoint};
use sightline_media_io::rtsp_server::quic as rtsp_quic;
use sightline_model::NatReport;
use sightline_p2p_net::{
    Lifetimes, Line, Mux, RelayOptions, Session, SessionConfig, fingerprint,
    p2p::{Description, Role},
    server::Servers,
};
use sightline_premises::{identity::Identity, outside::Outside};
use sightline_protocol::{
    MAX_MESSAGE_BYTES, Named, Problem,
    cm::PlayAnswer,
    cs::{CuToScu, KEEP_ALIVE_MS, MediaOffer, ScuToCu},
    decode, encode, flow,
    ps::{MediaAnswer, answer_bytes, dtls_fingerprint, offer_bytes},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use url::{Host, Url};

/// How long connecting to the SCU may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the PU may take to answer the offer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the first path may take: every rung is tried by then.
const FIRST_PATH: Duration = Duration::from_secs(20);
/// How long the handshake may take on it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A candidate may come before the answer; so many are kept.
const MAX_EARLY: usize = 64;
/// Relays that are kept ready: recordings can wait a moment for one.
const WARM_RELAYS: usize = 0;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The centre names no place for signalling, or one that is not to be used.
    #[error("the centre names no usable address for signalling")]
    Address,
    /// This machine gives no socket or no random numbers.
    #[error("on this machine: {0}")]
    Local(String),
    /// The SCU.
    #[error("the signalling server: {0}")]
    Signalling(String),
    /// The PU, or the centre in its name.
    #[error("the call was refused: {0}")]
    Refused(Problem),
    /// Somebody between the two: nothing was played.
    #[error("{0}")]
    Cheated(&'static str),
    /// No rung worked.
    #[error("no way to the camera was found: {0}")]
    NoWay(String),
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What all calls have in common.
pub struct Caller {
    identity: Arc<Identity>,
    tls: Arc<rustls::ClientConfig>,
    outside: Outside,
    portal: Option<Url>,
    loopback: bool,
    mux: Arc<Mux>,
    endpoint: Endpoint,
}

/// A connection that the ladder carries, until this is dropped.
pub struct Carried {
    /// The connection.
    pub connection: Connection,
    /// By which quinn knows the other end.
    pub address: SocketAddr,
    /// What carries it.
    pub session: Arc<Session>,
    _alive: DropGuard,
}

impl Caller {
    /// With a socket for all calls.
    ///
    /// # Errors
    /// [`CallError::Local`].
    pub fn new(
        identity: Arc<Identity>,
        tls: Arc<rustls::ClientConfig>,
        outside: Outside,
        (portal, loopback): (Option<Url>, bool),
    ) -> Result<Self, CallError> {
        let local = |error: std::io::Error| CallError::Local(error.to_string());
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
            .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
            .map_err(local)?;
        let mux = Mux::new(socket).map_err(local)?;
        let endpoint = mux.endpoint(None).map_err(local)?;
        Ok(Self { identity, tls, outside, portal, loopback, mux, endpoint })
    }

    /// Calls the PU of a ticket.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        ticket: &PlayAnswer,
        tasks: &TaskTracker,
    ) -> Result<Carried, CallError> {
        let token = CancellationToken::new();
        let alive = token.clone().drop_guard();
        let mut session = Session::start(&self.mux, self.config(ticket), &token, tasks)
            .map_err(|error| CallError::Local(error.to_string()))?;
        let lines = session.take_lines();
        let mut socket = self.signal(&ticket.signal_url).await?;
        let (described, early) = self.offer(ticket, &session, &mut socket).await?;
        session.set_remote(described).await;
        for line in early {
            session.add_remote(line).await;
        }
        let session = Arc::new(session);
        let talk = Talk { ticket: ticket.clone(), session: Arc::clone(&session), lines, socket };
        tasks.spawn(talk.run(token.clone()));
        let connection = self.dial(ticket, &session).await?;
        let address = session.address();
        Ok(Carried { connection, address, session, _alive: alive })
    }

    fn config(&self, ticket: &PlayAnswer) -> SessionConfig {
        SessionConfig {
            role: Role::Controlling,
            fingerprint: fingerprint(&self.identity.public_key()),
            nat: NatReport::default(),
            lifetimes: Lifetimes::default(),
            servers: Servers::read(&ticket.ice_servers),
            relay: RelayOptions {
                tls: Some(Arc::clone(&self.tls)),
                nat64: *self.outside.nat64.borrow(),
                ..RelayOptions::default()
            },
            warm_relays: WARM_RELAYS,
            loopback: self.loopback,
            mapped: Vec::new(),
            map: !self.loopback,
            measure: true,
        }
    }

    async fn signal(&self, url: &str) -> Result<Socket, CallError> {
        let url = signal_url(url, self.portal.as_ref()).ok_or(CallError::Address)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let connector = Connector::Rustls(Arc::clone(&self.tls));
        let connecting =
            connect_async_tls_with_config(url.as_str(), Some(config), true, Some(connector));
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(CallError::Signalling(error.to_string())),
            Err(_) => Err(CallError::Signalling("it did not answer in time".into())),
        }
    }

    /// Offers, and takes the PU's answer once it has proven itself.
    async fn offer(
        &self,
        ticket: &PlayAnswer,
        session: &Session,
        socket: &mut Socket,
    ) -> Result<(Description, Vec<Line>), CallError> {
        let sdp = session.description().to_string();
        let offered = dtls_fingerprint(&sdp)
            .ok_or_else(|| CallError::Local("the offer has no usable fingerprint".into()))?;
        let signature = self.identity.sign(&offer_bytes(&ticket.session, &ticket.token, &offered));
        let offer = MediaOffer {
            sdp,
            token: ticket.token.clone(),
            client_key: self.identity.public_key(),
            signature,
            ice_servers: Vec::new(),
        };
        let (of, device) = (ticket.session.clone(), ticket.device.clone());
        say(socket, &CuToScu::Offer { session: of, device, offer: Box::new(offer) }).await?;
        let mut early: Vec<Line> = Vec::new();
        let answering = async {
            loop {
                match hear(socket).await? {
                    ScuToCu::Answer { session, answer } if session == ticket.session => {
                        return proven(ticket, &offered, &answer);
                    }
                    ScuToCu::Candidate { session, candidate } if session == ticket.session => {
                        // Those of other transports, and the empty one at the end, are of no use.
                        if let Ok(line) = candidate.parse()
                            && early.len() < MAX_EARLY
                        {
                            early.push(line);
                        }
                    }
                    ScuToCu::Refused { session, problem } if session == ticket.session => {
                        return Err(CallError::Refused(problem));
                    }
                    ScuToCu::Ended { session, .. } if session == ticket.session => {
                        return Err(CallError::Signalling("the call has ended".into()));
                    }
                    ScuToCu::Malformed { problem } => {
                        return Err(CallError::Signalling(problem.detail));
                    }
                    ScuToCu::Answer { .. }
                    | ScuToCu::Candidate { .. }
                    | ScuToCu::Refused { .. }
                    | ScuToCu::Ended { .. }
                    | ScuToCu::KeepAliveAck { .. } => {}
                }
            }
        };
        let late = || CallError::Signalling("the camera did not answer in time".into());
        let described = tokio::time::timeout(ANSWER, answering).await.map_err(|_| late())??;
        Ok((described, early))
    }

    /// Waits for a path, then makes the two ends prove their keys.
    async fn dial(&self, ticket: &PlayAnswer, session: &Session) -> Result<Connection, CallError> {
        let mut first = session.first_path();
        let finding = tokio::time::timeout(FIRST_PATH, first.wait_for(Option::is_some));
        let is_found = matches!(finding.await, Ok(Ok(_)));
        if !is_found {
            return Err(CallError::NoWay(session.report().borrow().why_not_better.join("; ")));
        }
        let key = self.identity.pkcs8();
        let connecting =
            rtsp_quic::connect(&self.endpoint, session.address(), &key, ticket.device_key);
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(CallError::NoWay(error.to_string())),
            Err(_) => Err(CallError::NoWay("QUIC did not get through".into())),
        }
    }
}

/// Whether the PU itself made this answer to this offer; its description.
fn proven(
    ticket: &PlayAnswer,
    offered: &str,
    answer: &MediaAnswer,
) -> Result<Description, CallError> {
    if answer.public_key != ticket.device_key {
        return Err(CallError::Cheated("the answer was signed with another key than the camera's"));
    }
    let answered = dtls_fingerprint(&answer.sdp)
        .ok_or(CallError::Cheated("the answer has no single fingerprint"))?;
    let signed = answer_bytes(&ticket.session, offered, &answered);
    if !ticket.device_key.verify(&signed, &answer.signature) {
        let why = "the fingerprint in the answer is not the one that the camera signed";
        return Err(CallError::Cheated(why));
    }
    let description: Description =
        answer.sdp.parse().map_err(|_| CallError::Cheated("the answer makes no sense"))?;
    if description.fingerprint != fingerprint(&ticket.device_key) {
        return Err(CallError::Cheated("the answer names another key than the camera's"));
    }
    Ok(description)
}

/// What is said to the centre while media flows. Media needs no centre: losing it ends nothing.
struct Talk {
    ticket: PlayAnswer,
    session: Arc<Session>,
    lines: Option<mpsc::Receiver<Line>>,
    socket: Socket,
}

impl Talk {
    async fn run(mut self, token: CancellationToken) {
        let mut keep_alive = tokio::time::interval(Duration::from_millis(KEEP_ALIVE_MS.into()));
        loop {
            let said = tokio::select! {
                () = token.cancelled() => break,
                heard = hear(&mut self.socket) => match heard {
                    Ok(ScuToCu::Candidate { session, candidate })
                        if session == self.ticket.session =>
                    {
                        if let Ok(line) = candidate.parse() {
                            self.session.try_add_remote(line);
                        }
                        Ok(())
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                },
                Some(line) = next_line(&mut self.lines) => {
                    let (session, candidate) = (self.ticket.session.clone(), line.to_string());
                    say(&mut self.socket, &CuToScu::Candidate { session, candidate }).await
                }
                _ = keep_alive.tick() => {
                    let cu_time = SystemTime::now().into();
                    say(&mut self.socket, &CuToScu::KeepAlive { cu_time }).await
                }
            };
            if let Err(error) = said {
                tracing::debug!(%error, "the centre hears no more of a stream that runs on");
                token.cancelled().await;
                return;
            }
        }
        let session = self.ticket.session.clone();
        // It may be gone already, which is as good.
        let _ = say(&mut self.socket, &CuToScu::End { session }).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }
}

async fn next_line(lines: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

async fn say(socket: &mut Socket, message: &CuToScu) -> Result<(), CallError> {
    flow::sent("Cs", "NVR", "SCU", message.name(), message.about().unwrap_or_default());
    let text = String::from_utf8(encode(message, None))
        .map_err(|error| CallError::Local(error.to_string()))?;
    let sent = socket.send(Message::text(text)).await;
    sent.map_err(|error| CallError::Signalling(error.to_string()))
}

/// The next message. Cancel-safe.
async fn hear(socket: &mut Socket) -> Result<ScuToCu, CallError> {
    let broken = |why: &dyn std::fmt::Display| CallError::Signalling(why.to_string());
    loop {
        let message = socket.next().await.ok_or_else(|| broken(&"it has closed the connection"))?;
        match message.map_err(|error| broken(&error))? {
            Message::Text(text) => {
                let message = decode::<ScuToCu>(text.as_bytes()).map_err(|e| broken(&e))?;
                return Ok(message.body);
            }
            Message::Close(_) => return Err(broken(&"it has closed the connection")),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Where to signal. A path alone is relative to the portal. What is sent there carries a ticket: in clear it
/// travels within this machine only.
fn signal_url(url: &str, portal: Option<&Url>) -> Option<Url> {
    let url = match url.strip_prefix('/') {
        Some(_) => portal?.join(url).ok()?.to_string(),
        None => url.to_owned(),
    };
    let text = match url.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => url,
    };
    let url: Url = text.parse().ok()?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    };
    (url.scheme() == "wss" || url.scheme() == "ws" && local).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signalling_is_encrypted_beyond_this_machine() {
        let portal: Url = "https://portal.example".parse().expect("a URL");
        let at = |url: &str| signal_url(url, Some(&portal)).map(String::from);
        assert_eq!(at("/cs/v1").as_deref(), Some("wss://portal.example/cs/v1"));
        assert_eq!(at("wss://scu.example/cs/v1").as_deref(), Some("wss://scu.example/cs/v1"));
        assert_eq!(at("http://127.0.0.1:1/cs/v1").as_deref(), Some("ws://127.0.0.1:1/cs/v1"));
        for bad in ["ws://scu.example/cs/v1", "http://scu.example/", "ftp://a.example/", ""] {
            assert_eq!(at(bad), None, "{bad:?}");
        }
        assert_eq!(signal_url("/cs/v1", None), None);
    }
}
