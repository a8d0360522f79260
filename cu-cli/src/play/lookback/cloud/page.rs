//! A part of what the portal lists of the cloud storage, and which of it the camera's unit has signed.

use std::{collections::HashSet, ops::Range, time::Instant};

use sightline_model::UnixMicros;
use sightline_protocol::cm::CloudSegment;
use sightline_recording::{
    chain::{Expected, Proof},
    replay::{Candidate, SegmentKey, Way, choose},
    statement::{RunId, Sequence, Subject},
};

use crate::error::CuError;

/// See the module.
pub(super) struct Page {
    /// All that lies within is listed.
    pub span: Range<UnixMicros>,
    /// In the order of their beginnings.
    pub segments: Vec<CloudSegment>,
    /// What is signed, by its hash as the list writes it.
    pub signed: HashSet<String>,
    /// Until when the addresses work.
    pub expires_at: UnixMicros,
    /// When it was asked for.
    pub asked: Instant,
}

/// A segment, and which part of it is shown.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub key: SegmentKey,
    pub segment: CloudSegment,
    pub window: Range<UnixMicros>,
    pub is_signed: bool,
}

impl Shown {
    /// How far it lies ahead, in microseconds.
    pub fn far_us(&self, at: UnixMicros, way: Way) -> i64 {
        match way {
            Way::Forwards => self.window.start.0.saturating_sub(at.0).max(0),
            Way::Backwards => at.0.saturating_sub(self.window.end.0).max(0),
        }
    }
}

impl Page {
    /// Whether it tells what is shown at a time, or first behind it.
    pub fn tells(&self, at: UnixMicros, way: Way) -> bool {
        match way {
            Way::Forwards => self.span.start <= at && at < self.span.end,
            Way::Backwards => self.span.start < at && at <= self.span.end,
        }
    }

    /// What is shown at `at`, else the first behind it; in reverse the last before it. `chains` numbers the
    /// chains that have been met.
    pub fn shown(&self, at: UnixMicros, way: Way, chains: &mut Vec<String>) -> Option<Shown> {
        let candidates: Vec<_> = self
            .segments
            .iter()
            .map(|segment| Candidate {
                key: SegmentKey {
                    chain: number(chains, &segment.chain),
                    sequence: Sequence(segment.sequence),
                },
                run: RunId(segment.run),
                start: segment.from,
                end: segment.to,
                confirmed: segment.time_known,
                preference: 0,
            })
            .collect();
        let mut stretches = choose(&candidates);
        stretches.iter_mut().for_each(|one| one.window = within(&one.window, &self.span));
        stretches.retain(|one| one.window.start < one.window.end);
        let stretch = match way {
            Way::Forwards => stretches.into_iter().find(|one| one.window.end > at),
            Way::Backwards => stretches.into_iter().rfind(|one| one.window.start < at),
        }?;
        let index = candidates.iter().position(|one| one.key == stretch.key)?;
        let segment = self.segments.get(index)?.clone();
        let is_signed = self.signed.contains(&segment.sha256);
        Some(Shown { key: stretch.key, segment, window: stretch.window, is_signed })
    }
}

fn within(window: &Range<UnixMicros>, span: &Range<UnixMicros>) -> Range<UnixMicros> {
    window.start.max(span.start)..window.end.min(span.end)
}

fn number(chains: &mut Vec<String>, chain: &str) -> u32 {
    let known = chains.iter().position(|one| one == chain);
    let number = known.unwrap_or_else(|| {
        chains.push(chain.to_owned());
        chains.len() - 1
    });
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The hashes of the segments that a proof vouches for, as the list writes them.
///
/// # Errors
/// [`crate::error::Exit::Security`] when it is no proof, or not of this subject's recording.
pub(super) fn signed(proof: &[u8], subject: &Subject) -> Result<Vec<String>, CuError> {
    let proof = Proof::parse(proof);
    let proof = proof.map_err(|e| CuError::security(format!("the portal's proof: {e}")))?;
    let mut signed = Vec::new();
    for chain in &proof.chains {
        let recorder = subject.recorder.clone();
        let expected = Expected { subject: Some(subject.clone()), ..Expected::of(recorder) };
        let mut verifier = chain.verifier(expected);
        for entry in &chain.entries {
            let segment = verifier.push(&entry.entry());
            signed.extend(segment.map(|(_, segment)| segment.content.to_string()));
        }
        let report = verifier.finish();
        if !report.is_sound() {
            let first = report.findings.first().map(ToString::to_string);
            let first = first.unwrap_or_else(|| "too much is missing".into());
            return Err(CuError::security(format!(
                "what lies in the cloud is not what the camera's unit has recorded: {first}"
            )));
        }
    }
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use sightline_model::{Causes, Secret, StreamTier};
    use sightline_recording::statement::Digest;

    use super::*;

    fn segment(chain: &str, sequence: u64, from: i64, to: i64) -> CloudSegment {
        CloudSegment {
            chain: chain.into(),
            sequence,
            run: 1,
            tier: StreamTier::Main,
            from: UnixMicros(from),
            to: UnixMicros(to),
            time_known: true,
            causes: Causes::default(),
            locked: false,
            bytes: 1,
            head_bytes: 1,
            sha256: Digest([u8::try_from(sequence).expect("few"); 32]).to_string(),
            url: Secret::new(String::new()),
        }
    }

    fn page(from: i64, to: i64, segments: Vec<CloudSegment>) -> Page {
        Page {
            span: UnixMicros(from)..UnixMicros(to),
            segments,
            signed: HashSet::from([Digest([1; 32]).to_string()]),
            expires_at: UnixMicros(i64::MAX),
            asked: Instant::now(),
        }
    }

    #[test]
    fn what_is_shown_at_a_time_or_next_to_it_is_found_both_ways() {
        let segments =
            vec![segment("a", 1, 0, 40), segment("a", 2, 40, 80), segment("b", 1, 100, 140)];
        let page = page(0, 120, segments);
        let mut chains = Vec::new();
        let mut of = |at, way| {
            let shown = page.shown(UnixMicros(at), way, &mut chains)?;
            let (key, window) = (shown.key, shown.window);
            Some((key.chain, key.sequence.0, window.start.0, window.end.0))
        };
        use Way::{Backwards, Forwards};
        assert_eq!(of(0, Forwards), Some((0, 1, 0, 40)));
        assert_eq!(of(40, Forwards), Some((0, 2, 40, 80)));
        // The page ends within it.
        assert_eq!(of(80, Forwards), Some((1, 1, 100, 120)));
        assert_eq!(of(120, Forwards), None);
        assert_eq!(of(120, Backwards), Some((1, 1, 100, 120)));
        assert_eq!(of(100, Backwards), Some((0, 2, 40, 80)));
        assert_eq!(of(0, Backwards), None);
        let first = page.shown(UnixMicros(0), Forwards, &mut chains).expect("shown");
        let second = page.shown(UnixMicros(40), Forwards, &mut chains).expect("shown");
        assert!(first.is_signed && !second.is_signed);
        assert_eq!(first.far_us(UnixMicros(-9), Forwards), 9);
        assert_eq!(second.far_us(UnixMicros(99), Backwards), 19);
    }

    #[test]
    fn a_page_tells_what_lies_within_it() {
        let page = page(10, 20, Vec::new());
        let tells = |at, way| page.tells(UnixMicros(at), way);
        assert_eq!([9, 10, 19, 20].map(|at| tells(at, Way::Forwards)), [false, true, true, false]);
        assert_eq!(
            [10, 11, 20, 21].map(|at| tells(at, Way::Backwards)),
            [false, true, true, false]
        );
    }

    #[test]
    fn what_is_no_proof_vouches_for_nothing() {
        use sightline_model::{CameraId, ChannelId, PuId, PublicKey};
        let recorder = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        let camera = CameraId { pu: recorder.clone(), channel: ChannelId(0) };
        let subject = Subject { recorder, camera, tier: StreamTier::Main };
        let error = signed(b"{}", &subject).expect_err("no proof");
        assert_eq!(error.exit, crate::error::Exit::Security);
    }
}
