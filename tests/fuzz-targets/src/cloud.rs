//! Names and metadata of objects in the cloud storage, what the centre admits of a unit, and the unit's
//! uploader.

use sightline_cloud::{
    admit,
    budget::Spent,
    object::{Meta, ObjectKey, entry_text, read_entry},
    uploader::{Chain, Failure, Input, Item, Job, JobId, Now, Outcome, Output, Settings, Uploader},
};
use sightline_model::{PublicKey, UnixMicros};
use sightline_recording::statement::Sequence;

use crate::Choices;

/// A name, metadata, an entry, or what happens to an uploader.
pub fn cloud(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(4) {
        0 => name(choices.rest()),
        1 => meta(choices.rest()),
        2 => entry(choices.rest()),
        _ => uploader(&mut choices),
    }
}

/// One that is read has one spelling, and leads nowhere else.
fn name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(key) = text.parse::<ObjectKey>() else { return };
    assert_eq!(key.to_string(), text);
    let parts: Vec<_> = text.split('/').collect();
    assert_eq!(parts.len(), 7);
    assert!(parts.iter().all(|part| !part.is_empty() && part.bytes().any(|byte| byte != b'.')));
    let prefix = ObjectKey::prefix_of(&key.place().domain);
    assert!(text.starts_with(&prefix));
}

fn meta(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((entry, time)) = text.split_once('\n') else { return };
    let Some(meta) = Meta::read(entry, time) else { return };
    let [(_, one), (_, two)] = meta.headers();
    assert_eq!(Meta::read(&one, &two), Some(meta.clone()));
    // Nobody holds this key.
    assert!(admit::segment(&meta, &PublicKey::from_bytes([3; 32])).is_err());
}

fn entry(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(entry) = read_entry(text) else { return };
    assert_eq!(read_entry(&entry_text(&entry)), Some(entry.clone()));
    let nobody = PublicKey::from_bytes([3; 32]);
    assert!(admit::open(&entry, &nobody).is_err() && admit::note(&entry, &nobody).is_err());
}

/// Whatever is answered, jobs are bounded, and nothing is let go that was not confirmed.
fn uploader(choices: &mut Choices<'_>) {
    let mut uploader = Uploader::new(Settings::default(), Spent::default());
    let (mut open, mut confirmed): (Vec<(JobId, Job)>, Vec<Sequence>) = (Vec::new(), Vec::new());
    let mut now_us = 0_u64;
    for _ in 0..200 {
        now_us += u64::from(choices.byte()) * 100_000;
        let wall = UnixMicros(now_us.cast_signed());
        let now = Now { monotonic_us: now_us, wall };
        let input = match choices.below(8) {
            0 => Input::Up,
            1 => Input::Down,
            2 => Input::OwnerChanged,
            3 => Input::News(Chain(u32::from(choices.byte() % 3))),
            _ if open.is_empty() => Input::News(Chain(0)),
            _ => {
                let place = usize::from(choices.u16()) % open.len();
                let (id, job) = open.swap_remove(place);
                let outcome = outcome(choices);
                if let (Job::Confirm { item, .. } | Job::Ask { item, .. }, Outcome::Stored) =
                    (job, outcome)
                {
                    confirmed.push(item.sequence);
                }
                Input::Done(id, outcome)
            }
        };
        uploader.handle_input(now, input);
        uploader.handle_timeout(now);
        while let Some(output) = uploader.poll_output() {
            let Output::Do(id, job) = output else { continue };
            if let Job::Release { through, .. } = job {
                assert!(confirmed.contains(&through), "let go unconfirmed");
            }
            open.push((id, job));
        }
        assert!(open.len() < 2_000, "jobs without end");
    }
}

fn outcome(choices: &mut Choices<'_>) -> Outcome {
    let sequence = Sequence(choices.byte().into());
    match choices.below(10) {
        0 => Outcome::Done,
        1 => Outcome::Noted { through: Some(sequence), more: choices.below(2) == 0 },
        2 => Outcome::Found(None),
        3 | 4 => Outcome::Found(Some(Item { sequence, len: u64::from(choices.byte()) << 20 })),
        5 => Outcome::Leave,
        6 => Outcome::Stored,
        7 => Outcome::Full,
        8 => Outcome::Failed(Failure::NoSpace),
        _ => Outcome::Failed(match choices.below(2) {
            0 => Failure::Away,
            _ => Failure::Unacceptable,
        }),
    }
}
