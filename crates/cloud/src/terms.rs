//! What their owner has said of the recordings of a chain: which of them stay until they are unlocked, and
//! for how long the others do. It lies beside the segments (decision 0112), so that a list that is made
//! again from the store lets nothing go that was to stay, and keeps nothing that was to go.

use serde::{Deserialize, Serialize};
use sightline_recording::statement::Sequence;

/// Longest object of terms that is read, in bytes.
pub const MAX_TERMS_LEN: u64 = 1 << 20;

const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Numbers of the segments that are locked: of each stretch the first and the last.
    pub locked: Vec<(Sequence, Sequence)>,
    /// How long segments stay, in seconds since their end; none: until space is needed.
    pub max_age_s: Option<u32>,
    /// Likewise, clips of events.
    pub event_max_age_s: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    locked: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_max_age_s: Option<u32>,
}

impl Terms {
    /// Of locked segments, by their numbers in rising order.
    #[must_use]
    pub fn new(locked: &[u64], ages_s: (Option<u32>, Option<u32>)) -> Self {
        let mut stretches: Vec<(Sequence, Sequence)> = Vec::new();
        for number in locked {
            match stretches.last_mut() {
                Some((_, last)) if last.0.checked_add(1) == Some(*number) => last.0 = *number,
                Some(_) | None => stretches.push((Sequence(*number), Sequence(*number))),
            }
        }
        Self { locked: stretches, max_age_s: ages_s.0, event_max_age_s: ages_s.1 }
    }

    /// Whether nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.locked.is_empty() && self.max_age_s.is_none() && self.event_max_age_s.is_none()
    }

    /// As the bytes of an object; none: it would be longer than is read.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let locked = self.locked.iter().map(|(first, last)| (first.0, last.0)).collect();
        let Self { max_age_s, event_max_age_s, .. } = *self;
        let text = Text { version: VERSION, locked, max_age_s, event_max_age_s };
        let bytes = serde_json::to_vec(&text).ok()?;
        (bytes.len() as u64 <= MAX_TERMS_LEN).then_some(bytes)
    }

    /// As [`Self::to_bytes`] wrote it; none: it is not.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > MAX_TERMS_LEN {
            return None;
        }
        let text: Text = serde_json::from_slice(bytes).ok()?;
        if text.version != VERSION || text.locked.iter().any(|(first, last)| first > last) {
            return None;
        }
        let locked = text.locked.iter().map(|(first, last)| (Sequence(*first), Sequence(*last)));
        let Text { max_age_s, event_max_age_s, .. } = text;
        Some(Self { locked: locked.collect(), max_age_s, event_max_age_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_come_back_as_they_were() {
        for (locked, ages_s) in [
            (&[][..], (None, None)),
            (&[7][..], (Some(3_600), None)),
            (&[1, 2, 3, 9, 11, 12, u64::MAX][..], (Some(3_600), Some(u32::MAX))),
        ] {
            let terms = Terms::new(locked, ages_s);
            assert_eq!(terms.is_empty(), locked.is_empty() && ages_s == (None, None));
            let bytes = terms.to_bytes().expect("short");
            assert_eq!(Terms::read(&bytes), Some(terms));
        }
        let stretches = Terms::new(&[1, 2, 3, 9], (None, None)).locked;
        let stretch = |first, last| (Sequence(first), Sequence(last));
        assert_eq!(stretches, [stretch(1, 3), stretch(9, 9)]);
    }

    #[test]
    fn what_is_none_is_not_read() {
        for bad in [
            &b""[..],
            b"{}",
            b"{\"version\":2}",
            b"{\"version\":1,\"locked\":[[2,1]]}",
            b"{\"version\":1,\"locked\":[[-1,1]]}",
            b"{\"version\":1,\"max_age_s\":-1}",
        ] {
            assert_eq!(Terms::read(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        let many: Vec<u64> = (0..200_000).map(|n| n * 2).collect();
        assert_eq!(Terms::new(&many, (None, None)).to_bytes(), None, "longer than is read");
    }
}
