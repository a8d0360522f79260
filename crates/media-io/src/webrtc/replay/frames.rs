//! A unit in the messages of the channel.

use bytes::Bytes;
use sightline_media::{AccessUnit, packetize::nal_units};
use sightline_protocol::pc::{MAX_REPLAY_MESSAGE, NEXT, UnitHead};

use crate::archive::Due;

/// The messages of one unit, made as they are taken.
#[derive(Debug)]
pub(super) struct Frames {
    head: Option<[u8; UnitHead::LEN]>,
    body: Bytes,
}

impl Frames {
    /// `sent_us`: the presentation time now.
    pub(super) fn new(due: &Due, sent_us: i64) -> Self {
        let (body, sound) = match &due.unit {
            AccessUnit::Video { data, .. } => (byte_stream(data), false),
            AccessUnit::Audio { data, .. } => (data.clone(), true),
        };
        let plan = &due.plan;
        let head = UnitHead {
            sound,
            keyframe: plan.keyframe,
            shown: plan.shown,
            discontinuity: plan.discontinuity,
            section_end: plan.section_end,
            last: plan.last,
            command: plan.command,
            wall: plan.wall,
            presentation_us: plan.presentation_us,
            sent_us,
            len: u32::try_from(body.len()).unwrap_or(u32::MAX),
        };
        Self { head: Some(head.encode()), body }
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut message = Vec::with_capacity(MAX_REPLAY_MESSAGE);
        match self.head.take() {
            Some(head) => message.extend_from_slice(&head),
            None if self.body.is_empty() => return None,
            None => message.push(NEXT),
        }
        let room = MAX_REPLAY_MESSAGE - message.len();
        let piece = self.body.split_to(room.min(self.body.len()));
        message.extend_from_slice(&piece);
        Some(message)
    }
}

/// NAL units behind start codes, as decoders take them that were given no configuration.
fn byte_stream(data: &Bytes) -> Bytes {
    let mut stream = Vec::with_capacity(data.len());
    for nal in nal_units(data) {
        stream.extend_from_slice(&[0, 0, 0, 1]);
        stream.extend_from_slice(&nal);
    }
    stream.into()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use sightline_media::StreamDescription;
    use sightline_model::UnixMicros;
    use sightline_recording::{
        replay::{SegmentKey, Unit, UnitKind},
        statement::Sequence,
    };

    use super::*;

    fn due(unit: AccessUnit) -> Due {
        let plan = Unit {
            segment: SegmentKey { chain: 0, sequence: Sequence(1) },
            kind: UnitKind::Picture,
            index: 0,
            source: 0,
            wall: UnixMicros(7),
            presentation_us: 9,
            due: Instant::now(),
            shown: true,
            keyframe: unit.is_keyframe(),
            discontinuity: false,
            section_end: false,
            last: false,
            command: 3,
        };
        Due { plan, unit, stream: Arc::new(StreamDescription::default()) }
    }

    #[test]
    fn a_unit_is_whole_again_when_its_messages_are_joined() {
        let nal = |kind: u8, len: usize| [&[kind][..], &vec![7; len]].concat();
        let nals = [nal(0x67, 20), nal(0x68, 4), nal(0x65, 40_000)];
        let data: Vec<u8> = nals
            .iter()
            .flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat())
            .collect();
        let unit = AccessUnit::h264(0, UnixMicros(7), data.into());
        let messages: Vec<_> = Frames::new(&due(unit), 4).collect();
        assert!(messages.iter().all(|m| m.len() <= MAX_REPLAY_MESSAGE));
        let (head, first) = UnitHead::decode(&messages[0]).expect("a head");
        assert!(head.keyframe && !head.sound && head.command == 3 && head.sent_us == 4);
        let mut whole = first.to_vec();
        for message in &messages[1..] {
            assert_eq!(message[0], NEXT);
            whole.extend_from_slice(&message[1..]);
        }
        assert_eq!(whole.len(), head.len as usize);
        let expected: Vec<u8> =
            nals.iter().flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat()).collect();
        assert_eq!(whole, expected);
        let sound =
            AccessUnit::Audio { timestamp: 0, captured_at: UnixMicros(7), data: Bytes::new() };
        assert_eq!(Frames::new(&due(sound), 4).count(), 1, "a unit without bytes has its head");
    }
}
