//! What is believed of a unit, how it is told, and what lies in the folder afterwards.

use std::{fs, ops::Range};

use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use sightline_media::{
    ParameterSets, StreamDescription, VideoTrack,
    mp4::segment::{Part as FilePart, RunWriter},
};
use sightline_model::{
    CameraId, ChannelId, DeviceId, Presence, PuId, PublicKey, Rights, Signature, UnixMicros,
};
use sightline_protocol::cm::Camera;
use sightline_recording::{
    chain::{ChainProof, NewEntry, Piece, Proof, ProvenEntry, Sign, Writer},
    statement::{Authority, BootId, Causes, ChainId, Digest, RunId, Segment, Subject, What},
};

use super::{
    checked::{Part, check},
    *,
};

const START_US: i64 = 1_795_000_000_000_000;
const SECOND_US: i64 = 1_000_000;

struct Key(SigningKey);

impl Sign for Key {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

fn key() -> Key {
    Key(SigningKey::from_bytes(&[3; 32]))
}

fn subject(channel: u16, tier: StreamTier) -> Subject {
    let recorder = PuId::from_public_key(&key().public_key());
    let camera = CameraId { pu: recorder.clone(), channel: ChannelId(channel) };
    Subject { recorder, camera, tier }
}

/// The statement of four seconds with these bytes.
fn segment(number: i64, bytes: &[u8]) -> Segment {
    Segment {
        run: RunId(1),
        start: UnixMicros(START_US + number * 4 * SECOND_US),
        duration_us: 4_000_000,
        position_90k: u64::try_from(number).expect("none before the first") * 360_000,
        boot: BootId(1),
        monotonic_us: 0,
        authority: Authority::Centre,
        len: bytes.len() as u64,
        head_len: 0,
        content: Digest(Sha256::digest(bytes).into()),
        pictures: 100,
        key: None,
        causes: Causes::default(),
        recovered: false,
    }
}

/// A segment as a proof names it.
pub(super) fn part(number: i64, bytes: &[u8]) -> Part {
    Part { name: format!("{number:012}.mp4"), segment: segment(number, bytes) }
}

/// The proof of these segments, by number.
fn proof(subject: &Subject, segments: &[(i64, &[u8])]) -> Proof {
    let key = key();
    let begun = Writer::begin(subject.clone(), ChainId([1; 16]), &key);
    let (mut writer, begin) = begun.expect("the recorder's key");
    let mut entries = Vec::new();
    for (number, bytes) in segments {
        let Part { name, segment } = part(*number, bytes);
        let NewEntry { entry, .. } = writer.append(What::Segment(segment), &key).expect("appended");
        entries.push(ProvenEntry { file: Some(name), ..ProvenEntry::new(entry) });
    }
    let context = vec![ProvenEntry::new(begin.entry)];
    Proof::new(vec![ChainProof { recorder_key: key.public_key(), context, entries }])
}

fn camera(name: &str, channel: u16) -> Camera {
    let Subject { recorder: pu, camera: id, .. } = subject(channel, StreamTier::Main);
    Camera {
        id,
        device: DeviceId { domain: "home".parse().expect("valid"), pu },
        name: name.into(),
        presence: Presence::Online,
        fault: None,
        streams: Vec::new(),
        audio: None,
        device_key: key().public_key(),
        rights: Rights::owner(),
    }
}

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(START_US + seconds * SECOND_US)
}

#[test]
fn only_the_recording_that_was_asked_for_is_believed() {
    let main = subject(0, StreamTier::Main);
    let segments: [(i64, &[u8]); 2] = [(1, b"one"), (2, b"two")];
    let Checked { parts, .. } = check(proof(&main, &segments), &main).expect("it is that");
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["000000000001.mp4", "000000000002.mp4"]);
    for other in [subject(0, StreamTier::Sub), subject(1, StreamTier::Main)] {
        let refused = check(proof(&main, &segments), &other).expect_err("another one");
        assert_eq!(refused.exit, Exit::Security, "{other:?}");
    }
    let mut torn = proof(&main, &[(1, b"one"), (2, b"two"), (3, b"six")]);
    torn.chains[0].entries.remove(1);
    assert_eq!(check(torn, &main).expect_err("a hole").exit, Exit::Security);
    assert!(check(proof(&main, &[]), &main).is_err(), "it proves nothing");
}

#[test]
fn what_was_asked_for_and_is_not_there_is_told() {
    let main = subject(0, StreamTier::Main);
    // 8 to 12, and 20 to 24.
    let found = check(proof(&main, &[(2, b"two"), (5, b"five")]), &main).expect("sound");
    let told = |from, to| found.got.words(&(at(from)..at(to)));
    assert_eq!(told(9, 23).len(), 2, "the file, and what is missing in between");
    let words = told(0, 30).join("\n");
    for expected in [
        "Asked for: 2026-11-18T",
        "In the file: 2026-11-18T",
        "the first 8 s",
        "8 s in between",
        "the last 6 s",
    ] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    let json = found.got.json(&(at(0)..at(30)));
    assert_eq!(json["recorded_us"], 8_000_000);
    assert_ne!(json["asked"], json["span"]);
    assert_eq!(json["expired"], serde_json::json!([]));
}

#[test]
fn a_name_of_its_own_for_each_camera_tier_and_span() {
    let span = at(0)..at(60);
    let name = |camera: &Camera, tier: StreamTier, span: &Range<UnixMicros>| {
        file::default_name(camera, tier, span).to_str().expect("text").to_owned()
    };
    let garden = name(&camera("Garden / gate", 0), StreamTier::Main, &span);
    let (from, to) = ("20261118T", "Z.mp4");
    assert!(garden.starts_with(&format!("Garden___gate-main-{from}")), "{garden}");
    assert!(garden.ends_with(to) && garden.matches(from).count() == 2, "{garden}");
    for other in [
        name(&camera("Garden / gate", 1), StreamTier::Main, &span),
        name(&camera("Garden / gate", 0), StreamTier::Sub, &span),
        name(&camera("Garden / gate", 0), StreamTier::Main, &(at(0)..at(61))),
        name(&camera("Garden / gate", 0), StreamTier::Main, &(at(1)..at(60))),
    ] {
        assert_ne!(other, garden);
    }
}

#[test]
fn what_is_there_is_replaced_by_force_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("garden.mp4");
    file::refuse_existing(&out, false).expect("nothing is there");
    for taken in [out.clone(), file::proof_of(&out)] {
        fs::write(&taken, b"evidence").expect("written");
        let refused = file::refuse_existing(&out, false).expect_err("it would be lost");
        assert_eq!(refused.exit, Exit::Usage);
        file::refuse_existing(&out, true).expect("as is wished");
        fs::remove_file(&taken).expect("there");
    }
    fs::create_dir(&out).expect("made");
    assert!(file::refuse_existing(&out, true).is_err(), "a folder is not replaced by a film");
}

/// A segment that players read: two seconds of pictures without much on them.
fn film() -> Bytes {
    let nal = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let sps: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8, 0x08, 0x00, 0x00, 0x03, 0x00,
        0x08, 0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xc1, 0x92, 0x40,
    ];
    let pps: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
    let parameter_sets =
        ParameterSets::H264 { sps: Bytes::copy_from_slice(sps), pps: Bytes::copy_from_slice(pps) };
    let video = VideoTrack { width: 640, height: 128, fps: 25.0, parameter_sets };
    let description = StreamDescription { video: Some(video), audio: None };
    let mut writer = RunWriter::new(&description, at(0)).expect("a form that MP4 knows");
    for picture in 0..50 {
        let keyframe = picture == 0;
        let data = if keyframe {
            [nal(sps), nal(pps), nal(&[0x65, 0x88])].concat()
        } else {
            nal(&[0x41, 0x88])
        };
        let placed = writer.place(picture * 3_600, at(0).0 + picture * 40_000, keyframe);
        let placed = placed.expect("behind the keyframe");
        writer.push_picture(placed, keyframe, &Bytes::from(data), keyframe).expect("taken");
    }
    writer.finish(None).expect("finished");
    let mut file = Vec::new();
    while let Some(part) = writer.poll_part() {
        match part {
            FilePart::Begin { head, .. } => file.extend_from_slice(&head),
            FilePart::Fragment(bytes) => file.extend_from_slice(&bytes),
            FilePart::End { .. } => {}
        }
    }
    file.into()
}

/// A folder with one segment in it, and its proof.
async fn fetched(out: &Path) -> (Folder, Checked) {
    let (main, film) = (subject(0, StreamTier::Main), film());
    let mut folder = Folder::find(beside(out, ".part")).expect("nothing is there");
    folder.make().expect("made");
    let checked = check(proof(&main, &[(1, &film)]), &main).expect("sound");
    let content = checked.parts[0].segment.content;
    fs::write(folder.begun(content), &film).expect("written");
    folder.keep(content).await.expect("kept");
    (folder, checked)
}

#[tokio::test]
async fn film_and_proof_come_together_and_the_folder_goes() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("garden.mp4");
    let (folder, Checked { proof, parts, .. }) = fetched(&out).await;
    let made = file::make(proof, parts, folder, &out, false).await.expect("made");
    assert!(made.left.is_none() && made.duration_ms == 2_000, "{made:?}");
    let json = fs::read(file::proof_of(&out)).expect("the proof");
    let proof = Proof::parse(&json).expect("whole");
    let bytes = fs::read(&out).expect("the film");
    let Piece::Export { at, len } = &proof.chains[0].entries[0].pieces[0] else { panic!("bytes") };
    let (at, len) = (usize::try_from(*at).expect("small"), usize::try_from(*len).expect("small"));
    assert_eq!(bytes[at..at + len], film()[..], "it lies there as it was recorded");
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 2, "film and proof alone");
}

#[tokio::test]
async fn what_came_there_meanwhile_is_not_lost_nor_what_was_fetched() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("garden.mp4");
    let (folder, Checked { proof, parts, .. }) = fetched(&out).await;
    let content = parts[0].segment.content;
    fs::write(&out, b"evidence").expect("written");
    let refused = file::make(proof, parts, folder, &out, false).await.expect_err("it is taken");
    assert_eq!(refused.exit, Exit::Usage);
    assert_eq!(fs::read(&out).expect("there"), b"evidence");
    assert!(!file::proof_of(&out).exists(), "no proof beside another film");

    // Given again, by force, it goes on with what is there; a file of somebody else stays.
    let note = beside(&out, ".part").join("note.txt");
    fs::write(&note, b"mine").expect("written");
    let folder = Folder::find(beside(&out, ".part")).expect("ours");
    assert!(folder.has(content));
    let main = subject(0, StreamTier::Main);
    let Checked { proof, parts, .. } =
        check(self::proof(&main, &[(1, &film())]), &main).expect("sound");
    let made = file::make(proof, parts, folder, &out, true).await.expect("made");
    assert!(made.left.is_some() && note.exists());
    assert!(made.bytes == fs::metadata(&out).expect("there").len() && made.segments == 1);
}
