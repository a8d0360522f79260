//! The segmenter against simulated cameras.

mod camera;

use std::collections::HashMap;

use sightline_media::{
    AccessUnit, ParameterSets, StreamDescription, VideoTrack,
    mp4::read::{Contents, read},
};
use sightline_model::UnixMicros;

use super::*;
use camera::{Camera, Sent, description};

const BOOT: BootId = BootId(3);
/// The recorder's clock less the monotonic clock.
const OFFSET: i64 = 1_700_000_000_000_000;

fn moment(monotonic_us: i64) -> Moment {
    Moment {
        monotonic_us: u64::try_from(monotonic_us).expect("after the boot"),
        time: UnixMicros(OFFSET + monotonic_us),
        authority: Authority::System,
    }
}

/// A segment as it came out.
struct File {
    draft: SegmentDraft,
    bytes: Bytes,
    contents: Contents,
}

/// Carries outputs out as a store would.
#[derive(Default)]
struct Store {
    open: Option<(Opening, Vec<u8>)>,
    files: Vec<File>,
    ends: Vec<RunEnd>,
    steps: Vec<(usize, ClockStep)>,
}

impl Store {
    fn drain(&mut self, segmenter: &mut Segmenter) {
        while let Some(output) = segmenter.poll_output() {
            match output {
                Output::Open(opening) => {
                    assert!(self.open.is_none(), "one file at a time");
                    self.open = Some((opening, Vec::new()));
                }
                Output::Append(bytes) => {
                    self.open.as_mut().expect("open").1.extend_from_slice(&bytes);
                }
                Output::Close(draft) => self.close(draft),
                Output::RunEnded(why) => {
                    assert!(self.open.is_none(), "closed before its run ends");
                    self.ends.push(why);
                }
                Output::Step(step) => {
                    assert!(self.open.is_none(), "a step is no part of a segment");
                    self.steps.push((self.files.len(), step));
                }
            }
        }
    }

    fn close(&mut self, draft: SegmentDraft) {
        let (opening, bytes) = self.open.take().expect("open");
        let bytes = Bytes::from(bytes);
        assert_eq!(draft.opening, opening);
        assert_eq!(draft.len, bytes.len() as u64);
        let contents = read(&bytes, opening.start).expect("readable");
        assert_eq!(contents.head_len, draft.head_len as usize);
        assert_eq!(contents.whole_len, bytes.len());
        assert_eq!(contents.position_90k, opening.position_90k);
        assert_eq!(contents.pictures, draft.pictures);
        let lasts_us = micros_between(contents.position_90k, contents.end_90k);
        assert_eq!(lasts_us, draft.duration_us);
        // Hashing takes long without optimization: of some is enough.
        if self.files.len().is_multiple_of(8) {
            assert_eq!(draft.content, Digest(Sha256::digest(&bytes).into()));
            let recovered = recover(&bytes).expect("whole").expect("stamped");
            assert_eq!(recovered, Recovered { len: draft.len, draft });
        }
        self.files.push(File { draft, bytes, contents });
    }

    /// Everything that came out, in order.
    fn units(&self) -> impl Iterator<Item = (&File, &sightline_media::mp4::read::ReadUnit)> {
        self.files.iter().flat_map(|f| f.contents.units.iter().map(move |u| (f, u)))
    }
}

fn record(sent: &[Sent], form: &StreamDescription, config: Config) -> Store {
    let mut segmenter = Segmenter::new(BOOT, config);
    segmenter.handle_description(form).expect("usable");
    let mut store = Store::default();
    for sent in sent {
        segmenter.handle_unit(&sent.unit, &moment(sent.arrived_us)).expect("taken");
        store.drain(&mut segmenter);
    }
    segmenter.handle_end(RunEnd::Stopped);
    store.drain(&mut segmenter);
    store
}

/// The number that the simulated camera put into a unit.
fn number(unit: &AccessUnit) -> u64 {
    let (AccessUnit::Video { data, .. } | AccessUnit::Audio { data, .. }) = unit;
    let tail = data.last_chunk().expect("eight bytes");
    u64::from_be_bytes(*tail)
}

/// What holds for every run: without seams, beginning with keyframes, by the recorder's clock.
fn check_runs(store: &Store, seed: u64) {
    for pair in store.files.windows(2) {
        let [a, b] = [&pair[0].draft, &pair[1].draft];
        if b.opening.first_of_run {
            assert_eq!(b.opening.position_90k, 0);
            continue;
        }
        assert_eq!(pair[0].contents.end_90k, b.opening.position_90k, "seed {seed}");
        let seam_us = b.opening.start.0 - a.end().0;
        let most_us = i64::try_from(a.duration_us).expect("short") * 500 / 1_000_000 + 2;
        assert!(seam_us.abs() <= most_us, "seed {seed}: a seam of {seam_us} us");
        let by_monotonic = b.opening.monotonic_us as i64 + OFFSET - b.opening.start.0;
        assert!(by_monotonic.abs() <= 2, "seed {seed}: {by_monotonic}");
    }
    for file in &store.files {
        assert!(
            file.contents
                .units
                .iter()
                .find(|u| u.unit.is_video())
                .is_some_and(|u| { u.unit.is_keyframe() })
        );
    }
}

/// One simulated camera; how many segments came of it.
fn simulate(seed: u64) -> usize {
    let mut camera = Camera::new(seed);
    let sent = camera.stream(25);
    let store = record(&sent, &description(camera.sound), Config::default());
    check_runs(&store, seed);
    assert_eq!(store.ends, [RunEnd::Stopped], "seed {seed}: {camera:?}");
    // Every picture from the first keyframe on, in the order of coding, at its time.
    let pictures: Vec<&Sent> = sent.iter().filter(|s| s.unit.is_video()).collect();
    let first = pictures.iter().position(|s| s.unit.is_keyframe()).expect("a keyframe");
    let (base, _) = pictures[first].at();
    let expected: Vec<_> =
        pictures[first..].iter().map(|s| (number(&s.unit), s.at().0 - base)).collect();
    let got: Vec<_> = store
        .units()
        .filter_map(|(_, u)| match &u.unit {
            AccessUnit::Video { timestamp, .. } => Some((number(&u.unit), *timestamp)),
            AccessUnit::Audio { .. } => None,
        })
        .collect();
    assert_eq!(got, expected, "seed {seed}: {camera:?}");
    check_times(&store, &sent, &camera, seed);
    store.files.len()
}

/// Starts and sounds lie where they were taken, within what the network delays.
fn check_times(store: &Store, sent: &[Sent], camera: &Camera, seed: u64) {
    let key = |unit: &AccessUnit| (unit.is_video(), number(unit));
    let sent: HashMap<_, _> = sent.iter().map(|s| (key(&s.unit), s.taken_us)).collect();
    let taken = |unit: &AccessUnit| sent[&key(unit)];
    let least = camera.least_delay_us();
    for file in &store.files {
        let first = file.contents.units.iter().find(|u| u.unit.is_video()).expect("picture");
        // A keyframe may lie behind pictures that are shown before it.
        let begins_us = OFFSET + taken(&first.unit) - first.shown_us;
        let late_us = file.draft.opening.start.0 - begins_us - least;
        assert!(
            (-camera.longest_delay_us()..camera.longest_delay_us()).contains(&late_us),
            "seed {seed}: a start {late_us} us late: {camera:?}"
        );
    }
    let mut last = None;
    for (file, unit) in store.units().filter(|(_, u)| !u.unit.is_video()) {
        let n = number(&unit.unit);
        assert!(last.is_none_or(|l| l + 1 == n || camera.loses), "seed {seed}: sound {n} {last:?}");
        last = Some(n);
        let shown_us = file.draft.opening.start.0 + unit.shown_us;
        let late_us = shown_us - OFFSET - taken(&unit.unit) - least;
        assert!(
            (-camera.longest_delay_us()..2 * camera.longest_delay_us()).contains(&late_us),
            "seed {seed}: sound {late_us} us late: {camera:?}"
        );
    }
    let wanted = camera.sound.is_some();
    assert_eq!(last.is_some(), wanted, "seed {seed}: {camera:?}");
}

#[test]
fn thousands_of_cameras_lose_no_picture_and_have_no_seam() {
    let segments: usize = (0..1_500).map(simulate).sum();
    assert!(segments > 1_500 * 3, "{segments}");
}

#[test]
fn a_camera_that_is_slow_is_followed_for_hours() {
    // Ten thousand seconds at 150 millionths are a second and a half.
    for drift_ppm in [-150, 150] {
        let mut camera = Camera::new(1);
        camera.calm(drift_ppm);
        let sent = camera.stream(10_000);
        let store = record(&sent, &description(None), Config::default());
        assert_eq!(store.ends, [RunEnd::Stopped]);
        check_runs(&store, 1);
        check_times(&store, &sent, &camera, 1);
        let last = store.files.last().expect("files");
        assert!(last.draft.opening.position_90k > 9_990 * 90_000);
    }
}

#[test]
fn a_network_that_stalls_for_eight_seconds_ends_no_run() {
    let mut camera = Camera::new(1);
    camera.calm(0);
    let mut sent = camera.stream(60);
    for unit in &mut sent {
        if (20_000_000..28_000_000).contains(&unit.arrived_us) {
            unit.arrived_us = 28_000_000;
        }
    }
    let store = record(&sent, &description(None), Config::default());
    assert_eq!(store.ends, [RunEnd::Stopped]);
    check_times(&store, &sent, &camera, 1);
}

#[test]
fn a_run_ends_where_clocks_disagree_and_loses_nothing() {
    let form = description(None);
    let shift = |unit: &mut Sent, ticks: i64, us: i64| {
        if let AccessUnit::Video { timestamp, .. } = &mut unit.unit {
            *timestamp += ticks;
        }
        unit.taken_us += us;
        unit.arrived_us += us;
    };
    // The camera's clock jumps back; a day ahead; and its pictures come three seconds late for good.
    let cases = [
        (-50_000_000, 0, RunEnd::MediaClockJump),
        (86_400 * 90_000, 0, RunEnd::MediaClockJump),
        (0, 3_000_000, RunEnd::ClocksApart),
        (270_000, 0, RunEnd::ClocksApart),
    ];
    for (ticks, us, why) in cases {
        let mut camera = Camera::new(1);
        camera.calm(0);
        let mut sent = camera.stream(60);
        // In the middle of a group of pictures.
        let from = sent.iter().position(|s| s.taken_us > 20_300_000).expect("long enough");
        for unit in &mut sent[from..] {
            shift(unit, ticks, us);
        }
        let store = record(&sent, &form, Config::default());
        assert_eq!(store.ends, [why, RunEnd::Stopped]);
        assert_eq!(store.units().count(), sent.len(), "{why:?}: every picture is there");
        check_runs(&store, 1);
        let second = store.files.iter().filter(|f| f.draft.opening.first_of_run).nth(1);
        let second = second.expect("a second run");
        let first = &second.contents.units[0].unit;
        let taken = sent.iter().find(|s| number(&s.unit) == number(first)).expect("sent");
        let late_us = second.draft.opening.start.0 - OFFSET - taken.taken_us;
        assert!((0..200_000).contains(&late_us), "{why:?}: {late_us}");
    }
}

#[test]
fn a_step_of_the_clock_lies_between_two_runs() {
    let mut camera = Camera::new(1);
    camera.calm(0);
    let sent = camera.stream(30);
    let mut segmenter = Segmenter::new(BOOT, Config::default());
    segmenter.handle_description(&description(None)).expect("usable");
    let mut store = Store::default();
    let day = 86_400_000_000;
    let step = ClockStep {
        boot: BOOT,
        monotonic_us: 15_100_000,
        from: UnixMicros(OFFSET + 15_100_000),
        to: UnixMicros(OFFSET + 15_100_000 + day),
        from_authority: Authority::Unconfirmed,
        to_authority: Authority::Centre,
    };
    let mut stepped = false;
    for sent in &sent {
        let mut arrived = moment(sent.arrived_us);
        arrived.authority = Authority::Unconfirmed;
        if sent.arrived_us > 15_100_000 {
            if !std::mem::replace(&mut stepped, true) {
                segmenter.handle_step(step);
            }
            arrived.time.0 += day;
            arrived.authority = Authority::Centre;
        }
        segmenter.handle_unit(&sent.unit, &arrived).expect("taken");
        store.drain(&mut segmenter);
    }
    segmenter.handle_end(RunEnd::SourceAway);
    // Without a run a step is given out at once.
    segmenter.handle_step(step);
    store.drain(&mut segmenter);
    assert_eq!(store.ends, [RunEnd::ClockStep, RunEnd::SourceAway]);
    assert_eq!(store.units().count(), sent.len(), "no picture is lost");
    let [(at, first), (end, second)] = store.steps[..] else { panic!("{:?}", store.steps) };
    assert_eq!((first, second, end), (step, step, store.files.len()));
    for (i, file) in store.files.iter().enumerate() {
        let opening = file.draft.opening;
        let expected = OFFSET + opening.monotonic_us as i64 + if i < at { 0 } else { day };
        assert!((opening.start.0 - expected).abs() < 3_000);
        let authority = if i < at { Authority::Unconfirmed } else { Authority::Centre };
        assert_eq!(opening.authority, authority);
        assert_eq!(opening.first_of_run, i == 0 || i == at);
    }
}

#[test]
fn a_group_of_pictures_without_end_is_cut_where_it_is_too_long() {
    let mut camera = Camera::new(1);
    camera.calm(0);
    let mut sent = camera.stream(60);
    for unit in &mut sent[1..] {
        let AccessUnit::Video { keyframe, .. } = &mut unit.unit else { continue };
        *keyframe = false;
    }
    let config = Config { longest: Duration::from_secs(20), ..Config::default() };
    let store = record(&sent, &description(None), config);
    assert_eq!(store.files.len(), 3);
    assert_eq!(store.units().count(), sent.len());
    let keyframes = store.units().filter(|(_, u)| u.unit.is_keyframe()).count();
    assert_eq!(keyframes, 1, "the later ones say that they begin without one");
    let small = Config { most_bytes: 2_000, ..Config::default() };
    let store = record(&sent, &description(None), small);
    assert!(store.files.len() > 5);
    assert_eq!(store.units().count(), sent.len());
}

#[test]
fn a_cut_that_is_asked_for_comes_with_the_next_keyframe() {
    let mut camera = Camera::new(1);
    camera.calm(0);
    let sent = camera.stream(12);
    let mut segmenter =
        Segmenter::new(BOOT, Config { target: Duration::from_secs(600), ..Config::default() });
    segmenter.handle_description(&description(None)).expect("usable");
    let mut store = Store::default();
    for sent in &sent {
        if sent.taken_us == 5_100_000 {
            segmenter.handle_cut();
        }
        segmenter.handle_unit(&sent.unit, &moment(sent.arrived_us)).expect("taken");
        store.drain(&mut segmenter);
    }
    assert_eq!(store.files.len(), 1);
    segmenter.handle_end(RunEnd::Stopped);
    store.drain(&mut segmenter);
    let [first, second] = &store.files[..] else { panic!("{}", store.files.len()) };
    assert_eq!(first.draft.duration_us, 6_000_000);
    assert!(!second.draft.opening.first_of_run);
}

#[test]
fn a_form_that_no_file_can_hold_ends_the_run_until_another_comes() {
    let mut camera = Camera::new(1);
    camera.calm(0);
    let sent = camera.stream(9);
    let mut segmenter = Segmenter::new(BOOT, Config::default());
    let mut store = Store::default();
    let broken = ParameterSets::H264 { sps: Bytes::new(), pps: Bytes::new() };
    let video = VideoTrack { width: 0, height: 0, fps: 0.0, parameter_sets: broken };
    let broken = StreamDescription { video: Some(video), audio: None };
    assert!(segmenter.handle_description(&broken).is_err());
    for sent in &sent {
        match sent.taken_us {
            0 => segmenter.handle_description(&description(None)).expect("usable"),
            3_000_000 => assert!(segmenter.handle_description(&broken).is_err()),
            6_000_000 => segmenter.handle_description(&description(None)).expect("usable"),
            _ => {}
        }
        segmenter.handle_unit(&sent.unit, &moment(sent.arrived_us)).expect("passed over");
        store.drain(&mut segmenter);
    }
    segmenter.handle_end(RunEnd::Stopped);
    store.drain(&mut segmenter);
    assert_eq!(store.ends, [RunEnd::UnusableStream, RunEnd::Stopped]);
    assert_eq!(store.units().count(), sent.len() * 2 / 3);
}

#[test]
fn an_unfinished_file_is_recovered_up_to_its_last_whole_fragment() {
    let mut camera = Camera::new(1);
    camera.calm(0);
    let store = record(&camera.stream(9), &description(None), Config::default());
    let file = &store.files[1];
    for len in 0..=file.bytes.len() {
        let cut = file.bytes.slice(..len);
        let Some(recovered) = recover(&cut).expect("undamaged") else { continue };
        assert!(recovered.len <= len as u64);
        assert_eq!(recovered.draft.opening, file.draft.opening);
        let whole = &cut[..recovered.len as usize];
        assert_eq!(recovered.draft.content, Digest(Sha256::digest(whole).into()));
        assert!(recovered.draft.duration_us <= file.draft.duration_us);
    }
    let torn = file.bytes.slice(..file.bytes.len() - 1);
    let recovered = recover(&torn).expect("undamaged").expect("the fragments before");
    assert!(recovered.draft.duration_us >= 2_000_000, "{recovered:?}");
}
