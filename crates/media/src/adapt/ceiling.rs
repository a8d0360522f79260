//! What may be sent at all: the viewer's choice, what it can decode, the limits that it states.

use sightline_model::{QualityChoice, StreamTier};

use super::{Level, NotDecodable, Offered, Policy, Tier};

impl Policy {
    /// The best level that choice, decoder and stated limits allow.
    pub(super) fn ceiling(&self, offered: &Offered) -> Result<(Level, String), NotDecodable> {
        let usable = |tier: Option<Tier>| tier.filter(|t| self.decodable.contains(&t.codec));
        let (main, sub) = (usable(offered.main), usable(offered.sub));
        let best = match (main, sub) {
            (Some(_), _) => Level::Main,
            (None, Some(_)) => Level::Sub,
            (None, None) => {
                return Err(NotDecodable(
                    "The camera sends H.265, which this viewer cannot decode, and it has no \
                     H.264 stream. Set the camera to H.264, or give it an H.264 sub stream."
                        .into(),
                ));
            }
        };
        let undecodable = main.is_none() && offered.main.is_some();
        Ok(match (self.choice, best) {
            (QualityChoice::Keyframes, _) => {
                (Level::KeyframesOnly, "you asked for keyframes only".into())
            }
            (QualityChoice::Tier { tier: StreamTier::Main }, Level::Main) => {
                (Level::Main, "you asked for the main stream".into())
            }
            (QualityChoice::Tier { tier: StreamTier::Sub }, _) if sub.is_some() => {
                (Level::Sub, "you asked for the sub stream".into())
            }
            (QualityChoice::Tier { tier: StreamTier::Sub }, _) => {
                (best, "the camera has no sub stream".into())
            }
            (_, _) if undecodable => {
                (best, "this viewer cannot decode the main stream (H.265)".into())
            }
            (QualityChoice::Auto | QualityChoice::Exact { .. }, Level::Main) => {
                match (self.exceeded(main), sub) {
                    (Some(limit), Some(_)) => (Level::Sub, limit),
                    (Some(_) | None, _) => (Level::Main, "the path carries it".into()),
                }
            }
            (_, _) => (best, "it is the only stream that can be shown".into()),
        })
    }

    /// Which stated limit the main stream exceeds.
    fn exceeded(&self, main: Option<Tier>) -> Option<String> {
        let main = main?;
        let limits = &self.capabilities;
        let above = |limit: Option<u32>, value: u32| limit.is_some_and(|l| value > l);
        if above(limits.max_width, main.width) || above(limits.max_height, main.height) {
            return Some("the main stream is larger than this viewer's limit".into());
        }
        if limits.max_fps.is_some_and(|l| main.fps > l * 1.05) {
            return Some(
                "the main stream has more pictures per second than this viewer takes".into(),
            );
        }
        let rate = main.rate_bps?;
        (rate > limits.max_bitrate_bps?)
            .then(|| "the main stream needs more bits than this viewer's limit".into())
    }
}
