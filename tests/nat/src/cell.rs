//! One cell of the matrix: what is seen of it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use e2e::Process;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_model::Rung;

use crate::{
    rung::Cell,
    space::Space,
    viewer::{Person, Via},
};

/// How long the first picture may take.
const FIRST: Duration = Duration::from_secs(30);
/// How long a better rung may take after it.
const SETTLES: Duration = Duration::from_secs(14);
/// How long a rung must hold to count.
const HOLDS: Duration = Duration::from_millis(700);

const NO_BROWSER: &str = "there is no browser";

/// What a viewer has seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    /// From the request to the first picture.
    pub first_frame_ms: Option<u64>,
    /// The first rung that carried it.
    pub first_rung: Option<Rung>,
    /// The rung in the end.
    pub rung: Option<Rung>,
    /// From the first picture to the rung in the end.
    pub settled_ms: Option<u64>,
    /// From the start of the viewer's program to the rung in the end.
    #[serde(default)]
    pub reached_ms: Option<u64>,
    /// Why none better, in the programs' words.
    pub why: Vec<String>,
    /// What went wrong, if something did.
    pub trouble: Option<String>,
}

impl Seen {
    /// Whether there was nothing to see it with.
    #[must_use]
    pub fn is_skipped(&self) -> bool {
        self.trouble.as_deref() == Some(NO_BROWSER)
    }

    /// From the start of the viewer's program until it told of a picture without a relay, if it ever
    /// did.
    #[must_use]
    pub fn direct_after_ms(&self) -> Option<u64> {
        let is_direct = self.trouble.is_none() && self.rung.is_some_and(|rung| !rung.is_relayed());
        self.reached_ms.filter(|_| is_direct)
    }

    /// Whether the cell is as the table says, or better.
    #[must_use]
    pub fn is_as_expected(&self, cell: Cell) -> bool {
        self.trouble.is_none() && self.rung.is_some_and(|rung| rung <= cell.expected())
    }
}

/// One line of a viewer, whatever it is.
#[derive(Debug, Default)]
pub struct Line {
    /// Whether pictures come, or came at least once.
    pub has_picture: bool,
    /// From the request to the first picture.
    pub first_frame_ms: Option<u64>,
    /// Longest time without a picture since the line before.
    pub gap_ms: Option<u64>,
    /// By which way they come.
    pub rung: Option<Rung>,
    /// Why no better one.
    pub why: Vec<String>,
    /// The end of it, in words.
    pub refused: Option<String>,
}

impl Line {
    /// Reads one; `None` when it is about something else.
    #[must_use]
    pub fn read(via: Via, line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(match via {
            Via::Quic => Self::of_cu(&value),
            Via::Webrtc => Self::of_browser(&value),
        })
    }

    fn of_cu(value: &Value) -> Self {
        let stats = &value["stats"];
        let path = &stats["path"];
        Self {
            has_picture: stats["fps"].as_f64().is_some_and(|fps| fps > 0.0),
            gap_ms: stats["longest_gap_ms"].as_u64(),
            first_frame_ms: stats["first_picture_ms"].as_u64(),
            rung: serde_json::from_value(path["rung"].clone()).ok(),
            why: words(&path["why_not_better"]),
            refused: value.get("error").map(ToString::to_string),
        }
    }

    fn of_browser(value: &Value) -> Self {
        let failed = value["state"] == "failed";
        Self {
            has_picture: value["frames"].as_u64().is_some_and(|frames| frames > 0),
            gap_ms: value["longest_gap_ms"].as_u64(),
            first_frame_ms: value["stages"]["total"].as_f64().map(|ms| ms.round() as u64),
            rung: serde_json::from_value(value["route"]["rung"].clone()).ok(),
            why: words(&value["route"]["why"]),
            refused: failed.then(|| value["problem"].to_string()),
        }
    }
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Watches a camera once, until the cell's rung is reached or has had its time.
#[must_use]
pub fn watch(cell: Cell, person: &Person, from: &Space, camera_id: &str, log: &Path) -> Seen {
    let Some(viewer) = person.watch(cell.via, from, camera_id, log) else {
        return Seen { trouble: Some(NO_BROWSER.into()), ..Seen::default() };
    };
    let mut seen = follow(cell, viewer);
    if seen.trouble.is_some() {
        eprintln!("the viewer said: {}", fs::read_to_string(log).unwrap_or_default());
    }
    if seen.first_frame_ms.is_none() && seen.trouble.is_none() {
        seen.trouble = Some("no picture".into());
    }
    if seen.rung.is_none() && seen.trouble.is_none() {
        seen.trouble = Some("no rung was told".into());
    }
    seen
}

fn follow(cell: Cell, mut viewer: Process) -> Seen {
    let asked = Instant::now();
    let mut seen = Seen::default();
    let mut first = None;
    let mut since = Instant::now();
    loop {
        let until = first.map_or(asked + FIRST, |first: Instant| first + SETTLES);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return seen;
        }
        let Some(line) = viewer.try_line(left) else {
            if until > Instant::now() {
                seen.trouble = Some("the viewer has ended".into());
            }
            return seen;
        };
        let Some(line) = Line::read(cell.via, &line) else { continue };
        if let Some(refused) = line.refused {
            seen.trouble = Some(refused);
            return seen;
        }
        if !line.has_picture {
            continue;
        }
        let now = Instant::now();
        let begun = *first.get_or_insert(now);
        // Until the program tells it itself.
        let by_clock = || u64::try_from((begun - asked).as_millis()).unwrap_or(u64::MAX);
        seen.first_frame_ms =
            line.first_frame_ms.or(seen.first_frame_ms).or_else(|| Some(by_clock()));
        if line.rung.is_some() && line.rung != seen.rung {
            seen.first_rung = seen.first_rung.or(line.rung);
            seen.rung = line.rung;
            seen.settled_ms = u64::try_from((now - begun).as_millis()).ok();
            seen.reached_ms = u64::try_from((now - asked).as_millis()).ok();
            since = now;
        }
        if line.rung.is_some() {
            seen.why = line.why;
        }
        let good = seen.rung.is_some_and(|rung| rung <= cell.expected());
        if good && since.elapsed() >= HOLDS {
            return seen;
        }
    }
}
