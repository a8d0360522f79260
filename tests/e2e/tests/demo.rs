//! The main job: a person signs up, binds the demo camera and watches it in a real browser.

use std::time::Duration;

use e2e::Demo;

/// How long the picture is watched: 15 s in CI, as long as `TEST_SECONDS` says by hand.
fn seconds() -> String {
    std::env::var("TEST_SECONDS").unwrap_or_else(|_| "15".into())
}

/// What must hold of every watched demo.
fn check(figures: &serde_json::Value) {
    let number = |pointer: &str| {
        let value = figures.pointer(pointer).and_then(serde_json::Value::as_f64);
        value.unwrap_or_else(|| panic!("{pointer} is missing in {figures}"))
    };
    // The clock read from the decoded picture, the system's requirement of A7.6 for live.
    assert!(number("/latency_ms/max") < 500.0, "the picture is late: {figures}");
    assert_eq!(number("/latency_ms/unreadable"), 0.0, "pictures could not be read: {figures}");
    assert!((number("/tone_hz") - 440.0).abs() < 5.0, "the tone is wrong: {figures}");
    assert_eq!((number("/width"), number("/height")), (1280.0, 720.0));
    let cameras = figures.pointer("/latency_ms/camera_ids").and_then(|ids| ids.as_array());
    assert_eq!(cameras.map(Vec::len), Some(1), "pictures of several cameras: {figures}");
    assert_eq!(figures.pointer("/path/relayed"), Some(&false.into()), "{figures}");
    assert_eq!(figures.pointer("/page_errors/0"), None, "{figures}");
}

#[test]
fn a_new_user_signs_up_binds_and_watches() {
    let demo = Demo::start(&[]);
    if let Some(figures) = demo.browse(&["--seconds", &seconds()]) {
        println!("{figures}");
        check(&figures);
    }
}

#[test]
fn a_long_group_of_pictures_delays_nobody() {
    let demo = Demo::start(&["--gop", "4"]);
    if let Some(figures) = demo.browse(&["--seconds", &seconds()]) {
        println!("{figures}");
        check(&figures);
    }
}

#[test]
fn the_demo_ends_cleanly_on_ctrl_c() {
    let mut demo = Demo::start(&[]);
    demo.process.signal("INT");
    assert_eq!(demo.process.wait(Duration::from_secs(10)), Some(0));
}
