//! What a viewer may say on the data channel.

use sightline_model::QualityChoice;
use sightline_protocol::pc::CuToPu;

/// Longest message that is read.
const MAX_BYTES: usize = 4_096;

/// Reads a message; `None` when it is malformed, too long, or asks for what cannot be.
pub(super) fn read(data: &[u8]) -> Option<CuToPu> {
    if data.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(data).ok().filter(is_sound)
}

fn is_sound(message: &CuToPu) -> bool {
    match message {
        CuToPu::SetQuality { quality: QualityChoice::Exact { width, height, fps } } => {
            (16..=3_840).contains(width)
                && (16..=2_160).contains(height)
                && width.is_multiple_of(2)
                && height.is_multiple_of(2)
                && (1..=60).contains(fps)
        }
        CuToPu::SetQuality { .. } | CuToPu::Ping { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_that_cannot_be_are_refused() {
        let exact = |width, height, fps| {
            let quality = QualityChoice::Exact { width, height, fps };
            read(&serde_json::to_vec(&CuToPu::SetQuality { quality }).expect("serializes"))
        };
        assert!(exact(640, 360, 25).is_some());
        for (width, height, fps) in
            [(0, 0, 0), (641, 360, 25), (640, 361, 25), (8_000, 360, 25), (640, 360, 61)]
        {
            assert!(exact(width, height, fps).is_none(), "{width}x{height} at {fps} was taken");
        }
        let mut long = br#"{"type":"ping","cu_time":1}"#.to_vec();
        assert!(read(&long).is_some());
        long.resize(MAX_BYTES + 1, b' ');
        assert!(read(&long).is_none());
    }
}
