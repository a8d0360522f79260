//! The table in `docs/benchmarks.md`.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;

use super::{
    LiveArgs,
    bed::STREAM,
    churn,
    cost::Transport,
    figures::{mean, quantile},
    live::{Measured, Results},
};
use crate::run::{command, output, root};

/// Puts the figures between the markers, and shows them.
pub fn write(args: &LiveArgs, results: &Results) -> anyhow::Result<()> {
    let text = text(args, results)?;
    println!("{text}");
    put(&args.output, "live", &text)
}

/// Puts text between the markers of a benchmark on a page.
pub fn put(page: &Path, bench: &str, text: &str) -> anyhow::Result<()> {
    let (begin, end) =
        (format!("<!-- bench {bench}: begin -->"), format!("<!-- bench {bench}: end -->"));
    let path = root().join(page);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (before, rest) = page.split_once(&begin).context("the page has no begin marker")?;
    let (_, after) = rest.split_once(&end).context("the page has no end marker")?;
    fs::write(&path, format!("{before}{begin}\n{text}{end}{after}"))?;
    Ok(())
}

/// When and where a benchmark ran: a line of a list.
pub fn machine() -> String {
    let date = output(command("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let date = date.trim();
    format!("- Run: {date}, {cores} cores ({model}); load average at the end {load}.\n")
}

/// A row: its name, its unit, decimals, and the value of each unit that has one.
struct Row {
    name: String,
    unit: &'static str,
    decimals: usize,
    values: Vec<Option<f64>>,
}

fn text(args: &LiveArgs, results: &Results) -> anyhow::Result<String> {
    let mut text = heading(args, results);
    let names: Vec<&str> = results.units.iter().map(|(name, _)| *name).collect();
    write!(text, "\n| |")?;
    for name in &names {
        write!(text, " {name} |")?;
    }
    for peer in &names[1..] {
        write!(text, " ratio to {peer} |")?;
    }
    writeln!(text, "\n|---|{}", "---:|".repeat(2 * names.len() - 1))?;
    for row in rows(args, results) {
        write_row(&mut text, &row)?;
    }
    stages(&mut text, &results.units[0].1)?;
    writeln!(text, "\nRobustness of the agent, from the same run:\n")?;
    let most = args.viewers.iter().max().copied().unwrap_or(1);
    writeln!(
        text,
        "- {most} RTSP viewers while one more had stopped reading: {} packets lost by them.",
        results.lost_beside_stalled
    )?;
    for (name, measured) in &results.units {
        writeln!(text, "- Packets lost by all viewers of {name} together: {}.", measured.lost)?;
    }
    if let Some(churn) = &results.churn {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            text,
            "- {} WebRTC sessions came and went, 20 at a time: {:.1} MB resident after the first \
             {}, {:.1} MB after all ({:+.1} MB).",
            churn.sessions,
            megabytes(churn.after_first),
            churn::FIRST,
            megabytes(churn.after_all),
            megabytes(churn.after_all) - megabytes(churn.after_first),
        )?;
    }
    Ok(text)
}

fn heading(args: &LiveArgs, results: &Results) -> String {
    let mut text = machine();
    text += &format!("- Stream: {STREAM}.\n");
    for (name, measured) in &results.units {
        text += &format!("- {name}: {}\n", measured.version);
    }
    let viewers: Vec<_> = args.viewers.iter().map(ToString::to_string).collect();
    text += &format!(
        "- Command: `cargo xtask bench live --clicks {} --rounds {} --seconds {} --viewers {} \
         --churn {}` with a `--peer` each.\n",
        args.clicks,
        args.rounds,
        args.seconds,
        viewers.join(","),
        args.churn
    );
    text
}

fn rows(args: &LiveArgs, results: &Results) -> Vec<Row> {
    let units = &results.units;
    let row = |name: &str, unit, decimals, value: &dyn Fn(&Measured) -> Option<f64>| Row {
        name: name.to_owned(),
        unit,
        decimals,
        values: units.iter().map(|(_, measured)| value(measured)).collect(),
    };
    let mut rows = vec![
        row("Click to first frame, p50", "ms", 0, &|m| quantile(&m.clicks, 0.5)),
        row("Click to first frame, p95", "ms", 0, &|m| quantile(&m.clicks, 0.95)),
        row("Latency added, p50", "ms", 2, &|m| quantile(&m.latency, 0.5)),
        row("Latency added, p95", "ms", 2, &|m| quantile(&m.latency, 0.95)),
        row("CPU, no viewer", "% of a core", 2, &|m| Some(100.0 * m.idle.0)),
    ];
    let cases = || {
        let transports = [Transport::RtspTcp, Transport::WebRtc];
        transports.into_iter().flat_map(|t| args.viewers.iter().map(move |count| (t, *count)))
    };
    for (transport, count) in cases() {
        let name = format!("CPU per viewer-minute, {} × {count}", transport.name());
        rows.push(row(&name, "s", 3, &|m| {
            Some(60.0 * mean(m.cpu.get(&(transport, count))?)? / count as f64)
        }));
    }
    rows.push(row("Resident memory, no viewer", "MB", 1, &|m| Some(m.idle.1 as f64 / 1e6)));
    for (transport, count) in cases() {
        let name = format!("Resident memory, {} × {count}", transport.name());
        rows.push(row(&name, "MB", 1, &|m| {
            Some(mean(m.resident.get(&(transport, count))?)? / 1e6)
        }));
    }
    rows.retain(|row| row.values.iter().any(Option::is_some));
    rows
}

fn write_row(text: &mut String, row: &Row) -> anyhow::Result<()> {
    write!(text, "| {} |", row.name)?;
    for value in &row.values {
        match value {
            Some(value) => write!(text, " {value:.*} {} |", row.decimals, row.unit)?,
            None => write!(text, " |")?,
        }
    }
    for peer in &row.values[1..] {
        match (row.values[0], peer) {
            (Some(ours), Some(peer)) if *peer > 0.0 => write!(text, " {:.2} |", ours / peer)?,
            _ => write!(text, " |")?,
        }
    }
    writeln!(text)?;
    Ok(())
}

/// The stages in their order (`web/src/play/stages.ts`).
fn stages(text: &mut String, ours: &Measured) -> anyhow::Result<()> {
    const ORDER: [&str; 7] = ["play", "signalling", "answer", "ice", "dtls", "packet", "frame"];
    if ours.stages.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nFrom click to first frame in the portal, by stage:\n\n| stage | p50 | p95 |"
    )?;
    writeln!(text, "|---|---:|---:|")?;
    for stage in ORDER {
        let values = ours.stages.get(stage).map(Vec::as_slice).unwrap_or_default();
        let at = |q| quantile(values, q).unwrap_or(0.0);
        writeln!(text, "| {stage} | {:.1} ms | {:.1} ms |", at(0.5), at(0.95))?;
    }
    Ok(())
}
