//! Puts RTP packets back into order, and waits a little for those that were lost and asked for
//! again (RFC 4585). Sans-IO.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sightline_rtsp::rtp::Packet;

/// How long a missing packet is waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// Most packets that wait: a bound for memory, not for time.
const MOST: usize = 2_048;

/// Invariant: what is given out has rising sequence numbers.
#[derive(Debug, Default)]
pub struct Reorder {
    /// Extended sequence number of the next packet.
    next: Option<u64>,
    waiting: BTreeMap<u64, (Packet, Instant)>,
    lost: u64,
}

impl Reorder {
    /// Takes a packet; late and repeated ones are dropped.
    pub fn push(&mut self, packet: Packet, now: Instant) {
        // Away from zero, so that packets before the first can be told.
        let next = *self.next.get_or_insert(u64::from(packet.sequence) + (1 << 16));
        #[expect(
            clippy::cast_possible_wrap,
            clippy::cast_possible_truncation,
            reason = "distance modulo 2^16"
        )]
        let step = packet.sequence.wrapping_sub(next as u16) as i16;
        let Some(number) = next.checked_add_signed(step.into()) else { return };
        if number >= next {
            self.waiting.entry(number).or_insert((packet, now));
        }
    }

    /// The next packet in order, if it is there or if what is before it is given up.
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        let (&number, (_, came)) = self.waiting.first_key_value()?;
        let next = self.next?;
        let given_up = now.duration_since(*came) >= PATIENCE || self.waiting.len() > MOST;
        if number != next && !given_up {
            return None;
        }
        self.lost += number - next;
        self.next = Some(number + 1);
        self.waiting.pop_first().map(|(_, (packet, _))| packet)
    }

    /// When to poll again though no packet has come.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, (_, came))| *came + PATIENCE)
    }

    /// Packets given up since the last call.
    pub const fn take_lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn packet(sequence: u16) -> Packet {
        Packet {
            payload_type: 96,
            marker: false,
            sequence,
            timestamp: 0,
            ssrc: 1,
            payload: Bytes::new(),
        }
    }

    fn drain(reorder: &mut Reorder, now: Instant) -> Vec<u16> {
        std::iter::from_fn(|| reorder.poll(now)).map(|p| p.sequence).collect()
    }

    #[test]
    fn order_is_restored_across_the_wrap() {
        let (mut reorder, now) = (Reorder::default(), Instant::now());
        for sequence in [65_534, 0, 65_535, 65_535, 2, 1] {
            reorder.push(packet(sequence), now);
        }
        assert_eq!(drain(&mut reorder, now), [65_534, 65_535, 0, 1, 2]);
        reorder.push(packet(65_535), now);
        assert!(drain(&mut reorder, now).is_empty(), "late packets are dropped");
        assert_eq!(reorder.take_lost(), 0);
    }

    #[test]
    fn a_lost_packet_is_waited_for_but_not_for_ever() {
        let (mut reorder, now) = (Reorder::default(), Instant::now());
        for sequence in [10, 12, 13] {
            reorder.push(packet(sequence), now);
        }
        assert_eq!(drain(&mut reorder, now), [10]);
        assert_eq!(reorder.poll_timeout(), Some(now + PATIENCE));
        assert_eq!(drain(&mut reorder, now + PATIENCE), [12, 13]);
        assert_eq!(reorder.take_lost(), 1);
        for sequence in (20..20 + 2 * 2_048).filter(|s| s % 2 == 0) {
            reorder.push(packet(sequence), now + PATIENCE);
        }
        reorder.push(packet(20_000), now + PATIENCE);
        assert!(!drain(&mut reorder, now + PATIENCE).is_empty(), "memory is bounded");
    }
}
