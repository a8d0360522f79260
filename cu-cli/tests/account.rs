//! Sign-in, binding, list: the binary against a portal that speaks the real types.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{answer, claim_code, cu, expect_exit, portal, sign_in_home, stdout};
use sightline_model::PublicKey;

#[tokio::test]
async fn sign_in_bind_list_rename_release_sign_out() {
    let portal = portal().await;
    let dir = tempfile::tempdir().expect("dir");
    let home = dir.path().join("made/by/cu");
    sign_in_home(&home, &portal).await;
    for name in ["key", "portal.json", "tokens.json"] {
        let mode = std::fs::metadata(home.join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&home).expect("home").permissions().mode() & 0o777, 0o700);

    assert!(stdout(&cu(&home, &["list"]).await).contains("cu bind"));
    let typed = claim_code().to_string().to_uppercase().replace('-', " ");
    expect_exit(&cu(&home, &["bind", &typed]).await, 0);
    let again = cu(&home, &["--json", "bind", &typed]).await;
    expect_exit(&again, 4);
    let error: serde_json::Value = serde_json::from_str(&stdout(&again)).expect("json");
    assert_eq!(error["error"]["problem"], "already_bound");
    assert_eq!(error["error"]["exit_code"], 4);

    assert!(stdout(&cu(&home, &["list"]).await).contains("Garden"));
    expect_exit(&cu(&home, &["rename", "Garden", "Yard"]).await, 0);
    let list = cu(&home, &["list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&stdout(&list)).expect("json");
    assert_eq!(list["cameras"][0]["name"], "Yard");
    assert_eq!(list["cameras"][0]["pinned"], true);

    expect_exit(&cu(&home, &["release", "Yard"]).await, 2);
    expect_exit(&cu(&home, &["release", "Yard", "--yes"]).await, 0);
    expect_exit(&cu(&home, &["logout"]).await, 0);
    expect_exit(&cu(&home, &["list"]).await, 3);
    assert!(home.join("key").exists(), "the key outlives the sign-in");
}

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let portal = portal().await;
    let dir = tempfile::tempdir().expect("dir");
    let home = dir.path();
    expect_exit(&cu(home, &["no-such-command"]).await, 2);
    expect_exit(&cu(home, &["list"]).await, 3);
    expect_exit(&cu(home, &["login", "--phone", "+8613800138000"]).await, 2);
    expect_exit(&cu(home, &["login", "--phone", "13800138000", "--portal", &portal.url]).await, 2);
    let clear =
        ["login", "--phone", "+8613800138000", "--portal", "http://192.0.2.1", "--code", "1"];
    expect_exit(&cu(home, &clear).await, 2);
    let wrong = ["login", "--phone", "+8613800138000", "--portal", &portal.url, "--code", "000000"];
    expect_exit(&cu(home, &wrong).await, 4);
    // Port 9 of this machine: nobody listens.
    let nobody =
        ["login", "--phone", "+8613800138000", "--portal", "http://127.0.0.1:9", "--code", "1"];
    expect_exit(&cu(home, &nobody).await, 5);

    sign_in_home(home, &portal).await;
    expect_exit(&cu(home, &["bind", "abcd"]).await, 2);
    expect_exit(&cu(home, &["play", "Garden"]).await, 4);
    portal.centre.lock().await.bound = true;
    expect_exit(&cu(home, &["play", "Nowhere"]).await, 4);
    expect_exit(&cu(home, &["play", "Garden", "--quality", "best"]).await, 2);
    expect_exit(&cu(home, &["play", "Garden"]).await, 5);
    expect_exit(&cu(home, &["play", "Garden", "--require-pin"]).await, 6);
    let json = cu(home, &["--json", "play"]).await;
    expect_exit(&json, 2);
    assert!(stdout(&json).contains("\"usage\""), "{}", stdout(&json));
}

#[tokio::test]
async fn a_portal_that_swaps_the_key_or_the_camera_gets_nothing_played() {
    let portal = portal().await;
    let dir = tempfile::tempdir().expect("dir");
    sign_in_home(dir.path(), &portal).await;
    portal.centre.lock().await.bound = true;
    let mut swapped = answer();
    swapped.device_key = PublicKey::from_bytes([1; 32]);
    portal.centre.lock().await.play = Some(swapped);
    expect_exit(&cu(dir.path(), &["play", "Garden"]).await, 6);
    let mut other = answer();
    other.camera.channel.0 = 3;
    portal.centre.lock().await.play = Some(other);
    expect_exit(&cu(dir.path(), &["play", "Garden"]).await, 6);
    portal.centre.lock().await.device_key = PublicKey::from_bytes([1; 32]);
    expect_exit(&cu(dir.path(), &["play", "Garden"]).await, 6);
}

#[tokio::test]
async fn parallel_runs_keep_the_sign_in() {
    let portal = portal().await;
    let dir = tempfile::tempdir().expect("dir");
    let home = dir.path();
    sign_in_home(home, &portal).await;
    // The portal forgets the access token: every run must refresh, and only one may.
    portal.centre.lock().await.access.clear();
    let runs = (0..8).map(|_| {
        let home = home.to_owned();
        tokio::spawn(async move { cu(&home, &["list"]).await })
    });
    for run in runs.collect::<Vec<_>>() {
        expect_exit(&run.await.expect("run"), 0);
    }
    let centre = portal.centre.lock().await;
    assert_eq!(centre.refreshes, 1);
    assert!(!centre.family_dead);
}

#[tokio::test]
async fn damaged_files_and_half_written_ones_do_no_harm() {
    let portal = portal().await;
    let dir = tempfile::tempdir().expect("dir");
    let home = dir.path();
    sign_in_home(home, &portal).await;
    std::fs::write(home.join(".tokens.json.1"), "{ half").expect("write");
    expect_exit(&cu(home, &["list"]).await, 0);
    std::fs::write(home.join("tokens.json"), "{ half").expect("write");
    let damaged = cu(home, &["list"]).await;
    expect_exit(&damaged, 1);
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("sign in again"));
    sign_in_home(home, &portal).await;
    expect_exit(&cu(home, &["list"]).await, 0);
}

#[tokio::test]
async fn completions_and_help_need_no_sign_in() {
    let dir = tempfile::tempdir().expect("dir");
    for shell in ["bash", "zsh", "fish"] {
        let output = cu(dir.path(), &["completions", shell]).await;
        expect_exit(&output, 0);
        assert!(stdout(&output).contains("snapshot"), "{shell}");
    }
    let help = cu(dir.path(), &["--help"]).await;
    expect_exit(&help, 0);
    assert!(stdout(&help).contains("Exit codes"));
}
