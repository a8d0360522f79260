//! Play tokens at the unit: who gets in, and every refusal (A8.4, SECURITY.md).

mod support;
mod unit;

use std::net::IpAddr;

use ed25519_dalek::SigningKey;
use pu_agent::gate::MEMORY_FILE;
use sightline_media_io::gate::Gate as _;
use sightline_model::{PuId, Right, SessionToken, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::{MediaTransport, PathReport},
    ps::{PuToScu, ScuToPu},
};
use support::{Centre, FakeScu, grant, sign_with};
use unit::{at, changed, holder, key, lan, started, unit};

#[tokio::test]
async fn a_good_token_opens_and_its_session_is_reported_from_path_to_end() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let claims = centre.claims(&unit.pu);
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    let admission = unit.admit(&token, lan()).await.expect("granted");
    assert_eq!(admission.grant, grant(&claims));
    assert_eq!(unit.gate.live(), 1);
    let path = PathReport::new(MediaTransport::RtspTcp, false, "the player asked for it");
    admission.path.send_replace(Some(path.clone()));
    let report = |m| match m {
        PuToScu::SessionReport { session, path } => Some((session, path)),
        _ => None,
    };
    assert_eq!(scu.heard(report).await, (claims.sid.clone(), Some(path)));
    drop(admission);
    assert_eq!(scu.heard(report).await, (claims.sid.clone(), None));
    assert_eq!(unit.gate.live(), 0);
}

#[tokio::test]
async fn forged_foreign_and_expired_tokens_are_refused_without_asking_the_centre() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let good = centre.claims(&unit.pu);
    // A centre that says yes to everything: what is refused below, the unit refused by itself.
    let claims = good.clone();
    centre.set_checker(move |_, _| Some(Ok(grant(&claims))));

    let forged = sign_with(&SigningKey::from_bytes(&[9; 32]), "key-1", &good);
    assert_eq!(unit.refused(&forged, lan()).await, ProblemKind::InvalidToken);
    let other_kid = sign_with(&SigningKey::from_bytes(&[9; 32]), "key-2", &good);
    assert_eq!(unit.refused(&other_kid, lan()).await, ProblemKind::InvalidToken);

    let other = PuId::from_public_key(&key(5));
    let foreign = centre.sign(&changed(&good, |c| c.aud = other));
    assert_eq!(unit.refused(&foreign, lan()).await, ProblemKind::InvalidToken);
    let elsewhere = centre.sign(&changed(&good, |c| c.iss = "other.example".parse().expect("id")));
    assert_eq!(unit.refused(&elsewhere, lan()).await, ProblemKind::InvalidToken);
    let expired = centre.sign(&changed(&good, |c| c.exp = c.iat - 1));
    assert_eq!(unit.refused(&expired, lan()).await, ProblemKind::TokenExpired);

    let token = centre.sign(&good);
    let text = token.expose();
    let unsigned = format!("{}.", text.rsplit_once('.').expect("a JWT").0);
    for bad in ["", "x", "a.b.c", &unsigned, &text[..text.len() - 2], &"x".repeat(100_000)] {
        let kind = unit.refused(&SessionToken::new(bad.to_owned()), lan()).await;
        assert_eq!(kind, ProblemKind::InvalidToken, "{bad:.40}");
    }
    drop(unit.admit(&token, lan()).await.expect("the good one"));
    let nothing_else_asked = |m| matches!(m, PuToScu::TokenCheck { .. }).then_some(m);
    match scu.heard(nothing_else_asked).await {
        PuToScu::TokenCheck { token: asked, .. } => assert_eq!(asked, token.hash()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn expiry_is_judged_by_the_centres_clock() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let claims = centre.claims(&unit.pu);
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    unit.clock.set_offset(61_000_000);
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::TokenExpired);
    unit.clock.set_offset(0);
    unit.admit(&token, lan()).await.expect("granted");
}

#[tokio::test]
async fn a_running_session_is_admitted_again_after_its_tokens_time_and_no_other() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let bound = changed(&centre.claims(&unit.pu), |c| c.cnf = Some(key(1)));
    let token = centre.sign(&bound);
    centre.grant(&token, &bound);
    let again = |who: u8| unit.gate.again(&token, &holder(who));
    assert!(again(1).is_none(), "nothing runs yet");
    let first = unit.admit(&token, holder(1)).await.expect("granted");
    unit.clock.set_offset(3_600_000_000);
    assert_eq!(unit.refused(&token, holder(1)).await, ProblemKind::TokenExpired);
    let second = again(1).expect("it runs");
    assert_eq!(second.grant, grant(&bound));
    assert!(again(2).is_none(), "another client's session");
    drop(first);
    assert_eq!(unit.gate.live(), 1);
    unit.gate.end_session(&bound.sid, None);
    assert!(again(1).is_none(), "it was ended");
    drop(second);
    assert!(again(1).is_none(), "it is over");
}

#[tokio::test]
async fn a_second_client_is_refused_and_the_first_may_come_again() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = unit(&centre, &mut scu, 8).await;
    let claims = centre.claims(&unit.pu);
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    drop(unit.admit(&token, lan()).await.expect("the first"));
    for other in [at("192.168.1.21"), holder(1)] {
        assert_eq!(unit.refused(&token, other).await, ProblemKind::TokenInUse);
    }
    let mapped = at("::ffff:192.168.1.20");
    drop(unit.admit(&token, mapped).await.expect("the first, as a dual-stack socket sees it"));

    let bound = changed(&claims, |c| c.cnf = Some(key(1)));
    let token_bound = centre.sign(&bound);
    centre.grant(&token_bound, &bound);
    for other in [lan(), holder(2)] {
        assert_eq!(unit.refused(&token_bound, other).await, ProblemKind::TokenInUse);
    }
    unit.admit(&token_bound, holder(1)).await.expect("the holder of the key");

    scu.kill().await;
    unit.centre_is_away().await;
    let second = unit.refused(&token, at("192.168.1.21")).await;
    assert_eq!(second, ProblemKind::TokenInUse, "also while the centre is away");
    unit.admit(&token, lan()).await.expect("the first, while the centre is away");
}

#[tokio::test]
async fn what_the_centre_refuses_or_leaves_unanswered_stays_out() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let claims = centre.claims(&unit.pu);
    let token = centre.sign(&claims);
    centre.set_checker(|_, _| Some(Err(Problem::new(ProblemKind::TokenRevoked, "unshared"))));
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::TokenRevoked);
    centre.set_checker(|_, _| None);
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::Timeout);

    // An answer that speaks of something else.
    let wrong = changed(&claims, |c| c.ch = sightline_model::ChannelId(7));
    centre.set_checker(move |_, _| Some(Ok(grant(&wrong))));
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::InvalidToken);
    let mut blind = grant(&claims);
    blind.rights.0.remove(&Right::View);
    centre.set_checker(move |_, _| Some(Ok(blind.clone())));
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::Forbidden);

    centre.grant(&token, &claims);
    unit.admit(&token, at("192.168.1.99")).await.err();
    assert_eq!(unit.gate.live(), 0);
}

#[tokio::test]
async fn ending_a_session_or_revoking_a_user_ends_what_runs() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = unit(&centre, &mut scu, 8).await;
    let anna = centre.claims(&unit.pu);
    let bert = changed(&anna, |c| {
        c.sub = "bert".parse().expect("user");
        c.sid = support::session("session-2");
    });
    let tokens = [centre.sign(&anna), centre.sign(&bert)];
    let both = [(tokens[0].hash(), grant(&anna)), (tokens[1].hash(), grant(&bert))];
    centre.set_checker(move |asked, _| {
        both.iter().find(|(hash, _)| hash == asked).map(|(_, grant)| Ok(grant.clone()))
    });
    let mut of_anna = unit.admit(&tokens[0], lan()).await.expect("granted");
    let mut of_bert = unit.admit(&tokens[1], lan()).await.expect("granted");

    scu.say(ScuToPu::RevokeUser { user: Some(anna.sub.clone()) });
    let ended = tokio::time::timeout(support::PATIENCE, of_anna.wait_ended()).await;
    assert_eq!(ended.expect("ended").kind, ProblemKind::TokenRevoked);
    assert!(of_bert.ended.borrow().is_none(), "another user's session was ended");

    let problem = Problem::new(ProblemKind::TokenRevoked, "unbound");
    scu.say(ScuToPu::EndSession { session: bert.sid.clone(), problem: Some(problem.clone()) });
    let ended = tokio::time::timeout(support::PATIENCE, of_bert.wait_ended()).await;
    assert_eq!(ended.expect("ended"), problem);
    // The centre's yes of a moment ago counts no more: it is asked again, and says no.
    centre.set_checker(|_, _| Some(Err(Problem::new(ProblemKind::TokenRevoked, "signed out"))));
    assert_eq!(unit.refused(&tokens[1], lan()).await, ProblemKind::TokenRevoked);

    // What was revoked stays so while the centre cannot be asked.
    scu.kill().await;
    unit.centre_is_away().await;
    for token in &tokens {
        assert_eq!(unit.refused(token, lan()).await, ProblemKind::TokenRevoked);
    }
}

#[tokio::test]
async fn a_change_of_owner_while_the_unit_was_offline_ends_the_streams_of_others() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = unit(&centre, &mut scu, 8).await;
    let anna = centre.claims(&unit.pu);
    centre.set_owner(Some(&anna.sub));
    scu.say(ScuToPu::OwnerChanged { owner: Some(anna.sub.clone()) });
    let token = centre.sign(&anna);
    centre.grant(&token, &anna);
    let mut of_anna = unit.admit(&token, lan()).await.expect("granted");
    let transport = MediaTransport::RtspTcp;
    let path = PathReport::new(transport, false, "");
    of_anna.path.send_replace(Some(path));
    let report = |m| match m {
        PuToScu::SessionReport { session, path } => Some((session, path.is_some())),
        _ => None,
    };
    assert_eq!(scu.heard(report).await, (anna.sid.clone(), true));

    // The same owner after an outage: the new SCU is told what runs.
    let ports = scu.kill().await;
    unit.centre_is_away().await;
    let mut scu = FakeScu::start(&centre, ports, true, support::Fault::None).await;
    assert_eq!(scu.heard(report).await, (anna.sid.clone(), true));
    assert!(of_anna.ended.borrow().is_none(), "a stream ended although nothing had changed");

    // Another owner after an outage.
    let ports = scu.kill().await;
    unit.centre_is_away().await;
    centre.set_owner(Some(&"bert".parse().expect("user")));
    let mut scu = FakeScu::start(&centre, ports, true, support::Fault::None).await;
    scu.registered().await;
    let ended = tokio::time::timeout(support::PATIENCE, of_anna.wait_ended()).await;
    assert_eq!(ended.expect("ended").kind, ProblemKind::TokenRevoked);
    drop(of_anna);
    assert_eq!(scu.heard(report).await, (anna.sid.clone(), false));
    scu.kill().await;
    unit.centre_is_away().await;
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::TokenRevoked);
}

#[tokio::test]
async fn with_the_centre_away_only_neighbours_get_in() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = unit(&centre, &mut scu, 8).await;
    let claims = centre.claims(&unit.pu);
    scu.kill().await;
    unit.centre_is_away().await;
    let fresh = |id: &str| {
        centre.sign(&changed(&claims, |c| {
            c.jti = id.parse().expect("token id");
            c.sid = support::session(id);
        }))
    };
    for (id, near) in [
        ("a1", "192.168.7.7"),
        ("a2", "10.0.0.9"),
        ("a3", "fd00::5"),
        ("a4", "127.0.0.1"),
        ("a5", "::ffff:172.16.0.3"),
    ] {
        unit.admit(&fresh(id), at(near)).await.unwrap_or_else(|p| panic!("{near}: {p}"));
    }
    for (id, far) in
        [("b1", "203.0.113.5"), ("b2", "2001:db8::1"), ("b3", "100.64.0.1"), ("b4", "172.32.0.1")]
    {
        let kind = unit.refused(&fresh(id), at(far)).await;
        assert_eq!(kind, ProblemKind::DeviceOffline, "{far}");
    }
    assert_eq!(unit.refused(&fresh("c1"), holder(1)).await, ProblemKind::DeviceOffline);
    let dials_from = |ip: &str| ip.parse::<IpAddr>().expect("address");
    let (c2, c3) = (fresh("c2"), fresh("c3"));
    let from_afar = unit.gate.admit_from(&c2, holder(1), dials_from("203.0.113.5"));
    assert_eq!(from_afar.await.err().map(|p| p.kind), Some(ProblemKind::DeviceOffline));
    let neighbour = unit.gate.admit_from(&c3, holder(1), dials_from("192.168.7.7"));
    neighbour.await.expect("a viewer over QUIC on the same network");
    let expired = centre.sign(&changed(&claims, |c| c.exp = c.iat - 1));
    assert_eq!(unit.refused(&expired, lan()).await, ProblemKind::TokenExpired);
}

#[tokio::test]
async fn a_full_unit_is_busy_and_one_session_cannot_take_all_streams() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 1).await;
    let claims = centre.claims(&unit.pu);
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    let mut open = Vec::new();
    let kind = loop {
        match unit.admit(&token, lan()).await {
            Ok(admission) => open.push(admission),
            Err(problem) => break problem.kind,
        }
        assert!(open.len() < 100, "no bound");
    };
    assert_eq!(kind, ProblemKind::Busy);
    open.truncate(1);

    let second = changed(&claims, |c| {
        c.sid = support::session("session-2");
        c.jti = "token-2".parse().expect("token id");
    });
    let token = centre.sign(&second);
    centre.grant(&token, &second);
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::Busy);
}

#[tokio::test]
async fn a_restart_with_the_centre_away_forgets_no_key_no_bearer_and_no_revocation() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let anna = centre.claims(&unit.pu);
    let of = |user: &str, session: &str| {
        changed(&anna, |c| {
            c.sub = user.parse().expect("user");
            c.sid = support::session(session);
        })
    };
    let [used, fresh] = [centre.sign(&anna), centre.sign(&of("anna", "session-2"))];
    let of_bert = centre.sign(&of("bert", "session-3"));
    let ended = centre.sign(&of("anna", "session-4"));
    let no_more = centre.sign(&of("anna", "session-5"));

    centre.grant(&used, &anna);
    drop(unit.admit(&used, lan()).await.expect("granted"));
    centre.set_checker(|_, _| Some(Err(Problem::new(ProblemKind::TokenRevoked, "signed out"))));
    assert_eq!(unit.refused(&no_more, lan()).await, ProblemKind::TokenRevoked);
    let problem = Some(Problem::new(ProblemKind::TokenRevoked, "unbound"));
    scu.say(ScuToPu::EndSession { session: support::session("session-4"), problem });
    scu.say(ScuToPu::RevokeUser { user: Some("bert".parse().expect("user")) });
    // On the disk by itself, also if the power fails next.
    unit.kept("session-4").await;
    unit.kept("bert").await;
    scu.kill().await;

    let unit = unit.restarted_alone(&centre).await;
    for revoked in [&of_bert, &ended, &no_more] {
        assert_eq!(unit.refused(revoked, lan()).await, ProblemKind::TokenRevoked);
    }
    assert_eq!(unit.refused(&used, at("192.168.1.21")).await, ProblemKind::TokenInUse);
    drop(unit.admit(&used, lan()).await.expect("its bearer"));
    drop(unit.admit(&fresh, lan()).await.expect("signed, unexpired and of a neighbour"));
    assert_eq!(unit.refused(&fresh, at("203.0.113.5")).await, ProblemKind::TokenInUse);
    let forged = sign_with(&SigningKey::from_bytes(&[9; 32]), "key-1", &anna);
    assert_eq!(unit.refused(&forged, lan()).await, ProblemKind::InvalidToken);
    let expired = centre.sign(&changed(&anna, |c| c.exp = c.iat - 1));
    assert_eq!(unit.refused(&expired, lan()).await, ProblemKind::TokenExpired);

    // What was learnt in that life is kept as well, and so is what was known before it.
    let unit = unit.restarted_alone(&centre).await;
    assert_eq!(unit.refused(&fresh, at("192.168.1.21")).await, ProblemKind::TokenInUse);
    assert_eq!(unit.refused(&of_bert, lan()).await, ProblemKind::TokenRevoked);

    // A clock that stands before what was last known cannot tell what has expired.
    unit.clock.set_offset(-3_600_000_000);
    assert_eq!(unit.refused(&used, lan()).await, ProblemKind::DeviceOffline);
}

#[tokio::test]
async fn a_restarted_unit_learns_of_a_new_owner_what_the_old_one_lost() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let (anna, bert): (UserId, UserId) =
        ("anna".parse().expect("user"), "bert".parse().expect("user"));
    centre.set_owner(Some(&anna));
    let unit = unit(&centre, &mut scu, 8).await;
    let token = centre.sign(&centre.claims(&unit.pu));
    unit.kept("anna").await;
    assert!(unit.lifecycle.shutdown().await, "the agent did not end");

    centre.set_owner(Some(&bert));
    let mut unit = started(&centre, scu.quic, 8, unit.dir);
    unit.status.wait_for(|s| s.up.is_some()).await.expect("runs");
    scu.kill().await;
    unit.centre_is_away().await;
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::TokenRevoked);
    let unit = unit.restarted_alone(&centre).await;
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::TokenRevoked);
}

#[tokio::test]
async fn a_unit_that_has_lost_its_memory_admits_nobody_while_the_centre_is_away() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let unit = unit(&centre, &mut scu, 8).await;
    let token = centre.sign(&centre.claims(&unit.pu));
    unit.kept("key-1").await;
    scu.kill().await;
    assert!(unit.lifecycle.shutdown().await, "the agent did not end");
    std::fs::write(unit.dir.path().join(MEMORY_FILE), "{").expect("own file");
    let unit = started(&centre, ([127, 0, 0, 1], 1).into(), 8, unit.dir);
    assert_eq!(unit.refused(&token, lan()).await, ProblemKind::DeviceOffline);
}
