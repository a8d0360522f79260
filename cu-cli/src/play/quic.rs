//! RTSP inside QUIC (Pc'), pinned to the PU's key.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::{Connection, Endpoint, VarInt};
use sightline_media_io::rtsp_server::{
    pinned_tls,
    quic::{self as rtsp_quic, QuicError},
};
use sightline_model::{QualityChoice, StreamTier};
use sightline_protocol::{ProblemKind, flow};
use sightline_rtsp::{
    TrackKind, Url,
    client::{Client, ClientError, Event, Options, Output},
};
use tokio_util::sync::CancellationToken;

use super::{
    assembler::Assembler,
    figures::{Figures, Path, Stage},
    ladder::{self, Failed},
    session::Session,
};
use crate::{
    api::now,
    error::{CuError, Exit},
};

/// How long an address may take to answer.
const CONNECT: Duration = Duration::from_secs(6);
/// The next address is tried after this (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(150);

/// A connection to the PU, over whatever path.
pub(super) enum Line {
    /// The ladder carries it.
    Ladder(ladder::Carried),
    /// Straight to one of the PU's addresses.
    Direct(Connection),
}

impl Line {
    pub(super) const fn connection(&self) -> &Connection {
        match self {
            Self::Ladder(carried) => &carried.connection,
            Self::Direct(connection) => connection,
        }
    }

    /// What `dialogue` comes to, unless the centre ends the call before.
    pub(super) async fn until_ended(
        &self,
        dialogue: impl Future<Output = Result<(), CuError>>,
    ) -> Result<(), CuError> {
        let Self::Ladder(carried) = self else { return dialogue.await };
        let mut ended = carried.ended.clone();
        tokio::select! {
            result = dialogue => result,
            Ok(why) = ended.wait_for(Option::is_some) => {
                why.as_ref().map_or(Ok(()), |why| Err(ladder::again(why)))
            }
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Ladder(carried) => carried.close().await,
            Self::Direct(connection) => connection.close(VarInt::from_u32(0), b"done"),
        }
    }
}

/// Connects, and tells the address for URLs.
pub(super) async fn open(
    session: &Session,
    figures: &Arc<Figures>,
) -> Result<(Line, SocketAddr), CuError> {
    let why = match ladder::connect(session, figures).await {
        Ok(carried) => {
            // What the URL names is of no matter: the connection is there.
            let address = session.answer.quic.first().copied();
            let address = address.unwrap_or_else(|| ([127, 0, 0, 1], 9).into());
            return Ok((Line::Ladder(carried), address));
        }
        Err(Failed::For(error)) => return Err(error),
        Err(Failed::Signalling(why)) => why,
    };
    // The centre is away, or knows nothing of calls over QUIC: on the LAN the PU answers all the
    // same.
    let (connection, address) = connect(session).await.map_err(|direct| {
        // A unit that knows no such offers has said nothing about the call itself.
        let unknown = why.problem == Some(ProblemKind::InvalidRequest);
        if direct.exit == Exit::Security || unknown { direct } else { why }
    })?;
    for stage in [Stage::Signalling, Stage::Answer, Stage::Path] {
        figures.stage(stage);
    }
    figures.path(Path::new("quic", false, address.to_string()));
    Ok((Line::Direct(connection), address))
}

/// Receives until the stream ends or `token` is cancelled.
pub(super) async fn receive(
    session: &Session,
    quality: QualityChoice,
    mut assembler: Assembler,
    figures: &Arc<Figures>,
    token: &CancellationToken,
) -> Result<(), CuError> {
    let (line, address) = tokio::select! {
        () = token.cancelled() => return Ok(()),
        opened = open(session, figures) => opened?,
    };
    let connection = line.connection();
    let dialogue = dialogue(session, quality, connection, address, &mut assembler, figures, token);
    let result = line.until_ended(dialogue).await;
    line.close().await;
    result
}

/// Connects to the first of the PU's addresses that answers with the right key.
pub(crate) async fn connect(session: &Session) -> Result<(Connection, SocketAddr), CuError> {
    let addresses = &session.answer.quic;
    if addresses.is_empty() {
        return Err(CuError::unreachable(
            "the camera has no address for QUIC; try --via webrtc, which finds ways through routers",
        ));
    }
    let mut tries: FuturesUnordered<_> = addresses
        .iter()
        .enumerate()
        .map(|(i, address)| async move {
            tokio::time::sleep(STAGGER * u32::try_from(i).unwrap_or(u32::MAX)).await;
            connect_to(session, *address).await.map(|connection| (connection, *address))
        })
        .collect();
    let mut worst: Option<CuError> = None;
    while let Some(result) = tries.next().await {
        match result {
            Ok(connected) => return Ok(connected),
            // A wrong key is what the person must hear of, whatever the others say.
            Err(e) if worst.as_ref().is_none_or(|w| w.exit != Exit::Security) => worst = Some(e),
            Err(_) => {}
        }
    }
    Err(worst.unwrap_or_else(|| CuError::unreachable("the camera cannot be reached over QUIC")))
}

/// Connects to one address.
async fn connect_to(session: &Session, address: SocketAddr) -> Result<Connection, CuError> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any)
        .map_err(|e| CuError::other(format!("no UDP socket to be had: {e}")))?;
    let key = pinned_tls::pkcs8(session.key.signing_key().as_bytes());
    let connecting = rtsp_quic::connect(&endpoint, address, &key, session.answer.device_key);
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(QuicError::Connection(e))) if is_wrong_key(&e) => Err(CuError::security(
            "whoever answered for the camera does not have its key: somebody may be in between. Nothing was played",
        )),
        Ok(Err(QuicError::Connection(e))) => Err(CuError::unreachable(format!(
            "the camera did not accept QUIC at {address}: {e}. Try --via webrtc"
        ))),
        Ok(Err(e)) => Err(CuError::other(format!("QUIC to {address} cannot be set up: {e}"))),
        Err(_) => Err(CuError::unreachable(format!(
            "the camera did not answer QUIC at {address}; a router or firewall may drop it. Try --via webrtc"
        ))),
    }
}

/// Whether this side refused the peer's certificate: one of the alerts 42 to 49 of TLS
/// (RFC 8446 section 6.2), which QUIC carries above 0x100 (RFC 9001 section 4.8).
pub(super) fn is_wrong_key(error: &quinn::ConnectionError) -> bool {
    match error {
        quinn::ConnectionError::TransportError(e) => {
            (0x100 + 42..=0x100 + 49).contains(&u64::from(e.code))
        }
        _ => false,
    }
}

fn url(session: &Session, quality: QualityChoice, address: SocketAddr) -> Result<Url, CuError> {
    let channel = session.answer.camera.channel;
    let tier = match quality {
        QualityChoice::Tier { tier: StreamTier::Main } => "/main",
        QualityChoice::Tier { tier: StreamTier::Sub } => "/sub",
        QualityChoice::Auto | QualityChoice::Keyframes | QualityChoice::Exact { .. } => "",
    };
    format!("rtsp://{address}/{channel}{tier}")
        .parse()
        .map_err(|e| CuError::other(format!("no URL: {e}")))
}

async fn dialogue(
    session: &Session,
    quality: QualityChoice,
    connection: &Connection,
    address: SocketAddr,
    assembler: &mut Assembler,
    figures: &Figures,
    token: &CancellationToken,
) -> Result<(), CuError> {
    // The innermost cause says who ended it: quinn's own words for the rest are "connection lost".
    let lost = |e: &dyn std::error::Error| {
        let cause = std::iter::successors(Some(e), |e| e.source()).last().unwrap_or(e);
        CuError::unreachable(format!("the connection to the camera broke: {cause}"))
    };
    let (mut send, mut receive) = connection.open_bi().await.map_err(|e| lost(&e))?;
    let mut client = Client::new(Options {
        token: Some(session.answer.token.clone()),
        raw_packets: true,
        ..Options::new(url(session, quality, address)?)
    });
    flow::sent("Pc", "CU", "PU", "media_request", session.answer.session.as_str());
    client.start(Instant::now());
    let mut loss = [Sequence::default(), Sequence::default()];
    let mut buffer = vec![0; 64 * 1_024];
    let mut leaving = false;
    loop {
        while let Some(output) = client.poll_output() {
            match output {
                Output::Send(bytes) => send.write_all(&bytes).await.map_err(|e| lost(&e))?,
                Output::Event(Event::Described(stream)) => assembler.describe(stream),
                Output::Event(Event::Unit(unit)) => {
                    let age = now().0.saturating_sub(unit.captured_at().0);
                    // Both clocks must agree for this to mean anything.
                    if (0..10_000_000).contains(&age) {
                        figures.latency_us(age);
                    }
                    assembler.push(unit);
                }
                Output::Event(Event::Packet(kind, packet)) => {
                    figures.stage(Stage::Packet);
                    let missing = loss[usize::from(kind == TrackKind::Audio)].next(packet.sequence);
                    figures.packets(1, missing);
                }
                Output::Event(Event::Playing) => figures.stage(Stage::Secure),
                Output::Event(Event::Paused) => {}
                Output::Event(Event::Ended) => return Ok(()),
                Output::Event(Event::Failed(error)) => return Err(refused(error)),
            }
        }
        figures.round_trip(connection.rtt());
        let wake = client.poll_timeout().map(tokio::time::Instant::from_std);
        tokio::select! {
            read = receive.read(&mut buffer) => match read {
                Ok(Some(length)) => client.handle_input(&buffer[..length], Instant::now(), now()),
                Ok(None) if leaving => return Ok(()),
                Ok(None) => return Err(CuError::unreachable("the camera has ended the stream")),
                Err(_) if leaving => return Ok(()),
                Err(e) => return Err(lost(&e)),
            },
            () = sleep_until(wake) => client.handle_timeout(Instant::now()),
            () = token.cancelled(), if !leaving => {
                leaving = true;
                client.teardown(Instant::now());
            }
        }
    }
}

pub(super) async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

pub(super) fn refused(error: ClientError) -> CuError {
    match error {
        ClientError::Refused { status, reason, .. } => {
            let exit = match status {
                408 | 504 => Exit::Timeout,
                502 | 503 => Exit::Unreachable,
                400..=499 => Exit::Refused,
                _ => Exit::Other,
            };
            CuError::new(exit, format!("the camera refused: {reason} ({status})"))
        }
        ClientError::Timeout => CuError::timeout("the camera did not answer in time"),
        other @ (ClientError::Frame(_) | ClientError::Answer { .. } | ClientError::Sdp(_)) => {
            CuError::other(format!("the camera's answer makes no sense: {other}"))
        }
    }
}

/// Counts the gaps in sequence numbers.
#[derive(Default)]
struct Sequence(Option<u16>);

impl Sequence {
    fn next(&mut self, sequence: u16) -> u64 {
        let gap = self.0.map_or(0, |last| sequence.wrapping_sub(last).wrapping_sub(1));
        if gap >= 0x8000 {
            return 0;
        }
        self.0 = Some(sequence);
        gap.into()
    }
}
