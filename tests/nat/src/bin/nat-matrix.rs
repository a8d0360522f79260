//! Goes through the cells of the matrix and writes docs/nat-matrix.md.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use nat::{Cell, Kind, Rung, Seen, Via, World, lab_allowed, report};

#[derive(Parser)]
#[command(about = "Camera's network x viewer's network x QUIC and WebRTC, with the real programs")]
struct Args {
    /// Only these cells: CAMERA,VIEWER (repeatable)
    #[arg(long, value_name = "CAMERA,VIEWER", value_parser = pair)]
    only: Vec<(Kind, Kind)>,
    /// Only over `quic` (cu) or `webrtc` (Chromium)
    #[arg(long, value_parser = via)]
    via: Option<Via>,
    /// Only with the camera there (repeatable)
    #[arg(long, value_name = "NETWORK")]
    camera: Vec<Kind>,
    /// Only with the viewer there (repeatable)
    #[arg(long, value_name = "NETWORK")]
    viewer: Vec<Kind>,
    /// Only where the table expects that ports are probed
    #[arg(long)]
    probed: bool,
    /// How often each cell is tried where ports have to be probed, and each of --only; with an agent
    /// that has just started, each time. Nine of ten tries have to find a way within 10 s
    #[arg(long, default_value_t = 1)]
    tries: usize,
    /// Keep what earlier runs have seen of the other cells, and write the page from all of it
    #[arg(long)]
    merge: bool,
    /// Where the page goes; without it only a run of all cells, or --merge, writes one, and one of
    /// several tries its section
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(Kind, Kind), String> {
    let (camera, viewer) = text.split_once(',').ok_or("it has the form CAMERA,VIEWER")?;
    Ok((camera.parse()?, viewer.parse()?))
}

fn via(text: &str) -> Result<Via, String> {
    let found = Via::ALL.into_iter().find(|via| via.name() == text);
    found.ok_or_else(|| "it is quic or webrtc".to_owned())
}

impl Args {
    fn wants(&self, cell: Cell) -> bool {
        let among = |list: &[Kind], kind| list.is_empty() || list.contains(&kind);
        (self.only.is_empty() || self.only.contains(&(cell.camera, cell.viewer)))
            && self.via.is_none_or(|via| via == cell.via)
            && among(&self.camera, cell.camera)
            && among(&self.viewer, cell.viewer)
            && (!self.probed || is_probed(cell))
    }

    /// How often a cell is tried: elsewhere than at probing, nothing is left to luck.
    fn tries(&self, cell: Cell) -> usize {
        let is_repeated = is_probed(cell) || !self.only.is_empty();
        if is_repeated { self.tries } else { self.tries.min(1) }
    }
}

fn is_probed(cell: Cell) -> bool {
    cell.expected() == Rung::Probed
}

type Seens = BTreeMap<Cell, Vec<Seen>>;

fn main() -> ExitCode {
    let args = Args::parse();
    if !lab_allowed() {
        return ExitCode::FAILURE;
    }
    let cells: Vec<_> = Cell::all().into_iter().filter(|cell| args.wants(*cell)).collect();
    let begun = Instant::now();
    let Some(seen) = run(&cells, &args) else { return ExitCode::FAILURE };
    let is_bad = |(cell, tries): &(&Cell, &Vec<Seen>)| !report::is_as_expected(**cell, tries);
    let bad: Vec<_> = seen.iter().filter(is_bad).collect();
    println!(
        "\n{} cells in {:.0} s, {} not as expected",
        seen.len(),
        begun.elapsed().as_secs_f32(),
        bad.len()
    );
    for (cell, tries) in &bad {
        let good = tries.iter().filter(|seen| seen.is_as_expected(**cell)).count();
        println!("  {cell}: {good} of {} as expected", tries.len());
    }
    for (cell, tries) in seen.iter().filter(|(_, tries)| tries.len() > 1) {
        println!("  {cell}: {}", report::direct_in_time(tries));
    }
    let failed = !bad.is_empty();
    write(&args, seen);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Camera by camera; a camera that does not come up fails its own cells only.
fn run(cells: &[Cell], args: &Args) -> Option<Seens> {
    let mut world = World::start()?;
    let mut seen = Seens::new();
    let mut done = 0;
    for row in cells.chunk_by(|a, b| a.camera == b.camera) {
        let kind = row[0].camera;
        let mut camera = catch_unwind(AssertUnwindSafe(|| world.camera(kind)));
        for cell in row {
            done += 1;
            let tries = args.tries(*cell);
            for _ in 0..tries {
                let result = match &mut camera {
                    Err(panic) => trouble(panic.as_ref()),
                    Ok((camera, id)) => catch_unwind(AssertUnwindSafe(|| {
                        if tries > 1 {
                            world.restart(camera);
                        }
                        world.cell(*cell, camera, id)
                    }))
                    .unwrap_or_else(|panic| trouble(panic.as_ref())),
                };
                println!("[{done}/{}] {cell}: {}", cells.len(), line(*cell, &result));
                seen.entry(*cell).or_default().push(result);
            }
        }
    }
    Some(seen)
}

fn trouble(panic: &(dyn std::any::Any + Send)) -> Seen {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Seen { trouble: text.or_else(|| Some("it panicked".into())), ..Seen::default() }
}

fn line(cell: Cell, seen: &Seen) -> String {
    let verdict = if seen.is_as_expected(cell) { "ok" } else { "NOT AS EXPECTED" };
    let name = |rung: Option<nat::Rung>| rung.map_or_else(|| "no rung".into(), nat::name);
    let ms = |ms: Option<u64>| ms.map_or_else(|| "?".into(), |ms| format!("{ms} ms"));
    let trouble = seen.trouble.as_deref().unwrap_or_default();
    let trouble = trouble.lines().next().unwrap_or_default();
    format!(
        "{} (expected {}), first picture {} by {}, settled after {} {trouble} {} {verdict}",
        name(seen.rung),
        nat::name(cell.expected()),
        ms(seen.first_frame_ms),
        name(seen.first_rung),
        ms(seen.settled_ms),
        seen.why.join("; "),
    )
}

fn write(args: &Args, seen: Seens) {
    let whole = Cell::all().len();
    let kept = target().join("nat-matrix.json");
    let mut all = Seens::new();
    if args.merge {
        let text = fs::read_to_string(&kept).unwrap_or_default();
        let earlier: report::Results = serde_json::from_str(&text).unwrap_or_default();
        all.extend(earlier);
    }
    all.extend(seen);
    // In the order of the table.
    let results: report::Results =
        Cell::all().into_iter().filter_map(|cell| all.remove(&cell).map(|s| (cell, s))).collect();
    if args.merge || results.len() == whole {
        let text = serde_json::to_string_pretty(&results).expect("plain data");
        fs::write(&kept, text).expect("the target folder can be written");
    }
    let page = e2e::root().join("docs/nat-matrix.md");
    let everything = results.len() == whole || args.merge;
    let earlier = fs::read_to_string(&page).unwrap_or_default();
    let text = if everything || args.out.is_some() {
        report::keep_repeated(&report::markdown(&results, args.merge, &earlier), &earlier)
    } else {
        report::with_repeated(&earlier, &results)
    };
    let out = args.out.clone().unwrap_or(page);
    if args.out.is_some() || text != earlier {
        fs::write(&out, text).expect("the page can be written");
        println!("written: {}", out.display());
    }
}

/// The folder that this program was built into.
fn target() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    own.parent().unwrap_or(Path::new(".")).to_owned()
}
