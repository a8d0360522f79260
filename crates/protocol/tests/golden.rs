//! Every message of every interface has its JSON in `golden/`. A change of it is a change of the
//! protocol: set `UPDATE_GOLDEN=1` to accept one on purpose.

mod cloud;
mod recording;
mod relation;
mod values;

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use sightline_model::*;
use sightline_protocol::{pc::*, *};
use values::*;

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Compares with the golden file, reads it back, and reads it with unknown fields added.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, message: T) {
    let path = golden_dir().join(format!("{name}.json"));
    let envelope = Envelope { v: VERSION, traceparent: None, body: &message };
    let json = serde_json::to_string_pretty(&envelope).expect("serializes") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(golden_dir()).expect("folder");
        fs::write(&path, &json).expect("written");
    }
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("{name} has no golden file; run with UPDATE_GOLDEN=1"));
    assert_eq!(json, golden, "the JSON of {name} has changed");

    let read: Envelope<T> = decode(golden.as_bytes()).expect("a golden file is a message");
    assert_eq!(read.body, message, "{name} does not survive the way there and back");

    let mut value: serde_json::Value = serde_json::from_str(&golden).expect("JSON");
    value["from_the_future"] = 1.into();
    if let Some(body) = value["body"].as_object_mut() {
        body.insert("from_the_future".into(), serde_json::json!({"x": [1]}));
    }
    let read = decode::<T>(value.to_string().as_bytes()).expect("unknown fields are tolerated");
    assert_eq!(read.body, message);

    value["v"] = (VERSION + 1).into();
    let refused = decode::<T>(value.to_string().as_bytes()).expect_err("a future version");
    assert!(matches!(refused, DecodeError::Version(v) if v == VERSION + 1), "{refused}");
}

#[test]
fn ps_messages() {
    use ps::{PuToScu, ScuToPu};
    check("ps-challenge", ScuToPu::Challenge { scu: id("scu1"), nonce: "bm9uY2U".into() });
    check(
        "ps-registered",
        ScuToPu::Registered {
            domain: id("home.example"),
            epoch: 3,
            keep_alive_ms: 5_000,
            server_time: NOW,
            observed: id("203.0.113.4:40000"),
            token_keys: token_keys(),
            ice_servers: ice(),
            owner: Some(id("u1")),
            relations: None,
        },
    );
    check("ps-refused", ScuToPu::Refused { problem: problem() });
    check("ps-keep-alive-ack", ScuToPu::KeepAliveAck { pu_time: NOW, server_time: NOW });
    check(
        "ps-prepare-media",
        ScuToPu::PrepareMedia {
            session: id("s1"),
            channel: ChannelId(0),
            capabilities: capabilities(),
        },
    );
    check("ps-media-offer", ScuToPu::MediaOffer { session: id("s1"), offer: offer() });
    check("ps-candidate-to-pu", ScuToPu::Candidate { session: id("s1"), candidate: "c".into() });
    check("ps-token-result-ok", ScuToPu::TokenResult { request: 9, result: Ok(grant()) });
    check("ps-token-result-err", ScuToPu::TokenResult { request: 9, result: Err(problem()) });
    check("ps-end-session", ScuToPu::EndSession { session: id("s1"), problem: Some(problem()) });
    check("ps-revoke-user", ScuToPu::RevokeUser { user: Some(id("u1")) });
    check("ps-owner-changed", ScuToPu::OwnerChanged { owner: None });
    check("ps-goodbye", ScuToPu::Goodbye);

    check("ps-register", PuToScu::Register(registration()));
    check("ps-keep-alive", PuToScu::KeepAlive { pu_time: NOW });
    check("ps-addresses", PuToScu::Addresses(addresses()));
    check("ps-channels", PuToScu::Channels { channels: channels() });
    let presented_by = ps::TokenBearer::Key { client: key(4) };
    let check_token = PuToScu::TokenCheck { request: 9, token: token().hash(), presented_by };
    check("ps-token-check", check_token);
    check("ps-media-answer-ok", PuToScu::MediaAnswer { session: id("s1"), result: Ok(answer()) });
    check(
        "ps-media-answer-err",
        PuToScu::MediaAnswer { session: id("s1"), result: Err(problem()) },
    );
    check("ps-candidate-to-scu", PuToScu::Candidate { session: id("s1"), candidate: "c".into() });
    check("ps-session-report", PuToScu::SessionReport { session: id("s1"), path: Some(path()) });
    let report = PuToScu::SessionReport { session: id("s1"), path: Some(relayed()) };
    check("ps-session-report-rung", report);
    check("ps-nat", PuToScu::Nat { nat: nat() });
}

#[test]
fn sc_messages() {
    use sc::{ScReply, ScRequest};
    check(
        "sc-register",
        ScRequest::Register {
            scu: id("scu1"),
            scu_url: "wss://scu1.example".into(),
            nonce: "bm9uY2U".into(),
            observed: id("203.0.113.4"),
            registration: registration(),
        },
    );
    check("sc-renew-leases", ScRequest::RenewLeases { scu: id("scu1"), leases: vec![(pu(), 3)] });
    check("sc-release", ScRequest::Release { device: pu(), epoch: 3 });
    check("sc-addresses", ScRequest::Addresses { device: pu(), epoch: 3, addresses: addresses() });
    check("sc-channels", ScRequest::Channels { device: pu(), epoch: 3, channels: channels() });
    let presented_by = ps::TokenBearer::Address { ip: id("198.51.100.7") };
    check(
        "sc-token-check",
        ScRequest::TokenCheck { device: pu(), token: token().hash(), presented_by },
    );
    check(
        "sc-session-report",
        ScRequest::SessionReport { device: pu(), epoch: 3, session: id("s1"), path: None },
    );
    check(
        "sc-viewer-report",
        ScRequest::ViewerReport {
            device: pu(),
            session: id("s1"),
            path: relayed(),
            stages: Some(stages()),
            nat: Some(nat()),
        },
    );
    check("sc-nat", ScRequest::Nat { device: pu(), epoch: 3, nat: nat() });
    let lease = sc::Lease {
        device: device(),
        epoch: 3,
        ttl_ms: 15_000,
        owner: None,
        token_keys: token_keys(),
        server_time: NOW,
        relations: None,
    };
    check("sc-registered", ScReply::Registered(Box::new(lease)));
    check("sc-leases-renewed", ScReply::LeasesRenewed { lost: vec![pu()] });
    check("sc-done", ScReply::Done);
    check("sc-token-granted", ScReply::TokenGranted(Box::new(grant())));
    check("sc-refused", ScReply::Refused { problem: problem() });
}

#[test]
fn sm_messages() {
    use sm::{SmReply, SmRequest};
    check(
        "sm-prepare-media",
        SmRequest::PrepareMedia {
            device: pu(),
            session: id("s1"),
            user: id("u1"),
            channel: ChannelId(0),
            capabilities: capabilities(),
        },
    );
    check(
        "sm-end-session",
        SmRequest::EndSession { device: pu(), session: id("s1"), problem: problem() },
    );
    check("sm-revoke-user", SmRequest::RevokeUser { device: pu(), user: None });
    check("sm-owner-changed", SmRequest::OwnerChanged { device: pu(), owner: Some(id("u1")) });
    check("sm-prepared", SmReply::Prepared { ice_servers: ice() });
    check("sm-done", SmReply::Done);
    check("sm-refused", SmReply::Refused { problem: problem() });
    check("sm-lease-granted", sm::LeaseGranted { device: pu(), epoch: 4, scu: id("scu2") });
    check("sm-order-drain-mtu", sm::SmOrder::DrainMtu { mtu: id("mtu1"), drain: true });
}

#[test]
fn sd_and_dm_messages() {
    use sd::{MtuCommand, MtuReply, MtuUsage, RollCall, UsageEntry, UsageReply};
    let status = sd::MtuStatus {
        capacity_bps: Some(2_000_000_000),
        relayed_bps: 500_000_000,
        allocations: 250,
        ..sd::MtuStatus::new(id("mtu1"), vec!["stun:192.0.2.1:3478".into()], 0.25, true, NOW)
    };
    check("sd-mtu-status", status.clone());
    check("sd-roll-call", RollCall::default());
    check("sd-drain", MtuCommand::Drain);
    check("sd-undrain", MtuCommand::Undrain);
    let status = Box::new(sd::MtuStatus { draining: true, accepting: false, ..status });
    check("sd-done", MtuReply::Done { status });
    check("sd-refused", MtuReply::Refused { problem: problem() });
    let entry = UsageEntry {
        allocation: 7,
        user: "s1".into(),
        bytes_to_peers: 1_200,
        bytes_from_peers: 120_000_000,
        packets: 100_001,
        from: NOW,
        to: UnixMicros(NOW.0 + 60_000_000),
        allocated_s: 60,
        ended: false,
    };
    check("dm-usage", MtuUsage { mtu: id("mtu1"), run: "r1".into(), entries: vec![entry] });
    check("dm-usage-stored", UsageReply::Stored);
    check("dm-usage-refused", UsageReply::Refused { problem: problem() });
}

#[test]
fn an_mtu_of_before_has_no_capacity_and_does_not_drain() {
    let old = r#"{"v":1,"body":{"mtu":"m","urls":[],"load":0.5,"accepting":true,"at":1}}"#;
    let read: sd::MtuStatus = decode(old.as_bytes()).expect("as it was announced before").body;
    assert_eq!(read, sd::MtuStatus::new(id("m"), vec![], 0.5, true, UnixMicros(1)));
    let old = r#"{"v":1,"body":{"transport":"quic","relayed":false,"reason":"direct"}}"#;
    let read: PathReport = decode(old.as_bytes()).expect("as it was reported before").body;
    assert_eq!(read, PathReport::new(MediaTransport::Quic, false, "direct"));
}

#[test]
fn a_path_report_is_bounded_and_cannot_contradict_itself() {
    let huge = PathReport {
        relayed: false,
        ..PathReport::on(MediaTransport::Quic, Rung::RelayTls, "é\r\n".repeat(10_000))
            .not_better(vec!["x".repeat(10_000); 10_000])
    };
    let kept = huge.bounded();
    assert!(kept.relayed);
    assert_eq!(kept.reason, "é".repeat(MAX_REASON_CHARS));
    assert_eq!(kept.why_not_better, vec!["x".repeat(MAX_REASON_CHARS); MAX_REASONS]);
    assert_eq!(relayed().bounded(), relayed());
}

#[test]
fn stages_follow_each_other_and_add_up() {
    assert_eq!(stages().stages_ms(), [80, 15, 35, 20, 20, 20, 30]);
    assert!(stages().adds_up());
    // A packet that was noticed ahead of the handshake's end.
    let overlapping = cs::StageTimes::from_ends([80, 95, 130, 150, 190, 170, 220]);
    assert_eq!(overlapping.stages_ms(), [80, 15, 35, 20, 40, 0, 30]);
    assert!(overlapping.adds_up());
    assert_eq!(overlapping.total_ms, 220);
    let gap = cs::StageTimes { total_ms: 300, ..stages() };
    assert!(!gap.adds_up());
    let absurd = cs::StageTimes { play_ms: u32::MAX, frame_ms: u32::MAX, ..stages() };
    assert!(!absurd.adds_up());
}

#[test]
fn cs_messages() {
    use cs::{CsRequest, CuToScu, ScuToCu};
    check("cs-offer", CuToScu::Offer { session: id("s1"), device: device(), offer: offer() });
    check("cs-candidate-to-scu", CuToScu::Candidate { session: id("s1"), candidate: "c".into() });
    check("cs-end", CuToScu::End { session: id("s1") });
    check("cs-keep-alive", CuToScu::KeepAlive { cu_time: NOW });
    check(
        "cs-path-report",
        CuToScu::PathReport {
            session: id("s1"),
            path: relayed(),
            stages: Some(stages()),
            nat: Some(nat()),
        },
    );
    check("cs-answer", ScuToCu::Answer { session: id("s1"), answer: answer() });
    check("cs-refused", ScuToCu::Refused { session: id("s1"), problem: problem() });
    check("cs-candidate-to-cu", ScuToCu::Candidate { session: id("s1"), candidate: "c".into() });
    check("cs-ended", ScuToCu::Ended { session: id("s1"), problem: None });
    check("cs-keep-alive-ack", ScuToCu::KeepAliveAck { cu_time: NOW, server_time: NOW });
    check("cs-malformed", ScuToCu::Malformed { problem: problem() });
    check("cs-forward-offer", CsRequest::Offer { session: id("s1"), offer: offer() });
    check(
        "cs-forward-candidate",
        CsRequest::Candidate { session: id("s1"), candidate: "c".into() },
    );
    check("cs-forward-end", CsRequest::End { session: id("s1") });
}

#[test]
fn pc_messages() {
    check("pc-set-quality-auto", CuToPu::SetQuality { quality: QualityChoice::Auto });
    let exact = QualityChoice::Exact { width: 352, height: 288, fps: 5 };
    check("pc-set-quality-exact", CuToPu::SetQuality { quality: exact });
    let tier = QualityChoice::Tier { tier: StreamTier::Sub };
    check("pc-set-quality-tier", CuToPu::SetQuality { quality: tier });
    check("pc-ping", CuToPu::Ping { cu_time: NOW });
    let served = ServedStream {
        tier: StreamTier::Sub,
        keyframes_only: false,
        transcoded: false,
        codec: VideoCodec::H264,
        width: 640,
        height: 360,
        reason: "the path carries about 0.9 Mbit/s".into(),
    };
    check("pc-serving", PuToCu::Serving { stream: served });
    check("pc-camera", PuToCu::Camera { online: false, fault: Some("unreachable".into()) });
    check("pc-pong", PuToCu::Pong { cu_time: NOW, pu_time: NOW });
    check("pc-frame-time", PuToCu::FrameTime { rtp_timestamp_90k: 90_000, captured_at: NOW });
    check(
        "pc-path",
        PuToCu::Path { estimate_bps: Some(2_000_000), sent_bps: 1_900_000, loss_permille: 3 },
    );
    check("pc-ended", PuToCu::Ended { problem: problem() });
}

#[test]
fn cm_messages() {
    use cm::*;
    check(
        "cm-info",
        Info {
            operator: "Example Telecom".into(),
            domain: id("home.example"),
            version: "0.1.0".into(),
            approval: Approval::Automatic,
        },
    );
    let phone: PhoneNumber = id("+8613800138000");
    check("cm-sms-code-request", SmsCodeRequest { phone: phone.clone() });
    check("cm-sms-code-sent", SmsCodeSent { expires_in_s: 300, retry_after_s: 60 });
    check(
        "cm-sign-in-request",
        SignInRequest {
            phone,
            code: "123456".into(),
            client_key: key(4),
            client_name: "Chrome on Linux".into(),
            refresh_in: RefreshIn::Body,
        },
    );
    check("cm-refresh-request", RefreshRequest { refresh_token: Some(token()) });
    let user = User {
        id: id("u1"),
        phone_masked: "+•••••••••••00".into(),
        subscription: Subscription::Active,
        is_operator: false,
    };
    check(
        "cm-signed-in",
        SignedIn {
            access_token: token(),
            expires_in_s: 600,
            refresh_token: Some(token()),
            user,
            client: id("c1"),
        },
    );
    check("cm-bind-request", BindRequest { claim_code: SessionToken::new("abcd-efgh".into()) });
    let camera = Camera {
        id: CameraId { pu: pu(), channel: ChannelId(0) },
        device: device(),
        name: "Yard".into(),
        presence: Presence::Online,
        fault: None,
        streams: vec![stream()],
        audio: Some(AudioCodec::Pcmu),
        device_key: key(1),
        rights: Rights::owner(),
    };
    check("cm-bound", Bound { device: device(), cameras: vec![camera.clone()] });
    check("cm-camera-list", CameraList { cameras: vec![camera.clone()] });
    check("cm-camera-change", CameraChange { name: "Door".into() });
    let (capabilities, player) = (capabilities(), Player::Rtsp);
    check("cm-play-request", PlayRequest { capabilities, player, recorder: None });
    check(
        "cm-play-answer",
        PlayAnswer {
            session: id("s1"),
            device: device(),
            camera: camera.id.clone(),
            token: token(),
            expires_at: NOW,
            device_key: key(1),
            rtsp_urls: vec![SessionToken::new("rtsp://192.0.2.9:8554/0?token=t".into())],
            quic: vec![id("192.0.2.9:8555")],
            signal_url: "wss://scu1.example/cs/v1".into(),
            ice_servers: ice(),
        },
    );
    check("cm-event-camera", Event::Camera { camera: Box::new(camera.clone()) });
    check("cm-event-camera-gone", Event::CameraGone { id: camera.id.clone() });
    check("cm-event-subscription", Event::Subscription { subscription: Subscription::Active });
    let alert = Event::Alert {
        device: device(),
        cameras: vec![camera.id],
        kind: AlertKind::WrongKey,
        text: AlertKind::WrongKey.text().into(),
    };
    check("cm-event-alert", alert);
    check("cm-notice-alert", Notice::Alert { device: pu(), kind: AlertKind::WrongKey });
    check("cm-event-resync", Event::Resync);
    check("cm-notice-device", Notice::Device { device: pu(), lost_by: vec![id("u1")] });
    check("cm-notice-user", Notice::User { user: id("u1") });
    let row = SubscriptionRow {
        user: id("u1"),
        phone_masked: "+•••••••••••00".into(),
        subscription: Subscription::Pending,
        since: NOW,
    };
    check("cm-subscription-list", SubscriptionList { subscriptions: vec![row] });
    check("cm-subscription-change", SubscriptionChange { subscription: Subscription::Active });
    let entry = AuditEntry {
        at: NOW,
        user: Some(id("u1")),
        action: "binding.create".into(),
        target: "pu".into(),
        outcome: "ok".into(),
    };
    check("cm-audit-list", AuditList { entries: vec![entry] });
    let row = MtuRow {
        mtu: id("mtu1"),
        load: 0.25,
        accepting: false,
        draining: true,
        capacity_bps: Some(2_000_000_000),
        relayed_bps: 500_000_000,
        allocations: 250,
        heard_at: NOW,
    };
    check("cm-mtu-list", MtuList { mtus: vec![row] });
    check("cm-mtu-change", MtuChange { draining: true });
    let row = NetworkRow {
        network: "203.0.113.0/24".into(),
        sessions: 10,
        rungs: vec![RungCount { rung: Rung::Punched, sessions: 9 }],
        relayed_bytes: 120_000_000,
        relay_causes: vec![CauseCount { cause: RelayCause::BothSymmetric, sessions: 1 }],
        stages: vec![StageFigures { stage: "total".into(), p50_ms: 180, p95_ms: 256 }],
    };
    check("cm-network-list", NetworkList { from: NOW, networks: vec![row] });
    let row = UsageRow {
        user: Some(id("u1")),
        session: id("s1"),
        mtus: 2,
        bytes: 120_000_000,
        packets: 100_000,
        allocated_s: 120,
        from: NOW,
        to: UnixMicros(NOW.0 + 60_000_000),
    };
    let mtus = vec![MtuShare { mtu: id("mtu-1"), bytes: 120_000_000 }];
    check("cm-usage-list", UsageList { sessions: vec![row], mtus });
    check("cm-problem", problem());
}

/// Every golden file that reads as a `T` is named by the word in it; gives how many words there are.
fn words<T: Named + DeserializeOwned>(interface: &str) -> usize {
    let files = fs::read_dir(golden_dir()).expect("golden files");
    let mut seen = BTreeSet::new();
    for path in files.map(|file| file.expect("a file").path()) {
        let of = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(interface));
        let text = fs::read_to_string(&path).expect("readable");
        if let (true, Ok(message)) = (of, decode::<T>(text.as_bytes())) {
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["body"]["type"], message.body.name(), "{}", path.display());
            seen.insert(message.body.name());
        }
    }
    seen.len()
}

#[test]
fn traces_call_messages_as_their_json_does() {
    assert_eq!(words::<ps::ScuToPu>("ps-"), 13);
    assert_eq!(words::<ps::PuToScu>("ps-"), 11);
    assert_eq!(words::<sc::ScRequest>("sc-"), 10);
    assert_eq!(words::<sm::SmRequest>("sm-"), 5);
    assert_eq!(words::<cs::CuToScu>("cs-"), 5);
    assert_eq!(words::<cs::ScuToCu>("cs-"), 6);
    assert_eq!(words::<cs::CsRequest>("cs-"), 3);
}

#[test]
fn hostile_bytes_are_refused_without_panic() {
    let long = vec![b' '; MAX_MESSAGE_BYTES + 1];
    assert!(matches!(decode::<ps::PuToScu>(&long), Err(DecodeError::TooLong(_))));
    let short = ["", "{", "[]", r#"{"v":1}"#, r#"{"v":-1,"body":{}}"#];
    for bad in short.into_iter().chain([r#"{"v":1,"body":{"type":"x"}}"#]) {
        assert!(decode::<ps::PuToScu>(bad.as_bytes()).is_err(), "{bad:?} was taken");
    }
    let deep = format!("{{\"v\":1,\"body\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(decode::<ps::PuToScu>(deep.as_bytes()).is_err());
}

#[test]
fn two_different_fingerprints_are_none() {
    let line = |v: &str| format!("a=fingerprint:sha-256 {v}\r\n");
    assert_eq!(ps::dtls_fingerprint(&line("aa:bb")).as_deref(), Some("AA:BB"));
    assert_eq!(ps::dtls_fingerprint(&(line("aa") + &line("AA"))).as_deref(), Some("AA"));
    assert_eq!(ps::dtls_fingerprint(&(line("aa") + &line("bb"))), None);
    assert_eq!(ps::dtls_fingerprint(&(line("aa") + "a=fingerprint:sha-1 cc\r\n")), None);
    assert_eq!(ps::dtls_fingerprint("v=0\r\n"), None);
}
