use proptest::prelude::*;
use rtsp_types::StatusCode;
use sightline_model::UnixMicros;

use super::{Frames, HeaderError, NptTime, PlayHeaders, Range, Scale, Speed, TimeRange};

fn range(text: &str) -> Result<Range, HeaderError> {
    text.parse()
}

#[test]
fn ranges() {
    let clock = |from: Option<i64>, to: Option<i64>| {
        Ok(Range::Clock(TimeRange { from: from.map(UnixMicros), to: to.map(UnixMicros) }))
    };
    let noon = 1_245_066_540_000_000;
    assert_eq!(range("clock=20090615T114900Z-"), clock(Some(noon), None));
    assert_eq!(range("clock=20090615T114900.44Z-"), clock(Some(noon + 440_000), None));
    assert_eq!(range(" clock=-20090615T114900Z "), clock(None, Some(noon)));
    assert_eq!(
        range("clock=20090615T114900.123456789Z-20090615T115000Z"),
        clock(Some(noon + 123_456), Some(noon + 60_000_000))
    );
    assert_eq!(range("clock=20161231T235960Z-"), range("clock=20170101T000000Z-"));
    assert_eq!(range("clock=20240229T000000Z-"), clock(Some(1_709_164_800_000_000), None));
    assert_eq!(range("clock=19691231T235959Z-"), clock(Some(-1_000_000), None));
    let npt = |from, to| Ok(Range::Npt(TimeRange { from, to }));
    assert_eq!(range("npt=now-"), npt(Some(NptTime::Now), None));
    assert_eq!(range("npt=0-"), npt(Some(NptTime::Micros(0)), None));
    assert_eq!(range("npt=0.000-"), npt(Some(NptTime::Micros(0)), None));
    let (from, to) = (NptTime::Micros(12_500_000), NptTime::Micros(3_723_250_000));
    assert_eq!(range("npt=12.5-1:02:03.25"), npt(Some(from), Some(to)));
    assert_eq!(range("npt=-7"), npt(None, Some(NptTime::Micros(7_000_000))));
}

#[test]
fn ranges_that_cannot_be_played() {
    for (text, status) in [
        ("smpte=0:10:00-", StatusCode::InvalidRange),
        ("clock=20090231T114900Z-", StatusCode::InvalidRange),
        ("clock=20230229T114900Z-", StatusCode::InvalidRange),
        ("clock=20091315T114900Z-", StatusCode::InvalidRange),
        ("clock=20090600T114900Z-", StatusCode::InvalidRange),
        ("clock=20090615T244900Z-", StatusCode::InvalidRange),
        ("clock=20090615T116000Z-", StatusCode::InvalidRange),
        ("npt=9999999999:00:00-", StatusCode::InvalidRange),
        (
            "clock=20090615T114900Z-;time=19970123T143720Z",
            StatusCode::HeaderFieldNotValidForResource,
        ),
        ("clock", StatusCode::BadRequest),
        ("clock=", StatusCode::BadRequest),
        ("clock=-", StatusCode::BadRequest),
        ("clock=20090615T114900Z", StatusCode::BadRequest),
        ("clock=20090615T114900-", StatusCode::BadRequest),
        ("clock=2009-06-15T11:49:00Z-", StatusCode::BadRequest),
        ("clock=20090615T114900.Z-", StatusCode::BadRequest),
        ("clock=20090615T114900.1234567890Z-", StatusCode::BadRequest),
        ("clock=20090615T11490\u{e9}Z-", StatusCode::BadRequest),
        ("clock=+0090615T114900Z-", StatusCode::BadRequest),
        ("npt=1:60:00-", StatusCode::BadRequest),
        ("npt=1:2-", StatusCode::BadRequest),
        ("npt=1:2:3:4-", StatusCode::BadRequest),
        ("npt=99999999999-", StatusCode::BadRequest),
        ("npt=x-", StatusCode::BadRequest),
    ] {
        assert_eq!(range(text).map_err(HeaderError::status), Err(status), "{text}");
    }
}

#[test]
fn scales_speeds_and_frames() {
    assert_eq!("-1.0".parse::<Scale>().map(Scale::value), Ok(-1.0));
    assert_eq!(" 0.125 ".parse::<Scale>().map(Scale::value), Ok(0.125));
    assert_eq!(Scale::NORMAL.to_string(), "1.0");
    for bad in ["", "0", "-0.0", "1e3", "nan", "inf", "--1", "+1", "1.", ".5", "1234567890", "1 2"]
    {
        assert_eq!(bad.parse::<Scale>(), Err(HeaderError::Malformed("Scale")), "{bad}");
    }
    assert_eq!("2.5".parse(), Ok(Speed::new(2.5, 2.5).expect("valid")));
    assert_eq!("1.0 - 2.5".parse(), Ok(Speed::new(1.0, 2.5).expect("valid")));
    assert_eq!(Speed::new(1.0, 2.5).expect("valid").to_string(), "1.0-2.5");
    for bad in ["", "-", "0", "2-1", "-1", "1-2-3", "1-x"] {
        assert_eq!(bad.parse::<Speed>(), Err(HeaderError::Malformed("Speed")), "{bad}");
    }
    assert_eq!("intra".parse(), Ok(Frames::Intra { interval_ms: 0 }));
    assert_eq!("intra/4000".parse(), Ok(Frames::Intra { interval_ms: 4_000 }));
    assert_eq!("predicted".parse(), Ok(Frames::Predicted));
    assert_eq!("all".parse(), Ok(Frames::All));
    for bad in ["", "some", "all/3", "predicted/1", "intra/", "intra/-1", "intra/9999999999"] {
        assert_eq!(bad.parse::<Frames>(), Err(HeaderError::Malformed("Frames")), "{bad}");
    }
}

fn play(headers: &[(&str, &str)]) -> Result<PlayHeaders, StatusCode> {
    let mut text = String::from("PLAY rtsp://h/0 RTSP/1.0\r\nCSeq: 1\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let (message, _) = rtsp_types::Message::<Vec<u8>>::parse(&(text + "\r\n")).expect("a message");
    let rtsp_types::Message::Request(request) = message else { panic!("no request") };
    PlayHeaders::of(&request).map_err(HeaderError::status)
}

#[test]
fn what_a_play_asks_for() {
    assert_eq!(play(&[]), Ok(PlayHeaders::default()));
    // The example of the ONVIF Streaming Specification.
    let asked = play(&[
        ("Require", "onvif-replay"),
        ("Range", "clock=20090615T115000.440Z-20090615T114900Z"),
        ("Rate-Control", "no"),
        ("Immediate", "yes"),
        ("Frames", "intra/4000"),
        ("Scale", "-1.0"),
    ])
    .expect("valid");
    assert!(asked.is_reverse() && asked.immediate && !asked.rate_control);
    assert_eq!(asked.frames, Some(Frames::Intra { interval_ms: 4_000 }));
    assert!(matches!(asked.range, Some(Range::Clock(TimeRange { to: Some(_), .. }))));
    let long = format!("clock={}-", "2".repeat(200));
    for (headers, status) in [
        (
            vec![("Rate-Control", "no"), ("Scale", "2.0")],
            StatusCode::HeaderFieldNotValidForResource,
        ),
        (vec![("Range", "npt=5-1")], StatusCode::InvalidRange),
        (vec![("Range", "npt=1-5"), ("Scale", "-1")], StatusCode::InvalidRange),
        (vec![("Range", "smpte=1-5")], StatusCode::InvalidRange),
        (vec![("Rate-Control", "maybe")], StatusCode::BadRequest),
        (vec![("Immediate", "")], StatusCode::BadRequest),
        (vec![("Range", long.as_str())], StatusCode::BadRequest),
    ] {
        assert_eq!(play(&headers), Err(status), "{headers:?}");
    }
    assert!(play(&[("Range", "npt=5-5"), ("Scale", "-1")]).is_ok(), "one instant has no direction");
}

fn times() -> impl Strategy<Value = UnixMicros> + Clone {
    // The years 0000 to 9999.
    (-62_167_219_200_000_000_i64..=253_402_300_799_999_999).prop_map(UnixMicros)
}

fn ranges_of<T: Strategy + Clone>(time: T) -> impl Strategy<Value = TimeRange<T::Value>>
where
    T::Value: Clone,
{
    let both = (time.clone(), time.clone()).prop_map(|(a, b)| (Some(a), Some(b)));
    let from = time.clone().prop_map(|a| (Some(a), None));
    let to = time.prop_map(|b| (None, Some(b)));
    prop_oneof![both, from, to].prop_map(|(from, to)| TimeRange { from, to })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_written_is_read_again(
        clock in ranges_of(times()),
        npt in ranges_of(prop_oneof![
            Just(NptTime::Now),
            (0_u64..9_999_999_999_999_999).prop_map(NptTime::Micros)
        ]),
        thousandths in prop_oneof![-999_999_999_i64..=-1, 1_i64..=999_999_999],
        speeds in (0_u32..9_999, 1_u32..9_999),
        interval_ms in 0_u32..=999_999_999,
    ) {
        for range in [Range::Clock(clock), Range::Npt(npt)] {
            prop_assert_eq!(range.to_string().parse(), Ok(range), "{}", range);
        }
        let scale = Scale::new(thousandths as f64 / 1_000.0).expect("not 0");
        prop_assert_eq!(scale.to_string().parse(), Ok(scale));
        let (lower, more) = (f64::from(speeds.0) / 8.0, f64::from(speeds.1) / 8.0);
        let speed = Speed::new(lower, lower + more).expect("rises");
        prop_assert_eq!(speed.to_string().parse(), Ok(speed));
        let frames = Frames::Intra { interval_ms };
        prop_assert_eq!(frames.to_string().parse(), Ok(frames));
    }

    #[test]
    fn whatever_is_read_can_be_written_and_read_again(text in "(clock|npt|smpte|)=?[0-9TZ.:now-]{0,48}|\\PC{0,60}") {
        if let Ok(range) = text.parse::<Range>() {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
        let _ = (text.parse::<Scale>(), text.parse::<Speed>(), text.parse::<Frames>());
    }

    #[test]
    fn every_day_is_itself(days in -719_528_i64..2_932_896) {
        let (year, month, day) = super::civil::date(days);
        prop_assert_eq!(super::civil::days(year, month, day), Some(days));
        let next = super::civil::date(days + 1);
        prop_assert!((year, month, day) < next);
        prop_assert!(next.2 == day + 1 || next.2 == 1);
    }
}
