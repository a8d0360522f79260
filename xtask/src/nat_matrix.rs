//! `cargo xtask nat-matrix`: every pair of networks, with the real programs (tests/nat). It adds to
//! their page of which runs that is made.

use std::{fs, path::Path};

use anyhow::Context;

use crate::{
    run::{cargo, command, execute, output, root, say, target_dir},
    setup, web,
};

#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Needs root, for network namespaces. The whole takes about half an hour and writes
docs/nat-matrix.md. With --tries N, cells where ports have to be probed are tried so often: nine of ten
tries have to find a way within 10 s.

Examples:
  cargo xtask nat-matrix                                   all cells
  cargo xtask nat-matrix --tries 10                        all cells, those that probe ten times
  cargo xtask nat-matrix --probed --tries 10               those that probe alone
  cargo xtask nat-matrix --only carrier,gateway --via webrtc --tries 3
  cargo xtask nat-matrix --camera symmetric                one row
  cargo xtask nat-matrix --viewer nat64 --merge            and the page with what earlier runs saw
  cargo xtask nat-matrix --help                            everything else (builds first)"
)]
pub struct Args {
    /// Arguments for `nat-matrix`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// What the runner writes.
const PAGE: &str = "docs/nat-matrix.md";

/// What the page's first lines do not explain: see `Seen::is_as_expected` in tests/nat.
const KEY: &str = "\
Better is a rung that comes before the expected one in this order: host, mapped, punched, probed,
relay_udp, relay_tcp, relay_tls. Expected is what the two networks allow by what their NATs do alone.
The lab's centre has IPv4 alone, so that nobody tells a browser its IPv6 address: two ends behind NAT64,
whose firewalls let through what was asked for, meet over WebRTC at a relay.";

/// Begins the table that the key stands above.
const NETWORKS: &str = "\n| network | what it is |\n";

/// Begins the runner's section of cells that were tried several times.
const REPEATED: &str = "\n## Tried several times\n";

/// Begins the rows of that section.
const ROWS: &str = "\n|---|---|---|\n";

/// Begins our own section, the last one of the page.
const RUNS: &str = "\n## Runs\n";

/// The programs that the lab runs, and the runner.
const PACKAGES: [&str; 6] = ["cmu", "scu", "mtu", "pu-agent", "cu-cli", "nat"];

pub fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure(setup::Need::Test)?;
    web::build_if_stale()?;
    say("Building what has changed");
    let mut build = cargo();
    build.args(["build", "--bins"]);
    execute(build.args(PACKAGES.iter().flat_map(|package| ["--package", package])))?;
    let is_root = output(command("id").arg("-u"))?.trim() == "0";
    let program = target_dir().join("debug/nat-matrix");
    let mut matrix = if is_root { command(&program) } else { command("sudo") };
    if !is_root {
        // With the path, where the tools are.
        let path = matrix.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        matrix.arg("env").arg(format!("PATH={path}")).arg(&program);
    }
    let page = root().join(PAGE);
    let earlier = fs::read_to_string(&page).unwrap_or_default();
    // Before the page is changed, which belongs to the commit.
    let commit = output(command("git").args(["describe", "--always", "--dirty"]));
    let commit = commit.unwrap_or_else(|_| "?".to_owned());
    let result = execute(matrix.args(&args.rest));
    // Also of a run in which not every cell was as expected.
    complete(&page, &earlier, commit.trim(), &args.rest)?;
    result
}

/// Adds to a page that was just written what the runner leaves out of it.
fn complete(page: &Path, earlier: &str, commit: &str, words: &[String]) -> anyhow::Result<()> {
    let written = fs::read_to_string(page).unwrap_or_default();
    if written == earlier {
        return Ok(());
    }
    let date = output(command("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let words = match words {
        [] => "all cells".to_owned(),
        words => format!("`{}`", words.join(" ")),
    };
    let run = format!("| {} | {commit} | {words} |", date.trim());
    let text = completed(&written, earlier, &run);
    fs::write(page, text).with_context(|| page.display().to_string())
}

/// The page with the key, with the rows of several tries that this run did not try again, and with
/// all runs that are in it.
fn completed(written: &str, earlier: &str, run: &str) -> String {
    let is_new = section(written, RUNS).is_empty() && !written.contains("\nMerged (`--merge`)");
    let before = rows(section(earlier, RUNS));
    // Of the runs before a whole new one, what was tried several times is all that is left.
    let before = before.filter(|row| !is_new || row.contains("--tries"));
    let runs: Vec<&str> = before.chain([run]).collect();
    let mut text = written.replacen(section(written, RUNS), "", 1);
    if !text.contains(KEY) {
        text = text.replacen(NETWORKS, &format!("\n{KEY}\n{NETWORKS}"), 1);
    }
    text = with_rows(&text, earlier);
    text.push_str(RUNS);
    text.push_str("\nThe oldest first; of a cell that several tried, the last one counts.\n");
    text.push_str("\n| end | commit | arguments |");
    text.push_str(ROWS);
    text.push_str(&runs.join("\n"));
    text.push('\n');
    text
}

/// The page with the earlier rows of several tries for cells that it has none of.
fn with_rows(page: &str, earlier: &str) -> String {
    let section_now = section(page, REPEATED);
    let is_lost = |row: &&str| !rows(section_now).any(|now| cell(now) == cell(row));
    let lost: Vec<&str> = rows(section(earlier, REPEATED)).filter(is_lost).collect();
    if lost.is_empty() || section_now.is_empty() {
        return page.to_owned();
    }
    let first = format!("{ROWS}{}\n", lost.join("\n"));
    page.replacen(section_now, &section_now.replacen(ROWS, &first, 1), 1)
}

/// From its title to the next one; empty where the page has none.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let Some(begin) = page.find(title) else { return "" };
    let rest = &page[begin..];
    let end = rest[title.len()..].find("\n## ").map_or(rest.len(), |at| at + title.len());
    &rest[..end]
}

/// Rows of a section's table.
fn rows(section: &str) -> impl Iterator<Item = &str> {
    let table = section.split_once(ROWS).map_or("", |(_, rows)| rows);
    table.lines().take_while(|line| line.starts_with("| "))
}

/// Which cell a row is about.
fn cell(row: &str) -> &str {
    row.split(" | ").next().unwrap_or(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as the runner writes it.
    fn page(merged: bool, tries: &[&str]) -> String {
        let mut text = String::from("# Ways through NATs\n\nMade by it.\n");
        if merged {
            text.push_str("\nMerged (`--merge`) from several runs.\n");
        }
        text.push_str("\n2 cells; 2 as expected or better.\n\n| network | what it is |\n|---|---|");
        text.push_str("\n| public | no router |\n\n## QUIC (`cu`)\n\n| | public |\n|---|---|\n");
        if !tries.is_empty() {
            text.push_str("\n## Tried several times\n\nEach time.\n\n");
            text.push_str("| cell | without a relay | tries |\n|---|---|---|\n");
            text.push_str(&tries.join("\n"));
            text.push('\n');
        }
        text.push_str("\n## Why relayed\n\n- It is blocked\n");
        text
    }

    const OLD: &str = "| quic: camera a, viewer b | 10 of 10 | probed |";
    const SAME: &str = "| quic: camera c, viewer d | 9 of 10 | probed |";
    const NEW: &str = "| quic: camera c, viewer d | 3 of 3 | punched |";

    #[test]
    fn a_page_names_the_runs_that_it_is_made_of() {
        let first = completed(&page(false, &[]), "", "| day 1 | aaa | all cells |");
        assert!(first.contains(&format!("\n{KEY}\n\n| network |")), "{first}");
        assert!(first.ends_with("\n|---|---|---|\n| day 1 | aaa | all cells |\n"), "{first}");
        let merged = completed(&page(true, &[]), &first, "| day 2 | bbb | `--merge` |");
        let both = "| day 1 | aaa | all cells |\n| day 2 | bbb | `--merge` |\n";
        assert!(merged.ends_with(both), "{merged}");
        // The runner has written into the page as it was.
        let tried = completed(&merged, &merged, "| day 3 | ccc | `--tries 10` |");
        assert!(tried.ends_with(&format!("{both}| day 3 | ccc | `--tries 10` |\n")), "{tried}");
        assert_eq!(tried.matches(KEY).count(), 1, "{tried}");
        assert_eq!(tried.matches("## Runs").count(), 1, "{tried}");
        // All cells again: of the earlier runs, only the tries are still in it.
        let anew = completed(&page(false, &[OLD]), &tried, "| day 4 | ddd | all cells |");
        let left = "| day 3 | ccc | `--tries 10` |\n| day 4 | ddd | all cells |\n";
        assert!(anew.ends_with(left) && !anew.contains("day 1"), "{anew}");
    }

    #[test]
    fn rows_of_several_tries_stay_until_they_are_tried_again() {
        let earlier = page(false, &[OLD, SAME]);
        let now = completed(&page(false, &[NEW]), &earlier, "| day 2 | bbb | `--tries 3` |");
        assert!(now.contains(&format!("|---|---|---|\n{OLD}\n{NEW}\n\n## Why relayed")), "{now}");
        assert!(!now.contains(SAME), "{now}");
        let none = completed(&page(true, &[]), &page(false, &[]), "| day 3 | ccc | `--merge` |");
        assert!(!none.contains("Tried several times"), "{none}");
    }
}
