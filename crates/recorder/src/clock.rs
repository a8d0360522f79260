//! The recorder's clock, fed by the unit's own clocks and the uplink (decision 0090).

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sightline_model::UnixMicros;
use sightline_recording::{
    clock::{CentreReading, Moment, Reading, RecorderClock},
    statement::{BootId, ClockStep, Segment},
};
use sightline_service_kit::config::write_private;
use sightline_uplink::clock::Clock;
use tokio::sync::watch;

/// How often the clocks are read although nothing is dated, and the kernel is asked whether they are
/// synchronized.
pub const READ_EVERY: Duration = Duration::from_secs(1);
/// Steps that are remembered. Every task takes them within moments.
const MOST_STEPS: usize = 64;
/// Two clocks are read at one moment when no more than this passes meanwhile, in microseconds.
const AT_ONCE_US: u64 = 100;
/// Where the boot's number is kept, in the unit's data folder.
const BOOT_FILE: &str = "recording-boot.json";
/// The kernel draws it with every start of the machine (`random(4)`).
const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One clock for all of an agent's recordings; cheap to clone.
#[derive(Clone)]
pub struct SharedClock {
    state: Arc<Mutex<State>>,
    /// Rises with every step, and when the clock becomes confirmed.
    news: Arc<watch::Sender<u64>>,
    centre: Clock,
}

impl fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedClock").finish_non_exhaustive()
    }
}

struct State {
    clock: RecorderClock,
    steps: VecDeque<ClockStep>,
    /// Steps that there ever were.
    count: u64,
    synchronized: bool,
    /// When the kernel was asked, by the monotonic clock.
    asked_us: u64,
}

impl State {
    fn read(&mut self, centre: &Clock, news: &watch::Sender<u64>) {
        let (monotonic_us, system) = read_clocks();
        if monotonic_us.saturating_sub(self.asked_us) >= micros(READ_EVERY) {
            (self.synchronized, self.asked_us) = (is_synchronized(), monotonic_us);
        }
        let reading = reading(monotonic_us, system, self.synchronized, centre);
        let confirmed = self.clock.authority().is_confirmed();
        let step = self.clock.handle_reading(&reading);
        if let Some(step) = step {
            tracing::warn!(
                by_s = step.to.0.saturating_sub(step.from.0) / 1_000_000,
                from = ?step.from_authority, to = ?step.to_authority,
                "the time of the recordings is set"
            );
            metrics::counter!("sightline_pu_recording_clock_steps_total").increment(1);
            if self.steps.len() == MOST_STEPS {
                self.steps.pop_front();
            }
            self.steps.push_back(step);
            self.count += 1;
        }
        if step.is_some() || self.clock.authority().is_confirmed() != confirmed {
            news.send_modify(|n| *n += 1);
        }
    }
}

impl SharedClock {
    /// A clock that begins now. `centre`: what the uplink measures.
    #[must_use]
    pub fn new(boot: BootId, centre: Clock) -> Self {
        let (monotonic_us, system) = read_clocks();
        let synchronized = is_synchronized();
        let reading = reading(monotonic_us, system, synchronized, &centre);
        let clock = RecorderClock::new(boot, &reading);
        let steps = VecDeque::new();
        let state = State { clock, steps, count: 0, synchronized, asked_us: monotonic_us };
        let news = Arc::new(watch::Sender::new(0));
        Self { state: Arc::new(Mutex::new(state)), news, centre }
    }

    /// For one task: it sees every step from now on.
    #[must_use]
    pub fn dates(&self) -> Dates {
        Dates { seen: self.state.lock().count, clock: self.clone() }
    }

    /// Wakes whoever must know of steps and of the time being confirmed.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Reads the clocks now. To be called every [`READ_EVERY`] at least.
    pub fn read(&self) {
        self.state.lock().read(&self.centre, &self.news);
    }

    /// This moment on all clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        let mut state = self.state.lock();
        state.read(&self.centre, &self.news);
        let (monotonic_us, _) = read_clocks();
        state.clock.moment(monotonic_us)
    }
}

/// What one task dates its units by.
#[derive(Clone)]
pub struct Dates {
    clock: SharedClock,
    /// Steps that it was told of.
    seen: u64,
}

impl Dates {
    /// When a unit was captured, on all clocks. First come the steps of the clock since the last call.
    pub fn date(&mut self, captured_at: UnixMicros) -> (Vec<ClockStep>, Moment) {
        let clock = &self.clock;
        let mut state = clock.state.lock();
        state.read(&clock.centre, &clock.news);
        let moment = state.clock.moment_of(captured_at);
        (new_steps(&state, &mut self.seen), moment)
    }

    /// The steps of the clock since the last call.
    pub fn steps(&mut self) -> Vec<ClockStep> {
        new_steps(&self.clock.state.lock(), &mut self.seen)
    }

    /// This moment on all clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The boot that the monotonic clock belongs to.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.clock.state.lock().clock.boot()
    }

    /// A step that nobody saw since the chain's newest segment.
    #[must_use]
    pub fn missed_step(&self, newest: &Segment) -> Option<ClockStep> {
        self.clock.state.lock().clock.missed_step(newest)
    }

    /// Steps and confirmations from now on.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.clock.news()
    }
}

fn new_steps(state: &State, seen: &mut u64) -> Vec<ClockStep> {
    let new = usize::try_from(state.count - std::mem::replace(seen, state.count));
    let known = state.steps.len();
    let skip = known.saturating_sub(new.unwrap_or(known));
    state.steps.iter().skip(skip).copied().collect()
}

fn reading(monotonic_us: u64, system: UnixMicros, synchronized: bool, centre: &Clock) -> Reading {
    let measured = centre.measured();
    let centre = measured.map(|(ahead_us, age)| CentreReading { ahead_us, age });
    Reading { monotonic_us, system, synchronized, centre }
}

/// The monotonic clock, which goes on while the machine sleeps, and the system clock, both at one
/// moment as nearly as can be.
fn read_clocks() -> (u64, UnixMicros) {
    let mut best: Option<(u64, u64, UnixMicros)> = None;
    for _ in 0..4 {
        let (before, system, after) = (monotonic_us(), SystemTime::now(), monotonic_us());
        let apart = after.saturating_sub(before);
        if best.is_none_or(|(least, ..)| apart < least) {
            best = Some((apart, before + apart / 2, UnixMicros::from(system)));
        }
        if apart <= AT_ONCE_US {
            break;
        }
    }
    best.map_or((0, UnixMicros(0)), |(_, monotonic_us, system)| (monotonic_us, system))
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
    u64::try_from(us).unwrap_or(0)
}

/// Whether the kernel says that the system clock is synchronized (`adjtimex(2)`).
#[expect(unsafe_code, reason = "nothing that is used here wraps adjtimex(2)")]
fn is_synchronized() -> bool {
    // SAFETY: `timex` is integers alone, so zeros are a value of it. `modes` of 0 asks for no change,
    // and the kernel writes nothing but the struct that it is given, which lives until it returns.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    state >= 0 && status & libc::STA_UNSYNC == 0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What [`BOOT_FILE`] holds.
#[derive(Serialize, Deserialize)]
struct KeptBoot {
    /// The kernel's name of the boot.
    kernel: String,
    /// Ours.
    boot: BootId,
}

/// The number of this start of the machine: drawn once, and kept while the machine runs. A number that
/// cannot be kept only makes the next start of the agent look like one of the machine.
///
/// # Errors
/// When the system gives no random numbers.
pub fn boot_id(data_dir: &Path) -> Result<BootId, getrandom::Error> {
    let kernel = std::fs::read_to_string(KERNEL_BOOT_ID).unwrap_or_default();
    boot_id_of(data_dir, kernel.trim())
}

fn boot_id_of(data_dir: &Path, kernel: &str) -> Result<BootId, getrandom::Error> {
    let path = data_dir.join(BOOT_FILE);
    let kept = std::fs::read(&path).ok().and_then(|t| serde_json::from_slice::<KeptBoot>(&t).ok());
    if let Some(kept) = kept
        && !kernel.is_empty()
        && kept.kernel == kernel
    {
        return Ok(kept.boot);
    }
    let boot = BootId(getrandom::u64()?);
    let kept = KeptBoot { kernel: kernel.to_owned(), boot };
    let written = serde_json::to_vec(&kept).map_err(std::io::Error::from);
    if let Err(error) = written.and_then(|text| write_private(&path, &text)) {
        tracing::warn!(path = %path.display(), %error, "the number of this boot cannot be kept");
    }
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use sightline_recording::statement::Authority;

    use super::*;

    #[test]
    fn a_boot_keeps_its_number_and_another_one_gets_another() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let of = |kernel| boot_id_of(dir.path(), kernel).expect("random numbers");
        let first = of("a");
        assert_eq!(of("a"), first);
        let second = of("b");
        assert_ne!(second, first);
        assert_eq!(of("b"), second);
        std::fs::write(dir.path().join(BOOT_FILE), b"{").expect("own file");
        assert_ne!(of("b"), second, "a damaged file is believed");
        // Without the kernel's word nothing says that it is still the same boot.
        assert_ne!(of(""), of(""));
    }

    #[test]
    fn every_task_sees_every_step_once_and_units_are_dated_behind_it() {
        const DAY_US: i64 = 86_400_000_000;
        let centre = Clock::default();
        let clock = SharedClock::new(BootId(1), centre.clone());
        let (mut early, before) = (clock.dates(), clock.now());
        centre.set_measured(DAY_US);
        let mut late = clock.dates();
        let captured_at = UnixMicros::from(SystemTime::now());
        let (steps, moment) = early.date(captured_at);
        let [step] = steps[..] else { panic!("one step, not {steps:?}") };
        assert_eq!((step.boot, step.to_authority), (BootId(1), Authority::Centre));
        assert!((step.to.0 - step.from.0 - DAY_US).abs() < 1_000_000, "{step:?}");
        assert!(moment.time.0 - before.time.0 >= DAY_US - 1_000_000, "{moment:?}");
        assert_eq!(moment.authority, Authority::Centre);
        assert_eq!((early.steps(), late.steps()), (vec![], vec![step]));
        assert!(late.date(captured_at).0.is_empty());
    }
}
