//! The tables in `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::{
    super::{
        figures::quantile,
        report::{machine, put},
    },
    Plan, RelayArgs, Results,
    cell::{Arrival, Cell, Measured},
    memory::Memory,
};

/// Shows the tables, and puts them between the markers.
pub fn write(args: &RelayArgs, plan: &Plan, results: &Results) -> anyhow::Result<()> {
    let text = text(plan, results)?;
    println!("{text}");
    if args.output.as_os_str() == "-" {
        return Ok(());
    }
    put(&args.output, "relay", &text)
}

fn text(plan: &Plan, results: &Results) -> anyhow::Result<String> {
    let mut text = heading(plan, results);
    for (arrival, words) in [
        (Arrival::Trains, "bursts arrive as trains (receive offload)"),
        (Arrival::OneByOne, "packets arrive one by one"),
    ] {
        let cells = || results.cells.iter().filter(move |(c, _)| c.arrival == arrival);
        let busy: Vec<_> = cells().filter(|(cell, _)| cell.beside == 0).collect();
        if busy.is_empty() {
            continue;
        }
        writeln!(text, "\nCPU-seconds per million relayed packets; {words}:\n")?;
        table(&mut text, results, &busy, |m| &m.cost, 2)?;
        writeln!(text, "\nMicroseconds through the server, median; {words}:\n")?;
        table(&mut text, results, &busy, |m| &m.delay_p50, 0)?;
        writeln!(text, "\nThe same, 99 of 100 packets; {words}:\n")?;
        table(&mut text, results, &busy, |m| &m.delay_p99, 0)?;
    }
    let beside: Vec<_> = results.cells.iter().filter(|(cell, _)| cell.beside > 0).collect();
    if let Some((cell, _)) = beside.first() {
        writeln!(
            text,
            "\nCPU-seconds per million relayed packets with {} idle allocations beside the busy ones, \
             and in parentheses by how much that is more than without:\n",
            cell.beside
        )?;
        idle_table(&mut text, results, &beside)?;
    }
    if !results.floods.is_empty() {
        writeln!(
            text,
            "\nThousands of packets per second carried while more is sent, for {} s each; load and \
             server share this machine's cores:\n",
            plan.flood_seconds
        )?;
        flood_table(&mut text, results)?;
    }
    if !results.memory.is_empty() {
        memory_table(&mut text, results)?;
    }
    failures(&mut text, results)?;
    Ok(text)
}

fn heading(plan: &Plan, results: &Results) -> String {
    let mut text = machine();
    for server in &results.servers {
        text += &format!("- {}: {}\n", server.name, server.version);
    }
    let rate = 1_000 * plan.flows * plan.burst / plan.interval_ms;
    text += &format!(
        "- Load: {} flows, bursts of {} packets of 1200 bytes every {} ms each, {rate} packets/s in \
         all; {} rounds of {} s.\n",
        plan.flows, plan.burst, plan.interval_ms, plan.rounds, plan.seconds
    );
    text
}

/// Median, and in parentheses the lowest and the highest; then ours as a ratio to each.
fn table(
    text: &mut String,
    results: &Results,
    cells: &[&(Cell, Vec<Measured>)],
    values: impl Fn(&Measured) -> &Vec<f64>,
    decimals: usize,
) -> anyhow::Result<()> {
    let ours = results.servers.iter().position(super::Server::is_ours);
    let others: Vec<usize> = match ours {
        Some(ours) => (0..results.servers.len()).filter(|other| *other != ours).collect(),
        None => vec![],
    };
    write!(text, "| |")?;
    results.servers.iter().try_for_each(|server| write!(text, " {} |", server.name))?;
    for other in &others {
        write!(text, " ratio to {} |", results.servers[*other].name)?;
    }
    let columns = results.servers.len() + others.len();
    writeln!(text, "\n|---|{}", "---:|".repeat(columns))?;
    for (cell, measured) in cells {
        write!(text, "| {} |", cell.direction.title())?;
        for measured in measured {
            let values = values(measured);
            let at = |q| quantile(values, q).unwrap_or(f64::NAN);
            if values.is_empty() {
                write!(text, " — |")?;
            } else {
                let (low, middle, high) = (at(0.0), at(0.5), at(1.0));
                write!(text, " {middle:.decimals$} ({low:.decimals$}–{high:.decimals$}) |")?;
            }
        }
        for other in &others {
            let median = |at: usize| quantile(values(&measured[at]), 0.5);
            match ours.and_then(median).zip(median(*other)) {
                Some((ours, other)) => write!(text, " {:.2} |", ours / other)?,
                None => write!(text, " |")?,
            }
        }
        writeln!(text)?;
    }
    Ok(())
}

fn idle_table(
    text: &mut String,
    results: &Results,
    beside: &[&(Cell, Vec<Measured>)],
) -> anyhow::Result<()> {
    let servers = || (0..results.servers.len()).filter(|at| !results.servers[*at].is_limit());
    write!(text, "| |")?;
    servers().try_for_each(|at| write!(text, " {} |", results.servers[at].name))?;
    writeln!(text, "\n|---|{}", "---:|".repeat(servers().count()))?;
    for (cell, measured) in beside {
        write!(text, "| {} |", cell.direction.title())?;
        let alone = Cell { beside: 0, ..*cell };
        let alone = results.cells.iter().find(|(other, _)| *other == alone);
        for at in servers() {
            let with = quantile(&measured[at].cost, 0.5);
            let without = alone.and_then(|(_, alone)| quantile(&alone[at].cost, 0.5));
            match with.zip(without) {
                Some((with, without)) => {
                    write!(text, " {with:.2} ({:+.0} %) |", 100.0 * (with / without - 1.0))?;
                }
                None => write!(text, " — |")?,
            }
        }
        writeln!(text)?;
    }
    Ok(())
}

/// Median, and in parentheses the lowest and the highest.
fn flood_table(text: &mut String, results: &Results) -> anyhow::Result<()> {
    write!(text, "| |")?;
    results.servers.iter().try_for_each(|server| write!(text, " {} |", server.name))?;
    writeln!(text, "\n|---|{}", "---:|".repeat(results.servers.len()))?;
    for (cell, carried) in &results.floods {
        let title = cell.direction.title();
        match cell.beside {
            0 => write!(text, "| {title} |")?,
            idle => write!(text, "| {title}, {idle} idle beside |")?,
        }
        for carried in carried {
            let at = |q| quantile(&carried.rates, q).map(|rate| rate / 1e3);
            match at(0.5).zip(at(0.0)).zip(at(1.0)) {
                Some(((middle, low), high)) => {
                    write!(text, " {middle:.0} ({low:.0}–{high:.0}) |")?;
                }
                None => write!(text, " — |")?,
            }
        }
        writeln!(text)?;
    }
    Ok(())
}

fn memory_table(text: &mut String, results: &Results) -> anyhow::Result<()> {
    writeln!(
        text,
        "\nMemory of idle allocations, relays on four addresses: resident memory of the server \
         (growth per allocation) + growth of the kernel's own structures, and how long they took:\n"
    )?;
    let servers = || (0..results.servers.len()).filter(|at| !results.servers[*at].is_limit());
    write!(text, "| |")?;
    servers().try_for_each(|at| write!(text, " {} |", results.servers[at].name))?;
    writeln!(text, "\n|---|{}", "---:|".repeat(servers().count()))?;
    for (count, memory) in &results.memory {
        let processes = memory.iter().flatten().map(|m| m.processes).max().unwrap_or(1);
        match processes {
            1 => write!(text, "| {count} idle |")?,
            _ => write!(text, "| {count} idle, in {processes} processes |")?,
        }
        for at in servers() {
            let Some(Memory { before, after, kernel, took, .. }) = &memory[at] else {
                write!(text, " — |")?;
                continue;
            };
            write!(
                text,
                " {:.1} MB ({:.1} KB) + {:.1} MB, {:.1} s |",
                *after as f64 / 1e6,
                after.saturating_sub(*before) as f64 / 1e3 / f64::from(*count),
                *kernel as f64 / 1e6,
                took.as_secs_f64(),
            )?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// What could not be measured, and the greatest loss in what was.
fn failures(text: &mut String, results: &Results) -> anyhow::Result<()> {
    writeln!(text)?;
    let all = || results.cells.iter().flat_map(|(_, measured)| measured);
    let worst = all().flat_map(|m| &m.lost).fold(0.0_f64, |worst, lost| worst.max(*lost));
    writeln!(text, "- The greatest loss in a run that counts: {:.2} %.", 100.0 * worst)?;
    for (cell, measured) in &results.cells {
        for (server, measured) in results.servers.iter().zip(measured) {
            if let Some(last) = measured.failed.last() {
                let arrival = match cell.arrival {
                    Arrival::Trains => "trains",
                    Arrival::OneByOne => "one by one",
                };
                writeln!(
                    text,
                    "- {}, {} ({arrival}, {} idle): {} runs do not count, the last: {last}.",
                    server.name,
                    cell.direction.title(),
                    cell.beside,
                    measured.failed.len()
                )?;
            }
        }
    }
    for (cell, carried) in &results.floods {
        for (server, carried) in results.servers.iter().zip(carried) {
            if let Some(last) = carried.failed.last() {
                writeln!(
                    text,
                    "- {}, {} (flood, {} idle): {} runs do not count, the last: {last}.",
                    server.name,
                    cell.direction.title(),
                    cell.beside,
                    carried.failed.len()
                )?;
            }
        }
    }
    Ok(())
}
