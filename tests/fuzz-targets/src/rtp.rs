//! RTP and RTCP packets, as they come and as they are made.

use bytes::{Bytes, BytesMut};
use sightline_model::UnixMicros;
use sightline_rtsp::rtp::{HEADER_LEN, Packet, Rtcp, Sender, from_ntp, ntp, parse_rtcp};

use crate::Choices;

/// Packets and reports: what is made can be read, what comes from outside is read within its bounds.
pub fn rtp(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.flag() {
        from_outside(choices.rest());
    } else {
        our_own(&mut choices);
    }
}

fn from_outside(data: &[u8]) {
    if let Some(packet) = Packet::parse(Bytes::copy_from_slice(data)) {
        assert!(packet.payload.len() + HEADER_LEN <= data.len() && packet.payload_type < 128);
    }
    let parts = parse_rtcp(data);
    assert!(parts.len() * 4 <= data.len());
}

fn our_own(choices: &mut Choices<'_>) {
    let payload_type = choices.below(128);
    let clock_hz = [90_000, 8_000, 48_000, 1][usize::from(choices.below(4))];
    let ssrc = u32::from(choices.u16());
    let mut sender =
        Sender::new(payload_type, clock_hz, ssrc, choices.u16(), u32::from(choices.u16()) << 16);
    assert!(sender.first_timestamp().is_some() && sender.report().is_none());
    let mut source = 0_i64;
    while !choices.is_empty() {
        // Times of a source, and of the wall, that jump at will.
        source = source.wrapping_add(i64::from(choices.u16()) << choices.below(40)) % (1 << 50);
        let at = UnixMicros((i64::from(choices.u16()) << choices.below(38)) - (1 << 30));
        match choices.below(8) {
            0 => sender.source_restarted(),
            1 => sender.start(at),
            _ => packet(&mut sender, choices, (source, at), (payload_type, ssrc)),
        }
    }
    let goodbye = parse_rtcp(&sender.bye());
    assert_eq!(goodbye, [Rtcp::ReceiverReport { lost_256ths: 0 }, Rtcp::Bye]);
}

fn packet(
    sender: &mut Sender,
    choices: &mut Choices<'_>,
    (source, at): (i64, UnixMicros),
    (payload_type, ssrc): (u8, u32),
) {
    let timestamp = sender.map(source, at);
    let (sequence, marker, payload) = (sender.next_sequence(), choices.flag(), choices.piece());
    let mut out = BytesMut::new();
    sender.write_header(&mut out, timestamp, marker, payload.len());
    out.extend_from_slice(payload);
    let payload = Bytes::copy_from_slice(payload);
    let packet = Packet { payload_type, marker, sequence, timestamp, ssrc, payload };
    assert_eq!(Packet::parse(out.freeze()), Some(packet));
    assert_eq!((sender.ssrc(), sender.first_timestamp()), (ssrc, None));
    let report = sender.report().expect("something was sent");
    let [Rtcp::SenderReport { ssrc: of, time, timestamp: then }, Rtcp::Other] =
        parse_rtcp(&report)[..]
    else {
        panic!("no sender report: {report:?}")
    };
    assert_eq!((of, then), (ssrc, timestamp));
    // Before 1900 and after 2036 there is no such time.
    if (0..2_085_978_496_000_000).contains(&at.0) {
        assert!((0..=1).contains(&(at.0 - time.0)), "{at:?} became {time:?}");
        assert_eq!(from_ntp(ntp(at)), time);
    }
}
