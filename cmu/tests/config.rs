//! The sample configuration is the documentation of the defaults.

use std::path::Path;

use cmu::Config;
use sightline_service_kit::config::load;

#[test]
fn the_sample_parses_and_equals_the_defaults() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("cmu.sample.toml");
    let config: Config = load(Some(&sample)).expect("the sample parses");
    assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));
    config.check().expect("the sample can be used");
}

#[test]
fn the_sample_names_every_key() {
    let sample = include_str!("../cmu.sample.toml");
    // Fields of the debug output are the keys; names of types and variants begin with a capital.
    for line in format!("{:#?}", Config::default()).lines() {
        let Some((key, _)) = line.trim().split_once(": ") else { continue };
        let key_line = |l: &str| {
            let l = l.trim_start_matches("# ");
            l.starts_with(&format!("{key} =")) || l.ends_with(&format!("{key}]"))
        };
        let inside_limit = matches!(key, "count" | "per_s");
        assert!(inside_limit || sample.lines().any(key_line), "{key} is missing in the sample");
    }
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("cmu.toml");
    let load = |text: &str| {
        std::fs::write(&path, text).expect("written");
        load::<Config>(Some(&path)).map_err(|e| e.to_string())
    };
    assert!(load("lisen = \"127.0.0.1:1\"").expect_err("unknown key").contains("lisen"));
    assert!(load("listen = 5").is_err());
    assert!(load("domain = \"a b\"").is_err());
    for text in [
        "public_url = \"cameras\"",
        "admin_listen = \"x\"",
        "[tls]\ncertificate_file = \"/nonexistent\"",
        "[tls]\ncertificate_file = \"/nonexistent\"\nkey_file = \"/nonexistent\"",
        "[tokens]\naccess_s = 5",
        "[tokens]\nplay_s = 86400",
        "[devices]\nlease_ttl_ms = 1",
        "[sms]\ncountries = [\"China\"]",
        "[sms]\ngateway = \"http\"",
        "[sms]\ngateway = \"smpp\"",
        "[database]\nurl_file = \"/nonexistent\"",
    ] {
        assert!(load(text).expect("parses").check().is_err(), "{text} was taken");
    }
}
