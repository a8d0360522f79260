//! The recorder's clock against simulated clocks.

use super::*;

const BOOT: BootId = BootId(7);
/// 15 November 2023, in microseconds.
const NOW: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

fn reading(monotonic_us: u64, system: i64, synchronized: bool) -> Reading {
    Reading { monotonic_us, system: UnixMicros(system), synchronized, centre: None }
}

fn with_centre(reading: Reading, ahead_us: i64, age: Duration) -> Reading {
    Reading { centre: Some(CentreReading { ahead_us, age }), ..reading }
}

#[test]
fn a_clock_that_starts_in_1970_is_set_in_one_step_that_corrects_what_was_before() {
    let mut clock = RecorderClock::new(BOOT, &reading(5_000_000, 12 * SECOND, false));
    assert_eq!(clock.authority(), Authority::Unconfirmed);
    let before = clock.moment(65_000_000);
    assert_eq!(before.time, UnixMicros(72 * SECOND));
    assert_eq!(clock.handle_reading(&reading(65_000_000, 72 * SECOND, false)), None);
    let step = clock.handle_reading(&reading(125_000_000, NOW, true)).expect("a step");
    let to = UnixMicros(NOW);
    let expected = ClockStep {
        boot: BOOT,
        monotonic_us: 125_000_000,
        from: UnixMicros(132 * SECOND),
        to,
        from_authority: Authority::Unconfirmed,
        to_authority: Authority::System,
    };
    assert_eq!(step, expected);
    // What a reader adds puts the moment before where it was.
    let corrected = before.time.0 + step.to.0 - step.from.0;
    assert_eq!(corrected, NOW - 60 * SECOND);
    assert_eq!(clock.at(126_000_000), UnixMicros(NOW + SECOND));
}

#[test]
fn half_a_second_is_taken_away_slowly_and_without_a_step() {
    let mut clock = RecorderClock::new(BOOT, &reading(0, NOW, true));
    let ahead = SECOND / 2;
    let mut told = clock.at(0);
    for second in 1..=1_100_u64 {
        let at_us = second * 1_000_000;
        assert_eq!(clock.handle_reading(&reading(at_us, NOW + ahead + at_us as i64, true)), None);
        let now = clock.at(at_us);
        assert!((now.0 - told.0 - SECOND).abs() <= 500, "{now:?} after {told:?}");
        told = now;
    }
    assert_eq!(told, UnixMicros(NOW + ahead + 1_100 * SECOND));
}

#[test]
fn a_day_forth_and_back_is_two_steps_of_a_confirmed_clock() {
    let mut clock = RecorderClock::new(BOOT, &reading(0, NOW, true));
    let forth = clock.handle_reading(&reading(1_000_000, NOW + DAY + SECOND, true));
    let forth = forth.expect("forth");
    assert_eq!(forth.to.0 - forth.from.0, DAY);
    assert_eq!(forth.from_authority, Authority::System);
    let back = clock.handle_reading(&reading(2_000_000, NOW + 2 * SECOND, true)).expect("back");
    assert_eq!(back.to.0 - back.from.0, -DAY);
    assert_eq!(back.to, UnixMicros(NOW + 2 * SECOND));
}

#[test]
fn while_the_centre_is_heard_the_system_clock_may_be_set_as_it_likes() {
    let right = |us: u64| NOW + us as i64;
    // The system clock is an hour behind; the centre was measured three seconds ago.
    let hour = 3_600 * SECOND;
    let first = with_centre(
        reading(10_000_000, right(10_000_000) - hour, false),
        hour,
        Duration::from_secs(3),
    );
    let mut clock = RecorderClock::new(BOOT, &first);
    assert_eq!(clock.authority(), Authority::Centre);
    assert_eq!(clock.at(10_000_000), UnixMicros(right(10_000_000)));
    // It is set a day forth; the measurement is still the one from before.
    let set = reading(20_000_000, right(20_000_000) + DAY, false);
    assert_eq!(clock.handle_reading(&with_centre(set, hour, Duration::from_secs(13))), None);
    assert_eq!(clock.at(20_000_000), UnixMicros(right(20_000_000)));
    // And measured again.
    let set = reading(30_000_000, right(30_000_000) + DAY, false);
    assert_eq!(clock.handle_reading(&with_centre(set, -DAY, Duration::from_secs(1))), None);
    assert_eq!(clock.at(30_000_000), UnixMicros(right(30_000_000)));
}

#[test]
fn what_the_centre_confirmed_is_not_given_up_for_a_clock_that_nobody_vouches_for() {
    let first = with_centre(reading(0, 9 * SECOND, false), NOW, Duration::ZERO);
    let mut clock = RecorderClock::new(BOOT, &first);
    let right = clock.at(0);
    for minute in 1..=180_u64 {
        let at_us = minute * 60_000_000;
        let away = reading(at_us, 9 * SECOND + at_us as i64, false);
        let age = Duration::from_micros(at_us);
        assert_eq!(clock.handle_reading(&with_centre(away, NOW, age)), None);
        assert_eq!(clock.at(at_us), UnixMicros(right.0 + at_us as i64));
        assert!(clock.authority().is_confirmed());
    }
    // Nor for one that somebody sets by hand; but for one that is synchronized.
    let by_hand = reading(10_801_000_000, NOW + 5 * DAY, false);
    assert_eq!(clock.handle_reading(&by_hand), None);
    let true_now = NOW + 10_802 * SECOND + 3 * SECOND;
    let step = clock.handle_reading(&reading(10_802_000_000, true_now, true));
    assert_eq!(step.map(|s| s.to), Some(UnixMicros(true_now)));
    assert_eq!(clock.authority(), Authority::System);
}

#[test]
fn one_late_answer_of_the_centre_sets_nothing_and_two_that_agree_do() {
    let at = |s: u64| reading(s * 1_000_000, NOW + s as i64 * SECOND, false);
    let mut clock = RecorderClock::new(BOOT, &with_centre(at(0), 0, Duration::ZERO));
    assert_eq!(clock.handle_reading(&with_centre(at(30), 4 * SECOND, Duration::ZERO)), None);
    assert_eq!(
        clock.handle_reading(&with_centre(at(31), 4 * SECOND, Duration::from_secs(1))),
        None
    );
    assert_eq!(clock.handle_reading(&with_centre(at(60), 0, Duration::ZERO)), None);
    assert_eq!(clock.at(60_000_000), UnixMicros(NOW + 60 * SECOND));
    assert_eq!(clock.handle_reading(&with_centre(at(90), 4 * SECOND, Duration::ZERO)), None);
    let agreed = with_centre(at(120), 4 * SECOND + 20_000, Duration::ZERO);
    let step = clock.handle_reading(&agreed).expect("two say the same");
    assert_eq!(step.to.0 - step.from.0, 4 * SECOND + 20_000);
}

#[test]
fn sleep_is_no_step_for_a_clock_that_goes_on_and_corrects_nothing_for_one_that_does_not() {
    let hours = 3 * 3_600 * SECOND;
    let mut clock = RecorderClock::new(BOOT, &reading(1_000_000, NOW, true));
    let slept = reading(1_000_000 + hours as u64, NOW + hours, true);
    assert_eq!(clock.clone().handle_reading(&slept), None);
    let step = clock.handle_reading(&reading(1_500_000, NOW + hours + SECOND / 2, true));
    let step = step.expect("the monotonic clock stood still");
    assert!(step.from_authority.is_confirmed(), "so that readers add nothing");
    assert_eq!(step.to, UnixMicros(NOW + hours + SECOND / 2));
}

#[test]
fn units_are_found_under_the_setting_by_which_they_were_dated() {
    let mut clock = RecorderClock::new(BOOT, &reading(100_000_000, NOW, true));
    assert_eq!(clock.moment_of(UnixMicros(NOW - 20 * SECOND)).monotonic_us, 80_000_000);
    // An hour back at 110 s.
    let hour = 3_600 * SECOND;
    let step = clock.handle_reading(&reading(110_000_000, NOW + 10 * SECOND - hour, true));
    assert!(step.is_some());
    assert!(clock.handle_reading(&reading(120_000_000, NOW + 20 * SECOND - hour, true)).is_none());
    let before = clock.moment_of(UnixMicros(NOW + 5 * SECOND));
    assert_eq!(before.monotonic_us, 105_000_000);
    let after = clock.moment_of(UnixMicros(NOW + 15 * SECOND - hour));
    assert_eq!(after.monotonic_us, 115_000_000);
    assert_eq!(after.time.0 - before.time.0, 10 * SECOND, "on one clock now");
    // Dated by a setting that was not read yet.
    assert_eq!(clock.moment_of(UnixMicros(NOW + DAY)).monotonic_us, 120_000_000);
    assert_eq!(clock.moment_of(UnixMicros(i64::MIN)).monotonic_us, 120_000_000);
    assert_eq!(clock.moment_of(UnixMicros(i64::MAX)).monotonic_us, 120_000_000);
}

#[test]
fn a_step_that_nobody_saw_is_made_up_for() {
    let clock = RecorderClock::new(BOOT, &reading(500_000_000, NOW, true));
    let segment = |boot, start: i64, authority| Segment {
        run: crate::statement::RunId(1),
        start: UnixMicros(start),
        duration_us: 4_000_000,
        position_90k: 0,
        boot,
        monotonic_us: 400_000_000,
        authority,
        len: 1,
        head_len: 1,
        content: crate::statement::Digest([0; 32]),
        pictures: 1,
        key: None,
        causes: crate::statement::Causes::default(),
        recovered: false,
    };
    let seen = clock.missed_step(&segment(BOOT, 400 * SECOND, Authority::Unconfirmed));
    let seen = seen.expect("1970");
    assert_eq!((seen.from, seen.to), (UnixMicros(500 * SECOND), UnixMicros(NOW)));
    let right = NOW - 100 * SECOND;
    assert_eq!(clock.missed_step(&segment(BOOT, right - 900_000, Authority::System)), None);
    assert_eq!(clock.missed_step(&segment(BootId(8), 400 * SECOND, Authority::System)), None);
}

#[test]
fn readings_that_make_no_sense_do_no_harm() {
    let mut clock = RecorderClock::new(BOOT, &reading(u64::MAX, i64::MIN, false));
    let _ = clock.handle_reading(&reading(u64::MAX, i64::MAX, true));
    let _ = clock.handle_reading(&reading(0, 0, false));
    let wild = with_centre(reading(u64::MAX, i64::MAX, false), i64::MIN, Duration::MAX);
    let _ = clock.handle_reading(&wild);
    let _ = clock.moment_of(UnixMicros(i64::MIN));
    let _ = (clock.at(0), clock.at(u64::MAX));
}

/// What the machine's clocks do; truth is counted from [`NOW`].
struct World {
    random: u64,
    /// By how much the monotonic clock is wrong, in millionths.
    drift_ppm: i64,
    /// System clock less truth.
    system_error_us: i64,
    synchronized: bool,
    centre_heard: bool,
    measured: Option<(i64, u64)>,
}

impl World {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn monotonic_us(&self, true_us: i64) -> u64 {
        u64::try_from(true_us + true_us * self.drift_ppm / 1_000_000).expect("after the boot")
    }

    /// One second passes; now and then something happens.
    fn pass(&mut self) {
        if self.synchronized {
            // NTP slews what is left of its error away.
            self.system_error_us -= self.system_error_us.clamp(-500, 500);
        } else {
            self.system_error_us += self.drift_ppm;
        }
        match self.below(400) {
            0 => self.centre_heard = !self.centre_heard,
            1 if !self.synchronized => {
                self.synchronized = true;
                self.system_error_us = self.below(600_000) as i64 - 300_000;
            }
            2 => self.synchronized = false,
            // Somebody sets the clock by hand, of which the kernel takes notice.
            3 => {
                self.synchronized = false;
                self.system_error_us = self.below(2 * DAY as u64) as i64 - DAY;
            }
            _ => {}
        }
    }

    fn read(&mut self, second: i64) -> Reading {
        let true_us = second * SECOND;
        let monotonic_us = self.monotonic_us(true_us);
        if self.centre_heard && second % 30 == 0 {
            let noise_us = self.below(40_000) as i64 - 20_000;
            self.measured = Some((noise_us - self.system_error_us, monotonic_us));
        }
        let centre = self.measured.map(|(ahead_us, at_us)| CentreReading {
            ahead_us,
            age: Duration::from_micros(monotonic_us - at_us),
        });
        let system = UnixMicros(NOW + true_us + self.system_error_us);
        Reading { monotonic_us, system, synchronized: self.synchronized, centre }
    }
}

/// One simulated life of an hour; the steps and the seconds that were confirmed are returned.
fn live(seed: u64) -> (usize, usize) {
    let mut world = World {
        random: seed,
        drift_ppm: 0,
        system_error_us: 0,
        synchronized: false,
        centre_heard: false,
        measured: None,
    };
    world.drift_ppm = world.below(160) as i64 - 80;
    world.synchronized = seed % 5 == 1;
    let in_1970 = seed.is_multiple_of(2) && !world.synchronized;
    world.system_error_us = if in_1970 { -NOW } else { 0 };
    let mut clock = RecorderClock::new(BOOT, &world.read(0));
    let mut steps = Vec::new();
    let mut told: Vec<(i64, Moment, usize)> = Vec::new();
    for second in 1..3_600 {
        world.pass();
        let reading = world.read(second);
        let before = told.last().copied();
        let step = clock.handle_reading(&reading);
        let now = clock.moment(reading.monotonic_us);
        if let Some(step) = step {
            assert_eq!(step.to, now.time);
            assert!((step.to.0 - step.from.0).abs() > LARGEST_SLEW_US);
            steps.push(step);
        } else if let Some((_, before, _)) = before {
            let passed = (now.monotonic_us - before.monotonic_us) as i64;
            let seam = now.time.0 - before.time.0 - passed;
            assert!(seam.abs() <= passed * SLEW_PPM / 1_000_000 + 1, "seed {seed}: seam {seam}");
            let between = clock.at(before.monotonic_us + 500_000);
            assert!(before.time <= between && between <= now.time, "seed {seed}: backwards");
        }
        // The unit that arrives now, by the system clock.
        let unit = clock.moment_of(reading.system);
        assert_eq!(unit.monotonic_us.abs_diff(reading.monotonic_us) / 5_001, 0, "seed {seed}");
        if now.authority.is_confirmed() {
            // NTP's own error, the difference that is slewed, and drift without anybody's word.
            let error = now.time.0 - NOW - second * SECOND;
            assert!(error.abs() <= 1_700_000, "seed {seed}, {second} s: wrong by {error} us");
        }
        told.push((second, now, steps.len()));
    }
    // A reader adds the steps of unconfirmed clocks that follow in the chain.
    let confirmed_at_last = clock.authority().is_confirmed();
    for (second, moment, seen) in &told {
        let added: i64 = steps[*seen..]
            .iter()
            .filter(|step| !step.from_authority.is_confirmed())
            .map(|step| step.to.0 - step.from.0)
            .sum();
        let error = moment.time.0 + added - NOW - second * SECOND;
        if confirmed_at_last {
            assert!(error.abs() <= 2_500_000, "seed {seed}, {second} s: corrected to {error} us");
        }
    }
    let confirmed = told.iter().filter(|(_, moment, _)| moment.authority.is_confirmed()).count();
    (steps.len(), confirmed)
}

#[test]
fn thousands_of_lives_have_no_seam_and_their_confirmed_times_are_right() {
    let (mut steps, mut confirmed) = (0, 0);
    for seed in 0..2_000 {
        let (stepped, vouched) = live(seed);
        steps += stepped;
        confirmed += vouched;
    }
    // The simulation does what it is there for.
    assert!(steps > 1_500, "{steps} steps");
    assert!((1_000_000..7_000_000).contains(&confirmed), "{confirmed} confirmed seconds");
}
