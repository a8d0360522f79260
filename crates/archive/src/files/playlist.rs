//! A span as an HLS playlist (RFC 8216) of the segments' own bytes, for players that know neither RTSP
//! nor us.

use std::fmt::Write as _;

use sightline_recording::statement::{Digest, Segment, Sequence};
use sightline_recording_store::file_name;

/// Most segments of a playlist: six hours of them. Each one's head is looked at.
pub(super) const MAX_LISTED: usize = 5_400;

/// A segment as it is listed.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub sequence: Sequence,
    pub segment: Segment,
    /// Of its head, without which nothing of it can be decoded.
    pub head: Digest,
    /// To be added to its times, in microseconds.
    pub correction_us: i64,
}

/// The playlist; `query` goes behind every file's name, so that the token does.
pub(super) fn playlist(listed: &[Listed], query: &str) -> String {
    let longest_us = listed.iter().map(|listed| listed.segment.duration_us).max().unwrap_or(0);
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n");
    let target_s = longest_us.div_ceil(1_000_000).max(1);
    // Writing to a string does not fail.
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-INDEPENDENT-SEGMENTS");
    let mut before: Option<&Listed> = None;
    for one in listed {
        let Segment { len, head_len, duration_us, .. } = one.segment;
        let uri = format!("{}{query}", file_name(one.sequence));
        let goes_on = before.is_some_and(|before| follows(before, one));
        if before.is_some() && !goes_on {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if before.is_none_or(|before| before.head != one.head) {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{head_len}@0\"");
        }
        if !goes_on {
            let start_us = one.segment.start.0.saturating_add(one.correction_us);
            if let Ok(at) = jiff::Timestamp::from_microsecond(start_us) {
                let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{at:.3}");
            }
        }
        let (whole_s, rest_us) = (duration_us / 1_000_000, duration_us % 1_000_000);
        let body = len.saturating_sub(head_len.into());
        let _ = writeln!(
            text,
            "#EXTINF:{whole_s}.{rest_us:06},\n#EXT-X-BYTERANGE:{body}@{head_len}\n{uri}"
        );
        before = Some(one);
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

fn follows(before: &Listed, next: &Listed) -> bool {
    before.segment.run == next.segment.run && before.sequence.0 + 1 == next.sequence.0
}

#[cfg(test)]
mod tests {
    use sightline_model::UnixMicros;
    use sightline_recording::statement::{Authority, BootId, Causes, RunId};

    use super::*;

    fn listed(sequence: u64, run: u64, head: u8) -> Listed {
        let segment = Segment {
            run: RunId(run),
            start: UnixMicros(1_700_000_000_000_000 + sequence as i64 * 4_000_000),
            duration_us: 4_000_001,
            position_90k: 0,
            boot: BootId(1),
            monotonic_us: 0,
            authority: Authority::System,
            len: 1_000,
            head_len: 600,
            content: Digest([0; 32]),
            pictures: 100,
            key: None,
            causes: Causes::default(),
            recovered: false,
        };
        Listed { sequence: Sequence(sequence), segment, head: Digest([head; 32]), correction_us: 0 }
    }

    #[test]
    fn a_new_run_is_a_seam_and_a_new_form_a_new_head() {
        let all = [listed(7, 1, 1), listed(8, 1, 1), listed(9, 1, 2), listed(11, 2, 2)];
        let text = playlist(&all, "?token=t");
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n\
            #EXT-X-TARGETDURATION:5\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MAP:URI=\"000000000007.mp4?token=t\",BYTERANGE=\"600@0\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:48.000Z\n\
            #EXTINF:4.000001,\n#EXT-X-BYTERANGE:400@600\n000000000007.mp4?token=t\n\
            #EXTINF:4.000001,\n#EXT-X-BYTERANGE:400@600\n000000000008.mp4?token=t\n\
            #EXT-X-MAP:URI=\"000000000009.mp4?token=t\",BYTERANGE=\"600@0\"\n\
            #EXTINF:4.000001,\n#EXT-X-BYTERANGE:400@600\n000000000009.mp4?token=t\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:14:04.000Z\n\
            #EXTINF:4.000001,\n#EXT-X-BYTERANGE:400@600\n000000000011.mp4?token=t\n\
            #EXT-X-ENDLIST\n";
        assert_eq!(text, expected);
    }
}
