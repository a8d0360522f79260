//! A unit that records to the cloud storage, and its owner.

#![allow(dead_code, reason = "every test file uses a part")]

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use e2e::{Centre, Cu, http, wait_for};
use serde_json::Value;

pub const PHONE: &str = "+8613800138000";
/// No test waits longer for anything.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What a unit is told: which, the key, the value.
pub type Setting = (&'static str, &'static str, String);

/// A centre whose unit records to the cloud, and its owner.
pub struct Recording {
    pub centre: Centre,
    pub cu: Cu,
    pub spool: PathBuf,
    _folder: tempfile::TempDir,
}

impl Recording {
    /// `store`: what the units are told besides; none: the centre's own disk is the store.
    pub fn start(store: &[Setting]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = folder.path().join("spool");
        std::fs::create_dir(&spool).expect("own folder");
        Self::start_with(folder, spool, store)
    }

    /// The same with its spool in a folder elsewhere, which exists.
    pub fn start_in(spool: PathBuf, store: &[Setting]) -> Option<Self> {
        Self::start_with(tempfile::tempdir().expect("a folder"), spool, store)
    }

    fn start_with(folder: tempfile::TempDir, spool: PathBuf, settings: &[Setting]) -> Option<Self> {
        let dir = spool.to_str().expect("UTF-8");
        let own = [("pu-agent", "SIGHTLINE_CLOUD__SPOOL_DIR", dir)];
        let others = settings.iter().map(|(unit, key, value)| (*unit, *key, value.as_str()));
        let settings: Vec<_> = own.into_iter().chain(others).collect();
        let centre = Centre::start_with(&settings)?;
        centre.wait_registered(&centre.mark_start());
        let cu = Cu::login(&centre.portal, PHONE, &centre.sms_log(), Some(&centre.ca()));
        cu.ok(&["bind", &centre.claim_code]);
        cu.wait_for_camera("Yard");
        let recording = Self { centre, cu, spool, _folder: folder };
        recording.plan("main");
        Some(recording)
    }

    pub fn plan(&self, what: &str) {
        wait_for("the plan", LIMIT, || {
            let plan = ["record", "plan", "Yard", "--on", "cloud", "--set", what];
            answered(&self.cu.run(&plan)).then_some(())
        });
    }

    /// From when to when there are so many seconds in the cloud, at least.
    pub fn wait_for_seconds(&self, seconds: i64) -> (i64, i64) {
        wait_for("recordings in the cloud", LIMIT, || {
            let stretch = self.stretch()?;
            (stretch.1 - stretch.0 >= seconds * 1_000_000).then_some(stretch)
        })
    }

    /// What is in the cloud, from its begin to its end.
    pub fn stretch(&self) -> Option<(i64, i64)> {
        let output = self.cu.run(&["record", "list", "Yard", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout).ok()?;
        let timeline = &list["timeline"];
        let is_cloud = |span: &&Value| {
            let source = span["source"].as_u64().and_then(|at| usize::try_from(at).ok());
            source.is_some_and(|at| timeline["sources"][at]["place"] == "cs")
        };
        let spans: Vec<_> = timeline["spans"].as_array()?.iter().filter(is_cloud).collect();
        Some((spans.first()?["from"].as_i64()?, spans.last()?["to"].as_i64()?))
    }

    pub fn export(&self, (from, to): (i64, i64), file: &Path) -> Output {
        let (from, to, file) = (time(from), time(to), file.to_str().expect("UTF-8"));
        let span = ["--from", &from, "--to", &to, "--out", file];
        self.cu.run(&[&["record", "export", "Yard", "--on", "cloud"][..], &span].concat())
    }

    /// Segments in the spool.
    pub fn spooled(&self) -> usize {
        files(&self.spool)
    }

    /// What is uploaded leaves the spool: nothing is recorded any more.
    pub fn leaves_the_spool(&self) {
        self.plan("nothing");
        wait_for("an empty spool", LIMIT, || (self.spooled() == 0).then_some(()));
    }

    /// Where the API has the camera's recordings, and who asks.
    pub fn recordings_of(&self, cu: &Cu) -> (String, String) {
        // Makes a new access token when the old one has ended.
        cu.ok(&["list"]);
        let camera = format!("{}.0", self.centre.pu_id());
        (format!("/api/v1/cameras/{camera}/recordings"), cu.access_token())
    }

    /// Every segment in the list, each with an address.
    pub fn listed(&self) -> Vec<Value> {
        let (path, token) = self.recordings_of(&self.cu);
        let all = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&tier=main";
        let (mut segments, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("{path}/segments?{all}{after}");
            let answer = http(self.centre.ports.portal, "GET", &path, Some(&token), None);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let page = answer.json();
            segments.extend(page["segments"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return segments,
            }
        }
    }

    /// Bytes that count against the owner's space.
    pub fn used_bytes(&self) -> u64 {
        let space = self.cu.ok(&["record", "space", "--json"]);
        let space: Value = serde_json::from_str(&space).expect("JSON");
        space["space"]["used_bytes"].as_u64().expect("a number")
    }
}

/// Whether a command was answered: the unit may be busy, or just starting.
pub fn answered(output: &Output) -> bool {
    /// What `cu` ends with when somebody cannot be reached, or no answer came in time.
    const NOT_NOW: [i32; 2] = [5, 7];
    let later = output.status.code().is_some_and(|code| NOT_NOW.contains(&code));
    assert!(later || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    !later
}

pub fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).expect("a time").to_string()
}

/// How many segments there are below a folder.
pub fn files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let count = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let is_segment = path.extension().is_some_and(|e| e == "mp4");
        if path.is_dir() { files(&path) } else { usize::from(is_segment) }
    };
    entries.map(count).sum()
}
