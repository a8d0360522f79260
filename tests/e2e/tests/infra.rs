//! What `infra/` and the sample configurations promise to operators.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use e2e::{bin, compose::env_file, root, tool};

/// Program, and what stands before `--config`.
const UNITS: &[(&str, &[&str])] = &[
    ("sightline", &["serve"]),
    ("cmu", &[]),
    ("scu", &[]),
    ("mtu", &[]),
    ("pu-agent", &[]),
    ("nvr", &[]),
];

/// A secret that is long enough, a database's URL, and a password, wherever a configuration names
/// a file for them.
struct Secrets(tempfile::TempDir);

impl Secrets {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("a secret is written");
        };
        write("turn.secret", "a secret that is long enough");
        write("database-url", "postgres://sightline:long-and-random@localhost/sightline");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn check(unit: &str, words: &[&str], environment: &[(String, PathBuf)]) -> Output {
    let mut command = Command::new(bin(unit));
    command.args(words).arg("--check-config").arg("--config");
    command.arg(root().join(unit).join(format!("{unit}.sample.toml")));
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    command.output().expect("the unit starts")
}

fn assert_good(unit: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{unit} refuses its sample configuration: {said}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "The configuration is good.", "{unit}");
}

#[test]
fn every_sample_configuration_is_good() {
    let secrets = Secrets::new();
    for (unit, words) in UNITS {
        let mut environment = Vec::new();
        if *unit == "mtu" {
            // The sample's path is that of an installed MTU.
            environment.push(("SIGHTLINE_SECRET_FILE".into(), secrets.path("turn.secret")));
        }
        assert_good(unit, &check(unit, words, &environment));
    }
}

#[test]
fn a_wrong_configuration_is_refused_in_words() {
    for (unit, words) in UNITS {
        let wrong = [("SIGHTLINE_NO_SUCH_KEY".into(), "1".into())];
        let output = check(unit, words, &wrong);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{unit}: {said}");
        assert!(said.starts_with("error: "), "{unit}: {said}");
        assert!(said.to_lowercase().contains("no_such_key"), "{unit} does not name it: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{unit}: {said}");
    }
}

#[test]
fn the_units_of_compose_have_good_configurations() {
    let secrets = Secrets::new();
    let files: [(&str, &[&str]); 5] = [
        ("cmu", &["cmu"]),
        ("scu", &["scu"]),
        ("mtu", &["mtu"]),
        ("scu", &["scu", "scu-2"]),
        ("mtu", &["mtu", "mtu-2"]),
    ];
    for (unit, files) in files {
        let file = |name: &&str| env_file(&root().join(format!("infra/compose/{name}.env")));
        let keys: Vec<_> = files.iter().flat_map(file).collect();
        let here = keys.into_iter().map(|(key, value)| {
            let secret = value.strip_prefix("/run/secrets/").map(|name| secrets.path(name));
            (key, secret.unwrap_or_else(|| value.into()))
        });
        assert_good(unit, &check(unit, &[], &here.collect::<Vec<_>>()));
    }
}

#[test]
fn what_compose_has_in_comments_is_good_too() {
    let secrets = Secrets::new();
    let secret = secrets.path("turn.secret").display().to_string();
    let path = root().join("infra/compose/mtu.env");
    let text = fs::read_to_string(path).expect("an env file");
    let pairs = text.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    // There is no certificate here.
    let of_tls = ["SIGHTLINE_CERTIFICATE_FILE", "SIGHTLINE_KEY_FILE"];
    let keys = pairs.filter(|(key, _)| key.starts_with("SIGHTLINE_") && !of_tls.contains(key));
    let mut environment: Vec<(String, PathBuf)> = keys
        .map(|(key, value)| {
            let value = value.replace("/run/secrets/turn.secret.more", &secret);
            (key.to_owned(), value.replace("/run/secrets/turn.secret", &secret).into())
        })
        .collect();
    for key in ["PUBLIC_NAME", "TCP_LISTEN", "UDP_LISTEN", "MORE_SECRET_FILES"] {
        let key = format!("SIGHTLINE_{key}");
        assert!(environment.iter().any(|(named, _)| *named == key), "{key} is not shown");
    }
    environment.push(("SIGHTLINE_PUBLIC_IP".into(), "[203.0.113.10, 2001:db8::10]".into()));
    assert_good("mtu", &check("mtu", &[], &environment));
}

fn unit_file(unit: &str) -> String {
    let path = root().join(format!("infra/systemd/{unit}.service"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_services_start_what_there_is() {
    for (unit, words) in UNITS {
        let text = unit_file(unit);
        let start = [&[&format!("/usr/local/bin/{unit}")[..]], *words].concat().join(" ");
        let start = format!("{start} --config /etc/sightline/{unit}.toml");
        assert!(text.contains(&format!("\nExecStart={start}\n")), "{unit}: {start}");
        assert!(text.contains(&format!("\nExecStartPre={start} --check-config\n")), "{unit}");
        for promise in ["DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"] {
            assert!(text.contains(promise), "{unit}.service lacks {promise}");
        }
        let help = Command::new(bin(unit)).args(*words).arg("--help").output();
        let help = help.expect("the unit starts").stdout;
        let help = String::from_utf8_lossy(&help);
        for option in ["--config", "--check-config"] {
            assert!(help.contains(option), "{unit} has no {option}");
        }
    }
}

/// What systemd copies for a service stays as it was when the service started. Without the kernel's
/// own files in `/proc` an MTU has no load to announce, and a PU neither gateway nor number of the
/// machine's start.
#[test]
fn the_services_reach_what_they_read_while_they_run() {
    for (unit, _) in UNITS {
        let text = unit_file(unit);
        let has = |key: &str| text.lines().any(|line| line.starts_with(key));
        let copied = has("ExecReload=") && has("LoadCredential=");
        assert!(!copied, "{unit}.service reads again what never changes");
    }
    for unit in ["mtu", "sightline", "pu-agent", "nvr"] {
        assert!(!unit_file(unit).contains("\nProcSubset=pid\n"), "{unit}.service hides /proc");
    }
    for unit in ["mtu", "sightline"] {
        let text = unit_file(unit);
        for line in ["ExecReload=/bin/kill -HUP $MAINPID", "LimitNOFILE=1048576"] {
            assert!(text.contains(&format!("\n{line}\n")), "{unit}.service lacks {line}");
        }
    }
}

#[test]
fn systemd_accepts_the_services() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    // It also looks whether the programs are there, and here they are not installed.
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (unit, _) in UNITS {
        let installed = format!("/usr/local/bin/{unit}");
        let text = unit_file(unit).replace(&installed, &bin(unit).display().to_string());
        let path = folder.path().join(format!("{unit}.service"));
        fs::write(&path, text).expect("the unit file is written");
        let output = Command::new(&analyze).arg("verify").arg(&path).output();
        let output = output.expect("systemd-analyze starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let about_it: Vec<_> = said.lines().filter(|line| line.contains(unit)).collect();
        assert!(output.status.success() && about_it.is_empty(), "{unit}.service: {said}");
    }
}

#[test]
fn every_program_explains_itself() {
    let programs = UNITS.iter().map(|(unit, _)| *unit).chain(["cu"]);
    for program in programs {
        let help = Command::new(bin(program)).arg("--help").output().expect("it starts");
        let help = String::from_utf8_lossy(&help.stdout);
        for part in ["Usage:", "Examples:", "Exit codes:"] {
            assert!(help.contains(part), "{program} --help lacks {part:?}:\n{help}");
        }
        let wrong = Command::new(bin(program)).arg("--no-such-option").output();
        assert_eq!(wrong.expect("it starts").status.code(), Some(2), "{program}");
    }
}
