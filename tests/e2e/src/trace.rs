//! The trace of messages between units, from their logs, and the check of its order.

use std::time::SystemTime;

use serde_json::Value;

/// One message that a unit sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// RFC 3339 with microseconds, so that the order of texts is the order of time.
    pub at: String,
    /// Interface, sender and receiver, message: `Ps PU>SCU register`.
    pub hop: String,
    /// Device or session.
    pub about: String,
}

impl Sent {
    /// A message that the test itself sends now.
    #[must_use]
    pub fn now(hop: &str, about: &str) -> Self {
        let now = time::OffsetDateTime::from(SystemTime::now());
        let (date, clock) = (now.date(), now.time());
        let at = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second(),
            clock.microsecond()
        );
        Self { at, hop: hop.to_owned(), about: about.to_owned() }
    }
}

/// The messages in a JSON log; other lines are passed over.
#[must_use]
pub fn read(log: &str) -> Vec<Sent> {
    let sent = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").filter(|_| line["target"] == "sightline::flow")?;
        let field = |name: &str| fields[name].as_str().map(str::to_owned);
        let (from, to) = (field("from")?, field("to")?);
        let hop = format!("{} {from}>{to} {}", field("interface")?, field("message")?);
        Some(Sent { at: line["timestamp"].as_str()?.to_owned(), hop, about: field("about")? })
    };
    log.lines().filter_map(sent).collect()
}

/// The messages of `trace` that `expected` names must be exactly those, in that order. Others
/// (keep-alive, candidates, reports) may come between.
///
/// # Errors
/// Both lists, side by side.
pub fn check(trace: &[Sent], expected: &[&str]) -> Result<(), String> {
    let mut sorted = trace.to_vec();
    sorted.sort();
    let seen = sorted.iter().map(|sent| sent.hop.as_str());
    let seen: Vec<&str> = seen.filter(|hop| expected.contains(hop)).collect();
    if seen == expected {
        return Ok(());
    }
    Err(format!("expected:\n  {}\nseen:\n  {}", expected.join("\n  "), seen.join("\n  ")))
}

/// Proves that [`check`] means something on this trace: it fails when any hop is taken out, and
/// when any two that follow each other change places.
///
/// # Panics
/// When the trace passes maimed.
pub fn prove_strict(trace: &[Sent], expected: &[&str]) {
    let mut trace = trace.to_vec();
    trace.sort();
    let matters = |sent: &Sent| expected.contains(&sent.hop.as_str());
    let places: Vec<usize> = (0..trace.len()).filter(|i| matters(&trace[*i])).collect();
    assert_eq!(places.len(), expected.len());
    for place in &places {
        let mut without = trace.clone();
        let gone = without.remove(*place);
        assert!(check(&without, expected).is_err(), "passes without {}", gone.hop);
    }
    for pair in places.windows(2) {
        let mut swapped = trace.clone();
        let (first, second) = (swapped[pair[0]].at.clone(), swapped[pair[1]].at.clone());
        if first != second {
            (swapped[pair[0]].at, swapped[pair[1]].at) = (second, first);
            assert!(check(&swapped, expected).is_err(), "passes with {} late", trace[pair[0]].hop);
        }
    }
}
