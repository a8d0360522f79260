//! What is known of a running stream, and the line that shows it every second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use sightline_media::AccessUnit;
use sightline_model::{Rung, ServedStream};
use sightline_protocol::cs::StageTimes;
use tokio_util::sync::CancellationToken;

use crate::output;

/// No latency is known.
const UNKNOWN: i64 = i64::MIN;

/// Counters of a stream; written by the way in, read by the report.
#[derive(Debug)]
pub(crate) struct Figures {
    bytes: AtomicU64,
    pictures: AtomicU64,
    packets: AtomicU64,
    lost: AtomicU64,
    latency_us: AtomicI64,
    round_trip_us: AtomicI64,
    asked: Instant,
    /// When each stage up to the first packet ended.
    stages: Mutex<[Option<Instant>; 6]>,
    arrivals: Mutex<Arrivals>,
    path: Mutex<Option<Path>>,
    serving: Mutex<Option<ServedStream>>,
}

/// How the media travels, as far as the CU can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Path {
    /// `quic` or `webrtc`.
    pub transport: &'static str,
    /// Whether a relay is in the path.
    pub relayed: bool,
    /// Where the packets come from.
    pub remote: String,
    /// On which rung of the ladder, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// For each better rung, why it is not that one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why_not_better: Vec<String>,
}

impl Path {
    /// A path whose rung is not known.
    pub const fn new(transport: &'static str, relayed: bool, remote: String) -> Self {
        Self { transport, relayed, remote, rung: None, why_not_better: Vec::new() }
    }

    /// In a word or two.
    fn words(&self) -> String {
        let way = match self.rung {
            Some(Rung::Host) => "direct",
            Some(Rung::Mapped) => "direct by a mapped port",
            Some(Rung::Punched) => "direct through the routers",
            Some(Rung::Probed) => "direct by a probed port",
            Some(Rung::RelayUdp) => "relayed",
            Some(Rung::RelayTcp) => "relayed by TCP",
            Some(Rung::RelayTls) => "relayed by TLS",
            None if self.relayed => "relayed",
            None => "direct",
        };
        format!("{} {way}", self.transport)
    }
}

/// What must be over before the first picture can be there, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The play answer is there.
    Play,
    /// The offer is with the SCU.
    Signalling,
    /// The PU has answered.
    Answer,
    /// A path works.
    Path,
    /// Both ends have proven themselves, and the camera plays.
    Secure,
    /// Media comes.
    Packet,
}

/// When pictures came.
#[derive(Debug, Default)]
struct Arrivals {
    first: Option<Instant>,
    last: Option<Instant>,
    /// Longest time without one since the last report.
    gap: Duration,
}

impl Figures {
    /// Figures of a stream that was asked for then.
    pub fn since(asked: Instant) -> Self {
        Self {
            asked,
            stages: Mutex::default(),
            arrivals: Mutex::default(),
            bytes: AtomicU64::new(0),
            pictures: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            latency_us: AtomicI64::new(UNKNOWN),
            round_trip_us: AtomicI64::new(UNKNOWN),
            path: Mutex::new(None),
            serving: Mutex::new(None),
        }
    }

    pub fn unit(&self, unit: &AccessUnit) {
        self.bytes.fetch_add(unit.len() as u64, Relaxed);
        if unit.is_video() {
            self.pictures.fetch_add(1, Relaxed);
            self.arrivals.lock().picture(Instant::now());
        }
    }

    pub fn packets(&self, received: u64, lost: u64) {
        self.packets.fetch_add(received, Relaxed);
        self.lost.fetch_add(lost, Relaxed);
    }

    pub fn latency_us(&self, micros: i64) {
        self.latency_us.store(micros, Relaxed);
    }

    pub fn round_trip(&self, time: Duration) {
        self.round_trip_us.store(i64::try_from(time.as_micros()).unwrap_or(i64::MAX), Relaxed);
    }

    pub fn path(&self, path: Path) {
        *self.path.lock() = Some(path);
    }

    /// A stage has ended; the first time counts.
    pub fn stage(&self, stage: Stage) {
        self.stages.lock()[stage as usize].get_or_insert_with(Instant::now);
    }

    /// How long each stage took, once the first picture is there. A stage that this way in does not
    /// tell took no time.
    pub fn stages(&self) -> Option<StageTimes> {
        let first = self.arrivals.lock().first?;
        let stages = *self.stages.lock();
        let ms = |at: Instant| {
            u32::try_from(at.saturating_duration_since(self.asked).as_millis()).unwrap_or(u32::MAX)
        };
        let mut ends = [0; 7];
        let mut last = 0;
        for (end, stage) in ends.iter_mut().zip(stages) {
            last = stage.map_or(last, ms);
            *end = last;
        }
        ends[6] = ms(first);
        Some(StageTimes::from_ends(ends))
    }

    pub fn serving(&self, stream: ServedStream) {
        *self.serving.lock() = Some(stream);
    }

    fn snapshot(&self) -> [u64; 4] {
        [&self.bytes, &self.pictures, &self.packets, &self.lost].map(|c| c.load(Relaxed))
    }
}

impl Arrivals {
    fn picture(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        if let Some(last) = self.last.replace(now) {
            self.gap = self.gap.max(now - last);
        }
    }

    /// The longest gap since the last report; one that is still open counts.
    fn take_gap(&mut self, now: Instant) -> Option<Duration> {
        let open = self.last.map(|last| now - last)?;
        Some(std::mem::take(&mut self.gap).max(open))
    }
}

/// Shows a line every second until the end. Results go to the standard output.
pub(crate) async fn report(figures: Arc<Figures>, as_json: bool, token: CancellationToken) {
    let mut before = figures.snapshot();
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer.tick().await;
    let started = tokio::time::Instant::now();
    let mut last = started;
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            now = timer.tick() => {
                let after = figures.snapshot();
                let seconds = now.duration_since(last).as_secs_f64().max(0.001);
                let passed = now.duration_since(started).as_secs_f64().round() as u64;
                show(&figures, passed, seconds, before, after, as_json);
                (before, last) = (after, now);
            }
        }
    }
}

fn show(
    figures: &Figures,
    passed: u64,
    seconds: f64,
    before: [u64; 4],
    after: [u64; 4],
    as_json: bool,
) {
    let [bytes, pictures, packets, lost] =
        std::array::from_fn(|i| after[i].saturating_sub(before[i]));
    let bitrate_bps = (bytes as f64 * 8.0 / seconds).round();
    let fps = pictures as f64 / seconds;
    let loss_percent = 100.0 * lost as f64 / (packets + lost).max(1) as f64;
    let known = |v: i64| (v != UNKNOWN).then_some(v as f64 / 1_000.0);
    let latency_ms = known(figures.latency_us.load(Relaxed));
    let round_trip_ms = known(figures.round_trip_us.load(Relaxed));
    let (first_picture_ms, gap_ms) = {
        let mut arrivals = figures.arrivals.lock();
        let first = arrivals.first.map(|first| (first - figures.asked).as_millis());
        (first, arrivals.take_gap(Instant::now()).map(|gap| gap.as_millis()))
    };
    let path = figures.path.lock().clone();
    let serving = figures.serving.lock().clone();
    if as_json {
        output::json(&json!({"stats": {
            "t_s": passed, "first_picture_ms": first_picture_ms, "longest_gap_ms": gap_ms,
            "bitrate_bps": bitrate_bps, "fps": round(fps), "packets": packets,
            "lost": lost, "loss_percent": round(loss_percent), "latency_ms": latency_ms.map(round),
            "round_trip_ms": round_trip_ms.map(round), "path": path, "serving": serving,
            "stages": figures.stages(),
        }}));
        return;
    }
    let milliseconds = |v: Option<f64>| v.map_or_else(|| "?".into(), |v| format!("{v:.0} ms"));
    let way = path.map_or_else(|| "connecting".into(), |path| path.words());
    let size = serving.map_or_else(String::new, |s| format!("  {}x{}", s.width, s.height));
    output::line(&format!(
        "{passed:>4} s  {:>8.0} kbit/s  {fps:>5.1} fps  loss {loss_percent:.1} %  latency {}  round trip {}  {way}{size}",
        bitrate_bps / 1_000.0,
        milliseconds(latency_ms),
        milliseconds(round_trip_ms),
    ));
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
