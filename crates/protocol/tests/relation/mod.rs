//! Relations between NVRs and cameras over Cm, Sc and Ps.

use sightline_protocol::{cm, ps::*, sc};

use super::{recording::relations, *};

fn camera() -> CameraId {
    CameraId { pu: pu(), channel: ChannelId(0) }
}

#[test]
fn tickets_over_ps_and_sc() {
    check("ps-ticket-request", PuToScu::TicketRequest { request: 9, camera: camera() });
    check("ps-ticket-refused", ScuToPu::Ticket { request: 9, result: Err(problem()) });
    check("sc-ticket", sc::ScRequest::Ticket { device: pu(), epoch: 3, camera: camera() });
}

#[test]
fn relations_over_cm() {
    let nvr = cm::Nvr {
        device: device(),
        device_key: key(1),
        online: true,
        storage: None,
        records: vec![cm::Relation { camera: camera(), since: NOW }],
    };
    check("cm-nvr-list", cm::NvrList { nvrs: vec![nvr] });
    check("cm-related", cm::Related { nvr_told: true, pu_told: false });
}

/// One message tells all relations of a device, however many there are.
#[test]
fn the_most_relations_fit_one_message() {
    let small = relations();
    let name = "\u{8f66}".repeat(64);
    let largest = Relations {
        records: vec![RelatedCamera { name, ..small.records[0].clone() }; MAX_RELATIONS],
        recorded_by: vec![small.recorded_by[0].clone(); MAX_RELATIONS],
        ..small
    };
    let ask = RecordingRequest::Relate { relations: Box::new(largest) };
    let call = ScuToPu::Recording(RecordingCall { request: u64::MAX, ask });
    let bytes = encode(&call, Some("x".repeat(55)));
    assert!(bytes.len() <= MAX_MESSAGE_BYTES, "{} bytes", bytes.len());
}

#[test]
fn a_relation_allows_one_nvr_one_camera() {
    let (relations, nvr) = (relations(), PuId::from_public_key(&key(9)));
    assert!(relations.allow(&nvr, ChannelId(0)));
    assert!(!relations.allow(&nvr, ChannelId(1)), "another camera");
    assert!(!relations.allow(&pu(), ChannelId(0)), "another device");
    assert!(!Relations::default().allow(&nvr, ChannelId(0)), "withdrawn");
}
