//! What the cloud storage refuses: somebody else's segments, addresses that were altered or have ended, paths that
//! lead elsewhere, more than a user's space. With the centre's own disk as the store, and with a real S3 store.

mod uploads;

use std::time::{Duration, Instant};

use e2e::{Cu, S3, UNITS, http, metric, now, time_text, wait_for};
use serde_json::{Value, json};
use sightline_model::UnixMicros;
use sightline_testkit::clock::JumpingClock;
use uploads::{LIMIT, Recording, Setting};

const BERT: &str = "+8613800138001";
/// How long an address works, and a second, in seconds.
const OVER_S: i64 = 301;
/// The requirement.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// What the centre or the store says to a request at an address, which may be relative to the portal.
fn status(recording: &Recording, method: &str, url: &str) -> u16 {
    let (port, path) = match url.strip_prefix("http://localhost:") {
        None => (recording.centre.ports.portal, url.to_owned()),
        Some(rest) => {
            let (port, path) = rest.split_once('/').expect("a path");
            (port.parse().expect("a port"), format!("/{path}"))
        }
    };
    http(port, method, &path, None, None).status
}

fn address(segment: &Value) -> String {
    segment["url"].as_str().expect("an address").to_owned()
}

/// Refused, or sent to where the dots lead: with another signature, as some servers do.
fn is_refused(status: u16) -> bool {
    (400..500).contains(&status) || matches!(status, 301 | 307 | 308)
}

/// Bert has an account and knows every id.
fn nobody_gets_what_is_not_theirs(recording: &Recording) {
    let centre = &recording.centre;
    let bert = Cu::login(&centre.portal, BERT, &centre.sms_log(), Some(&centre.ca()));
    let (recordings, his) = recording.recordings_of(&bert);
    let before = recording.listed().len();
    let all = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&tier=main";
    let at = now().0;
    let (from, to) = (at - 60_000_000, at);
    let playlist = json!({ "from": from, "to": to, "tier": "main" });
    let lock = json!({ "place": "cs", "from": from, "to": to, "locked": true });
    for (method, what, body) in [
        ("GET", format!("{recordings}/segments?{all}"), None),
        ("GET", format!("{recordings}/proof?{all}"), None),
        ("POST", format!("{recordings}/playlist"), Some(&playlist)),
        ("PUT", format!("{recordings}/lock"), Some(&lock)),
    ] {
        let ask = |token| http(centre.ports.portal, method, &what, token, body).status;
        assert_eq!(ask(Some(&his)), 404, "{method} {what}");
        assert_eq!(ask(None), 401, "{method} {what}");
    }
    // He may delete what is his: nothing of it is.
    let path = format!("/api/v1/cloud/devices/{}", centre.pu_id());
    let deleted = http(centre.ports.portal, "DELETE", &path, Some(&his), None);
    assert_eq!((deleted.status, &deleted.json()["segments"]), (200, &json!(0)));
    assert!(recording.listed().len() >= before, "something has gone");
}

/// An address is for one object, one use and a few minutes.
fn altered_addresses_are_refused(recording: &Recording) {
    let listed = recording.listed();
    let (one, two) = (&listed[0], &listed[1]);
    let url = address(one);
    assert_eq!(status(recording, "GET", &url), 200);
    let name = |segment: &Value| format!("{:012}.mp4", segment["sequence"].as_u64().expect("one"));
    let (bare, query) = url.split_once('?').expect("a signature");
    let chain = one["chain"].as_str().expect("a chain");
    // Who it belongs to stands behind the domain.
    let (_, behind) = bare.split_once("/v1/test.example/").expect("a domain");
    let user = behind.split('/').next().expect("a user");
    let later: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some(("expires", at)) => format!("expires={}", at.parse::<u64>().expect("s") + 600),
            Some(("X-Amz-Expires", _)) => "X-Amz-Expires=900".to_owned(),
            _ => pair.to_owned(),
        })
        .collect();
    let last = if query.ends_with('0') { "1" } else { "0" };
    for altered in [
        url.replace(&name(one), &name(two)),
        url.replace(&name(one), "000000000000.entry"),
        url.replace(&format!("/{user}/"), "/somebody-else/"),
        url.replace(chain, &"0".repeat(chain.len())),
        format!("{bare}?{}", later.join("&")),
        format!("{}{last}", &url[..url.len() - 1]),
        bare.to_owned(),
    ] {
        assert_ne!(altered, url);
        assert_eq!(status(recording, "GET", &altered), 403, "{altered}");
    }
    assert_eq!(status(recording, "PUT", &url), 403, "an address to read stores nothing");
    assert!(is_refused(status(recording, "DELETE", &url)), "an address to read deletes nothing");
    for (part, elsewhere) in [
        ("/v1/", "/v1/../v1/"),
        ("/v1/", "/../../../../../../etc/passwd/"),
        ("/v1/", "/v1/%2e%2e/v1/"),
        ("/v1/", "/%2fetc%2fpasswd/"),
        ("/test.example/", "/test.example/../test.example/"),
        ("/test.example/", "/test.example%2f..%2ftest.example/"),
        (".mp4?", ".mp4%00?"),
        (".mp4?", ".mp4/../../cloud.secret?"),
    ] {
        let altered = url.replacen(part, elsewhere, 1);
        assert_ne!(altered, url);
        let status = status(recording, "GET", &altered);
        assert!(is_refused(status), "{altered}: {status}");
    }
    assert_eq!(status(recording, "GET", &url), 200, "it is still there");
}

/// Nothing that opens anything is in a log.
fn no_signature_is_logged(recording: &Recording) {
    for unit in UNITS {
        let log = recording.centre.log(unit);
        for word in ["X-Amz-Signature", "signature="] {
            assert!(!log.contains(word), "{unit} has logged a signed address");
        }
    }
}

fn refused(recording: &Recording) {
    recording.wait_for_seconds(8);
    nobody_gets_what_is_not_theirs(recording);
    altered_addresses_are_refused(recording);
    no_signature_is_logged(recording);
}

#[test]
fn the_centres_own_disk_gives_nobody_what_is_not_theirs() {
    let Some(recording) = Recording::start(&[]) else { return };
    refused(&recording);
}

#[test]
fn an_s3_store_gives_nobody_what_is_not_theirs() {
    let Some(s3) = S3::start() else { return };
    let Some(recording) = Recording::start(&s3.settings()) else { return };
    refused(&recording);
}

fn of_the_centre(clock: &JumpingClock) -> Vec<Setting> {
    clock.environment().into_iter().map(|(name, value)| ("cmu", name, value)).collect()
}

/// Its own store goes by the centre's clock.
#[test]
fn an_address_of_the_centres_own_disk_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(clock) = JumpingClock::new(folder.path()) else { return };
    let Some(recording) = Recording::start(&of_the_centre(&clock)) else { return };
    recording.wait_for_seconds(4);
    let url = address(&recording.listed()[0]);
    assert_eq!(status(&recording, "GET", &url), 200);
    clock.set(OVER_S);
    assert_eq!(status(&recording, "GET", &url), 403);
    let fresh = address(&recording.listed()[0]);
    assert_eq!(status(&recording, "GET", &fresh), 200);
}

/// An S3 store goes by its own clock: what a centre signs whose clock is late has ended when it is given out.
#[test]
fn an_address_of_an_s3_store_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(clock) = JumpingClock::new(folder.path()) else { return };
    let Some(s3) = S3::start() else { return };
    let settings: Vec<_> = s3.settings().into_iter().chain(of_the_centre(&clock)).collect();
    let Some(recording) = Recording::start(&settings) else { return };
    recording.wait_for_seconds(4);
    let url = address(&recording.listed()[0]);
    assert_eq!(status(&recording, "GET", &url), 200);
    clock.set(-OVER_S);
    let late = address(&recording.listed()[0]);
    assert_eq!(status(&recording, "GET", &late), 403);
    clock.set(0);
    let fresh = address(&recording.listed()[0]);
    assert_eq!(status(&recording, "GET", &fresh), 200);
}

#[test]
fn more_than_a_users_space_is_refused_and_what_is_locked_stays() {
    /// A few segments.
    const SPACE: u64 = 3_000_000;
    let setting = ("cmu", "SIGHTLINE_CLOUD__FREE_BYTES", SPACE.to_string());
    let Some(recording) = Recording::start(&[setting]) else { return };
    let (cu, began) = (&recording.cu, now());
    let (first, _) = recording.wait_for_seconds(4);
    let within = || {
        let used = recording.used_bytes();
        assert!(used <= SPACE, "{used} bytes are used");
    };
    wait_for("the oldest to go for the newest", LIMIT, || {
        within();
        recording.stretch().filter(|(from, _)| *from > first)
    });

    let set = |what: &str| {
        let hour = |hours: i64| time_text(UnixMicros(began.0 + hours * 3_600_000_000));
        let (from, to) = (hour(-1), hour(2));
        let span = ["--from", &from, "--to", &to];
        cu.ok(&[&["record", what, "Yard", "--on", "cloud"][..], &span].concat());
    };
    let numbers = || -> Vec<u64> {
        recording.listed().iter().filter_map(|segment| segment["sequence"].as_u64()).collect()
    };
    wait_for("the unit to be refused", LIMIT, || {
        set("lock");
        within();
        metric(recording.centre.ports.pu_admin, "sightline_pu_cloud_full").filter(|is| *is == 1)
    });
    let kept = numbers();
    // It is recorded on, and asked for again.
    let held = recording.spooled();
    wait_for("a spool that fills", LIMIT, || (recording.spooled() >= held + 3).then_some(()));
    within();
    assert_eq!(numbers(), kept, "what was locked has gone, or more was taken");

    let (_, newest) = recording.stretch().expect("it is listed");
    set("unlock");
    let unlocked = Instant::now();
    wait_for("uploads to go on", LIMIT, || recording.stretch().filter(|(_, to)| *to > newest));
    let took = unlocked.elapsed();
    assert!(took < BACK_WITHIN, "uploads go on only {took:?} after there is space again");
    within();
}
