//! Messages of the cloud storage: interfaces Cp and Cp', within Ps and Sc, and its part of Cm.

use sightline_model::*;
use sightline_protocol::{cm, cp::*, ps, sc};

use crate::{check, values::*};

fn entry() -> SignedEntry {
    SignedEntry { encoded: "AQID".into(), signature: Signature::from_bytes([5; 64]) }
}

#[test]
fn cp_messages() {
    let ask = |name: &str, ask: CloudRequest| {
        let call = CloudCall { request: 9, ask };
        check(&format!("cp-{name}"), ps::PuToScu::Cloud(call));
    };
    let owner: UserId = id("u1");
    ask("open", CloudRequest::Open { owner: owner.clone(), entry: entry() });
    let (correction_us, time_known) = (-250, true);
    let upload =
        CloudRequest::Upload { owner: owner.clone(), entry: entry(), correction_us, time_known };
    ask("upload", upload.clone());
    ask("stored-question", CloudRequest::Stored { chain: "a5".repeat(16), sequence: 7 });
    ask("note", CloudRequest::Note { owner, entries: vec![entry()] });
    ask("make-room", CloudRequest::MakeRoom { bytes: 2_000_000 });

    let answer = |name: &str, result| {
        check(&format!("cp-{name}"), ps::ScuToPu::Cloud(CloudAnswer { request: 9, result }));
    };
    let put = PutRequest {
        url: Secret::new("https://store.example/b/k?X-Amz-Signature=s".into()),
        headers: [("x-amz-meta-time".into(), "-250,1".into())].into(),
        expires_at: NOW,
    };
    answer("opened", Ok(CloudReply::Opened));
    answer("put", Ok(CloudReply::Put(put.clone())));
    answer("stored", Ok(CloudReply::Stored));
    answer("noted", Ok(CloudReply::Noted));
    answer("full", Ok(CloudReply::Full { missing_bytes: 5 }));
    answer("room-made", Ok(CloudReply::RoomMade { segments: 1, bytes: 2_000_000 }));
    answer("refused", Err(problem()));

    check("sc-cloud", sc::ScRequest::Cloud { device: pu(), epoch: 3, ask: Box::new(upload) });
    check("sc-cloud-reply", sc::ScReply::Cloud { answer: Box::new(CloudReply::Put(put)) });
}

#[test]
fn cm_cloud_messages() {
    let segment = cm::CloudSegment {
        chain: "a5".repeat(16),
        sequence: 7,
        run: 3,
        tier: StreamTier::Main,
        from: NOW,
        to: NOW,
        time_known: true,
        causes: Causes { event: true, ..Causes::default() },
        locked: false,
        bytes: 2_000_000,
        head_bytes: 700,
        sha256: "5a".repeat(32),
        url: Secret::new("/cs/v1/k?signature=s".into()),
    };
    let next = Some("5.a5.7".into());
    let list = cm::CloudSegmentList { segments: vec![segment], next, expires_at: NOW };
    check("cm-cloud-segment-list", list);
    let tier = StreamTier::Sub;
    check("cm-playlist-request", cm::PlaylistRequest { from: NOW, to: NOW, tier });
    let url = Secret::new("/hls/v1/t/playlist.m3u8".into());
    check("cm-playlist-link", cm::PlaylistLink { url, expires_at: NOW });
    let (used_bytes, quota_bytes, free_bytes) = (5, 9, 7);
    let (segments, bytes, from, to) = (2, 5, NOW, NOW);
    let released = cm::CloudDevice { device: pu(), bound: false, segments, bytes, from, to };
    let devices = vec![released];
    let space = cm::CloudSpace { available: true, used_bytes, quota_bytes, free_bytes, devices };
    check("cm-cloud-space", space);
    check("cm-cloud-quota-change", cm::CloudQuotaChange { quota_bytes: Some(9) });
    check("cm-cloud-deleted", cm::CloudDeleted { segments: 3 });
}
