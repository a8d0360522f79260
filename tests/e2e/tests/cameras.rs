//! Cameras of other people, watched in a real browser: each coding and transport, an outage, a
//! wrong password.

use std::time::{Duration, Instant};

use e2e::{Cu, Demo, GstCamera, IpyCam, Process, wait_for};
use serde_json::Value;

/// How long a camera stays away.
const AWAY: Duration = Duration::from_secs(10);
/// The pitch of the GStreamer camera.
const TONE_HZ: f64 = 440.0;

fn number(value: &Value, pointer: &str) -> f64 {
    let found = value.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{pointer} is missing in {value}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} is missing in {value}"))
}

/// A camera whose plug can be pulled.
trait Plug {
    fn pull(&mut self);
    fn insert(&mut self);
}

impl Plug for GstCamera {
    fn pull(&mut self) {
        self.take_away();
    }
    fn insert(&mut self) {
        self.give_back();
    }
}

impl Plug for IpyCam {
    fn pull(&mut self) {
        self.take_away();
    }
    fn insert(&mut self) {
        self.give_back();
    }
}

/// Watches in the browser; meanwhile the camera is away for [`AWAY`]. Returns the browser's
/// figures; `None` without a browser.
fn watch_an_outage(demo: &Demo, camera: &mut impl Plug, arguments: &[&str]) -> Option<Value> {
    let mut command = demo.browser(arguments)?;
    let mut browser = Process::start(command.args(["--no-barcode", "--seconds", "6", "--outage"]));
    let event = |browser: &mut Process, name: &str| {
        browser.line(Duration::from_secs(90), |line| {
            let value: Value = serde_json::from_str(line).ok()?;
            (value.pointer("/event")? == name).then_some(value)
        })
    };
    event(&mut browser, "take_away");
    let pulled = Instant::now();
    camera.pull();
    let gone = event(&mut browser, "gone");
    println!("the page after {:?}: {gone}", pulled.elapsed());
    // Not a wait for a state, but the length of the outage.
    std::thread::sleep(AWAY.saturating_sub(pulled.elapsed()));
    camera.insert();
    let inserted = Instant::now();
    event(&mut browser, "back");
    println!("the picture is back {:?} after the camera listened again", inserted.elapsed());
    let report = browser.line(Duration::from_secs(60), |line| {
        let value: Value = serde_json::from_str(line).ok()?;
        value.get("ttff_ms").is_some().then_some(value)
    });
    println!("{report}");
    assert_eq!(browser.wait(Duration::from_secs(10)), Some(0), "{report}");
    assert!(number(&report, "/outage/frames") > 25.0, "{report}");
    let page = text(&report, "/outage/text");
    assert!(page.contains("its camera gives no picture"), "the page says {page:?}");
    Some(report)
}

#[test]
fn ipycam_is_watched_and_comes_back_after_an_outage() {
    let Some(mut camera) = IpyCam::start() else { return };
    let (main, sub) = (camera.url("video_main"), camera.url("video_sub"));
    let demo = Demo::start(&["--camera", &main, "--sub", &sub]);
    let Some(report) = watch_an_outage(&demo, &mut camera, &["--tone", "0"]) else { return };
    assert_eq!((number(&report, "/width"), number(&report, "/height")), (1280.0, 720.0));
    assert_eq!(text(&report, "/serving/tier"), "main", "{report}");
}

#[test]
fn h264_and_aac_over_tcp_come_back_after_an_outage() {
    h264_and_aac(&[]);
}

#[test]
fn h264_and_aac_over_udp_come_back_after_an_outage() {
    h264_and_aac(&["--camera-udp"]);
}

/// Digest authentication; AAC becomes Opus on its way to the browser.
fn h264_and_aac(transport: &[&str]) {
    let login = ["--user", "viewer", "--password", "p@ss word"];
    let Some(mut camera) = GstCamera::start(&[&["--audio", "aac"], &login[..]].concat()) else {
        return;
    };
    let url = camera.url("viewer:p%40ss%20word@");
    let demo = Demo::start(&[&["--camera", &url], transport].concat());
    let Some(report) = watch_an_outage(&demo, &mut camera, &[]) else { return };
    // The browser's run has checked the pitch before the outage.
    assert!((number(&report, "/tone_hz") - TONE_HZ).abs() < 5.0, "{report}");
    assert_eq!((number(&report, "/width"), number(&report, "/height")), (640.0, 360.0));
    assert!((number(&report, "/fps") - 25.0).abs() < 3.0, "{report}");
}

#[test]
fn every_coding_is_shown_or_refused_in_words() {
    let small = ["--size", "320x180"];
    let start = |arguments: &[&str]| GstCamera::start(&[arguments, &small[..]].concat());
    let sounds = ["pcmu", "pcma", "g722"];
    let Some(cameras) = sounds.iter().map(|sound| start(&["--audio", sound])).collect() else {
        return;
    };
    let mut cameras: Vec<GstCamera> = cameras;
    // The first --sub belongs to the first --camera.
    let (Some(h265), Some(sub)) = (start(&["--codec", "h265"]), start(&["--audio", "pcmu"])) else {
        return;
    };
    cameras.insert(0, h265);
    let Some(alone) = start(&["--codec", "h265"]) else { return };
    cameras.push(alone);
    let urls: Vec<String> = cameras.iter().map(|camera| camera.url("")).collect();
    let mut arguments: Vec<&str> = urls.iter().flat_map(|url| ["--camera", url]).collect();
    let sub_url = sub.url("");
    arguments.extend(["--sub", &sub_url]);
    let demo = Demo::start(&arguments);
    let Some(report) = demo.browse(&["--each", "--seconds", "3"]) else { return };
    println!("{report}");

    let camera = |index: usize| &report["cameras"][index];
    let with_sub = camera(0);
    assert_eq!(text(with_sub, "/serving/tier"), "sub", "{with_sub}");
    assert_eq!(text(with_sub, "/serving/codec"), "h264", "{with_sub}");
    let why = text(with_sub, "/serving/reason");
    assert!(why.contains("H.265"), "the reason does not say why: {why:?}");
    for (index, sound) in (1..).zip(sounds) {
        let shown = camera(index);
        assert!((number(shown, "/tone_hz") - TONE_HZ).abs() < 5.0, "{sound}: {shown}");
        assert_eq!((number(shown, "/width"), number(shown, "/height")), (320.0, 180.0));
        assert!((number(shown, "/fps") - 25.0).abs() < 4.0, "{sound}: {shown}");
    }
    let alone = camera(4);
    assert_eq!(text(alone, "/problem"), "not_decodable", "{alone}");
    assert!(text(alone, "/text").contains("cannot decode"), "{alone}");
}

fn list(cu: &Cu) -> Vec<Value> {
    let list: Value = serde_json::from_str(&cu.ok(&["list", "--json"])).expect("JSON");
    list["cameras"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_wrong_password_is_told_in_words() {
    let Some(camera) = GstCamera::start(&["--user", "viewer", "--password", "right"]) else {
        return;
    };
    let demo = Demo::start(&["--camera", &camera.url("viewer:wrong@")]);
    let cu = Cu::login(&demo.info.portal, &demo.info.phone, &demo.info.sms_log, None);
    cu.ok(&["bind", &demo.info.claim_code]);
    let seen = wait_for("the fault in the list", Duration::from_secs(20), || {
        let camera = list(&cu).into_iter().next()?;
        camera["fault"].as_str()?.contains("user name or password").then_some(camera)
    });
    assert_eq!(text(&seen, "/presence"), "inactive", "{seen}");
    let table = cu.ok(&["list"]);
    assert!(table.contains("no picture"), "{table}");
    let refused = cu.run(&["play", "1"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
}
