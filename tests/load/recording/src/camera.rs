//! A camera: the clip again and again, at the pace of real time, to everybody who plays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{SyncSender, TrySendError},
    },
    time::SystemTime,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::clip::Clip;

/// Dynamic payload type (RFC 3551 section 6).
pub const PAYLOAD_TYPE: u8 = 96;
/// RFC 6184 section 8.2.1.
pub const CLOCK_HZ: u32 = 90_000;
/// Between two sender reports, in seconds (RFC 3550 section 6.2).
const REPORT_EVERY_S: u64 = 5;
/// From the beginning of NTP's time to that of Unix's, in seconds.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// What goes to viewers in one piece: packets of one picture, or an answer.
pub type Bytes = Arc<[u8]>;

/// What all cameras count.
#[derive(Debug, Default)]
pub struct Counts {
    /// Viewers that play now.
    pub viewers: AtomicUsize,
    /// Pictures that were given to viewers.
    pub pictures: AtomicU64,
    /// Bytes of their NAL units.
    pub bytes: AtomicU64,
    /// Pictures that a viewer was too slow for.
    pub left_out: AtomicU64,
    /// Viewers that went.
    pub ended: AtomicU64,
}

impl Counts {
    /// For whoever measures.
    #[must_use]
    pub fn figures(&self) -> Value {
        json!({
            "viewers": self.viewers.load(Relaxed),
            "pictures": self.pictures.load(Relaxed),
            "bytes": self.bytes.load(Relaxed),
            "left_out": self.left_out.load(Relaxed),
            "ended": self.ended.load(Relaxed),
        })
    }
}

/// One of them.
#[derive(Debug)]
pub struct Camera {
    clip: Arc<Clip>,
    counts: Arc<Counts>,
    /// Where in the clip it begins: keyframes of two cameras do not come together.
    first: usize,
    fps: u32,
    ssrc: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    viewers: Vec<Viewer>,
    sequence: u16,
    packets: u32,
    octets: u32,
}

#[derive(Debug)]
struct Viewer {
    queue: SyncSender<Bytes>,
    /// It gets nothing before the next keyframe.
    waits: bool,
}

impl Camera {
    /// Number `number` of `count` cameras.
    #[must_use]
    pub fn new(
        clip: Arc<Clip>,
        counts: Arc<Counts>,
        (number, count): (usize, usize),
        fps: u32,
    ) -> Self {
        let first = number * clip.pictures.len() / count.max(1);
        let ssrc = 0x5160_0000 | number as u32;
        Self { clip, counts, first, fps, ssrc, state: Mutex::default() }
    }

    /// Gives the pictures to one more viewer, from the next keyframe on. A queue that is full loses
    /// pictures up to a keyframe; one whose other end is gone is forgotten.
    pub fn add(&self, queue: SyncSender<Bytes>) {
        self.state.lock().viewers.push(Viewer { queue, waits: true });
        self.counts.viewers.fetch_add(1, Relaxed);
    }

    /// Gives everybody its picture number `number`.
    pub fn show(&self, number: u64) {
        let mut state = self.state.lock();
        if state.viewers.is_empty() {
            return;
        }
        let at = (self.first as u64 + number) % self.clip.pictures.len() as u64;
        let picture = &self.clip.pictures[at as usize];
        let bytes = self.packets(&mut state, number, at as usize);
        let Counts { viewers, pictures, bytes: sent, left_out, ended } = &*self.counts;
        state.viewers.retain_mut(|viewer| {
            if viewer.waits && !picture.keyframe {
                return true;
            }
            match viewer.queue.try_send(Arc::clone(&bytes)) {
                Ok(()) => {
                    viewer.waits = false;
                    pictures.fetch_add(1, Relaxed);
                    sent.fetch_add(picture.bytes as u64, Relaxed);
                    true
                }
                Err(TrySendError::Full(_)) => {
                    viewer.waits = true;
                    left_out.fetch_add(1, Relaxed);
                    true
                }
                Err(TrySendError::Disconnected(_)) => {
                    viewers.fetch_sub(1, Relaxed);
                    ended.fetch_add(1, Relaxed);
                    false
                }
            }
        });
    }

    /// The same for all viewers: they see one stream, and come in when they like.
    fn packets(&self, state: &mut State, number: u64, at: usize) -> Bytes {
        let picture = &self.clip.pictures[at];
        let step = u64::from(CLOCK_HZ / self.fps);
        // RTP's clock goes round.
        let timestamp = (number.wrapping_mul(step) & u64::from(u32::MAX)) as u32;
        let mut out = Vec::with_capacity(picture.bytes + 64 * picture.payloads.len());
        if number.is_multiple_of(REPORT_EVERY_S * u64::from(self.fps)) {
            out.extend_from_slice(&self.report(state, timestamp));
        }
        let last = picture.payloads.len().saturating_sub(1);
        for (index, payload) in picture.payloads.iter().enumerate() {
            let length = 12 + payload.len() as u16;
            out.extend_from_slice(&[b'$', 0]);
            out.extend_from_slice(&length.to_be_bytes());
            let marker = if index == last { 0x80 } else { 0 };
            out.extend_from_slice(&[0x80, marker | PAYLOAD_TYPE]);
            out.extend_from_slice(&state.sequence.to_be_bytes());
            out.extend_from_slice(&timestamp.to_be_bytes());
            out.extend_from_slice(&self.ssrc.to_be_bytes());
            out.extend_from_slice(payload);
            state.sequence = state.sequence.wrapping_add(1);
            state.packets = state.packets.wrapping_add(1);
            state.octets = state.octets.wrapping_add(payload.len() as u32);
        }
        out.into()
    }

    /// RFC 3550 section 6.4.1, on the channel beside that of the pictures.
    fn report(&self, state: &State, timestamp: u32) -> Vec<u8> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = now.as_secs().wrapping_add(NTP_OFFSET_S) as u32;
        let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let mut out = vec![b'$', 1, 0, 28, 0x80, 200, 0, 6];
        let words = [self.ssrc, seconds, fraction as u32, timestamp, state.packets, state.octets];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        out
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::clip::Picture;

    fn camera(number: usize) -> (Camera, Arc<Counts>) {
        let picture = |keyframe, bytes: &[u8]| Picture {
            keyframe,
            payloads: vec![bytes.to_vec()],
            bytes: bytes.len(),
        };
        let pictures = vec![picture(true, &[0x65, 1]), picture(false, &[0x41, 2, 3])];
        let clip = Clip { pictures, sps: vec![], pps: vec![] };
        let counts = Arc::new(Counts::default());
        (Camera::new(Arc::new(clip), Arc::clone(&counts), (number, 2), 25), counts)
    }

    /// Number, time and payload of each packet on channel 0.
    fn read(mut bytes: &[u8]) -> Vec<(u16, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while let [b'$', channel, a, b, rest @ ..] = bytes {
            let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes([*a, *b])));
            bytes = rest;
            if *channel == 0 {
                let sequence = u16::from_be_bytes([packet[2], packet[3]]);
                let time = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                found.push((sequence, time, packet[12..].to_vec()));
            }
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        found
    }

    #[test]
    fn viewers_begin_with_a_keyframe_and_the_clip_goes_round() {
        let (camera, counts) = camera(0);
        let (queue, seen) = sync_channel(10);
        camera.show(0);
        camera.add(queue);
        (1..5).for_each(|number| camera.show(number));
        let seen: Vec<_> = seen.try_iter().flat_map(|bytes| read(&bytes)).collect();
        let kinds: Vec<u8> = seen.iter().map(|(_, _, payload)| payload[0]).collect();
        assert_eq!(kinds, [0x65, 0x41, 0x65]);
        assert_eq!(
            seen.iter().map(|(_, time, _)| *time).collect::<Vec<_>>(),
            [7_200, 10_800, 14_400]
        );
        assert!(seen.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
        let figures = counts.figures();
        assert_eq!((&figures["pictures"], &figures["bytes"]), (&json!(3), &json!(7)));
        assert_eq!((&figures["viewers"], &figures["left_out"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn two_cameras_have_their_keyframes_at_different_times() {
        let ((one, _), (other, _)) = (camera(0), camera(1));
        for (camera, first) in [(one, 0), (other, 1)] {
            let (queue, seen) = sync_channel(10);
            camera.add(queue);
            (0..2).for_each(|number| camera.show(number));
            let seen = read(&seen.try_recv().expect("a picture"));
            assert_eq!(seen[0].1, first * 3_600);
        }
    }

    #[test]
    fn who_is_too_slow_loses_pictures_up_to_a_keyframe_and_who_goes_is_forgotten() {
        let (camera, counts) = camera(0);
        let (queue, seen) = sync_channel(1);
        camera.add(queue);
        camera.show(0);
        camera.show(1);
        assert_eq!(counts.left_out.load(Relaxed), 1);
        assert_eq!(seen.try_iter().count(), 1);
        camera.show(3);
        assert_eq!(seen.try_iter().count(), 0, "it cannot be decoded");
        camera.show(4);
        assert_eq!(seen.try_iter().count(), 1);
        drop(seen);
        camera.show(5);
        let figures = counts.figures();
        assert_eq!((&figures["viewers"], &figures["ended"]), (&json!(0), &json!(1)));
    }
}
