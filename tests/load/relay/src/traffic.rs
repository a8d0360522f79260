//! Bursts through all flows, paced or as fast as it goes, and what arrived of them.
//!
//! Receivers are not woken by what arrives: they are read every `SWEEP`, so that no server pays
//! for waking them. How long a packet took is known all the same, from the kernel's time stamps.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::ensure;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    flows::Flow,
    frames::{self, Frame},
    process,
    train::{Buffers, Train},
};

/// Between two looks at what has arrived.
const SWEEP: Duration = Duration::from_millis(10);
/// After the last burst, until everything must have arrived.
const DRAIN: Duration = Duration::from_millis(300);
/// Flows begin at different moments, the same ones in every run.
const SEED: u64 = 3;

/// What is sent.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Packets in a burst.
    pub burst: usize,
    /// Between two bursts of a flow; zero: as fast as it goes.
    pub interval: Duration,
    /// Payload of a packet in bytes.
    pub size: usize,
    /// Packets of a burst are handed to the kernel one by one, and arrive so at the server;
    /// otherwise as one train, as a network card with receive offload passes them on.
    pub one_by_one: bool,
}

/// All flows, with their packets made.
pub struct Traffic {
    shape: Shape,
    /// In the order in which they send.
    flows: Vec<Prepared>,
    buffers: Buffers,
    counts: Counts,
}

struct Prepared {
    flow: Flow,
    number: u32,
    /// After the beginning of each interval.
    phase: Duration,
    packets: Vec<u8>,
    /// Bytes of one packet on the wire.
    wire: usize,
    payload: Range<usize>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    no_room: u64,
    delivered: u64,
    wrong: u64,
    delays_us: Vec<u32>,
}

impl Traffic {
    /// Makes the packets.
    #[must_use]
    pub fn new(flows: Vec<Flow>, shape: Shape) -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let mut prepared: Vec<_> = (0..)
            .zip(flows)
            .map(|(number, flow)| {
                let phase = shape.interval.mul_f64(random.random_range(0.0..1.0));
                let (packet, payload) = flow.sent.packet(number, shape.size);
                let wire = packet.len();
                Prepared { flow, number, phase, packets: packet.repeat(shape.burst), wire, payload }
            })
            .collect();
        prepared.sort_by_key(|flow| flow.phase);
        Self { shape, flows: prepared, buffers: Buffers::default(), counts: Counts::default() }
    }

    /// Sends for `warm_up`, then for `time` while everything is counted; `server` is the process
    /// whose processor time is read.
    ///
    /// # Errors
    /// The kernel's, or the process is gone.
    pub fn run(
        &mut self,
        warm_up: Duration,
        time: Duration,
        server: Option<u32>,
    ) -> anyhow::Result<Value> {
        self.send_for(warm_up)?;
        self.counts = Counts::default();
        let cpu = |pid: Option<u32>| pid.map(process::cpu).transpose();
        let (before, own) = (cpu(server)?, process::cpu(std::process::id())?);
        let begin = Instant::now();
        self.send_for(time)?;
        let seconds = begin.elapsed().as_secs_f64();
        let used = cpu(server)?.zip(before).map(|(after, before)| (after - before).as_secs_f64());
        let own = (process::cpu(std::process::id())? - own).as_secs_f64();
        let counts = &mut self.counts;
        ensure!(counts.sent > 0, "nothing was sent");
        counts.delays_us.sort_unstable();
        let delay = |q: f64| {
            let rank = (q * counts.delays_us.len() as f64) as usize;
            counts.delays_us.get(rank).copied()
        };
        Ok(json!({
            "sent": counts.sent,
            "no_room": counts.no_room,
            "delivered": counts.delivered,
            "wrong": counts.wrong,
            "lost_share": 1.0 - counts.delivered as f64 / counts.sent as f64,
            "seconds": seconds,
            "server_cpu_s": used,
            "server_cpu_s_per_million": used.map(|s| 1e6 * s / counts.delivered.max(1) as f64),
            "own_cpu_s": own,
            "delay_p50_us": delay(0.5),
            "delay_p99_us": delay(0.99),
        }))
    }

    fn send_for(&mut self, time: Duration) -> anyhow::Result<()> {
        if self.shape.interval.is_zero() { self.flood_for(time) } else { self.pace_for(time) }
    }

    /// As fast as it goes, and no longer: what has not arrived by then does not count. Everything is
    /// read after a burst of each flow, so that no receiver's socket is ever full.
    fn flood_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for at in 0..self.flows.len() {
                self.send(at)?;
            }
            self.sweep()?;
        }
        Ok(())
    }

    fn pace_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut next_sweep = begin + SWEEP;
        let rounds = (time.as_secs_f64() / self.shape.interval.as_secs_f64()).ceil() as u32;
        for round in 0..rounds {
            for at in 0..self.flows.len() {
                let due = begin + self.shape.interval * round + self.flows[at].phase;
                while next_sweep < due {
                    sleep_until(next_sweep);
                    self.sweep()?;
                    next_sweep = Instant::now() + SWEEP;
                }
                sleep_until(due);
                self.send(at)?;
            }
        }
        let end = Instant::now() + DRAIN;
        while Instant::now() < end {
            thread::sleep(SWEEP);
            self.sweep()?;
        }
        Ok(())
    }

    fn send(&mut self, at: usize) -> anyhow::Result<()> {
        let Prepared { flow, packets, wire, payload, .. } = &mut self.flows[at];
        let mut now = now_ns();
        for packet in packets.chunks_exact_mut(*wire) {
            frames::stamp(&mut packet[payload.clone()], now);
        }
        let counts = &mut self.counts;
        counts.sent += self.shape.burst as u64;
        if !self.shape.one_by_one {
            if !flow.sender.send(flow.to, packets, *wire)? {
                counts.no_room += self.shape.burst as u64;
            }
            return Ok(());
        }
        for packet in packets.chunks_exact_mut(*wire) {
            frames::stamp(&mut packet[payload.clone()], now);
            counts.no_room += u64::from(!flow.sender.send(flow.to, packet, *wire)?);
            now = now_ns();
        }
        Ok(())
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        for Prepared { flow, number, .. } in &self.flows {
            let expected = (flow.received, *number, self.shape.size);
            receive(&flow.receiver, expected, &mut self.buffers, &mut self.counts)?;
        }
        Ok(())
    }
}

fn receive(
    receiver: &Train,
    (frame, number, size): (Frame, u32, usize),
    buffers: &mut Buffers,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    loop {
        let more = receiver.receive(buffers, |meta, data| {
            let arrived_ns = meta.timestamp.map(|at| at.as_nanos() as u64);
            for packet in data.chunks(meta.stride.max(1)) {
                let payload = frame.payload(packet).filter(|payload| payload.len() == size);
                match payload.and_then(frames::read) {
                    Some((flow, sent_ns)) if flow == number => {
                        counts.delivered += 1;
                        if let Some(arrived_ns) = arrived_ns {
                            let delay = arrived_ns.saturating_sub(sent_ns) / 1_000;
                            counts.delays_us.push(u32::try_from(delay).unwrap_or(u32::MAX));
                        }
                    }
                    _ => counts.wrong += 1,
                }
            }
        })?;
        if !more {
            return Ok(());
        }
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn sleep_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}
