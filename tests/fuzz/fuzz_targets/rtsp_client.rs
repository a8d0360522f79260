//! What a hostile server sends to a viewer.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use sightline_model::UnixMicros;
use sightline_rtsp::client::{Client, Event, Options, Output};

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let Some((flags, data)) = data.split_first() else { return };
    let mut options = Options::new("rtsp://192.0.2.7/0/main".parse().expect("a URL"));
    options.version_2 = flags & 1 != 0;
    options.raw_packets = flags & 2 != 0;
    let mut client = Client::new(options);
    client.start(now);
    for chunk in data.chunks(usize::from(*flags).max(1) * 16) {
        client.handle_input(chunk, now, UnixMicros(0));
        while let Some(output) = client.poll_output() {
            if let Output::Event(Event::Playing) = output {
                client.pause(now);
            }
        }
    }
    if let Some(at) = client.poll_timeout() {
        client.handle_timeout(at);
    }
    client.teardown(now);
});
