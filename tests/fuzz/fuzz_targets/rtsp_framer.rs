//! Messages and interleaved packets: one cut or another of the same bytes gives the same frames.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_rtsp::wire::Framer;

fn frames(chunks: &mut dyn Iterator<Item = &[u8]>) -> (Vec<String>, bool) {
    let mut framer = Framer::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_first() else { return };
    let whole = frames(&mut std::iter::once(data));
    let cut = frames(&mut data.chunks(usize::from(*size).max(1)));
    assert_eq!(whole.0, cut.0);
});
