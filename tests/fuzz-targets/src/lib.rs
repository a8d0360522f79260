//! One function for each parser of ours, taking whatever bytes there are.
//!
//! Each panics when an invariant is broken and returns otherwise. `tests/fuzz` drives them by
//! coverage; `tests/replay.rs` runs the seeds as an ordinary test. Parsers that live in crates
//! with heavy dependencies are included by path: the very files that the product is built from.

mod calls;
mod choices;
mod ladder;
mod media;
mod messages;
mod network;
mod recording;
mod relay;
mod rtp;
mod rtsp;
mod switchboard;
mod uplink;

pub use calls::calls;
pub use choices::Choices;
pub use ladder::{description, ladder, nat_test};
pub use media::{barcode, depacketize, mp4, packetize};
pub use messages::{claim_code, control, http_headers, protocol, rest_fields};
pub use network::{
    ladder_stun, offer_text, onvif_answer, ps_frames, reorder, server_url, stun_answer,
};
pub use recording::recording_proof;
pub use relay::{relay_client, relay_message, relay_peer, relay_stream};
pub use rtp::rtp;
pub use rtsp::{rtsp_client, rtsp_framer, rtsp_headers, rtsp_server, sdp};
pub use switchboard::switchboard;
pub use uplink::uplink;

/// A target: its name, which is also that of its folder of seeds, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("barcode", barcode),
    ("calls", calls),
    ("claim_code", claim_code),
    ("control", control),
    ("depacketize", depacketize),
    ("description", description),
    ("http_headers", http_headers),
    ("ladder", ladder),
    ("ladder_stun", ladder_stun),
    ("mp4", mp4),
    ("nat_test", nat_test),
    ("offer_text", offer_text),
    ("onvif_answer", onvif_answer),
    ("packetize", packetize),
    ("protocol", protocol),
    ("ps_frames", ps_frames),
    ("recording_proof", recording_proof),
    ("relay_client", relay_client),
    ("relay_message", relay_message),
    ("relay_peer", relay_peer),
    ("relay_stream", relay_stream),
    ("reorder", reorder),
    ("rest_fields", rest_fields),
    ("rtp", rtp),
    ("rtsp_client", rtsp_client),
    ("rtsp_framer", rtsp_framer),
    ("rtsp_headers", rtsp_headers),
    ("rtsp_server", rtsp_server),
    ("sdp", sdp),
    ("server_url", server_url),
    ("stun_answer", stun_answer),
    ("switchboard", switchboard),
    ("uplink", uplink),
];
