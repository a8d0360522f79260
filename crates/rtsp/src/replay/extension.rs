//! The RTP header extension of ONVIF replay (ONVIF Streaming Specification, "RTP header extension").

use sightline_model::UnixMicros;

use crate::rtp;

/// What the extension is known by.
pub const EXTENSION_PROFILE: u16 = 0xabac;
/// Its length with the header that announces it, in bytes.
pub const EXTENSION_LEN: usize = 16;

/// Put in the first packet of every access unit that is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayExtension {
    /// When it was captured.
    pub time: UnixMicros,
    /// C: decoding can start here.
    pub clean_point: bool,
    /// E: a contiguous section of the recording ends here.
    pub section_end: bool,
    /// D: it does not follow what was sent before.
    pub discontinuity: bool,
    /// T: nothing more is recorded in this direction.
    pub last: bool,
    /// Low byte of the `CSeq` of the PLAY that it belongs to.
    pub cseq: u8,
}

impl ReplayExtension {
    /// As it stands behind the RTP header, with its profile and length.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EXTENSION_LEN] {
        let mut bytes = [0; EXTENSION_LEN];
        bytes[..2].copy_from_slice(&EXTENSION_PROFILE.to_be_bytes());
        bytes[3] = 3;
        bytes[4..12].copy_from_slice(&rtp::ntp(self.time).to_be_bytes());
        let flags = [self.clean_point, self.section_end, self.discontinuity, self.last];
        bytes[12] = flags.iter().fold(0, |sum, flag| sum << 1 | u8::from(*flag)) << 4;
        bytes[13] = self.cseq;
        bytes
    }

    /// Reads it from a whole RTP packet; `None` when that has none. What stands behind it in the same
    /// extension, as JPEG may, is passed over.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let flags = *packet.first()?;
        if flags >> 6 != 2 || flags & 0x10 == 0 {
            return None;
        }
        let at = rtp::HEADER_LEN + usize::from(flags & 0x0f) * 4;
        let extension = packet.get(at..at.checked_add(EXTENSION_LEN)?)?;
        let word = |at: usize| u16::from_be_bytes([extension[at], extension[at + 1]]);
        if word(0) != EXTENSION_PROFILE || word(2) < 3 {
            return None;
        }
        let ntp = <[u8; 8]>::try_from(&extension[4..12]).ok()?;
        let is_set = |bit: u8| extension[12] & bit != 0;
        Some(Self {
            time: rtp::from_ntp(u64::from_be_bytes(ntp)),
            clean_point: is_set(0x80),
            section_end: is_set(0x40),
            discontinuity: is_set(0x20),
            last: is_set(0x10),
            cseq: extension[13],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_specification_draws_it() {
        let extension = ReplayExtension {
            time: UnixMicros(0),
            clean_point: true,
            section_end: false,
            discontinuity: true,
            last: false,
            cseq: 0x7b,
        };
        let bytes = extension.to_bytes();
        assert_eq!(bytes[..4], [0xab, 0xac, 0, 3]);
        assert_eq!(bytes[4..12], (2_208_988_800_u64 << 32).to_be_bytes());
        assert_eq!(bytes[12..], [0xa0, 0x7b, 0, 0]);
        let mut packet = vec![0x90; rtp::HEADER_LEN];
        packet.extend_from_slice(&bytes);
        assert_eq!(ReplayExtension::parse(&packet), Some(extension));
        for cut in 0..packet.len() {
            assert_eq!(ReplayExtension::parse(&packet[..cut]), None);
        }
        packet[rtp::HEADER_LEN] = 0;
        assert_eq!(ReplayExtension::parse(&packet), None, "of another profile");
    }
}
