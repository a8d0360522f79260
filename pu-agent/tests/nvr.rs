//! Tickets of NVRs at the unit's gate (decision 0099): what a relation allows, and what it does not.

mod support;
mod unit;

use pu_agent::relations::Told;
use sightline_media_io::gate::Gate;
use sightline_model::{ChannelId, PuId, Right, Rights};
use sightline_protocol::{
    ProblemKind,
    ps::{PlayClaims, RelatedNvr, Relations},
};
use support::{Centre, FakeScu};
use unit::{Unit, changed, holder, key, unit};

/// The key of the NVR.
const NVR: u8 = 9;

fn nvr(seed: u8) -> PuId {
    PuId::from_public_key(&key(seed))
}

fn relations(revision: u64, recorded_by: &[(u8, u16)]) -> Relations {
    let related =
        |(seed, channel): &(u8, u16)| RelatedNvr { nvr: nvr(*seed), channel: ChannelId(*channel) };
    let recorded_by = recorded_by.iter().map(related).collect();
    Relations { revision, recorded_by, ..Relations::default() }
}

/// What the centre signs for the NVR.
fn ticket(centre: &Centre, unit: &Unit) -> PlayClaims {
    changed(&centre.claims(&unit.pu), |claims| {
        claims.cnf = Some(key(NVR));
        claims.nvr = Some(nvr(NVR));
        claims.rights = Rights([Right::View, Right::Listen].into());
        claims.exp += 7 * 86_400;
    })
}

/// A unit that was told of its NVR when it registered.
async fn related(centre: &Centre, scu: &mut FakeScu) -> Unit {
    *centre.relations.lock().expect("not poisoned") = Some(relations(4, &[(NVR, 0)]));
    unit(centre, scu, 8).await
}

#[tokio::test]
async fn an_nvr_gets_the_camera_that_it_is_related_to_and_nothing_else() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = related(&centre, &mut scu).await;
    let good = ticket(&centre, &unit);
    let token = centre.sign(&good);
    centre.grant(&token, &good);
    unit.admit(&token, holder(NVR)).await.expect("related");
    // Another key shows it.
    assert_eq!(unit.refused(&token, holder(8)).await, ProblemKind::TokenInUse);
    let refused = async |change: &dyn Fn(&mut PlayClaims), shown_by: u8| {
        let bad = changed(&good, |claims| {
            claims.sid = support::session("session-2");
            change(claims);
        });
        let token = centre.sign(&bad);
        // The centre says yes to all of them: it is the unit that refuses.
        centre.grant(&token, &bad);
        unit.refused(&token, holder(shown_by)).await
    };
    let other_camera = |claims: &mut PlayClaims| claims.ch = ChannelId(1);
    assert_eq!(refused(&other_camera, NVR).await, ProblemKind::TokenRevoked);
    let other_nvr = |claims: &mut PlayClaims| {
        claims.nvr = Some(nvr(8));
        claims.cnf = Some(key(8));
    };
    assert_eq!(refused(&other_nvr, 8).await, ProblemKind::TokenRevoked, "it is not related");
    let in_its_name = |claims: &mut PlayClaims| claims.cnf = Some(key(8));
    assert_eq!(refused(&in_its_name, 8).await, ProblemKind::InvalidToken, "another's key");
    let for_anybody = |claims: &mut PlayClaims| claims.cnf = None;
    assert_eq!(refused(&for_anybody, NVR).await, ProblemKind::InvalidToken);
}

#[tokio::test]
async fn a_relation_that_is_withdrawn_ends_the_stream_and_stays_withdrawn() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = related(&centre, &mut scu).await;
    let claims = ticket(&centre, &unit);
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    let mut admission = unit.admit(&token, holder(NVR)).await.expect("related");
    // What was overtaken changes nothing.
    assert_eq!(unit.gate.relate(relations(3, &[]), Told::ByRequest), Ok(4));
    assert!(admission.ended.borrow().is_none(), "an old request ended a stream");
    assert_eq!(unit.gate.relate(relations(5, &[]), Told::ByRequest), Ok(5));
    let ended = tokio::time::timeout(support::PATIENCE, admission.wait_ended()).await;
    assert_eq!(ended.expect("ended").kind, ProblemKind::TokenRevoked);
    // The ticket is good for a week, and the centre would still say yes.
    let later = changed(&claims, |claims| claims.sid = support::session("session-2"));
    let again = centre.sign(&later);
    centre.grant(&again, &later);
    assert_eq!(unit.refused(&again, holder(NVR)).await, ProblemKind::TokenRevoked);
    // Nor does it help that the centre goes away and the unit is started anew.
    unit.kept("session-1").await;
    scu.kill().await;
    unit.centre_is_away().await;
    let unit = unit.restarted_alone(&centre).await;
    let lan = "192.168.1.30".parse().expect("an address");
    let refused = unit.gate.admit_from(&again, holder(NVR), lan).await;
    assert_eq!(refused.err().expect("withdrawn").kind, ProblemKind::TokenRevoked);
}

#[tokio::test]
async fn on_the_lan_an_nvr_goes_on_without_the_centre_also_after_a_restart() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = related(&centre, &mut scu).await;
    let claims = ticket(&centre, &unit);
    let token = centre.sign(&claims);
    // So that the keys of the centre are kept.
    unit.kept("key-1").await;
    scu.kill().await;
    unit.centre_is_away().await;
    let unit = unit.restarted_alone(&centre).await;
    let [near, far] = ["192.168.1.30", "203.0.113.5"].map(|ip| ip.parse().expect("an address"));
    let refused = unit.gate.admit_from(&token, holder(NVR), far).await;
    assert_eq!(refused.err().expect("not near").kind, ProblemKind::DeviceOffline);
    unit.gate.admit_from(&token, holder(NVR), near).await.expect("related, and near");
}

#[tokio::test]
async fn a_registration_tells_all_relations_whatever_was_before() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = related(&centre, &mut scu).await;
    let claims = ticket(&centre, &unit);
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    let mut admission = unit.admit(&token, holder(NVR)).await.expect("related");
    // Withdrawn while the unit was away: the new registration says so, though the centre counts anew.
    *centre.relations.lock().expect("not poisoned") = Some(relations(1, &[]));
    let ports = scu.kill().await;
    unit.centre_is_away().await;
    let mut scu = FakeScu::start(&centre, ports, true, support::Fault::None).await;
    scu.registered().await;
    let ended = tokio::time::timeout(support::PATIENCE, admission.wait_ended()).await;
    assert_eq!(ended.expect("ended").kind, ProblemKind::TokenRevoked);
}
