//! Takes the streams of related cameras from their PUs (A8.7.2 steps 16 and 17; interfaces Np and Pn;
//! decision 0101).
//!
//! One [`Intake`] for each encoding of each camera. It does nothing until somebody reads its hub: a plan
//! that is to be carried out, or a viewer. What is tried in which order is [`course`]'s to say.

pub mod call;
pub mod course;
pub mod dial;
mod receive;
pub mod ticket;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use sightline_media_io::{
    assembler::Assembler,
    hub::{Hub, Publisher},
};
use sightline_model::{StreamTier, UnixMicros};
use sightline_p2p_net::{Session, server::Servers};
use sightline_premises::{lan::Lan, uplink::Uplink};
use sightline_protocol::{ProblemKind, cm::PlayAnswer, ps::RelatedCamera};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use call::Caller;
use course::{Course, Outcome, Step};
use dial::Dialler;
use ticket::TicketFile;

/// How long the centre may take to answer: it asks the camera's device meanwhile.
const ASK: Duration = Duration::from_secs(8);
/// A ticket is renewed no more often.
const RENEW_LEAST: Duration = Duration::from_secs(60);
/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What all intakes have in common.
pub struct Shared {
    /// The link to the centre.
    pub uplink: Uplink,
    /// Straight to PUs.
    pub dialler: Dialler,
    /// By way of the centre.
    pub caller: Caller,
    /// What mDNS shows.
    pub lan: Lan,
    /// Where tickets are kept.
    pub data_dir: PathBuf,
    /// Whom calls' tasks belong to.
    pub tasks: TaskTracker,
}

/// One encoding of one related camera.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
    camera: RelatedCamera,
    tier: StreamTier,
}

/// The ticket in use, and the one that will be.
struct Tickets {
    file: TicketFile,
    now: Option<PlayAnswer>,
    /// Renewed while the stream ran.
    fresh: Mutex<Option<PlayAnswer>>,
}

impl Intake {
    /// Nothing is taken yet.
    #[must_use]
    pub const fn new(shared: Arc<Shared>, camera: RelatedCamera, tier: StreamTier) -> Self {
        Self { shared, camera, tier }
    }

    /// Where its ticket is kept.
    #[must_use]
    pub fn ticket_file(&self) -> TicketFile {
        TicketFile::new(&self.shared.data_dir, &self.camera, self.tier)
    }

    /// Publishes the stream whenever somebody reads it, until `token` is cancelled.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(self, publisher: Publisher, token: CancellationToken) -> Result<(), String> {
        let hub = publisher.hub();
        let mut assembler = Assembler::new(publisher);
        let mut tickets = self.kept().await;
        let seed = getrandom::u64().unwrap_or(1);
        let mut course = Course::new(tickets.now.is_some(), seed);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = assembler.publisher().wanted() => {}
            }
            let mut step = course.begin();
            while !token.is_cancelled() && hub.readers() > 0 {
                let outcome = match step {
                    Step::Wait(wait) => pause(wait, &hub, &token).await,
                    Step::Ask => {
                        tokio::select! {
                            () = token.cancelled() => return Ok(()),
                            outcome = self.ask(&mut tickets, &mut assembler) => outcome,
                        }
                    }
                    Step::Dial => self.dial(&mut tickets, &mut assembler, &token).await,
                    Step::Call => self.call(&mut tickets, &mut assembler, &token).await,
                };
                step = course.next(outcome);
            }
            assembler.offline("nothing of this camera is wanted now");
        }
    }

    async fn kept(&self) -> Tickets {
        let (file, camera) = (self.ticket_file(), self.camera.clone());
        let reading = file.clone();
        let kept = tokio::task::spawn_blocking(move || reading.read(&camera)).await;
        Tickets { file, now: kept.unwrap_or(None), fresh: Mutex::default() }
    }

    async fn ask(&self, tickets: &mut Tickets, assembler: &mut Assembler) -> Outcome {
        match self.ask_for_ticket(&tickets.file).await {
            Asked::Given(ticket) => {
                tickets.now = Some(*ticket);
                Outcome::Ticket
            }
            Asked::Refused(why) => {
                tracing::info!(camera = %self.camera.camera, why, "no ticket for a related camera");
                assembler.offline(&why);
                tickets.now = None;
                Outcome::NoTicket
            }
            Asked::NotNow(why) => {
                assembler.offline(&why);
                Outcome::CentreAway
            }
            Asked::Away => Outcome::CentreAway,
        }
    }

    async fn ask_for_ticket(&self, file: &TicketFile) -> Asked {
        let camera = self.camera.camera.clone();
        let ticket = match self.shared.uplink.ticket(camera, ASK).await {
            Err(_) => return Asked::Away,
            Ok(Err(problem)) if passes(problem.kind) => return Asked::NotNow(problem.detail),
            Ok(Err(problem)) => return Asked::Refused(problem.detail),
            Ok(Ok(ticket)) => ticket,
        };
        if let Err(problem) = ticket::fits(&ticket, &self.camera) {
            tracing::error!(camera = %self.camera.camera, %problem, "the centre is not believed");
            return Asked::Refused(problem.detail);
        }
        let (file, kept) = (file.clone(), ticket.clone());
        let written = tokio::task::spawn_blocking(move || file.write(&kept)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!(camera = %self.camera.camera, "a ticket cannot be kept for the next start");
        }
        Asked::Given(ticket)
    }

    async fn dial(
        &self,
        tickets: &mut Tickets,
        assembler: &mut Assembler,
        token: &CancellationToken,
    ) -> Outcome {
        let Some(ticket) = tickets.now.clone() else { return Outcome::NotAdmitted };
        let addresses = self.addresses(&ticket);
        let found = tokio::select! {
            () = token.cancelled() => None,
            found = self.shared.dialler.connect(&addresses, ticket.device_key) => found,
        };
        let Some((connection, address)) = found else {
            assembler.offline("the camera's device is not reached on this network");
            return Outcome::NotReached;
        };
        let outcome = {
            let receiving =
                receive::receive(&connection, address, &ticket, self.tier, assembler, token);
            self.renewing(tickets, (&ticket, None), receiving).await
        };
        connection.close(0_u8.into(), b"done");
        tickets.turn_over();
        outcome
    }

    async fn call(
        &self,
        tickets: &mut Tickets,
        assembler: &mut Assembler,
        token: &CancellationToken,
    ) -> Outcome {
        let Some(ticket) = tickets.now.clone() else { return Outcome::NotAdmitted };
        let called = tokio::select! {
            () = token.cancelled() => return Outcome::NotReached,
            called = self.shared.caller.call(&ticket, &self.shared.tasks) => called,
        };
        let carried = match called {
            Ok(carried) => carried,
            Err(error) => {
                tracing::info!(camera = %self.camera.camera, %error, "a related camera is not reached");
                assembler.offline(&error.to_string());
                return Outcome::NotReached;
            }
        };
        let outcome = {
            let receiving = receive::receive(
                &carried.connection,
                carried.address,
                &ticket,
                self.tier,
                assembler,
                token,
            );
            self.renewing(tickets, (&ticket, Some(&carried.session)), receiving).await
        };
        carried.connection.close(0_u8.into(), b"done");
        // The last packet needs a path.
        let _ = tokio::time::timeout(GOODBYE, carried.connection.closed()).await;
        tickets.turn_over();
        outcome
    }

    /// Those of the ticket, best first, then what mDNS shows: whoever answers must hold the key.
    fn addresses(&self, ticket: &PlayAnswer) -> Vec<SocketAddr> {
        let mut addresses = self.shared.lan.addresses_of(&self.camera.camera.pu);
        for address in &ticket.quic {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    /// Renews the ticket while a stream runs, so that a fresh one is there when the centre is not, and with
    /// it the credentials of the relays that a ladder may be using: no relay outlives its own.
    async fn renewing(
        &self,
        tickets: &Tickets,
        (ticket, ladder): (&PlayAnswer, Option<&Arc<Session>>),
        receiving: impl Future<Output = Outcome>,
    ) -> Outcome {
        let renewal = async {
            let mut ends = good_until(ticket, ladder.is_some());
            loop {
                let left = ends.since(UnixMicros::from(SystemTime::now()));
                tokio::time::sleep((left / 2).max(RENEW_LEAST)).await;
                if let Asked::Given(fresh) = self.ask_for_ticket(&tickets.file).await {
                    ends = good_until(&fresh, ladder.is_some());
                    if let Some(ladder) = ladder {
                        ladder.set_servers(Servers::read(&fresh.ice_servers)).await;
                    }
                    *tickets.fresh.lock() = Some(*fresh);
                }
            }
        };
        tokio::select! {
            outcome = receiving => outcome,
            () = renewal => Outcome::NotReached,
        }
    }
}

impl Tickets {
    /// The stream has ended: the next one begins with the renewed ticket, if there is one.
    fn turn_over(&mut self) {
        if let Some(fresh) = self.fresh.lock().take() {
            self.now = Some(fresh);
        }
    }
}

/// Until when a ticket is good, and what it says of relays where that is of use.
fn good_until(ticket: &PlayAnswer, on_ladder: bool) -> UnixMicros {
    let relays = Servers::read(&ticket.ice_servers).expires_at().filter(|_| on_ladder);
    relays.map_or(ticket.expires_at, |ends| ends.min(ticket.expires_at))
}

enum Asked {
    Given(Box<PlayAnswer>),
    /// The relation gives it no more.
    Refused(String),
    /// The one that is kept is as good as it was.
    NotNow(String),
    Away,
}

/// Whether another answer may come later, with nothing taken away meanwhile.
const fn passes(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::RateLimited
            | ProblemKind::StaleLease
            | ProblemKind::DeviceOffline
            | ProblemKind::CameraOffline
            | ProblemKind::Busy
            | ProblemKind::Timeout
            | ProblemKind::Internal
    )
}

/// Waits, but not for what nobody wants any more.
async fn pause(wait: Duration, hub: &Hub, token: &CancellationToken) -> Outcome {
    tokio::select! {
        () = token.cancelled() => {}
        () = hub.unwanted() => {}
        () = tokio::time::sleep(wait) => {}
    }
    Outcome::Waited
}

#[cfg(test)]
mod tests {
    use sightline_model::{CameraId, ChannelId, DeviceId, PuId, PublicKey, SessionToken};
    use sightline_protocol::cm::IceServer;

    use super::*;

    fn ticket(relays_until_s: i64) -> PlayAnswer {
        let device_key = PublicKey::from_bytes([1; 32]);
        let pu = PuId::from_public_key(&device_key);
        let relay = IceServer {
            urls: vec!["turn:192.0.2.1:3478?transport=udp".into()],
            username: Some(format!("{relays_until_s}:someone")),
            credential: Some(SessionToken::new("secret".into())),
        };
        PlayAnswer {
            session: "s1".parse().expect("an id"),
            device: DeviceId { domain: "home.example".parse().expect("a name"), pu: pu.clone() },
            camera: CameraId { pu, channel: ChannelId(0) },
            token: SessionToken::new("secret".into()),
            expires_at: UnixMicros(500_000_000),
            device_key,
            rtsp_urls: Vec::new(),
            quic: Vec::new(),
            signal_url: String::new(),
            ice_servers: vec![relay],
        }
    }

    #[test]
    fn a_ticket_is_kept_until_the_relation_gives_it_no_more() {
        for kind in [ProblemKind::DeviceOffline, ProblemKind::RateLimited, ProblemKind::Timeout] {
            assert!(passes(kind), "{kind:?}");
        }
        for kind in [ProblemKind::Forbidden, ProblemKind::NotFound, ProblemKind::InvalidRequest] {
            assert!(!passes(kind), "{kind:?}");
        }
    }

    #[test]
    fn a_ticket_is_renewed_for_its_relays_where_they_may_be_in_use() {
        let (whole, of_relays) = (UnixMicros(500_000_000), UnixMicros(90_000_000));
        assert_eq!(good_until(&ticket(90), true), of_relays);
        assert_eq!(good_until(&ticket(90), false), whole, "on the LAN relays are of no use");
        assert_eq!(good_until(&ticket(900), true), whole);
    }
}
