//! Downloads last as long as the session that they were allowed in, and who has none is not refused
//! for ever.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use support::{
    film::{COUNT, taken},
    http::{Line, proof_of},
    unit::{PATIENCE, Unit},
};
use tokio::task::JoinHandle;

/// Within this a session that was taken away shows nothing any more.
const AT_ONCE: Duration = Duration::from_secs(2);
/// So many refusals end a connection.
const MAX_REFUSALS: u32 = 4;

async fn ends(serving: JoinHandle<()>) {
    tokio::time::timeout(PATIENCE, serving).await.expect("in time").expect("no panic");
}

/// A segment of the film.
const SEGMENT: &str = "/recordings/0/main/000000000001.mp4";

#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_with_its_session() {
    let unit = Unit::start().await;
    let (stream, serving) = unit.dial(1_024);
    let mut line = Line::new(stream);
    line.ask(SEGMENT, Some("owner"), "").await;
    let answer = line.head().await;
    assert_eq!(answer.status, 200);
    let len: usize = answer.header("content-length").expect("a length").parse().expect("a number");
    // Nobody reads what comes, and nothing else ends it so soon.
    let ended = Instant::now();
    unit.end_session("owner");
    ends(serving).await;
    assert!(ended.elapsed() < AT_ONCE, "{:?}", ended.elapsed());
    let rest = line.rest().await.len();
    assert!(rest < len, "all {len} bytes came");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_whose_token_came_last_is_the_one_that_counts() {
    let unit = Unit::start().await;
    let (stream, serving) = unit.dial(64 << 10);
    let mut line = Line::new(stream);
    let proof = proof_of(taken(0), taken(COUNT));
    for token in ["owner", "heir"] {
        assert_eq!(line.get(&proof, Some(token)).await.status, 200);
    }
    unit.end_session("owner");
    let whole = line.get(SEGMENT, Some("heir")).await;
    assert_eq!(whole.status, 200);
    let ended = Instant::now();
    unit.end_session("heir");
    ends(serving).await;
    assert!(ended.elapsed() < AT_ONCE, "{:?}", ended.elapsed());
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_too_often_loses_the_connection() {
    let unit = Unit::start().await;
    let proof = proof_of(taken(0), taken(COUNT));
    let proof = proof.as_str();
    let refused = [(proof, Some("thief"), 401), (proof, None, 401), ("/nowhere", None, 404)];
    for (path, token, status) in refused {
        let (stream, serving) = unit.dial(64 << 10);
        let mut line = Line::new(stream);
        for n in 1..=MAX_REFUSALS {
            let answer = line.get(path, token).await;
            assert_eq!(answer.status, status, "{path}");
            let closes = answer.header("connection") == Some("close");
            assert_eq!(closes, n == MAX_REFUSALS, "{path}: {n}");
        }
        assert!(line.rest().await.is_empty());
        ends(serving).await;
    }
    // Whoever has leave may ask for what is not there.
    let (stream, _serving) = unit.dial(64 << 10);
    let mut line = Line::new(stream);
    assert_eq!(line.get(proof, Some("owner")).await.status, 200);
    for _ in 0..2 * MAX_REFUSALS {
        let nothing = "/recordings/0/main/999999999999.mp4";
        assert_eq!(line.get(nothing, Some("owner")).await.status, 404);
    }
    assert_eq!(line.get(proof, Some("owner")).await.status, 200);
    drop(line);
    unit.stop().await;
}
