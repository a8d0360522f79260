//! The configuration: the sample is right, and what cannot work is refused in words.

use std::path::Path;

#[test]
fn the_sample_has_every_key_in_its_place() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("scu.sample.toml");
    let config = scu::Config::load(Some(&sample)).expect("reads");
    config.check().expect("works");
    let defaults = scu::Config::default();
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", defaults.limits));
    assert_eq!(format!("{:?}", config.tls), format!("{:?}", defaults.tls));
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    type Spoil = fn(&mut scu::Config);
    let cases: [(&str, Spoil); 4] = [
        ("public_url", |c| c.public_url = "https://example.net".to_owned()),
        ("public_url", |c| c.http_listen = None),
        ("limits", |c| c.limits.queue = 0),
        ("/no/such/file", |c| c.turn.secret_file = Some("/no/such/file".into())),
    ];
    for (word, spoil) in cases {
        let mut config = scu::Config::default();
        spoil(&mut config);
        let error = config.check().expect_err("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
}
