//! The stream follows the path and the viewer's wish (A7, A6.1.3): an agent whose link is narrowed
//! sends its sub stream, and the sizes and rates of the menu are what is decoded.

mod apart;

use std::time::Duration;

use e2e::{Process, namespaces_allowed};

use self::apart::{Apart, end, json, playing};

/// What the agent's link carries while it is narrow.
const NARROW_BPS: u64 = 1_000_000;
/// The requirements: sub stream, main stream again, longest gap between two pictures.
const FALLS_WITHIN_MS: u64 = 5_000;
const RISES_WITHIN_MS: u64 = 30_000;
const LONGEST_GAP_MS: u64 = 1_000;
/// How long the narrow path is watched after the change.
const NARROW_MS: u64 = 10_000;

/// How often the path is narrowed: once in CI, by hand as `TEST_ROUNDS` says.
fn rounds() -> u64 {
    std::env::var("TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The time line of a browser, with the longest gap so far.
struct Watched {
    browser: Process,
    gap_ms: u64,
    told: String,
}

impl Watched {
    /// The next line: its time, and the height that is shown.
    fn next(&mut self) -> (u64, u64) {
        let (gap, told) = (&mut self.gap_ms, &mut self.told);
        json(&mut self.browser, 20, |line| {
            let (at, height) = (line["t_ms"].as_u64()?, line["height"].as_u64()?);
            *gap = line["longest_gap_ms"].as_u64()?.max(*gap);
            assert_eq!(line["state"], "playing", "{line}");
            let now = format!("{} lines, {}: {}", height, line["tier"], line["reason"]);
            if *told != now {
                println!("{at} {now}, {} bit/s", line["video_bps"]);
                *told = now;
            }
            Some((at, height))
        })
    }

    /// Watches for so long.
    fn watch(&mut self, milliseconds: u64) {
        let (begin, _) = self.next();
        while self.next().0 - begin < milliseconds {}
    }

    /// How long after the next line pictures of this height come, in milliseconds.
    fn until(&mut self, height: u64, limit_ms: u64) -> u64 {
        let (begin, mut now) = self.next();
        let mut at = begin;
        while now != height {
            assert!(at - begin < limit_ms, "after {limit_ms} ms no picture of {height} lines");
            (at, now) = self.next();
        }
        at - begin
    }
}

#[test]
fn a_narrow_path_gets_the_sub_stream_and_a_wide_one_the_main_stream_again() {
    if !namespaces_allowed() {
        return;
    }
    let apart = Apart::start(|_| ());
    let Some(browser) = apart.browser(&["--timeline", "--tone", "0", "--seconds", "600"]) else {
        return;
    };
    let mut watched = Watched { browser, gap_ms: 0, told: String::new() };
    playing(&mut watched.browser);
    for round in 1..=rounds() {
        watched.until(720, RISES_WITHIN_MS);
        watched.watch(5_000);
        watched.gap_ms = 0;
        apart.lab.limit_sending("agent", Some(NARROW_BPS));
        let fell = watched.until(360, FALLS_WITHIN_MS + 15_000);
        watched.watch(NARROW_MS);
        let narrow_gap = watched.gap_ms;
        apart.lab.limit_sending("agent", None);
        let rose = watched.until(720, RISES_WITHIN_MS + 15_000);
        watched.watch(3_000);
        let gap = watched.gap_ms;
        println!(
            "round {round}: sub stream after {fell} ms, main stream again after {rose} ms, \
             longest gap {gap} ms ({narrow_gap} ms until the release)"
        );
        assert!(fell <= FALLS_WITHIN_MS && rose <= RISES_WITHIN_MS && gap <= LONGEST_GAP_MS);
    }
}

#[test]
fn sizes_and_rates_of_the_menu_are_what_is_decoded() {
    if !namespaces_allowed() {
        return;
    }
    let apart = Apart::start(|_| ());
    let Some(mut browser) = apart.browser(&["--tone", "0", "--seconds", "1", "--quality"]) else {
        return;
    };
    let report = json(&mut browser, 150, |line| line.get("quality").cloned());
    println!("{report}");
    assert_eq!(report.as_array().map(Vec::len), Some(9), "{report}");
    assert_eq!(browser.wait(Duration::from_secs(60)), Some(0), "{report}");
}

#[test]
fn cu_gets_the_size_and_rate_that_it_asks_for() {
    if !namespaces_allowed() {
        return;
    }
    let apart = Apart::start(|_| ());
    apart.cu_binds();
    for (size, fps) in [((352, 288), 5), ((704, 576), 25), ((1280, 720), 1)] {
        let quality = format!("{}x{}@{fps}", size.0, size.1);
        let arguments =
            ["--json", "play", "1", "--via", "webrtc", "--stats", "--quality", &quality];
        let mut cu = Process::start(&mut apart.cu(&arguments));
        let mut rates = Vec::new();
        json(&mut cu, 40, |line| {
            let stats = &line["stats"];
            let serving = &stats["serving"];
            let right = serving["width"] == size.0 && serving["height"] == size.1;
            if right && (serving["transcoded"] == true || fps == 25) {
                rates.push(stats["fps"].as_f64()?);
            }
            (rates.len() > 5).then_some(())
        });
        // The second of the change counts both.
        let mean = rates[2..].iter().sum::<f64>() / (rates.len() - 2) as f64;
        println!("{quality}: {rates:?}");
        assert!(
            (mean - f64::from(fps)).abs() <= f64::from(fps) * 0.1 + 0.3,
            "{quality}: {rates:?}"
        );
        end(&mut cu);
    }
}
