//! The choice over paths made of numbers.

use super::*;

const STEP: Duration = Duration::from_millis(200);

fn tier(rate_bps: u64, width: u32, height: u32) -> Tier {
    Tier { rate_bps: Some(rate_bps), codec: VideoCodec::H264, width, height, fps: 25.0 }
}

fn camera(main: u64, sub: u64) -> Offered {
    Offered { main: Some(tier(main, 1280, 720)), sub: Some(tier(sub, 640, 360)) }
}

struct Random(u64);
impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

/// A path with an estimator like the real one: overuse is seen within a second, spare
/// capacity is found by probes that at most double the estimate every 5 s and creep between.
struct Path {
    capacity: f64,
    loss: f64,
    estimate: f64,
    probe_in: f64,
    queue_s: f64,
}

impl Path {
    fn step(&mut self, send: f64, desired: f64, random: &mut Random) -> Measured {
        let dt = STEP.as_secs_f64();
        let excess = send - self.capacity;
        self.queue_s = (self.queue_s + excess / self.capacity * dt).clamp(0.0, 1.0);
        if self.queue_s > 0.05 {
            self.estimate += (self.capacity * 0.88 - self.estimate) * 0.35;
        } else {
            self.estimate = (self.estimate * 1.01).min(send.max(100e3) * 1.5).max(self.estimate);
            self.probe_in -= dt;
            if self.probe_in <= 0.0 && self.estimate < desired {
                self.probe_in = 5.0;
                self.estimate = (self.estimate * 2.0).min(self.capacity * 0.98);
            }
        }
        let noise = 1.0 + (random.unit() - 0.5) * 0.12;
        let overflow = if self.queue_s >= 1.0 { excess.max(0.0) / send } else { 0.0 };
        Measured {
            estimate_bps: Some((self.estimate * noise) as u64),
            loss: (self.loss * (0.5 + random.unit()) + overflow) as f32,
            rtt: None,
            queue: Duration::from_secs_f64(self.queue_s),
            backlog: Duration::from_secs_f64(self.queue_s * 0.3),
        }
    }
}

#[test]
fn narrowed_and_released_in_time_without_flapping() {
    for seed in 0..3_000_u64 {
        let mut random = Random(seed.wrapping_mul(7_919) + 1);
        let main = 1.6e6 + random.unit() * 4e6;
        let sub = 150e3 + random.unit() * 400e3;
        let wide = main * (1.6 + random.unit() * 20.0);
        let offered = camera(main as u64, sub as u64);
        let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
        let mut path = Path {
            capacity: wide,
            loss: random.unit() * 0.02,
            estimate: 5e6_f64.min(wide),
            probe_in: 0.0,
            queue_s: 0.0,
        };
        let (mut level, mut changes) = (Level::Main, Vec::new());
        for tick in 0..(90 * 5) {
            let now = STEP * tick;
            path.capacity = if (100..200).contains(&tick) { 1e6 } else { wide };
            let send = match level {
                Level::Main => main,
                Level::Sub => sub,
                Level::KeyframesOnly => sub / 10.0,
            };
            let measured = path.step(send, policy.desired_bps(&offered) as f64, &mut random);
            let decision = policy.decide(now, &offered, &measured).expect("decodable");
            if decision.level != level {
                changes.push((now.as_secs_f64(), decision.level));
                level = decision.level;
            }
        }
        let fell = changes.iter().find(|(at, l)| *at >= 20.0 && *l != Level::Main);
        let rose = changes.iter().find(|(at, l)| *at >= 40.0 && *l == Level::Main);
        assert!(fell.is_some_and(|(at, _)| *at <= 25.0), "seed {seed}: {changes:?}");
        assert!(rose.is_some_and(|(at, _)| *at <= 70.0), "seed {seed}: {changes:?}");
        assert!(changes.len() <= 4, "seed {seed} flaps: {changes:?}");
    }
}

#[test]
fn a_wandering_estimate_does_not_keep_a_wide_path_from_the_main_stream() {
    for seed in 0..1_000_u64 {
        let mut random = Random(seed + 5);
        let offered = camera(2_000_000, 300_000);
        let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
        let mut rose = None;
        for tick in 0..(60 * 5) {
            // Narrow for 10 s soon after the start, then as measured on a busy machine.
            let estimate = match tick {
                25..75 => 0.4e6,
                _ => 1.42e6 + random.unit() * 1.7e6,
            };
            let measured = Measured { estimate_bps: Some(estimate as u64), ..Measured::default() };
            let now = STEP * tick;
            let level = policy.decide(now, &offered, &measured).expect("decodable").level;
            if tick == 74 {
                assert_eq!(level, Level::Sub, "seed {seed}");
            }
            if tick > 75 && level == Level::Main {
                rose = rose.or(Some(now));
            }
        }
        let limit = Duration::from_secs(15 + 12);
        assert!(rose.is_some_and(|at| at <= limit), "seed {seed}: {rose:?}");
    }
}

#[test]
fn a_path_at_the_limit_does_not_flap() {
    for seed in 0..1_000_u64 {
        let mut random = Random(seed + 17);
        let offered = camera(2_000_000, 300_000);
        let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
        let mut level = Level::Main;
        let mut changes = 0;
        for tick in 0..(600 * 5) {
            let estimate = 2e6 * (0.75 + random.unit() * 0.5);
            let measured = Measured { estimate_bps: Some(estimate as u64), ..Measured::default() };
            let now = STEP * tick;
            let decision = policy.decide(now, &offered, &measured).expect("decodable");
            changes += u32::from(decision.level != level);
            level = decision.level;
        }
        assert!(changes <= 60, "seed {seed}: {changes} changes in ten minutes");
    }
}

#[test]
fn choices_hold_whatever_the_path() {
    let offered = camera(4_000_000, 300_000);
    let bad = Measured { estimate_bps: Some(50_000), loss: 0.5, ..Measured::default() };
    let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
    for (choice, level) in [
        (QualityChoice::Tier { tier: StreamTier::Main }, Level::Main),
        (QualityChoice::Tier { tier: StreamTier::Sub }, Level::Sub),
        (QualityChoice::Keyframes, Level::KeyframesOnly),
    ] {
        policy.set_choice(choice);
        for second in 0..20 {
            let now = Duration::from_secs(second);
            assert_eq!(policy.decide(now, &offered, &bad).expect("decodable").level, level);
        }
    }
}

#[test]
fn limits_and_codecs_of_the_viewer() {
    let mut offered = camera(4_000_000, 300_000);
    let small = Capabilities { max_width: Some(800), ..Capabilities::default() };
    let decide = |capabilities: &Capabilities, offered: &Offered| {
        Policy::new(capabilities.clone(), vec![VideoCodec::H264]).decide(
            Duration::ZERO,
            offered,
            &Measured::default(),
        )
    };
    assert_eq!(decide(&small, &offered).expect("decodable").level, Level::Sub);
    offered.main = offered.main.map(|t| Tier { codec: VideoCodec::H265, ..t });
    let any = Capabilities::default();
    let decision = decide(&any, &offered).expect("the sub stream is H.264");
    assert_eq!(decision.level, Level::Sub);
    assert!(decision.reason.contains("H.265"), "{}", decision.reason);
    offered.sub = None;
    assert!(decide(&any, &offered).is_err());
}

#[test]
fn without_a_sub_stream_keyframes_remain() {
    let offered = Offered { main: Some(tier(4_000_000, 1920, 1080)), sub: None };
    let narrow = Measured {
        estimate_bps: Some(500_000),
        backlog: Duration::from_secs(1),
        ..Measured::default()
    };
    let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
    let mut last = Level::Main;
    for tick in 0..25 {
        last = policy.decide(STEP * tick, &offered, &narrow).expect("decodable").level;
    }
    assert_eq!(last, Level::KeyframesOnly);
}
