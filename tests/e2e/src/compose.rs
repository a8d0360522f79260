//! Services as `infra/compose/` describes them, started without a container engine: the same
//! program, arguments, configuration file and environment, with the test's own ports and folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use yaml_rust2::{Yaml, YamlLoader};

use crate::process::{Process, bin, root};

/// What a service is, after all its files.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, such as `scu-2`.
    pub name: String,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    /// Files of this tree, and where the container sees them.
    files: Vec<(PathBuf, String)>,
}

/// The folder of the Compose files.
#[must_use]
pub fn folder() -> PathBuf {
    root().join("infra/compose")
}

/// Reads every unit of the centre from Compose files; what is no unit of ours is left out.
///
/// # Panics
/// When a file cannot be read or is no Compose file.
#[must_use]
pub fn services(files: &[&str]) -> Vec<Service> {
    let read = |file: &&str| {
        let text = fs::read_to_string(folder().join(file)).expect("a Compose file");
        let document = YamlLoader::load_from_str(&text).expect("YAML").remove(0);
        let services = document["services"].as_hash().expect("services").clone();
        services.into_iter().filter_map(|(name, service)| read_service(name.as_str()?, &service))
    };
    files.iter().flat_map(read).collect()
}

fn texts(yaml: &Yaml) -> Vec<String> {
    let one = yaml.as_str().map(str::to_owned);
    let many = yaml.as_vec().into_iter().flatten().filter_map(|y| y.as_str().map(str::to_owned));
    one.into_iter().chain(many).collect()
}

fn read_service(name: &str, service: &Yaml) -> Option<Service> {
    let command = texts(&service["command"]);
    if !["cmu", "scu", "mtu"].contains(&command.first()?.as_str()) {
        return None;
    }
    let mut environment = Vec::new();
    for file in texts(&service["env_file"]) {
        environment.extend(env_file(&folder().join(file)));
    }
    for (key, value) in service["environment"].as_hash().into_iter().flatten() {
        environment.push((key.as_str()?.to_owned(), value.as_str()?.to_owned()));
    }
    let file = |volume: String| {
        let (here, there) = volume.split_once(':')?;
        let there = there.trim_end_matches(":ro").to_owned();
        here.starts_with('.').then(|| (folder().join(here), there))
    };
    let files = texts(&service["volumes"]).into_iter().filter_map(file).collect();
    Some(Service { name: name.to_owned(), command, environment, files })
}

/// Keys and values of a Compose env file.
///
/// # Panics
/// When there is a line without a key.
#[must_use]
pub fn env_file(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).expect("an env file");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    lines.map(|line| pair(line).unwrap_or_else(|| panic!("no key: {line}"))).collect()
}

/// What a container has and a test has elsewhere: how values begin, and what becomes of that.
pub type Elsewhere = Vec<(String, String)>;

impl Service {
    /// Starts it: its log in JSON goes to `data/NAME.log`. `own` are keys that depend on the
    /// machine, such as ports.
    ///
    /// # Panics
    /// When its program has not been built.
    #[must_use]
    pub fn start(&self, data: &Path, elsewhere: &Elsewhere, own: &[(&str, String)]) -> Process {
        let log = data.join(format!("{}.log", self.name));
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let mut command = self.command(elsewhere);
        command.envs(own.iter().map(|(key, value)| (format!("SIGHTLINE_{key}"), value)));
        Process::start(command.stderr(log).current_dir(data))
    }

    /// Its program with its arguments and its environment.
    #[must_use]
    pub fn command(&self, elsewhere: &Elsewhere) -> Command {
        let mut command = Command::new(bin(&self.command[0]));
        for argument in &self.command[1..] {
            let file = self.files.iter().find(|(_, there)| there == argument);
            match file {
                Some((here, _)) => command.arg(here),
                None => command.arg(argument),
            };
        }
        let adapt = |value: &str| {
            let elsewhere = elsewhere.iter().find_map(|(from, to)| {
                let rest = value.strip_prefix(from.as_str())?;
                let whole = rest.is_empty() || rest.starts_with('/') || from.ends_with('/');
                whole.then(|| format!("{to}{rest}"))
            });
            elsewhere.unwrap_or_else(|| value.to_owned())
        };
        command.envs(self.environment.iter().map(|(key, value)| (key, adapt(value))));
        command.env("SIGHTLINE_TELEMETRY__FORMAT", "json");
        command.env("SIGHTLINE_LOG", "info,sightline::flow=debug");
        command
    }
}
