//! Calls that change, lose their device, or are too many.

use sightline_model::PublicKey;

use super::*;

fn flowing(now: Instant) -> (Calls, MediaSessionId, PuId) {
    let device = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
    let session: MediaSessionId = "call".parse().expect("valid id");
    let mut calls = Calls::default();
    calls.offer(now, &session, &device).expect("taken");
    assert!(calls.answered(&device, &session, true));
    let path = PathReport::new(MediaTransport::Webrtc, false, "");
    calls.reported(&device, &session, Some(&path));
    (calls, session, device)
}

#[test]
fn a_refused_or_forgotten_change_rolls_back() {
    let now = Instant::now();
    let (mut calls, session, _) = flowing(now);
    let direct = Route::Settled(MediaPath::Direct(MediaTransport::Webrtc));
    let mtu = MediaPath::Mtu("mtu-1".parse().expect("valid id"));
    let route = |calls: &Calls| calls.get(&session).map(|c| c.route.clone());

    calls.modify(now, &session, mtu.clone()).expect("begins");
    assert_eq!(calls.modify(now, &session, mtu.clone()), Err(CannotModify::Changing));
    calls.modified(&session, false);
    assert_eq!(route(&calls), Some(direct.clone()));

    calls.modify(now, &session, mtu.clone()).expect("begins");
    calls.handle_timeout(now + MODIFY_WITHIN);
    assert_eq!(route(&calls), Some(direct));

    calls.modify(now, &session, mtu.clone()).expect("begins");
    calls.modified(&session, true);
    assert_eq!(route(&calls), Some(Route::Settled(mtu)));
}

#[test]
fn only_the_refusal_of_a_first_offer_ends_a_call() {
    let now = Instant::now();
    let (mut calls, session, device) = flowing(now);
    calls.offer(now, &session, &device).expect("restarts ICE");
    assert!(calls.answered(&device, &session, false), "the CU is told");
    assert_eq!(calls.get(&session).map(|c| c.state), Some(CallState::Flowing));
    assert!(calls.poll_output().is_none() && calls.poll_timeout().is_none());

    let new: MediaSessionId = "new".parse().expect("valid id");
    calls.offer(now, &new, &device).expect("taken");
    assert!(calls.answered(&device, &new, false), "the CU is told");
    assert!(calls.get(&new).is_none());
}

#[test]
fn a_call_outlives_a_short_absence_of_its_device() {
    let now = Instant::now();
    let (mut calls, session, device) = flowing(now);
    calls.device_lost(now, &device);
    calls.device_back(&device);
    calls.handle_timeout(now + 2 * PU_BACK_WITHIN);
    assert!(calls.get(&session).is_some() && calls.watched(&device));
    calls.device_lost(now, &device);
    calls.handle_timeout(now + PU_BACK_WITHIN);
    assert!(calls.is_empty() && calls.poll_timeout().is_none());
    assert!(matches!(
        calls.poll_output(),
        Some(CallOutput::Ended { cu: true, problem: Some(p), .. })
            if p.kind == ProblemKind::DeviceOffline
    ));
}

#[test]
fn a_call_that_began_at_another_scu_has_a_leg_to_its_cu() {
    let device = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
    let session: MediaSessionId = "call".parse().expect("valid id");
    let mut calls = Calls::default();
    let path = PathReport::new(MediaTransport::Webrtc, false, "");
    calls.reported(&device, &session, Some(&path));
    assert!(calls.has_cu(&device, &session));
    calls.end(&session, None, (true, false));
    assert!(
        matches!(calls.poll_output(), Some(CallOutput::Ended { pu: Some(pu), .. }) if pu == device)
    );
}

#[test]
fn calls_of_a_device_that_moves_go_on_elsewhere() {
    let now = Instant::now();
    let (mut calls, _, device) = flowing(now);
    let offered: MediaSessionId = "offered".parse().expect("valid id");
    calls.offer(now, &offered, &device).expect("taken");
    calls.device_moved(&device);
    // Only the CU whose offer nobody will answer hears of it.
    assert!(matches!(
        calls.poll_output(),
        Some(CallOutput::Ended { session, pu: None, cu: true, unanswered: true, problem: Some(_) })
            if session == offered
    ));
    calls.handle_timeout(now + 2 * PU_BACK_WITHIN);
    assert!(calls.poll_output().is_none() && calls.is_empty());
    assert!(calls.poll_timeout().is_none());
}

#[test]
fn calls_of_a_device_are_bounded_and_those_that_nobody_came_for_give_way() {
    let now = Instant::now();
    let device = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
    let session = |n: usize| format!("call-{n}").parse::<MediaSessionId>().expect("valid id");
    let who = || (UserId::from_random([1; 16]), ChannelId(0));
    let mut calls = Calls::default();
    for n in 0..=MAX_CALLS_PER_DEVICE {
        calls.prepare(now, &session(n), &device, who(), vec![]).expect("taken");
    }
    assert_eq!(calls.len(), MAX_CALLS_PER_DEVICE);
    assert!(calls.get(&session(0)).is_none());
    for n in 1..=MAX_CALLS_PER_DEVICE {
        calls.offer(now, &session(n), &device).expect("taken");
    }
    let refused = calls.prepare(now, &session(0), &device, who(), vec![]);
    assert!(matches!(refused, Err(p) if p.kind == ProblemKind::Busy));
}

#[test]
fn a_device_cannot_touch_the_call_of_another() {
    let now = Instant::now();
    let (mut calls, session, _) = flowing(now);
    let other = PuId::from_public_key(&PublicKey::from_bytes([2; 32]));
    assert!(!calls.answered(&other, &session, false));
    assert!(!calls.has_cu(&other, &session));
    calls.reported(&other, &session, None);
    assert!(calls.offer(now, &session, &other).is_err());
    assert_eq!(calls.len(), 1);
    assert!(calls.poll_output().is_none());
}
