//! A folder of segments, whole and tampered with.

use ed25519_dalek::{Signer as _, SigningKey};
use sightline_model::{CameraId, ChannelId, PublicKey, Signature, StreamTier, UnixMicros};
use sightline_recording::{
    chain::{NewEntry, Piece, Sign, Writer},
    statement::{Authority, BootId, Causes, ChainId, RunId, Subject, What},
};

use super::{export::Shown, *};

struct Key(SigningKey);

impl Sign for Key {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

const START_US: i64 = 1_795_000_000_000_000;

fn segment(index: i64, bytes: &[u8]) -> Segment {
    Segment {
        run: RunId(1),
        start: UnixMicros(START_US + index * 4_000_000),
        duration_us: 4_000_000,
        position_90k: 0,
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

/// A folder with four segments and their proof; the recorder's id.
fn folder(dir: &Path) -> (PuId, Proof) {
    let key = Key(SigningKey::from_bytes(&[3; 32]));
    let recorder = PuId::from_public_key(&key.public_key());
    let camera = CameraId { pu: recorder.clone(), channel: ChannelId(0) };
    let subject = Subject { recorder: recorder.clone(), camera, tier: StreamTier::Main };
    let (mut writer, begin) =
        Writer::begin(subject, ChainId([1; 16]), &key).expect("the recorder's key");
    let mut entries = Vec::new();
    for index in 0..4u8 {
        let bytes = vec![index; 1_000];
        let said = What::Segment(segment(index.into(), &bytes));
        let NewEntry { entry, sequence, .. } = writer.append(said, &key).expect("a segment");
        let name = format!("{}.mp4", sequence.0);
        std::fs::write(dir.join(&name), bytes).expect("written");
        entries.push(ProvenEntry { file: Some(name), ..ProvenEntry::new(entry) });
    }
    let context = vec![ProvenEntry::new(begin.entry)];
    let proof = Proof::new(vec![ChainProof { recorder_key: key.public_key(), context, entries }]);
    write(dir, &proof);
    (recorder, proof)
}

fn write(dir: &Path, proof: &Proof) {
    std::fs::write(dir.join(PROOF_FILE), proof.to_json().expect("valid")).expect("written");
}

fn verify(path: &Path, recorder: Option<&PuId>, rebuild: Option<&Path>) -> Result<(), CuError> {
    let options = Verify {
        path: path.to_path_buf(),
        recorder: recorder.cloned(),
        proof: None,
        rebuild: rebuild.map(Path::to_path_buf),
    };
    run(false, &options)
}

#[test]
fn a_folder_is_proven_and_each_tampering_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorder, proof) = folder(dir.path());
    verify(dir.path(), Some(&recorder), None).expect("as it was recorded");
    verify(dir.path(), None, None).expect("whoever recorded it");
    let stranger = PuId::from_public_key(&PublicKey::from_bytes([9; 32]));
    let refused = verify(dir.path(), Some(&stranger), None).expect_err("another recorder");
    assert_eq!(refused.exit, Exit::Security);

    let second = dir.path().join("2.mp4");
    let bytes = std::fs::read(&second).expect("there");
    for other in [[&[1u8][..], &bytes[1..]].concat(), bytes[1..].to_vec(), vec![7; bytes.len()]] {
        let changed = other != bytes;
        std::fs::write(&second, &other).expect("written");
        assert_eq!(verify(dir.path(), Some(&recorder), None).is_err(), changed);
    }
    std::fs::remove_file(&second).expect("there");
    assert_eq!(verify(dir.path(), None, None).expect_err("missing").exit, Exit::Security);
    std::fs::write(&second, &bytes).expect("written");

    let mut short = proof;
    short.chains[0].entries.remove(1);
    write(dir.path(), &short);
    assert_eq!(verify(dir.path(), None, None).expect_err("left out").exit, Exit::Security);
    std::fs::write(dir.path().join(PROOF_FILE), b"{}").expect("written");
    assert_eq!(verify(dir.path(), None, None).expect_err("no proof").exit, Exit::Other);
}

#[test]
fn segments_are_rebuilt_from_an_export_and_only_when_they_are_proven() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorder, mut proof) = folder(dir.path());
    let mut export = b"head".to_vec();
    for (index, entry) in (0u8..).zip(&mut proof.chains[0].entries) {
        entry.file = None;
        entry.pieces = vec![
            Piece::Bytes { bytes: vec![index; 10] },
            Piece::Export { at: export.len() as u64, len: 990 },
        ];
        export.extend(vec![index; 990]);
    }
    export[4 + 990 + 5] ^= 1;
    let path = dir.path().join("garden.mp4");
    std::fs::write(&path, export).expect("written");
    let json = proof.to_json().expect("valid");
    std::fs::write(dir.path().join("garden.mp4.proof.json"), json).expect("written");
    let rebuilt = dir.path().join("rebuilt");
    // One segment is altered, and the file is none that a player could show.
    let refused = verify(&path, Some(&recorder), Some(&rebuilt)).expect_err("altered");
    assert!(refused.message.starts_with("2 findings"), "{}", refused.message);
    let name = |n: u64| rebuilt.join(format!("{recorder}-1-{n:08}.mp4"));
    for (n, there) in [(1, true), (2, false), (3, true), (4, true)] {
        assert_eq!(name(n).exists(), there, "{n}");
    }
    assert_eq!(std::fs::read(name(3)).expect("proven"), vec![2; 1_000]);
    assert_eq!(std::fs::read_dir(&rebuilt).expect("there").count(), 3, "a part was left");
}

#[test]
fn what_a_player_shows_must_be_proven_and_in_order() {
    let shown = |track, at, len| Shown { track, at, len };
    let stretches = [(100, 100), (220, 80)];
    let whole = [shown(1, 100, 50), shown(2, 150, 50), shown(1, 220, 40), shown(2, 260, 40)];
    assert_eq!(export::check(&whole, &stretches), Vec::<String>::new());
    let smuggled = [shown(1, 100, 50), shown(1, 190, 20)];
    assert!(export::check(&smuggled, &stretches)[0].starts_with("10 bytes"));
    let swapped = [shown(1, 220, 40), shown(1, 100, 50)];
    assert!(export::check(&swapped, &stretches)[0].contains("order"));
    let repeated = [shown(1, 100, 50), shown(1, 100, 50)];
    assert!(export::check(&repeated, &stretches)[0].contains("order"));
    assert!(export::check(&whole, &[(220, 80), (100, 100)])[0].contains("order"));
}
