//! `docs/conformance.md` is true: it has every requirement once, and names code and tests that
//! exist.

use std::{collections::BTreeMap, fs, path::Path};

/// Every id of the requirements, in their order.
const IDS: &[&str] = &[
    "A7.1", "A7.2", "A7.3", "A7.4", "A7.5", "A7.6", "A7.7", "A7.8", "A7.0", "A6.1.1", "A6.1.2",
    "A6.1.3", "A6.1.4", "A6.1.5", "A6.1.6", "A6.1.7", "A6.1.8", "A6.1.9", "A6.1.10", "A6.1.11",
    "A6.1.12", "A6.1.13", "A6.1.14", "A6.2.1", "A6.2.2", "A6.2.3", "A2", "A6.3.1", "A6.3.2",
    "A8.1", "A8.2", "A8.3", "A8.4", "A8.5", "A8.6", "A8.7.1", "A8.7.2", "A8.7.3", "A8.8", "A8.9.1",
    "A8.9.2", "A8.10", "A8.11.1", "A8.11.2", "A9", "B4.1", "B4.2", "B4.3", "B4.4", "B4.5", "B4.6",
    "B3", "C3.1", "C3.2.2", "C3.2.3", "C3.2.4", "C3.2.5", "C3.2.6", "C4", "E1", "E2", "D4", "D5",
    "D6", "D7", "D8", "D9", "D10",
];

/// Every attack that real systems of this kind fell to, and which must fail here.
const ATTACKS: &[&str] = &[
    "Kalay",
    "TUTK",
    "iLnkP2P, XMEye",
    "CS2 P2P",
    "Hikvision",
    "Wyze",
    "Eufy",
    "Ring",
    "Meari",
    "Tuya",
    "coturn peers",
    "Slack TURN",
    "coturn nonces",
    "DTLS ClientHello race",
    "RTPBleed",
    "SIP digest leak",
    "SMS pumping",
    "Presigned URLs",
    "Unsigned firmware",
    "GB28181 platforms",
];

/// What recordings must outlive.
const ALSO: &[&str] = &[
    "Killed",
    "Without power",
    "Tampered with",
    "The store away for a minute",
    "Disk, camera, clock",
    "A full space",
    "No signed address in a log",
    "Deletion of a user's recordings",
];

const STATES: &[&str] = &["done", "part", "open"];
const GRADES: &[&str] = &["required", "recommended", "optional", "—"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

struct Row {
    line: String,
    id: String,
    grade: String,
    state: String,
    code: Vec<String>,
    tests: Vec<String>,
}

fn backticked(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows(text: &str) -> Vec<Row> {
    // Whatever is below is another table.
    let (requirements, _) = text.split_once("\n## Attacks").unwrap_or((text, ""));
    let table = requirements.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| id "));
    table
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "six columns are expected: {line}");
            Row {
                line: line.to_owned(),
                id: cells[0].to_owned(),
                grade: cells[1].to_owned(),
                state: cells[3].to_owned(),
                code: backticked(cells[4]),
                tests: backticked(cells[5]),
            }
        })
        .collect()
}

/// `path/to/file.rs::name`: the file exists and has a test of that name.
fn test_exists(named: &str) -> bool {
    let Some((file, name)) = named.rsplit_once("::") else { return false };
    fs::read_to_string(root().join(file)).is_ok_and(|text| {
        let title = |quote: char| text.contains(&format!("{quote}{name}{quote}"));
        text.contains(&format!("fn {name}(")) || title('"') || title('\'')
    })
}

#[test]
fn every_requirement_names_code_and_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/conformance.md")).expect("the table exists");
    let mut faults = Vec::new();
    let mut seen = BTreeMap::new();
    for row in rows(&text) {
        *seen.entry(row.id.clone()).or_insert(0) += 1;
        if !GRADES.contains(&row.grade.as_str()) || !STATES.contains(&row.state.as_str()) {
            faults.push(format!("unknown grade or state: {}", row.line));
        }
        if row.state != "open" && (row.tests.is_empty() || row.code.is_empty()) {
            faults.push(format!("{} is called {} without code or test", row.id, row.state));
        }
        for code in row.code.iter().filter(|code| !root().join(code).exists()) {
            faults.push(format!("{} names code that does not exist: {code}", row.id));
        }
        for test in row.tests.iter().filter(|test| !test_exists(test)) {
            faults.push(format!("{} names a test that does not exist: {test}", row.id));
        }
    }
    for id in IDS {
        match seen.get(*id) {
            Some(1) => {}
            Some(count) => faults.push(format!("{id} stands {count} times")),
            None => faults.push(format!("{id} is missing")),
        }
    }
    assert!(faults.is_empty(), "docs/conformance.md:\n{}", faults.join("\n"));
}

/// Name, state and tests of each line of a table whose lines begin so.
fn lines(text: &str, kind: &str) -> Vec<(String, String, Vec<String>)> {
    let prefix = format!("| {kind}: ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 3, "three columns are expected: {line}");
            let name = cells[0].split(" (").next().unwrap_or_default().to_owned();
            (name, cells[1].to_owned(), backticked(cells[2]))
        })
        .collect()
}

/// A table has these lines, and each names tests that exist.
fn assert_shown(kind: &str, expected: &[&str]) {
    let text = fs::read_to_string(root().join("docs/conformance.md")).expect("the table exists");
    let lines = lines(&text, kind);
    let names: Vec<&str> = lines.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, expected);
    for (name, state, tests) in &lines {
        assert!(STATES.contains(&state.as_str()), "{name}: unknown state {state}");
        assert!(state == "open" || !tests.is_empty(), "{name} is called {state} without a test");
        for test in tests {
            assert!(test_exists(test), "{name} names a test that does not exist: {test}");
        }
    }
}

#[test]
fn every_attack_names_tests_that_exist() {
    assert_shown("attack", ATTACKS);
}

#[test]
fn whatever_recordings_must_outlive_names_tests_that_exist() {
    assert_shown("also", ALSO);
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    assert!(test_exists("tests/e2e/tests/conformance.rs::a_test_that_does_not_exist_is_noticed"));
    assert!(!test_exists("tests/e2e/tests/conformance.rs::no_such_test"));
    assert!(!test_exists("tests/e2e/tests/no_such_file.rs::x"));
    assert!(!test_exists("nonsense"));
}
