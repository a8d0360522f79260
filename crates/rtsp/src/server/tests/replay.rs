//! Recordings: what a PLAY means, what is answered, how units are stamped.

use super::*;
use crate::{
    replay::{Frames, ReplayExtension},
    rtp::Packet,
    wire::{Frame, Framer},
};

/// 2026-11-21T17:00:00Z.
const FIVE: UnixMicros = UnixMicros(1_795_280_400_000_000);

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(FIVE.0 + seconds * 1_000_000)
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.server.config.archive = true;
    bench.replaying = Ok(Replaying {
        from: at(0),
        until: None,
        scale: 1.0,
        speed: 1.0,
        stamps: Stamps::Shown,
        time_us: 1_000,
    });
    bench
}

/// A session of this resource; its header.
fn session(bench: &mut Bench, resource: &str) -> String {
    let setup = format!("SETUP {resource}/video?token=good RTSP/1.0");
    assert_eq!(bench.ask(&setup, "Transport: RTP/AVP/TCP\r\n"), 200, "{}", bench.text);
    let id = bench.header("Session").expect("named").split(';').next().expect("id").to_owned();
    format!("Session: {id}\r\n")
}

fn wish(bench: &mut Bench, headers: &str) -> Wish {
    assert_eq!(bench.ask("PLAY rtsp://h/0 RTSP/1.0", headers), 200, "{headers}: {}", bench.text);
    bench.wishes.pop().expect("the recordings were asked")
}

#[test]
fn a_clock_range_in_a_live_session_is_the_past() {
    let mut bench = bench();
    let session = session(&mut bench, "rtsp://h/0/main");
    let plain = format!("{session}Range: clock=20261121T170000Z-20261121T170010Z\r\n");
    let asked = wish(&mut bench, &plain);
    assert_eq!((asked.at, asked.until, asked.scale), (Some(at(0)), Some(at(10)), 1.0));
    assert!(asked.rate_control && !asked.onvif && asked.frames.is_none());
    assert!(bench.server.playing());
    assert_eq!(bench.header("Range"), Some("clock=20261121T170000Z-"));
    let info = bench.header("RTP-Info").expect("given");
    assert!(info.contains(";seq=") && info.contains(";rtptime="), "{info}");
    let onvif = format!(
        "{session}Require: onvif-replay\r\nRange: clock=20261121T170010Z-20261121T170000Z\r\nScale: -1.0\r\nRate-Control: no\r\nFrames: intra/4000\r\nSpeed: 1.0-4.0\r\n"
    );
    let asked = wish(&mut bench, &onvif);
    assert_eq!((asked.at, asked.until, asked.scale), (Some(at(10)), Some(at(0)), -1.0));
    assert!(asked.onvif && !asked.rate_control && asked.cseq == 7 && asked.speed == 4.0);
    assert_eq!(asked.frames, Some(Frames::Intra { interval_ms: 4_000 }));
    assert_eq!(bench.header("Speed"), Some("1.0"), "what was chosen");
    // Back to what is happening.
    let live = format!("{session}Range: npt=now-\r\n");
    assert_eq!(bench.ask("PLAY rtsp://h/0 RTSP/1.0", &live), 200);
    assert!(matches!(bench.other.last(), Some(Output::Play(_))));
    assert_eq!(bench.header("Range"), Some("npt=now-"));
}

#[test]
fn a_pause_says_where_it_stands_and_playing_goes_on_from_there() {
    let mut bench = bench();
    let session = session(&mut bench, "rtsp://h/0/main");
    let first = format!("{session}Range: clock=20261121T170000Z-20261121T170100Z\r\n");
    if let Ok(replaying) = &mut bench.replaying {
        replaying.until = Some(at(60));
    }
    wish(&mut bench, &first);
    bench.server.replayed(at(3));
    assert_eq!(bench.ask("PAUSE rtsp://h/0 RTSP/1.0", &session), 200);
    assert_eq!(bench.header("Range"), Some("clock=20261121T170003Z-"));
    let on = wish(&mut bench, &session);
    assert_eq!((on.at, on.until), (None, Some(at(60))));
    let back = wish(&mut bench, &format!("{session}Scale: -2.0\r\n"));
    assert_eq!((back.at, back.until, back.scale), (None, None, -2.0));
}

#[test]
fn a_span_in_the_url_is_played_by_who_knows_npt_only() {
    let mut bench = bench();
    // A camera that is away can be looked back at.
    bench.camera = OneCamera(Lookup::Offline("no cable".into()));
    let resource = "rtsp://h/0/main/20261121T170000Z-20261121T170030Z";
    let describe = format!("DESCRIBE {resource}?token=good RTSP/1.0");
    assert_eq!(bench.ask(&describe, ""), 200, "{}", bench.text);
    assert!(bench.text.contains("a=range:npt=0-30\r\n"), "{}", bench.text);
    assert_eq!(bench.header("Content-Base"), Some(format!("{resource}/").as_str()));
    assert!(matches!(bench.other[..], [Output::LookUp(_)]));
    let session = session(&mut bench, resource);
    assert_eq!(bench.other.len(), 1, "looked up once");
    let all = wish(&mut bench, &format!("{session}Range: npt=0.000-\r\n"));
    assert_eq!((all.at, all.until), (Some(at(0)), Some(at(30))));
    assert_eq!(bench.header("Range"), Some("npt=0-"));
    let rest = wish(&mut bench, &format!("{session}Range: npt=12-40\r\n"));
    assert_eq!((rest.at, rest.until), (Some(at(12)), Some(at(30))));
    let back = wish(&mut bench, &format!("{session}Range: npt=20-\r\nScale: -1\r\n"));
    assert_eq!((back.at, back.until), (Some(at(20)), Some(at(0))));
    for outside in ["npt=now-", "npt=30-", "npt=31-", "clock=20261121T165959Z-"] {
        let range = format!("{session}Range: {outside}\r\n");
        assert_eq!(bench.ask("PLAY rtsp://h/0 RTSP/1.0", &range), 457, "{outside}");
    }
    let mut bench = self::bench();
    let session = self::session(&mut bench, resource);
    let back = wish(&mut bench, &format!("{session}Scale: -1\r\n"));
    assert_eq!((back.at, back.until), (Some(at(30)), Some(at(0))), "from the end");
}

#[test]
fn what_cannot_be_played_is_refused_in_words() {
    let range = "Range: clock=20261121T170000Z-\r\n";
    let span = "DESCRIBE rtsp://h/0/20261121T170000Z-?token=good RTSP/1.0";
    let play = "PLAY rtsp://h/0 RTSP/1.0";
    // A unit without recordings.
    let mut bench = Bench::new();
    let live = session(&mut bench, "rtsp://h/0/main");
    assert_eq!(bench.ask(play, &format!("{live}{range}")), 457);
    assert!(bench.text.contains("nothing is recorded here"), "{}", bench.text);
    assert_eq!(bench.ask(span, ""), 501);
    assert_eq!(bench.ask(play, &format!("{live}Require: onvif-replay\r\n")), 551);
    // Nothing there, or a storage that fails.
    let mut bench = self::bench();
    let live = session(&mut bench, "rtsp://h/0/main");
    bench.replaying = Err(NoReplay::Nothing);
    assert_eq!(bench.ask(play, &format!("{live}{range}")), 457);
    assert!(bench.text.contains("nothing was recorded there"), "{}", bench.text);
    assert!(!bench.server.playing());
    assert_eq!(bench.ask(span, ""), 457);
    bench.replaying = Err(NoReplay::Failed("the card\r\nis gone".into()));
    assert_eq!(bench.ask(play, &format!("{live}{range}")), 503);
    assert!(bench.text.contains("the cardis gone"), "{}", bench.text);
    for (headers, status) in [
        ("Range: clock=20261121T170000Z-20261121T165900Z\r\n", 457),
        ("Range: clock=yesterday-\r\n", 400),
        ("Range: clock=20261121T170000Z-\r\nScale: 0\r\n", 400),
    ] {
        assert_eq!(bench.ask(play, &format!("{live}{headers}")), status, "{headers}");
    }
    assert_eq!(bench.ask("DESCRIBE rtsp://h/7/20261121T170000Z-?token=good RTSP/1.0", ""), 404);
}

#[test]
fn the_right_to_look_back_is_another_than_to_watch() {
    let past = "DESCRIBE rtsp://h/0/20261121T170000Z-?token";
    for (token, of_past, of_present) in [("present", 403, 200), ("past", 200, 403)] {
        let mut bench = bench();
        assert_eq!(bench.ask(&format!("{past}={token} RTSP/1.0"), ""), of_past, "{token}");
        let present = format!("DESCRIBE rtsp://h/0?token={token} RTSP/1.0");
        assert_eq!(bench.ask(&present, ""), of_present, "{token}");
    }
    let mut bench = bench();
    let setup = "SETUP rtsp://h/0/video?token=present RTSP/1.0";
    assert_eq!(bench.ask(setup, "Transport: RTP/AVP/TCP\r\n"), 200);
    let id = bench.header("Session").expect("named").split(';').next().expect("id").to_owned();
    let range = format!("Session: {id}\r\nRange: clock=20261121T170000Z-\r\n");
    assert_eq!(bench.ask("PLAY rtsp://h/0 RTSP/1.0", &range), 403);
    assert!(bench.wishes.is_empty() && !bench.server.playing());
}

/// Sends a picture and gives its packets.
fn packets(bench: &mut Bench, replayed: &Replayed) -> Vec<(Option<ReplayExtension>, Packet)> {
    let mut wire = BytesMut::new();
    bench.server.tracks_mut()[0].write_replayed(&picture(0, true), replayed, &mut wire, |_| {});
    let mut framer = Framer::default();
    framer.push(&wire);
    std::iter::from_fn(|| framer.next_frame().expect("valid"))
        .map(|frame| {
            let Frame::Interleaved { data, .. } = frame else { panic!("no packet") };
            (ReplayExtension::parse(&data), Packet::parse(data).expect("valid"))
        })
        .collect()
}

fn rtptime(bench: &Bench) -> u32 {
    let info = bench.header("RTP-Info").expect("given");
    info.split("rtptime=").nth(1).and_then(|t| t.parse().ok()).expect("a number")
}

#[test]
fn units_are_stamped_as_announced() {
    let mut bench = bench();
    let session = session(&mut bench, "rtsp://h/0/main");
    wish(&mut bench, &format!("{session}Range: clock=20261121T170000Z-\r\n"));
    let begin = rtptime(&bench);
    let plain = Replayed { time_us: 41_000, taken_at: at(4), extension: None };
    for (extension, packet) in packets(&mut bench, &plain) {
        assert_eq!((extension, packet.timestamp), (None, begin.wrapping_add(3_600)));
    }
    // ONVIF: by the recording's own clock, which goes back in reverse.
    if let Ok(replaying) = &mut bench.replaying {
        (replaying.stamps, replaying.time_us, replaying.scale) = (Stamps::Recorded, at(9).0, -1.0);
    }
    let onvif = format!(
        "{session}Require: onvif-replay\r\nRange: clock=20261121T170009Z-\r\nScale: -1\r\n"
    );
    wish(&mut bench, &onvif);
    assert_eq!(bench.header("Scale"), Some("-1.0"));
    let begin = rtptime(&bench);
    let extension = ReplayExtension {
        time: at(8),
        clean_point: true,
        section_end: false,
        discontinuity: true,
        last: false,
        cseq: 7,
    };
    let replayed = Replayed { time_us: at(8).0, taken_at: at(8), extension: Some(extension) };
    let sent = packets(&mut bench, &replayed);
    assert!(sent.len() > 2);
    for (index, (extension, packet)) in sent.iter().enumerate() {
        assert_eq!(extension.is_some(), index == 0, "with the first packet only");
        assert_eq!(packet.timestamp, begin.wrapping_sub(90_000));
    }
    let told = sent[0].0.expect("there");
    assert!(told.time.0.abs_diff(at(8).0) <= 1 && told.discontinuity && told.cseq == 7);
}

#[test]
fn the_end_is_told_and_the_session_stays() {
    for (version, notices) in [("1.0", 0), ("2.0", 1)] {
        let mut bench = bench();
        let setup = format!("SETUP rtsp://h/0/video?token=good RTSP/{version}");
        assert_eq!(bench.ask(&setup, "Transport: RTP/AVP/TCP\r\n"), 200);
        let id = bench.header("Session").expect("named").split(';').next().expect("id").to_owned();
        let range = format!("Session: {id}\r\nRange: clock=20261121T170000Z-\r\n");
        let play = format!("PLAY rtsp://h/0 RTSP/{version}");
        assert_eq!(bench.ask(&play, &range), 200);
        bench.server.replay_ended(bench.now);
        let Some(Output::Send(bytes)) = bench.server.poll_output() else { panic!("silent") };
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("Notify-Reason: end-of-stream").count(), notices, "{text}");
        let bye = bytes.windows(2).filter(|w| **w == [0x81, 203]).count();
        assert_eq!(bye, 1, "a goodbye for the track");
        assert!(!bench.server.playing());
        assert!(bench.server.poll_timeout().is_some(), "who does nothing more is let go");
        bench.server.replay_ended(bench.now);
        assert!(bench.server.poll_output().is_none(), "once");
        assert_eq!(bench.ask(&play, &range), 200, "and again");
    }
}
