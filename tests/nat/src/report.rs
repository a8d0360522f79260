//! The matrix as a page.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{
    cell::Seen,
    kind::Kind,
    rung::{Cell, name},
    viewer::Via,
};

/// Probing has found its way by then, in nine of ten tries.
const DIRECT_WITHIN_MS: u64 = 10_000;

const REPEATED: &str = "\n## Tried several times";

/// What has been seen of each cell, try by try.
pub type Results = Vec<(Cell, Vec<Seen>)>;

/// The page, in Markdown.
#[must_use]
pub fn markdown(results: &Results, is_merged: bool) -> String {
    let mut text = String::from(
        "# Ways through NATs\n\n\
         Made by `cargo xtask nat-matrix`; do not edit. A camera's agent and a viewer, each behind \
         a router of\nthe lab (tests/nat), with the real programs, on one machine. In each cell: \
         the rung of the connection\nladder that carried the picture in the end, and the time from \
         the request to the first picture.\n`a > b` means that rung a carried the picture until b \
         took over, after the time in brackets. With several\ntries, the median.\n\n",
    );
    if is_merged {
        text.push_str(
            "Merged (`--merge`) from several runs; of a cell that was run again, the last run.\n\n",
        );
    }
    let as_expected =
        results.iter().filter(|(c, s)| s.iter().all(|s| s.is_as_expected(*c))).count();
    let direct = results
        .iter()
        .filter(|(_, seen)| seen.iter().all(|s| s.rung.is_some_and(|rung| !rung.is_relayed())));
    let _ = writeln!(
        text,
        "{} cells; {as_expected} as tests/nat/expected.toml says or better; {} direct.\n",
        results.len(),
        direct.count()
    );
    let _ = writeln!(text, "| network | what it is |\n|---|---|");
    for kind in Kind::APART.into_iter().chain([Kind::OneHome]) {
        let _ = writeln!(text, "| {kind} | {} |", kind.in_words());
    }
    for via in Via::ALL {
        matrix(&mut text, via, results);
    }
    repeated(&mut text, results);
    differences(&mut text, results);
    reasons(&mut text, results);
    text
}

fn matrix(text: &mut String, via: Via, results: &Results) {
    let title = match via {
        Via::Quic => "QUIC (`cu`)",
        Via::Webrtc => "WebRTC (Chromium)",
    };
    let _ = writeln!(text, "\n## {title}\n\nRows: the camera's network; columns: the viewer's.\n");
    let cells: BTreeMap<_, _> = results
        .iter()
        .filter(|(cell, _)| cell.via == via)
        .map(|(cell, seen)| ((cell.camera, cell.viewer), (cell, seen)))
        .collect();
    let viewers: BTreeSet<_> = cells.keys().map(|(_, viewer)| *viewer).collect();
    let viewers: Vec<_> = viewers.into_iter().filter(|v| *v != Kind::OneHome).collect();
    let names: Vec<_> = viewers.iter().map(|kind| kind.name()).collect();
    let _ = writeln!(text, "| | {} |\n|---{}|", names.join(" | "), "|---".repeat(names.len()));
    for camera in Kind::APART.into_iter().filter(|c| cells.keys().any(|(row, _)| row == c)) {
        let shown = |viewer: &Kind| cells.get(&(camera, *viewer)).map_or_else(String::new, entry);
        let row: Vec<_> = viewers.iter().map(shown).collect();
        let _ = writeln!(text, "| **{camera}** | {} |", row.join(" | "));
    }
    if let Some(home) = cells.get(&(Kind::OneHome, Kind::OneHome)) {
        let _ = writeln!(text, "\nBoth in one home: {}.", entry(home));
    }
}

/// The worst try decides what is shown; the time is the median.
fn entry((cell, seen): &(&Cell, &Vec<Seen>)) -> String {
    let bad = seen.iter().find(|s| !s.is_as_expected(**cell));
    let Some(shown) = bad.or(seen.first()) else { return String::new() };
    let Some(rung) = shown.rung else {
        return format!("**{}**", shown.trouble.as_deref().unwrap_or("nothing"));
    };
    let mut times: Vec<_> = seen.iter().filter_map(|s| s.first_frame_ms).collect();
    times.sort_unstable();
    let time = times.get(times.len() / 2).map_or_else(|| "?".into(), |ms| seconds(*ms));
    let way = match shown.first_rung {
        Some(first) if first != rung => {
            let after = shown.settled_ms.map_or_else(|| "?".into(), seconds);
            format!("{} > {} ({after})", name(first), name(rung))
        }
        _ => name(rung),
    };
    let mark = if bad.is_some() { "**" } else { "" };
    format!("{mark}{way}{mark} {time}")
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

/// How many tries came to a picture without a relay in time.
#[must_use]
pub fn direct_in_time(tries: &[Seen]) -> String {
    let in_time = |seen: &&Seen| seen.direct_after_ms().is_some_and(|ms| ms <= DIRECT_WITHIN_MS);
    let good = tries.iter().filter(in_time).count();
    format!("{good} of {} direct within {}", tries.len(), seconds(DIRECT_WITHIN_MS))
}

/// An earlier page with the section of repeated tries as it is in `results`, if there is any.
#[must_use]
pub fn with_repeated(page: &str, results: &Results) -> String {
    let mut section = String::new();
    repeated(&mut section, results);
    if section.is_empty() {
        return page.to_owned();
    }
    let old = section_of_repeated(page);
    let mut text = page.replacen(old, "", usize::from(!old.is_empty()));
    let next = ["\n## Not as expected", "\n## Why relayed"].into_iter();
    let at = next.filter_map(|title| text.find(title)).min().unwrap_or(text.len());
    text.insert_str(at, &section);
    text
}

/// A new page with the section of repeated tries of an earlier one, if it has none of its own.
#[must_use]
pub fn keep_repeated(page: &str, earlier: &str) -> String {
    let old = section_of_repeated(earlier);
    if old.is_empty() || !section_of_repeated(page).is_empty() {
        return page.to_owned();
    }
    let at = page.find("\n## Not as expected").or_else(|| page.find("\n## Why relayed"));
    let mut text = page.to_owned();
    text.insert_str(at.unwrap_or(text.len()), old);
    text
}

fn section_of_repeated(page: &str) -> &str {
    let Some(begin) = page.find(REPEATED) else { return "" };
    let rest = &page[begin..];
    let end = rest[REPEATED.len()..].find("\n## ").map_or(rest.len(), |at| at + REPEATED.len());
    &rest[..end]
}

/// Cells that were tried several times, each time with an agent that had just started.
fn repeated(text: &mut String, results: &Results) {
    let several: Vec<_> = results.iter().filter(|(_, tries)| tries.len() > 1).collect();
    if several.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "{REPEATED}\n\nEach time the camera's agent had just started and registered. \
         Behind each rung, the time from the\nstart of the viewer's program until it told that the \
         picture comes that way; `cu` tells once a second.\n\n| cell | without a relay | tries |\n|---|---|---|"
    );
    for (cell, tries) in several {
        let one = |seen: &Seen| {
            let rung = seen.rung.map_or_else(|| "nothing".into(), name);
            format!("{rung} {}", seen.reached_ms.map_or_else(String::new, seconds))
        };
        let each: Vec<_> = tries.iter().map(one).collect();
        let _ = writeln!(text, "| {cell} | {} | {} |", direct_in_time(tries), each.join(", "));
    }
}

fn differences(text: &mut String, results: &Results) {
    let bad: Vec<_> = results
        .iter()
        .flat_map(|(cell, tries)| tries.iter().map(move |seen| (cell, seen)))
        .filter(|(cell, seen)| !seen.is_as_expected(**cell))
        .collect();
    if bad.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## Not as expected\n\n| cell | expected | seen |\n|---|---|---|");
    for (cell, seen) in bad {
        let got = seen.rung.map_or_else(String::new, name);
        let trouble = seen.trouble.clone().unwrap_or_default().replace(['|', '\n'], " ");
        let _ = writeln!(text, "| {cell} | {} | {got} {trouble} |", name(cell.expected()));
    }
}

/// Why the picture is relayed, as the programs say it, with the cells that say so.
fn reasons(text: &mut String, results: &Results) {
    let mut by_reason: BTreeMap<Vec<String>, Vec<Cell>> = BTreeMap::new();
    for (cell, tries) in results {
        let relayed = tries.iter().find(|seen| seen.rung.is_some_and(crate::Rung::is_relayed));
        if let Some(seen) = relayed {
            by_reason.entry(seen.why.clone()).or_default().push(*cell);
        }
    }
    let _ = writeln!(text, "\n## Why relayed\n\nIn the words of `cu` and of the player.\n");
    for (why, cells) in by_reason {
        let words: Vec<_> = why.iter().map(|why| in_words(why)).collect();
        let words = if words.is_empty() { "(nothing was said)".into() } else { sentences(&words) };
        let _ = writeln!(text, "- {words}");
        for via in Via::ALL {
            let of: Vec<_> = cells.iter().filter(|cell| cell.via == via).collect();
            let pairs = of.iter().map(|cell| format!("{} x {}", cell.camera, cell.viewer));
            let pairs = pairs.collect::<Vec<_>>().join(", ");
            if !pairs.is_empty() {
                let _ = writeln!(text, "  - {}: {pairs}", via.name());
            }
        }
    }
}

/// One after the other, each with its full stop.
fn sentences(words: &[String]) -> String {
    let ended: Vec<_> = words.iter().map(|w| format!("{}.", w.trim_end_matches('.'))).collect();
    ended.join(" ")
}

/// The player tells keys of its dictionary: the English words.
fn in_words(why: &str) -> String {
    static ENGLISH: &str = include_str!("../../../web/src/i18n/en.ts");
    let key = format!("'why.{why}':");
    let Some((_, rest)) = ENGLISH.split_once(&key) else { return why.to_owned() };
    let mut parts = rest.trim_start().splitn(3, ['\'', '"']);
    parts.nth(1).unwrap_or(why).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rung;

    #[test]
    fn a_page_tells_what_differs_and_why_it_is_relayed() {
        let cell = |camera, viewer| Cell { via: Via::Webrtc, camera, viewer };
        let good = Seen {
            first_frame_ms: Some(800),
            first_rung: Some(Rung::RelayUdp),
            rung: Some(Rung::Punched),
            settled_ms: Some(1_200),
            reached_ms: Some(2_000),
            ..Seen::default()
        };
        let relayed = Seen {
            first_frame_ms: Some(900),
            first_rung: Some(Rung::RelayUdp),
            rung: Some(Rung::RelayUdp),
            why: vec!["here_blocked".into()],
            reached_ms: Some(900),
            ..Seen::default()
        };
        let seen = vec![
            (cell(Kind::FullCone, Kind::Symmetric), vec![good.clone()]),
            (cell(Kind::Carrier, Kind::Symmetric), vec![good, relayed.clone()]),
            (cell(Kind::FullCone, Kind::FullCone), vec![relayed.clone()]),
        ];
        let page = markdown(&seen, false);
        assert!(page.contains("relay_udp > punched (1.2 s) 0.8 s"), "{page}");
        assert!(page.contains("**relay_udp** 0.9 s"), "{page}");
        let row = "| 1 of 2 direct within 10.0 s | punched 2.0 s, relay_udp 0.9 s |";
        assert!(page.contains(row), "{page}");
        // A later run of other cells leaves it alone, one of these replaces it.
        let once: Results = vec![(cell(Kind::Carrier, Kind::Carrier), vec![relayed.clone()])];
        let later = keep_repeated(&markdown(&once, true), &page);
        assert!(later.contains(row) && later.contains("\n## Why relayed"), "{later}");
        let again = vec![(cell(Kind::Carrier, Kind::Carrier), vec![relayed; 3])];
        let newer = with_repeated(&later, &again);
        assert!(newer.contains("0 of 3") && !newer.contains(row), "{newer}");
        assert_eq!(newer.matches("## ").count(), later.matches("## ").count());
        assert!(page.contains("UDP is blocked on the viewer’s network."), "{page}");
        assert!(page.contains("| punched | relay_udp  |"), "{page}");
    }
}
