//! The Transport header, and URLs with tokens.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_rtsp::{Url, server::Resource, transport};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for offer in transport::parse(text) {
        let _ = offer.only_to([192, 0, 2, 9].into());
        let _ = transport::udp_answer(&offer, (([192, 0, 2, 1], 6_000).into(), 6_001), 7);
    }
    if let Ok(url) = text.parse::<Url>()
        && let Some(resource) = Resource::parse(&url)
    {
        let base = resource.base(&url);
        assert!(base.query().is_none() && base.password().is_none());
        let again = Resource::parse(&base).expect("its own base");
        assert!(again.same_stream(&resource));
    }
});
