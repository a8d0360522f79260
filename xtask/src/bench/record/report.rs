//! The table in `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::{
    super::{
        figures::quantile,
        report::{machine, put},
    },
    Measured, Plan, RecordArgs, Results,
};

/// Shows the table, and puts it between the markers.
pub fn write(args: &RecordArgs, plan: &Plan, results: &Results) -> anyhow::Result<()> {
    let text = text(plan, results)?;
    println!("{text}");
    if args.output.as_os_str() == "-" {
        return Ok(());
    }
    put(&args.output, "record", &text)
}

/// A figure of which there is one for each recorder, out of one or more values.
struct Row {
    name: &'static str,
    unit: &'static str,
    decimals: usize,
    /// Median, lowest and highest.
    values: Vec<Option<[f64; 3]>>,
}

fn text(plan: &Plan, results: &Results) -> anyhow::Result<String> {
    let mut text = heading(plan, results);
    let names: Vec<&str> = results.recorders.iter().map(|(recorder, _)| recorder.name).collect();
    write!(text, "\n| |")?;
    names.iter().try_for_each(|name| write!(text, " {name} |"))?;
    names[1..].iter().try_for_each(|peer| write!(text, " ratio to {peer} |"))?;
    writeln!(text, "\n|---|{}", "---:|".repeat(2 * names.len() - 1))?;
    for row in rows(plan, results) {
        write_row(&mut text, &row)?;
    }
    writeln!(text)?;
    if let Some(index) = &results.index {
        writeln!(
            text,
            "- Index: {:.1} MB for a day of one camera, reckoned from its growth by {} segments; the \
             pictures of that day are {:.0} GB.",
            index.per_day / 1e6,
            index.segments,
            results.stream.0 / 8.0 * 86_400.0 / 1e9,
        )?;
    }
    if let Some(upload) = &results.upload {
        writeln!(
            text,
            "- Upload of {:.0} MB from the spool: {:.1} MB/s. The store itself, from the same core, at \
             best {:.1} MB/s, with {} objects at a time: ratio {:.2}.",
            upload.bytes as f64 / 1e6,
            upload.rate / 1e6,
            upload.limit / 1e6,
            upload.limit_at_once,
            upload.rate / upload.limit,
        )?;
    }
    for (recorder, measured) in &results.recorders {
        if let Some(last) = measured.failed.last() {
            let count = measured.failed.len();
            writeln!(text, "- {}: {count} rounds do not count, the last: {last}.", recorder.name)?;
        }
    }
    results.missing.iter().try_for_each(|what| writeln!(text, "- Not measured: {what}."))?;
    Ok(text)
}

fn heading(plan: &Plan, results: &Results) -> String {
    let mut text = machine();
    for (recorder, _) in &results.recorders {
        text += &format!("- {}: {}\n", recorder.name, recorder.version);
    }
    let (bitrate, keyframe_s) = results.stream;
    text += &format!(
        "- Load: {} cameras, H.264 1920x1080, 25 pictures/s, {:.2} Mbit/s, a keyframe every {keyframe_s:.0} s, \
         RTSP over TCP; {} rounds of {} s; disk: {}.\n",
        plan.cameras,
        bitrate / 1e6,
        plan.rounds,
        plan.window.as_secs(),
        results.file_system,
    );
    text
}

fn rows(plan: &Plan, results: &Results) -> Vec<Row> {
    let row = |name, unit, decimals, values: &dyn Fn(&Measured) -> Vec<f64>| {
        let of = |values: Vec<f64>| {
            Some([quantile(&values, 0.5)?, quantile(&values, 0.0)?, quantile(&values, 1.0)?])
        };
        let values = results.recorders.iter().map(|(_, measured)| of(values(measured))).collect();
        Row { name, unit, decimals, values }
    };
    let scaled = |values: &[f64], by: f64| -> Vec<f64> { values.iter().map(|v| v * by).collect() };
    let one = |value: Option<f64>| value.into_iter().collect::<Vec<f64>>();
    let cameras = f64::from(plan.cameras);
    let mut rows = vec![
        row("CPU per camera-minute", "s", 3, &|m| m.cpu_s.clone()),
        row("CPU, all cameras", "% of the core", 1, &|m| scaled(&m.cpu_s, cameras / 0.6)),
        row("Memory, all cameras", "MB", 1, &|m| scaled(&m.resident, 1e-6)),
        row("fsync and the like per camera-minute", "", 1, &|m| one(m.syncs)),
        row("Bytes written, by bytes sent", "", 3, &|m| m.written.clone()),
        row("Growth of files, by bytes sent", "", 3, &|m| m.kept.clone()),
        row("Pictures not taken in time", "", 0, &|m| match m.cpu_s.is_empty() {
            true => vec![],
            false => vec![m.left_out as f64],
        }),
        row("Seek in a session to the first picture, p50", "ms", 1, &|m| {
            one(quantile(&m.in_session, 0.5))
        }),
        row("Seek in a session to the first picture, p95", "ms", 1, &|m| {
            one(quantile(&m.in_session, 0.95))
        }),
        row("Seek with a new connection, p50", "ms", 1, &|m| one(quantile(&m.anew, 0.5))),
        row("Seek with a new connection, p95", "ms", 1, &|m| one(quantile(&m.anew, 0.95))),
    ];
    rows.retain(|row| row.values.iter().any(Option::is_some));
    rows
}

fn write_row(text: &mut String, row: &Row) -> anyhow::Result<()> {
    let (unit, decimals) = (row.unit, row.decimals);
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    write!(text, "| {} |", row.name)?;
    for value in &row.values {
        match value {
            Some([middle, low, high]) if low < high => {
                write!(text, " {middle:.decimals$}{unit} ({low:.decimals$}–{high:.decimals$}) |")?;
            }
            Some([middle, ..]) => write!(text, " {middle:.decimals$}{unit} |")?,
            None => write!(text, " — |")?,
        }
    }
    for peer in &row.values[1..] {
        match (&row.values[0], peer) {
            (Some([ours, ..]), Some([peer, ..])) if *peer > 0.0 => {
                write!(text, " {:.2} |", ours / peer)?;
            }
            _ => write!(text, " |")?,
        }
    }
    writeln!(text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_their_range_and_ratios_to_peers_that_have_any() {
        let row = Row {
            name: "CPU",
            unit: "s",
            decimals: 1,
            values: vec![Some([2.0, 1.0, 3.0]), Some([4.0, 4.0, 4.0]), Some([0.0; 3]), None],
        };
        let mut text = String::new();
        write_row(&mut text, &row).expect("text");
        assert_eq!(text, "| CPU | 2.0 s (1.0–3.0) | 4.0 s | 0.0 s | — | 0.50 | | |\n");
    }
}
