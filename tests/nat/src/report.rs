//! The matrix as a page.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use sightline_model::Rung;

use crate::{
    cell::Seen,
    kind::Kind,
    rung::{Cell, name},
    viewer::Via,
};

/// Probing has found its way by then, in nine of ten tries.
const DIRECT_WITHIN_MS: u64 = 10_000;
/// So many tries show that.
const ENOUGH: usize = 10;

const REPEATED: &str = "\n## Tried several times";

/// What has been seen of each cell, try by try.
pub type Results = Vec<(Cell, Vec<Seen>)>;

/// Whether a cell is as the table says, or better. Where ports have to be probed, which is a matter
/// of luck, several tries count together: a picture in each, and nine of ten in time without a relay.
#[must_use]
pub fn is_as_expected(cell: Cell, tries: &[Seen]) -> bool {
    if tries.len() > 1 && cell.expected() == Rung::Probed {
        let any_trouble = tries.iter().any(|seen| seen.trouble.is_some());
        return !any_trouble && in_time(tries) * 10 >= tries.len() * 9;
    }
    tries.iter().all(|seen| seen.is_as_expected(cell))
}

/// The try that is shown: the worst one where the cell is not as expected, else the first good one.
fn shown(cell: Cell, tries: &[Seen]) -> Option<&Seen> {
    let wanted = is_as_expected(cell, tries);
    tries.iter().find(|seen| seen.is_as_expected(cell) == wanted).or(tries.first())
}

/// The page, in Markdown; `earlier` is the one that it replaces.
#[must_use]
pub fn markdown(results: &Results, is_merged: bool, earlier: &str) -> String {
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
    let as_expected = results.iter().filter(|(c, s)| is_as_expected(*c, s)).count();
    let direct = results.iter().filter(|(cell, tries)| {
        let rung = shown(*cell, tries).and_then(|seen| seen.rung);
        rung.is_some_and(|rung| !rung.is_relayed())
    });
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
    repeated(&mut text, results, earlier);
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

/// One try is shown; the time is the median.
fn entry((cell, seen): &(&Cell, &Vec<Seen>)) -> String {
    let Some(shown) = shown(**cell, seen) else { return String::new() };
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
    let mark = if is_as_expected(**cell, seen) { "" } else { "**" };
    format!("{mark}{way}{mark} {time}")
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

fn in_time(tries: &[Seen]) -> usize {
    let in_time = |seen: &&Seen| seen.direct_after_ms().is_some_and(|ms| ms <= DIRECT_WITHIN_MS);
    tries.iter().filter(in_time).count()
}

/// How many tries came to a picture without a relay in time.
#[must_use]
pub fn direct_in_time(tries: &[Seen]) -> String {
    let (good, all, within) = (in_time(tries), tries.len(), seconds(DIRECT_WITHIN_MS));
    format!("{good} of {all} direct within {within}")
}

/// How often a cell was tried, as an earlier page tells.
fn tried_before(page: &str, cell: Cell) -> usize {
    let begin = format!("| {cell} | ");
    let row = section_of_repeated(page).lines().find_map(|line| line.strip_prefix(&begin));
    let count = row.and_then(|row| row.split_once(" of ")?.1.split(' ').next()?.parse().ok());
    count.unwrap_or(0)
}

/// Cells where ports have to be probed that have not been tried often enough, now or before.
fn still_to_try(results: &Results, earlier: &str) -> Vec<Cell> {
    let now = |cell: Cell| {
        let several = results.iter().find(|(of, tries)| *of == cell && tries.len() > 1);
        several.map(|(_, tries)| tries.len())
    };
    let is_enough =
        |cell: &Cell| now(*cell).unwrap_or_else(|| tried_before(earlier, *cell)) >= ENOUGH;
    let probed = Cell::all().into_iter().filter(|cell| cell.expected() == Rung::Probed);
    probed.filter(|cell| !is_enough(cell)).collect()
}

/// An earlier page with the section of repeated tries as it is in `results`, if there is any.
#[must_use]
pub fn with_repeated(page: &str, results: &Results) -> String {
    let mut section = String::new();
    repeated(&mut section, results, page);
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
fn repeated(text: &mut String, results: &Results, earlier: &str) {
    let several: Vec<_> = results.iter().filter(|(_, tries)| tries.len() > 1).collect();
    if several.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "{REPEATED}\n\nEach time the camera's agent had just started and registered. \
         Behind each rung, the time from the\nstart of the viewer's program until it told that the \
         picture comes that way; `cu` tells once a second. Where\nports have to be probed, nine of ten \
         tries have to be direct within {}.\n",
        seconds(DIRECT_WITHIN_MS)
    );
    let lacking: Vec<_> = still_to_try(results, earlier).iter().map(Cell::to_string).collect();
    if !lacking.is_empty() {
        let _ = writeln!(text, "Probed, and still to be tried so often: {}.\n", lacking.join("; "));
    }
    let _ = writeln!(text, "| cell | without a relay | tries |\n|---|---|---|");
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
    let bad: Vec<_> = results.iter().filter(|(c, tries)| !is_as_expected(*c, tries)).collect();
    if bad.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## Not as expected\n\n| cell | expected | seen |\n|---|---|---|");
    for (cell, tries) in bad {
        let expected = name(cell.expected());
        let wrong: Vec<_> = tries.iter().filter(|seen| !seen.is_as_expected(*cell)).collect();
        if wrong.is_empty() {
            let _ = writeln!(text, "| {cell} | {expected} | {} |", direct_in_time(tries));
        }
        for seen in wrong {
            let got = seen.rung.map_or_else(String::new, name);
            let trouble = seen.trouble.clone().unwrap_or_default().replace(['|', '\n'], " ");
            let _ = writeln!(text, "| {cell} | {expected} | {got} {trouble} |");
        }
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
        let page = markdown(&seen, false, "");
        assert!(page.contains("relay_udp > punched (1.2 s) 0.8 s"), "{page}");
        assert!(page.contains("**relay_udp** 0.9 s"), "{page}");
        let row = "| 1 of 2 direct within 10.0 s | punched 2.0 s, relay_udp 0.9 s |";
        assert!(page.contains(row), "{page}");
        // A later run of other cells leaves it alone, one of these replaces it.
        let once: Results = vec![(cell(Kind::Carrier, Kind::Carrier), vec![relayed.clone()])];
        let later = keep_repeated(&markdown(&once, true, &page), &page);
        assert!(later.contains(row) && later.contains("\n## Why relayed"), "{later}");
        let again = vec![(cell(Kind::Carrier, Kind::Carrier), vec![relayed; 3])];
        let newer = with_repeated(&later, &again);
        assert!(newer.contains("0 of 3") && !newer.contains(row), "{newer}");
        assert_eq!(newer.matches("## ").count(), later.matches("## ").count());
        assert!(page.contains("UDP is blocked on the viewer’s network."), "{page}");
        assert!(page.contains("| punched | relay_udp  |"), "{page}");
    }

    /// Direct after so many seconds; relayed where there is none.
    fn tries(after_s: &[Option<u64>]) -> Vec<Seen> {
        let one = |after_s: &Option<u64>| Seen {
            first_frame_ms: Some(500),
            first_rung: Some(Rung::RelayUdp),
            rung: Some(if after_s.is_some() { Rung::Probed } else { Rung::RelayUdp }),
            reached_ms: Some(after_s.unwrap_or(1) * 1_000),
            ..Seen::default()
        };
        after_s.iter().map(one).collect()
    }

    #[test]
    fn probing_may_fail_once_in_ten_tries() {
        let probed = Cell { via: Via::Quic, camera: Kind::PortRestricted, viewer: Kind::Symmetric };
        assert_eq!(probed.expected(), Rung::Probed);
        let mut ten = tries(&[None, Some(2), Some(3), Some(2), Some(4)].repeat(2)[..9]);
        ten.push(tries(&[Some(9)]).remove(0));
        assert_eq!(direct_in_time(&ten), "8 of 10 direct within 10.0 s");
        assert!(!is_as_expected(probed, &ten));
        ten[0] = tries(&[Some(10)]).remove(0);
        assert!(is_as_expected(probed, &ten));
        let page = markdown(&vec![(probed, ten.clone())], false, "");
        assert!(page.contains("1 cells; 1 as") && page.contains("better; 1 direct"), "{page}");
        assert!(!page.contains("## Not as expected"), "{page}");
        // Too late is not in time, though it is the rung.
        ten[1] = tries(&[Some(11)]).remove(0);
        assert!(!is_as_expected(probed, &ten));
        let page = markdown(&vec![(probed, ten.clone())], false, "");
        assert!(page.contains("| relay_udp  |"), "{page}");
        // No picture is never as expected.
        let mut dark = tries(&[Some(2); 10]);
        dark[3].trouble = Some("no picture".into());
        assert!(!is_as_expected(probed, &dark));
        // One try alone has to do it.
        assert!(!is_as_expected(probed, &tries(&[None])));
        // And luck is nowhere else an excuse.
        let punched =
            Cell { via: Via::Quic, camera: Kind::PortRestricted, viewer: Kind::DoubleNat };
        assert!(!is_as_expected(punched, &ten));
    }

    #[test]
    fn a_page_names_what_is_still_to_be_tried() {
        let cell = |camera, viewer| Cell { via: Via::Quic, camera, viewer };
        let (one, other) = (
            cell(Kind::Symmetric, Kind::PortRestricted),
            cell(Kind::PortRestricted, Kind::Symmetric),
        );
        let page = markdown(&vec![(one, tries(&[Some(2); 10]))], false, "");
        let lacking = |page: &str| {
            let line = page.lines().find(|line| line.starts_with("Probed, and still"));
            line.unwrap_or_default().to_owned()
        };
        assert!(!lacking(&page).contains(&one.to_string()), "{page}");
        assert!(lacking(&page).contains(&other.to_string()), "{page}");
        let through_nat64 = cell(Kind::Nat64, Kind::Symmetric).to_string();
        assert!(lacking(&page).contains(&through_nat64), "{page}");
        // What an earlier page tells counts; three tries are not enough.
        let later = with_repeated(&page, &vec![(other, tries(&[Some(2); 3]))]);
        assert!(!lacking(&later).contains(&one.to_string()), "{later}");
        assert!(lacking(&later).contains(&other.to_string()), "{later}");
        let all = Cell::all().into_iter().filter(|cell| cell.expected() == Rung::Probed);
        let all: Results = all.map(|cell| (cell, tries(&[Some(2); 10]))).collect();
        assert_eq!(lacking(&markdown(&all, false, "")), "");
    }
}
