//! What SCUs are told (Sd): that this MTU is there, how busy it is, and what they may command.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use sightline_bus::{Bus, BusError, Message, Subscription};
use sightline_model::{DomainName, MtuId};
use sightline_protocol::{
    Problem, ProblemKind, decode, encode,
    sd::{MtuCommand, MtuReply, MtuStatus},
    subject,
};
use tokio_util::sync::CancellationToken;

use crate::{load::Cpu, server::Relay};

/// How often an MTU announces itself.
pub const STATUS_EVERY: Duration = Duration::from_secs(2);
/// Share of the capacity above which new sessions should go elsewhere.
const FULL: f32 = 0.9;
/// Most that busy processors count for.
const BUSY: f32 = 0.85;

/// Tells the SCUs, and listens to them.
pub(crate) struct Announcement {
    pub(crate) mtu: MtuId,
    pub(crate) urls: Vec<String>,
    pub(crate) domain: DomainName,
    pub(crate) relay: Arc<Relay>,
    pub(crate) bus: Bus,
    pub(crate) measured: Mutex<Measured>,
}

/// How much was relayed lately.
#[derive(Debug)]
pub(crate) struct Measured {
    at: Instant,
    bytes: u64,
    bps: u64,
    cpu: Cpu,
    cpu_share: f32,
}

impl Measured {
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), bytes: 0, bps: 0, cpu: Cpu::default(), cpu_share: 0.0 }
    }

    fn measure(&mut self, bytes: u64) {
        let now = Instant::now();
        let span = now.saturating_duration_since(self.at).as_secs_f64();
        if span < STATUS_EVERY.as_secs_f64() / 2.0 {
            return;
        }
        let bits = bytes.saturating_sub(self.bytes) as f64 * 8.0;
        (self.at, self.bytes, self.bps) = (now, bytes, (bits / span) as u64);
        self.cpu_share = self.cpu.busy().unwrap_or(0.0);
    }
}

impl Announcement {
    /// Subscribes to commands and roll calls and announces the MTU, then goes on until the end, which
    /// it announces too.
    pub(crate) async fn run(self, token: CancellationToken) {
        let own = subject::mtu(&self.domain, &self.mtu);
        let all = subject::mtu_roll_call(&self.domain);
        let mut commands = self.subscribe(&own).await;
        let mut roll_calls = self.subscribe(&all).await;
        let mut every = tokio::time::interval(STATUS_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {
                    if commands.is_none() {
                        commands = self.subscribe(&own).await;
                    }
                    if roll_calls.is_none() {
                        roll_calls = self.subscribe(&all).await;
                    }
                    self.publish(true).await;
                }
                command = next(&mut commands) => self.obey(command).await,
                _ = next(&mut roll_calls) => self.publish(true).await,
                () = token.cancelled() => break,
            }
        }
        self.publish(false).await;
    }

    async fn subscribe(&self, subject: &str) -> Option<Subscription> {
        let subscribed: Result<_, BusError> = self.bus.subscribe(subject, None).await;
        if let Err(error) = &subscribed {
            tracing::warn!(%error, "cannot listen for commands of SCUs");
        }
        subscribed.ok()
    }

    async fn obey(&self, command: Message) {
        let Some(reply) = command.reply else { return };
        let answer = match decode::<MtuCommand>(&command.payload).map(|envelope| envelope.body) {
            Ok(order) => {
                tracing::info!(?order, "an SCU's order");
                let obeyed = self.relay.set_draining(matches!(order, MtuCommand::Drain));
                self.publish(true).await;
                if obeyed {
                    MtuReply::Done { status: Box::new(self.status(true)) }
                } else {
                    let why = "the MTU is about to stop";
                    MtuReply::Refused { problem: Problem::new(ProblemKind::Busy, why) }
                }
            }
            Err(error) => {
                let problem = Problem::new(ProblemKind::InvalidRequest, error.to_string());
                MtuReply::Refused { problem }
            }
        };
        reply.send(encode(&answer, None).into()).await;
    }

    pub(crate) async fn publish(&self, running: bool) {
        let status = self.status(running);
        metrics::gauge!("sightline_mtu_load_ratio").set(f64::from(status.load));
        metrics::gauge!("sightline_mtu_allocations").set(f64::from(status.allocations));
        metrics::gauge!("sightline_mtu_stream_connections").set(self.relay.streams.len() as f64);
        metrics::gauge!("sightline_mtu_draining").set(f64::from(u8::from(status.draining)));
        let subject = subject::mtu_status(&self.domain);
        if let Err(error) = self.bus.publish(&subject, encode(&status, None).into()).await {
            tracing::warn!(%error, "cannot announce this MTU");
        }
    }

    fn status(&self, running: bool) -> MtuStatus {
        let mut measured = self.measured.lock();
        measured.measure(self.relay.relayed_bytes());
        let (bps, cpu) = (measured.bps, measured.cpu_share);
        drop(measured);
        let config = &self.relay.config;
        let allocations = self.relay.allocations();
        let draining = self.relay.is_draining();
        let capacity_bps = config.capacity_bps.or(config.server_bps);
        let line = capacity_bps.map_or(0.0, |capacity| bps as f32 / capacity as f32);
        // A port that is held is as good as taken.
        let places = self.relay.taken() as f32 / self.relay.places as f32;
        // Whatever is scarcest decides.
        // Busy processors are a reason to go elsewhere, not to refuse: whoever else runs here
        // may be the reason, and a slow relay is better than none.
        let load = line.max(places).max(cpu.min(BUSY)).clamp(0.0, 1.0);
        MtuStatus {
            mtu: self.mtu.clone(),
            urls: self.urls.clone(),
            load,
            accepting: running && !draining && load < FULL,
            at: SystemTime::now().into(),
            capacity_bps,
            relayed_bps: bps,
            allocations,
            draining,
        }
    }
}

async fn next(messages: &mut Option<Subscription>) -> Message {
    if let Some(subscription) = messages
        && let Some(message) = subscription.next().await
    {
        return message;
    }
    // The bus has gone; the next announcement subscribes anew.
    *messages = None;
    std::future::pending().await
}
